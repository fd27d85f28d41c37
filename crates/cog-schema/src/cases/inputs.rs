//! Types of inputs, and what they demand.

use serde_json::{Value, json};

use super::{IMPORTS, raw, text, with};
use crate::ErrorKind;
use crate::tests::{error, property, run, schemas};

#[test]
fn case_10_parameters_are_numbered() {
    let properties =
        schemas("(self, a: str, b: str, c: str) -> str")["Input"]["properties"].clone();
    let order = ["a", "b", "c"].map(|name| properties[name]["x-order"].clone());
    assert_eq!(order, [json!(0), json!(1), json!(2)]);
}

#[test]
fn case_11_bounds_and_default() {
    let document =
        raw(r#"(self, scale: float = Input(description="d", ge=0, le=10, default=1.5)) -> str"#);
    let fragment = r#""scale":{"default":1.5,"description":"d","maximum":10,"minimum":0,"title":"Scale","type":"number","x-order":0}"#;
    assert!(document.contains(fragment), "{document}");
    assert!(!document.contains(r#""required":["scale"]"#));
}

#[test]
fn case_12_lengths_and_pattern() {
    let property = property(r#"t: str = Input(min_length=1, max_length=100, regex="^[a-z]+$")"#);
    assert_eq!(
        (
            &property["minLength"],
            &property["maxLength"],
            &property["pattern"]
        ),
        (&json!(1), &json!(100), &json!("^[a-z]+$"))
    );
}

#[test]
fn case_13_deprecated() {
    assert_eq!(
        property(r#"old: str = Input(deprecated=True, default="x")"#)["deprecated"],
        true
    );
}

#[test]
fn case_14_falsy_defaults_are_defaults() {
    let input = schemas(r#"(self, flag: bool = False, n: int = 0, w: float = 0.0, s: str = "", o: int = -1) -> str"#)["Input"].clone();
    assert_eq!(input.get("required"), None);
    let defaults =
        ["flag", "n", "w", "s", "o"].map(|name| text(&input["properties"][name]["default"]));
    assert_eq!(defaults, ["false", "0", "0", r#""""#, "-1"]);
}

#[test]
fn case_15_none_for_a_plain_type_is_no_default() {
    let input = schemas("(self, seed: int = Input(default=None)) -> str")["Input"].clone();
    assert_eq!(input["required"], json!(["seed"]));
    let seed = &input["properties"]["seed"];
    assert_eq!((seed.get("default"), seed.get("nullable")), (None, None));
}

#[test]
fn case_16_secrets() {
    let input = schemas(r#"(self, k: Secret = Input(description="k")) -> str"#)["Input"].clone();
    assert_eq!(input["required"], json!(["k"]));
    let secret = &input["properties"]["k"];
    let found = ["type", "format", "writeOnly", "x-cog-secret"].map(|key| secret[key].clone());
    assert_eq!(
        found,
        [json!("string"), json!("password"), json!(true), json!(true)]
    );
}

#[test]
fn case_17_a_secret_may_default_to_none() {
    let input = schemas(
        "(self, prompt: str, api_key: Secret = Input(default=None), other: Secret = Input(description='o'), \
         seed: int = Input(default=None)) -> str",
    )["Input"]
        .clone();
    assert_eq!(input["required"], json!(["prompt", "other", "seed"]));
    let key = &input["properties"]["api_key"];
    assert_eq!(
        (key.get("default"), &key["nullable"]),
        (Some(&Value::Null), &json!(true))
    );
}

#[test]
fn case_18_an_optional_path() {
    let document = raw("(self, p: Path | None = Input(default=None)) -> str");
    let fragment = r#""p":{"default":null,"format":"uri","nullable":true,"title":"P","type":"string","x-order":0}"#;
    assert!(document.contains(fragment), "{document}");
}

#[test]
fn case_19_optional_without_default() {
    let input = schemas("(self, v: Optional[str]) -> str")["Input"].clone();
    assert_eq!(input.get("required"), None);
    let property = &input["properties"]["v"];
    assert_eq!(
        (&property["nullable"], property.get("default")),
        (&json!(true), None)
    );
}

#[test]
fn case_20_an_optional_list_of_paths() {
    let files = property("files: list[Path] | None = Input(default=None)");
    assert_eq!(files["items"], json!({"format": "uri", "type": "string"}));
    assert_eq!(
        (&files["nullable"], files.get("default")),
        (&json!(true), Some(&Value::Null))
    );
}

#[test]
fn case_21_unions() {
    let input = schemas("(self, v: str | float) -> str")["Input"].clone();
    assert_eq!(
        input["properties"]["v"]["anyOf"],
        json!([{"type": "string"}, {"type": "number"}])
    );
    assert_eq!(input["required"], json!(["v"]));
}

#[test]
fn case_22_no_files_in_unions() {
    let error = error("(self, v: Path | str) -> str");
    assert!(
        error.message.contains("Path") && error.message.contains("union"),
        "{error}"
    );
}

#[test]
fn case_23_objects() {
    for annotation in ["dict", "Dict[str, Any]", "dict[str, int]"] {
        let expected = json!({"title": "D", "type": "object", "x-order": 0});
        assert_eq!(
            property(&format!("d: {annotation}")),
            expected,
            "{annotation}"
        );
    }
}

#[test]
fn case_24_lists_of_objects() {
    let expected =
        json!({"items": {"type": "object"}, "title": "M", "type": "array", "x-order": 0});
    assert_eq!(property("m: list[dict]"), expected);
    let input = schemas("(self, m: list[dict] = []) -> str")["Input"].clone();
    assert_eq!(input["properties"]["m"]["default"], json!([]));
    assert_eq!(input.get("required"), None);
}

#[test]
fn case_25_typed_dicts_as_inputs() {
    let prelude = "class Payload(TypedDict):\n    a: int\n";
    let input = with(
        prelude,
        "(self, p: Payload, items: list[Payload] | None = None) -> str",
    )["Input"]
        .clone();
    assert_eq!(input["properties"]["p"]["type"], "object");
    assert_eq!(
        input["properties"]["items"],
        json!({"default": null, "items": {"type": "object"}, "nullable": true, "title": "Items", "type": "array", "x-order": 1})
    );
}

#[test]
fn case_35_inputs_shared_by_a_class() {
    let prelude = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Inputs:\n    \
                   ar = Input(description='ratio', choices=['1:1', '2:1'], default='1:1')\n";
    let found = with(prelude, "(self, ar: str = Inputs.ar) -> str");
    let property = &found["Input"]["properties"]["ar"];
    assert_eq!(
        (&property["default"], &property["description"]),
        (&json!("1:1"), &json!("ratio"))
    );
    assert_eq!(found["ar"]["enum"], json!(["1:1", "2:1"]));
}

#[test]
fn case_36_inputs_made_by_a_static_method() {
    let prelude = "class Inputs:\n    @staticmethod\n    def guidance(default):\n        \
                   return Input(ge=0.0, le=20.0, default=default)\n";
    let property =
        with(prelude, "(self, g: float = Inputs.guidance(7.5)) -> str")["Input"]["properties"]["g"]
            .clone();
    let found = ["default", "minimum", "maximum"].map(|key| property[key].as_f64());
    assert_eq!(found, [Some(7.5), Some(0.0), Some(20.0)]);
}

#[test]
fn case_37_accept_is_for_files() {
    for kind in ["Path", "File"] {
        assert_eq!(
            property(&format!("f: {kind} = Input(accept='image/*')"))["x-cog-accept"],
            "image/*"
        );
    }
    let error = error("(self, name: str = Input(accept='image/*')) -> str");
    assert_eq!(error.kind, ErrorKind::AcceptOnNonFileType);
    assert!(error.message.contains("name"), "{error}");
}

#[test]
fn case_38_annotations_are_needed() {
    assert_eq!(
        error("(self, s='hello') -> str").kind,
        ErrorKind::MissingTypeAnnotation
    );
    assert_eq!(error("(self, s: str)").kind, ErrorKind::MissingReturnType);
}

#[test]
fn a_parameter_that_is_no_input_is_told() {
    let schema = run("class Runner:\n    def run(self, bare, s: str) -> str: ...\n").unwrap();
    assert!(!schema.json.contains("bare"));
    assert_eq!(
        schema.warnings,
        [
            "parameter 'bare' on run is no input, because it has no type annotation, and predictions will fail without \
             it: write for example `bare: str`"
        ]
    );
}

#[test]
fn a_default_that_is_none_for_clients_is_told_with_its_place() {
    let source = "import os\nfrom cog import Input\n\nclass Runner:\n    def run(\n        self,\n        \
                  seed: int = Input(default=None),\n        home: str = Input(default=os.getcwd()),\n        \
                  n: int | None = Input(default=None), k: Secret = None, list: list[str] = None,\n    ) -> str: ...\n";
    assert_eq!(
        run(source).unwrap().warnings,
        [
            "run.py, line 7: the input 'seed' has to be given, although its default is None: write `seed: \
             Optional[int]` if it may be left out",
            "run.py, line 8: the input 'home' has to be given, although its default is not written out: write a literal",
            "run.py, line 9: the input 'list' has to be given, although its default is None: write `list: \
             Optional[list[str]]` if it may be left out",
        ]
    );
}

#[test]
fn case_50_opaque_inputs() {
    let properties = with(
        "from ext import Ext\n",
        "(self, payload: Annotated[Ext, Opaque], items: Annotated[List[Ext], Opaque]) -> str",
    )["Input"]["properties"]
        .clone();
    assert_eq!(
        properties["payload"],
        json!({"title": "Payload", "type": "object", "x-order": 0})
    );
    assert_eq!(
        (&properties["items"]["type"], &properties["items"]["items"]),
        (&json!("array"), &json!({"type": "object"}))
    );
}

/// The SDK refuses these when the file is loaded.
#[test]
fn calls_that_cannot_run_are_refused_with_their_line() {
    let refused = |prelude: &str, default: &str| {
        let source = format!(
            "{IMPORTS}{prelude}class Runner(BaseRunner):\n    def run(\n        self,\n        x: int = {default},\n    ) -> str: ...\n"
        );
        let error = run(&source).err()?;
        let place = error.place.expect("it is known").to_string();
        Some((error.message, place))
    };
    let takes = "it takes `default`, `description`, `ge`, `le`, `min_length`, `max_length`, `regex`, `choices`, \
                 `deprecated`, `accept`";
    let at = |line: usize| format!("run.py:{line}: the input 'x'");
    assert_eq!(
        refused("", "Input(ge=0, lt=4)"),
        Some((format!("Input() takes no `lt`; {takes}"), at(7)))
    );
    assert_eq!(
        refused("from cog import Input as In\n", "In(label='x')"),
        Some((format!("In() takes no `label`; {takes}"), at(8)))
    );
    let (message, place) = refused("", "Input(1, 'description')").expect("it is refused");
    let place_alone = "Input() takes only its `default` by its place, and `description`";
    assert!(message.starts_with(place_alone), "{message}");
    assert!(
        message.ends_with("as `description='description'`"),
        "{message}"
    );
    assert_eq!(place, at(7));
    let (message, _) = refused("", "Input(1, default=2)").expect("it is refused");
    assert!(
        message.contains("is given its `default` twice"),
        "{message}"
    );
    let holder = "class Shared:\n    attr = Input(gt=1)\n    def made(default):\n        return Input(default=default, lt=1)\n";
    for (default, line) in [("Shared.attr", 5), ("Shared.made(1)", 7)] {
        let (_, place) = refused(holder, default).expect("it is refused");
        assert_eq!(place, at(line));
    }
    for accepted in [
        "Input(1)",
        "Input(1, description='d', ge=0, le=4, deprecated=True, choices=[1])",
        "Input(*defaults)",
        "Input(*defaults, 'a', 'b')",
        "Input(ge=0, **more)",
    ] {
        assert_eq!(refused("", accepted), None, "{accepted}");
    }
    for mine in [
        "def Input(default, lt): ...\n",
        "Input = mine\n",
        "class Input: ...\n",
    ] {
        assert_eq!(refused(mine, "Input(1, lt=4)"), None, "{mine}");
    }
}

#[test]
fn a_mistake_has_its_place() {
    let place = |signature_text: &str| {
        let place = error(signature_text).place.expect("it is known");
        assert_eq!(place.path, "run.py");
        (place.line, place.what)
    };
    for (signature_text, line, what) in [
        ("(self,\n x: string) -> str", 6, "the input 'x' of run()"),
        ("(self, x: np.ndarray) -> str", 5, "the input 'x' of run()"),
        ("(self, x=1) -> str", 5, "the input 'x' of run()"),
        ("(self, x: int = f()) -> str", 5, "the input 'x' of run()"),
        ("(self, *x: int) -> str", 5, "run()"),
        ("(self)", 5, "run()"),
        ("(self) -> tuple", 5, "what run() returns, `tuple`"),
        ("(self) -> Iterator", 5, "what run() returns, `Iterator`"),
    ] {
        assert_eq!(
            place(signature_text),
            (line, what.to_owned()),
            "{signature_text}"
        );
    }
    let error = run(&format!("{IMPORTS}\nclass Runner: ...\n")).expect_err("it has no method");
    let place = error.place.expect("it is known").to_string();
    assert_eq!(place, "run.py:5: the class Runner");
}
