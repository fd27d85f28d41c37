use std::io::{self, Write as _};
use std::path::Path;

use cog_inputs::Kind;
use serde_json::{Value, json};

use super::{Disk, Files, Given, Opened, resolve};
use crate::args::EngineArg;

struct Fake;

impl Files for Fake {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match path {
            "a.txt" | "sub/a b.txt" | "pipe" | "large.bin" => Ok(b"hi".to_vec()),
            "in.json" => Ok(br#"{"s": "from file"}"#.to_vec()),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
        }
    }

    fn stdin(&self) -> io::Result<Vec<u8>> {
        Ok(br#"{"s": "from stdin"}"#.to_vec())
    }

    fn open(&self, path: &str) -> io::Result<Opened> {
        let content = self.read(path)?;
        if path == "large.bin" {
            return Ok(Opened::Large("http://here/large.bin".to_owned()));
        }
        let name = Path::new(path).file_name().filter(|_| path != "pipe");
        Ok(Opened::Small {
            name: name.map(|name| name.to_string_lossy().into_owned()),
            content,
        })
    }
}

fn document() -> Value {
    json!({ "components": { "schemas": {
        "size": { "enum": ["small", "medium", "large"], "type": "string" },
        "Input": {
            "properties": {
                "s": { "type": "string", "maxLength": 10 },
                "n": { "type": "integer", "minimum": 1, "maximum": 10 },
                "f": { "type": "number" },
                "b": { "type": "boolean" },
                "l": { "type": "array", "items": { "type": "string" } },
                "li": { "type": "array", "items": { "type": "integer" } },
                "o": { "type": "object" },
                "size": { "allOf": [{ "$ref": "#/components/schemas/size" }] },
                "u": { "anyOf": [{ "type": "string" }, { "type": "number" }] },
                "p": { "type": "string", "format": "uri" },
                "r": { "type": "string", "pattern": "^a" },
                "lp": { "type": "array", "items": { "type": "string", "format": "uri" } },
                "op": { "anyOf": [{ "type": "string", "format": "uri" }, { "type": "integer" }] },
            },
            "required": [],
        },
    } } })
}

fn flags(flags: &[&str]) -> Result<Value, String> {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let given = Given {
        flags: &flags,
        json: None,
    };
    resolve(&given, &document(), Kind::Prediction, &Fake)
        .map(Value::Object)
        .map_err(|error| error.to_string())
}

fn json_text(text: &str) -> Result<Value, String> {
    let given = Given {
        flags: &[],
        json: Some(text),
    };
    resolve(&given, &document(), Kind::Prediction, &Fake)
        .map(Value::Object)
        .map_err(|error| error.to_string())
}

#[test]
fn flags_are_read_by_the_declared_type() {
    for (given, expected) in [
        (vec!["s=1"], json!({ "s": "1" })),
        (vec!["s=\"quoted\""], json!({ "s": "quoted" })),
        (vec!["n=3"], json!({ "n": 3 })),
        (vec!["f=1.5"], json!({ "f": 1.5 })),
        (vec!["b=true"], json!({ "b": true })),
        (vec!["l=world"], json!({ "l": ["world"] })),
        (vec![r#"l=["a","b"]"#], json!({ "l": ["a", "b"] })),
        (vec!["li=1", "li=2"], json!({ "li": [1, 2] })),
        (vec![r#"o={"a":1}"#], json!({ "o": { "a": 1 } })),
        (vec!["u=hello"], json!({ "u": "hello" })),
        (vec!["u=1.5"], json!({ "u": 1.5 })),
        (vec!["u=1"], json!({ "u": 1 })),
        (vec!["s=a=b"], json!({ "s": "a=b" })),
        (
            vec!["l=@a.txt", "l=@a.txt"],
            json!({ "l": ["data:text/plain;base64,aGk=", "data:text/plain;base64,aGk="] }),
        ),
        (
            vec!["p=https://example.com/x"],
            json!({ "p": "https://example.com/x" }),
        ),
    ] {
        assert_eq!(flags(&given), Ok(expected), "{given:?}");
    }
}

#[test]
fn files_keep_their_names_where_files_are_taken() {
    let named = "data:text/plain;name=a.txt;base64,aGk=";
    let spaced = "data:text/plain;name=a%20b.txt;base64,aGk=";
    let unnamed = "data:application/octet-stream;base64,aGk=";
    for (given, expected) in [
        (vec!["p=@a.txt"], json!({ "p": named })),
        (vec!["p=@sub/a b.txt"], json!({ "p": spaced })),
        (vec!["op=@a.txt"], json!({ "op": named })),
        (vec!["lp=@a.txt"], json!({ "lp": [named] })),
        (
            vec!["lp=@a.txt", "lp=@sub/a b.txt", "lp=@pipe"],
            json!({ "lp": [named, spaced, unnamed] }),
        ),
    ] {
        assert_eq!(flags(&given), Ok(expected), "{given:?}");
    }
}

#[test]
fn a_pipe_is_read_once_and_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    fs_err::write(&file, "content").unwrap();
    let opened = |path: &Path| match Disk::of(EngineArg::Host).open(path.to_str().unwrap()) {
        Ok(Opened::Small { name, content }) => (name, content),
        _ => panic!("not read"),
    };
    assert_eq!(
        opened(&file),
        (Some("file".to_owned()), b"content".to_vec())
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = fs_err::OpenOptions::new().write(true).open(&pipe).unwrap();
            writer.write_all(b"content").unwrap();
        });
        assert_eq!(opened(&pipe), (None, b"content".to_vec()));
    });
}

#[test]
fn mistakes_are_told_in_known_words() {
    for (given, text) in [
        (
            vec!["text"],
            "Failed to parse input 'text', expected format is 'name=value'",
        ),
        (
            vec!["nope=1"],
            "unknown input \"nope\"; valid inputs are: b, f, l, li, lp, n, o, op, p, r, s, size, u",
        ),
        (vec!["x=1", "y=1"], "unknown inputs \"x\", \"y\"; "),
        (
            vec!["n=0"],
            "invalid input \"n\": number must be at least 1",
        ),
        (
            vec!["n=99"],
            "invalid input \"n\": number must be at most 10",
        ),
        (
            vec!["n=lots"],
            "invalid input \"n\": expected integer, got string",
        ),
        (
            vec!["size=huge"],
            "invalid input \"size\": must be one of: small, medium, large",
        ),
        (
            vec!["s=much too long"],
            "invalid input \"s\": maximum string length is 10",
        ),
        (vec!["r=b"], "invalid input \"r\""),
        (vec!["p=@none"], "input \"p\": no such file"),
        (vec!["n=0", "b=x"], "input validation failed:\n- "),
    ] {
        let said = flags(&given).unwrap_err();
        assert!(said.contains(text), "{given:?}: {said}");
    }
}

#[test]
fn json_comes_as_text_file_or_stdin() {
    assert_eq!(json_text(r#"{"s": "x"}"#), Ok(json!({ "s": "x" })));
    assert_eq!(json_text("@in.json"), Ok(json!({ "s": "from file" })));
    for stdin in ["-", "@-"] {
        assert_eq!(json_text(stdin), Ok(json!({ "s": "from stdin" })));
    }
    assert_eq!(
        json_text(r#"{"p": "@a.txt"}"#),
        Ok(json!({ "p": "data:text/plain;name=a.txt;base64,aGk=" }))
    );
    for (text, said) in [
        (r#"{"typo": "@/no/such/file"}"#, "unknown input \"typo\""),
        (
            r#"{"p": "@/no/such/file"}"#,
            "input \"p\": failed to read file \"/no/such/file\"",
        ),
        ("[1]", "Failed to parse JSON"),
        ("@none", "Failed to read JSON from file \"none\""),
        (
            r#"{"s": null}"#,
            "invalid input \"s\": must not be null (omit the input to use its default)",
        ),
    ] {
        assert!(json_text(text).unwrap_err().contains(said), "{text}");
    }
    assert!(
        !json_text(r#"{"typo": "@/no/such/file"}"#)
            .unwrap_err()
            .contains("/no/such/file")
    );
    let both = Given {
        flags: &["s=x".to_owned()],
        json: Some("{}"),
    };
    assert!(
        resolve(&both, &document(), Kind::Prediction, &Fake)
            .unwrap_err()
            .to_string()
            .contains("Must use one of")
    );
}

#[test]
fn required_inputs_must_be_there() {
    let mut document = document();
    document["components"]["schemas"]["Input"]["required"] = json!(["s"]);
    let given = Given {
        flags: &[],
        json: None,
    };
    let error = resolve(&given, &document, Kind::Prediction, &Fake).unwrap_err();
    assert_eq!(error.to_string(), "missing required input \"s\"");
}

#[test]
fn large_files_are_fetched_where_files_are_taken() {
    let here = "http://here/large.bin";
    let inline = "data:application/octet-stream;base64,aGk=";
    let large = "@large.bin";
    for (given, expected) in [
        (vec!["p=@large.bin"], json!({ "p": here })),
        (vec!["op=@large.bin"], json!({ "op": here })),
        (vec!["lp=@large.bin"], json!({ "lp": [here] })),
        (
            vec!["lp=@large.bin", "lp=@a.txt"],
            json!({ "lp": [here, "data:text/plain;name=a.txt;base64,aGk="] }),
        ),
        (vec!["l=@large.bin"], json!({ "l": [inline] })),
    ] {
        assert_eq!(flags(&given), Ok(expected), "{given:?}");
    }
    let text = json!({ "p": large, "u": large }).to_string();
    assert_eq!(json_text(&text), Ok(json!({ "p": here, "u": inline })));
}

/// What is said of the input `x` with this schema.
fn said(schema: &Value, value: &Value) -> String {
    let document = json!({ "components": { "schemas": {
        "itself": { "allOf": [{ "$ref": "#/components/schemas/itself" }] },
        "Input": { "properties": { "x": schema } },
    } } });
    let given = Given {
        flags: &[],
        json: Some(&json!({ "x": value }).to_string()),
    };
    match resolve(&given, &document, Kind::Training, &Fake) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn parts_of_values_are_checked_as_the_server_does() {
    let point =
        json!({ "type": "object", "properties": { "x": { "type": "number" } }, "required": ["x"] });
    let union = json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "array", "items": { "type": "string" } }] });
    let null = "invalid input \"x\": must not be null (omit the input to use its default)";
    for (schema, value, expected) in [
        (&point, json!({}), "missing required input \"x.x\""),
        (
            &point,
            json!({ "x": "1" }),
            "invalid input \"x\": expected number, got string",
        ),
        (&point, json!({ "x": null }), null),
        (&point, json!({ "x": 1, "y": null }), "nothing"),
        (&union, json!(null), null),
        (&union, json!(["a", 1, null]), null),
        (
            &union,
            json!(0),
            "invalid input \"x\": number must be at least 1",
        ),
        (
            &union,
            json!([1]),
            "invalid input \"x\": expected string, got number",
        ),
        (
            &union,
            json!("a"),
            "invalid input \"x\": expected integer or array, got string",
        ),
        (
            &json!({ "type": ["string", "null"] }),
            json!(null),
            "nothing",
        ),
        (
            &json!({ "type": ["string", "boolean", "array"] }),
            json!(1.5),
            "invalid input \"x\": expected string, boolean or array, got number",
        ),
        (
            &json!({ "enum": ["a", 1] }),
            json!("b"),
            "invalid input \"x\": must be one of: a, 1",
        ),
        (
            &json!({ "maximum": 2.0 }),
            json!(3),
            "invalid input \"x\": number must be at most 2",
        ),
        (
            &json!({ "$ref": "#/components/schemas/itself" }),
            json!(1),
            "nothing",
        ),
    ] {
        assert_eq!(said(schema, &value), expected, "{schema} of {value}");
    }
}

#[test]
fn a_document_without_inputs_is_told() {
    for (document, kind, missing) in [
        (json!({}), Kind::Prediction, "is missing components"),
        (
            json!({ "components": { "schemas": {} } }),
            Kind::Prediction,
            "is missing Input component",
        ),
        (
            json!({ "components": { "schemas": { "Input": 1 } } }),
            Kind::Training,
            "is missing TrainingInput or Input component",
        ),
    ] {
        let given = Given {
            flags: &[],
            json: None,
        };
        let error = resolve(&given, &document, kind, &Fake).unwrap_err();
        assert_eq!(error.to_string(), format!("OpenAPI schema {missing}"));
    }
}
