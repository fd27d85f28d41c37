//! Files in and out.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::http::Request;
use crate::receiver::{Receiver, response};
use crate::server::{Model, Server};

const HELLO: &str = "data:text/plain;base64,SGVsbG8=";
const WORLD: &str = "data:text/plain;base64,V29ybGQ=";

fn files() -> Receiver {
    Receiver::start(|_, path| {
        match path {
        "/a/image.jpg?size=2" => response(200, b"image"),
        "/moved" => b"HTTP/1.1 302 Found\r\nLocation: /a/image.jpg?size=2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        _ => response(404, b"nothing"),
    }
    })
}

/// The directory for inputs must be as empty as before.
fn input_files(server: &Server) -> Vec<std::path::PathBuf> {
    let entries = fs_err::read_dir(server.directory.path().join("tmp"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let directories = entries.filter(|path| path.is_dir());
    let entries = directories.flat_map(|path| fs_err::read_dir(path).unwrap());
    entries.flatten().map(|entry| entry.path()).collect()
}

fn with_tmp(model: Model) -> Server {
    model.file("tmp/.keep", "").env("TMPDIR", "tmp").ready()
}

#[test]
fn case_33_path_outputs() {
    let server = Model::run(
        "def run(self) -> Path",
        "open('out.txt', 'w').write('Hello')\nreturn Path('out.txt')",
    )
    .ready();
    assert_eq!(server.output(json!({})), HELLO);
    assert!(
        server.directory.path().join("out.txt").exists(),
        "an output file is the model's"
    );
    let body = "for n, word in enumerate(['Hello', 'World', 'Hello']): open(f'{n}.txt', 'w').write(word)\n\
                return [Path(f'{n}.txt') for n in range(3)]";
    let server = Model::run("def run(self) -> List[Path]", body).ready();
    assert_eq!(server.output(json!({})), json!([HELLO, WORLD, HELLO]));
}

#[test]
fn a_link_is_given_by_what_it_leads_to_and_its_own_name() {
    let body = "import os\nopen('blob', 'w').write('Hello')\nos.makedirs('cache', exist_ok=True)\n\
                os.path.islink('cache/out.txt') or os.symlink('../blob', 'cache/out.txt')\n\
                return Path('cache/out.txt')";
    let server = Model::run("def run(self) -> Path", body).ready();
    assert_eq!(server.output(json!({})), HELLO);
}

/// The worker looks at a file before it announces it; what is there then is another matter.
#[test]
fn a_file_that_was_exchanged_for_a_pipe_hangs_nobody() {
    let body = "open('out.txt', 'w').write('Hello')\n\
                real = os.stat\n\
                def looked(path, *args, **kwargs):\n    \
                    found = real(path, *args, **kwargs)\n    \
                    if str(path).endswith('out.txt'):\n        \
                        os.unlink(path)\n        \
                        os.mkfifo(path)\n        \
                        os.stat = real\n    \
                    return found\n\
                os.stat = looked\n\
                return Path('out.txt')";
    let server = Model::run("def run(self) -> Path", body).ready();
    let prediction = server.predict(json!({}));
    assert_eq!(prediction["status"], "failed", "{prediction}");
    let error = prediction["error"].as_str().unwrap();
    assert!(error.contains("it is not a regular file"), "{error}");
    assert_eq!(server.status(), "READY");
}

#[test]
fn yielded_files_keep_their_place() {
    let body =
        "open('a.txt', 'w').write('Hello')\nyield 'first'\nyield Path('a.txt')\nyield 'last'";
    let server = Model::run("def run(self) -> Iterator[Any]", body).ready();
    assert_eq!(server.output(json!({})), json!(["first", HELLO, "last"]));
}

#[test]
fn file_objects_and_types() {
    let body = "import io\nopen('a.png', 'wb').write(b'x')\nreturn {'bytes': io.BytesIO(b'Hello'), 'path': Path('a.png')}";
    let server = Model::run("def run(self) -> dict", body).ready();
    let expected = json!({"bytes": "data:application/octet-stream;base64,SGVsbG8=", "path": "data:image/png;base64,eA=="});
    assert_eq!(server.output(json!({})), expected);
    let server = Model::run(
        "def run(self) -> File",
        "import io\nreturn io.BytesIO(b'Hello')",
    )
    .ready();
    assert_eq!(
        server.output(json!({})),
        "data:application/octet-stream;base64,SGVsbG8="
    );
}

#[test]
fn a_missing_output_file_is_named() {
    let server = Model::run("def run(self) -> Path", "return Path('gone.png')").ready();
    let prediction = server.predict(json!({}));
    assert_eq!(prediction["status"], "failed");
    assert!(
        prediction["error"].as_str().unwrap().contains("gone.png"),
        "{prediction}"
    );
}

#[test]
fn names_that_are_no_text_are_made_readable() {
    let server = Model::run(
        "def run(self) -> List[Path]",
        "name = os.fsdecode(b'\\xff.txt')\nopen(name, 'w').write('Hello')\nreturn [Path(name)]",
    )
    .ready();
    let request = Request::json("POST", "/predictions", &json!({})).header("Cog-Output-Names", "1");
    let prediction = server.send(request).answer().json();
    assert_eq!(
        prediction["output"],
        json!(["data:text/plain;name=%EF%BF%BD.txt;base64,SGVsbG8="]),
        "{prediction}"
    );
}

#[test]
fn a_directory_as_an_output_is_called_one() {
    let server = Model::run("def run(self) -> Path", "return Path('/tmp')").ready();
    let error = &server.predict(json!({}))["error"];
    let expected = "the output `/tmp` is a directory: return its files, or an archive of them";
    assert!(error.as_str().unwrap().contains(expected), "{error}");
}

#[test]
fn a_client_cannot_name_a_file_of_the_server() {
    let server = Model::run("def run(self, v: Any) -> Any", "return v").ready();
    let secret = server.directory.path().join("secret");
    fs_err::write(&secret, "key").unwrap();
    let forged = json!({"__cog_file__": {"path": secret, "name": "a", "mime": "text/plain", "delete": true}});
    for value in [forged.clone(), json!([forged])] {
        assert_eq!(server.output(json!({"v": value})), value);
    }
    assert!(secret.exists());
}

#[test]
fn case_36_path_inputs_from_data_urls() {
    let server = with_tmp(Model::run(
        "def run(self, path: Optional[Path] = None) -> str",
        "return path.read_text() if path else repr(path)",
    ));
    assert_eq!(server.output(json!({"path": HELLO})), "Hello");
    assert_eq!(server.output(json!({})), "None");
    assert_eq!(input_files(&server), Vec::<std::path::PathBuf>::new());
    let server = with_tmp(Model::run(
        "def run(self, paths: List[Path]) -> str",
        "return ' '.join(p.read_text() for p in paths)",
    ));
    assert_eq!(
        server.output(json!({"paths": [HELLO, WORLD]})),
        "Hello World"
    );
    assert_eq!(input_files(&server), Vec::<std::path::PathBuf>::new());
}

#[test]
fn case_37_file_inputs() {
    let server = with_tmp(Model::run(
        "def run(self, file: Optional[File] = None) -> str",
        "return file.read().decode() if file else ''",
    ));
    assert_eq!(server.output(json!({"file": HELLO})), "Hello");
    assert_eq!(server.output(json!({})), "");
}

#[test]
fn case_38_strings_stay_strings_and_paths_are_paths() {
    let server = Model::run(
        "def run(self, s: str, p: Path) -> list",
        "return [s, type(s).__name__, str(p), type(p).__name__]",
    )
    .ready();
    let url = "https://example.com/a.png";
    assert_eq!(
        server.output(json!({"s": url, "p": "a/b.txt"})),
        json!([url, "str", "a/b.txt", "Path"])
    );
    let server = Model::run("def run(self, s: List[str]) -> list", "return s").ready();
    assert_eq!(server.output(json!({"s": [HELLO]})), json!([HELLO]));
}

#[test]
fn case_39_path_inputs_from_urls() {
    let receiver = files();
    let body = "return [p.read_text(), p.name, type(p).__name__]";
    let server = with_tmp(
        Model::run("def run(self, p: Path) -> list", body).env("COG_USER_AGENT", "tester/1"),
    );
    let output = server.output(json!({"p": receiver.url("/a/image.jpg?size=2")}));
    assert_eq!((&output[0], &output[2]), (&json!("image"), &json!("Path")));
    assert!(
        output[1].as_str().unwrap().ends_with("image.jpg"),
        "{output}"
    );
    assert!(
        receiver
            .next()
            .headers
            .contains("\r\nuser-agent: tester/1\r\n")
    );
    assert_eq!(
        server.output(json!({"p": receiver.url("/moved")}))[0],
        "image"
    );
    assert_eq!(input_files(&server), Vec::<std::path::PathBuf>::new());
    assert_eq!(server.status(), "READY");
}

#[test]
fn a_mixed_list_is_fetched_in_part() {
    let receiver = files();
    let server = Model::run(
        "def run(self, ps: List[Path]) -> list",
        "return [f'{type(p).__name__} {p.name[-9:]}' for p in ps]",
    )
    .ready();
    let input = json!({"ps": [receiver.url("/a/image.jpg?size=2"), "local.txt", HELLO]});
    let expected = json!(["Path image.jpg", "Path local.txt", "Path -file.txt"]);
    assert_eq!(server.output(input), expected);
}

#[test]
fn a_path_is_a_path() {
    let server = Model::run(
        "def run(self, p: Path, f: File = None) -> str",
        "return f'{type(p).__name__} {p.read_text()} {f and f.read()}'",
    )
    .file("local.txt", "here")
    .ready();
    assert_eq!(server.output(json!({"p": "local.txt"})), "Path here None");
    let both = json!({"p": "./local.txt", "f": "local.txt"});
    assert_eq!(server.output(both), "Path here b'here'");
    // What is the author's stays.
    assert!(server.directory.path().join("local.txt").exists());
}

#[test]
fn names_are_kept() {
    let server = Model::run(
        "def run(self, p: Path) -> list[Path]",
        "open('x.tar.gz', 'w').close()\nreturn [p, Path('x.tar.gz')]",
    )
    .ready();
    let body = json!({"input": {"p": "data:audio/mp4;name=a%20b.m4a;base64,QQ=="}});
    let plain = server.post("/predictions", &body).json();
    assert_eq!(
        plain["output"],
        json!([
            "data:audio/mp4;base64,QQ==",
            "data:application/gzip;base64,"
        ])
    );
    let request = Request::json("POST", "/predictions", &body).header("Cog-Output-Names", "1");
    let named = server.send(request).answer().json();
    let first = named["output"][0].as_str().unwrap();
    assert!(first.ends_with("-a%20b.m4a;base64,QQ=="), "{first}");
    assert_eq!(
        named["output"][1],
        "data:application/gzip;name=x.tar.gz;base64,"
    );
}

#[test]
fn names_resolve_without_a_network() {
    let receiver = files();
    let server = Model::run("def run(self, p: Path) -> str", "return p.read_text()").ready();
    let url = format!("http://localhost:{}/a/image.jpg?size=2", receiver.port);
    assert_eq!(server.output(json!({"p": url})), "image");
}

#[test]
fn a_failed_download_fails_the_prediction() {
    let receiver = files();
    let server = with_tmp(Model::run(
        "def run(self, p: Path) -> str",
        "return p.read_text()",
    ));
    let url = receiver.url("/none.png");
    let prediction = server.predict(json!({"p": url}));
    assert_eq!(prediction["status"], "failed");
    let expected = format!("Input validation error: 404 Client Error: Not Found for url: {url}");
    assert_eq!(prediction["error"], Value::from(expected));
    let prediction = server.predict(json!({"p": "http://127.0.0.1:1/a.png"}));
    assert!(
        prediction["error"]
            .as_str()
            .unwrap()
            .starts_with("Input validation error: could not download"),
        "{prediction}"
    );
    assert_eq!(input_files(&server), Vec::<std::path::PathBuf>::new());
    assert_eq!(server.status(), "READY");
}

#[test]
fn a_damaged_download_is_named() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"one text and then another text").unwrap();
    let gzip = gzip.finish().unwrap();
    let cut = gzip[..gzip.len() - 12].to_vec();
    let mut overwritten = gzip;
    overwritten[10..].fill(0xff);
    let receiver = Receiver::start(move |_, path| {
        let body = if path == "/cut" { &cut } else { &overwritten };
        [head.as_slice(), body].concat()
    });
    let server = with_tmp(Model::run(
        "def run(self, p: Path) -> str",
        "return p.read_text()",
    ));
    for path in ["/cut", "/overwritten"] {
        let url = receiver.url(path);
        let prediction = server.predict(json!({"p": url}));
        let error = prediction["error"].as_str().unwrap();
        let expected = format!("Input validation error: the download of `{url}` is damaged: ");
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(input_files(&server), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_canceled_download_frees_the_slot() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/slow.bin", silent.local_addr().unwrap());
    let server = with_tmp(Model::run(
        "def run(self, p: Path) -> str",
        "return p.read_text()",
    ));
    let running = server.begin("a", json!({"p": url}));
    let (_connection, _) = silent.accept().unwrap();
    assert_eq!(server.status(), "BUSY");
    assert_eq!(server.post("/predictions/a/cancel", &json!({})).status, 200);
    assert_eq!(running.answer().json()["status"], "canceled");
    assert_eq!(server.status(), "READY");
    assert_eq!(input_files(&server), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_large_data_url() {
    let server = with_tmp(Model::run(
        "def run(self, p: Path) -> int",
        "return p.stat().st_size",
    ));
    let url = format!(
        "data:application/octet-stream;base64,{}",
        "AAAA".repeat(4 << 20)
    );
    assert_eq!(server.output(json!({"p": url})), 12 << 20);
    assert_eq!(input_files(&server), Vec::<std::path::PathBuf>::new());
}

#[test]
fn case_40_secrets() {
    let body = "return [repr(k), k.get_secret_value() if k else None, type(s).__name__]";
    let server = Model::run(
        "def run(self, k: Optional[Secret] = None, s: str = '') -> list",
        body,
    )
    .ready();
    assert_eq!(
        server.output(json!({"k": "key", "s": "x"})),
        json!(["Secret(**********)", "key", "str"])
    );
    assert_eq!(server.output(json!({}))[1], json!(null));
}

#[test]
fn case_68_postponed_annotations() {
    let server = Model::new(
        "from __future__ import annotations\nfrom cog import BaseRunner, Path\nclass Runner(BaseRunner):\n    \
         def run(self, p: Path) -> Path:\n        out = Path('out.txt')\n        out.write_text(p.read_text())\n        return out\n",
    )
    .ready();
    assert_eq!(server.output(json!({"p": HELLO})), HELLO);
}
