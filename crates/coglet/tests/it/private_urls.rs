//! What the server downloads and calls, and what it does not.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write as _;

use crate::receiver::{Receiver, response};
use crate::server::{Model, Server, eventually};

fn reader() -> Model {
    Model::run(
        "def run(self, p: Path) -> str",
        "text = p.read_text()\nreturn f'{len(text)} {text[:20]}'",
    )
    .file("tmp/.keep", "")
    .env("TMPDIR", "tmp")
}

fn redirect(to: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

fn failure(server: &Server, url: &str) -> String {
    let prediction = server.predict(json!({"p": url}));
    assert_eq!(prediction["status"], "failed", "{prediction}");
    prediction["error"].as_str().unwrap().to_owned()
}

fn assert_refused(server: &Server, url: &str) {
    let error = failure(server, url);
    assert!(error.contains("has no public address"), "{url}: {error}");
}

#[test]
fn private_addresses_are_refused() {
    let receiver = Receiver::accepting();
    let server = reader().env("COG_DENY_PRIVATE_URLS", 1).ready();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let url = format!(
            "http://user:s3cret@{host}:{}/file?key=s3cret",
            receiver.port
        );
        assert_refused(&server, &url);
        assert!(!failure(&server, &url).contains("s3cret"));
    }
    assert!(receiver.rest().is_empty(), "nobody was asked");
    assert!(!server.log_text().contains("s3cret"));

    let open = reader().ready();
    assert_eq!(open.output(json!({"p": receiver.url("/")})), "0 ");
}

#[test]
fn redirects_are_checked_too() {
    let target = Receiver::accepting();
    let (by_address, by_name) = (
        target.url("/private"),
        format!("http://localhost:{}/private", target.port),
    );
    let answers = by_address.clone();
    let entry = Receiver::start(move |_, path| match path {
        "/address" => redirect(&answers),
        "/name" => redirect(&by_name),
        _ => response(200, b"here"),
    });
    // `localhost` stands for a public host; its address is still not allowed when it is said outright.
    let server = reader()
        .env("COG_DENY_PRIVATE_URLS", 1)
        .env("COG_ALLOW_PRIVATE_HOSTS", "localhost")
        .ready();
    let url = |path: &str| format!("http://localhost:{}{path}", entry.port);
    assert_eq!(server.output(json!({"p": url("/direct")})), "4 here");
    assert_eq!(server.output(json!({"p": url("/name")})), "0 ");
    assert_eq!(target.next().path, "/private");
    assert_refused(&server, &url("/address"));
    assert!(target.rest().is_empty(), "the redirect was followed");
}

#[test]
fn files_that_are_opened_late_are_no_way_around() {
    let receiver = Receiver::start(|_, _| response(200, b"hello"));
    let model = || Model::run("def run(self, p: File) -> str", "return p.read().decode()");
    let url = format!("http://localhost:{}/x", receiver.port);
    let open = model().ready();
    assert_eq!(open.output(json!({"p": url})), "hello");
    let server = model().env("COG_DENY_PRIVATE_URLS", 1).ready();
    assert_refused(&server, &url);
    let server = model()
        .env("COG_DENY_PRIVATE_URLS", 1)
        .env("COG_ALLOW_PRIVATE_HOSTS", "localhost")
        .ready();
    assert_eq!(server.output(json!({"p": url})), "hello");
}

#[test]
fn paths_on_this_machine_are_no_way_around() {
    let server = Model::run(
        "def run(self, p: Path = None, f: File = None, ps: List[Path] = []) -> str",
        "return repr((p, f, ps))",
    )
    .env("COG_DENY_PRIVATE_URLS", 1)
    .ready();
    for (input, place) in [
        (json!({"p": "/etc/passwd"}), "p"),
        (json!({"p": "file:///etc/passwd"}), "p"),
        (json!({"f": "\\u002fetc\\u002fpasswd"}), "f"),
        (json!({"ps": ["data:,x", "/etc/passwd"]}), "ps/1"),
    ] {
        let refused = server.post("/predictions", &json!({"input": input}));
        assert_eq!(refused.status, 422, "{input}");
        let detail = &refused.json()["detail"][0];
        assert_eq!(detail["loc"], json!(["body", "input", place]));
        assert!(
            detail["msg"].as_str().unwrap().contains("is not accepted"),
            "{detail}"
        );
    }
    assert_eq!(server.output(json!({"p": null})), "(None, None, [])");
}

#[test]
fn webhooks_obey() {
    let receiver = Receiver::accepting();
    let server = Model::echo().env("COG_DENY_PRIVATE_URLS", 1).ready();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/", receiver.port);
        let body = json!({"id": host, "input": {"s": "x"}, "webhook": url});
        assert_eq!(server.begin_async(&body).status, 202);
        // At once: it is not tried again.
        server.until_logged(&format!(
            "The terminal webhook was not delivered: `{host}` has no public address"
        ));
        eventually("the end", || server.status() == "READY");
    }
    assert!(receiver.rest().is_empty());
    server.stop();
}

#[test]
fn the_size_is_limited() {
    let large = vec![b'x'; 3000];
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b'x'; 50 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let receiver = Receiver::start(move |_, path| match path {
        "/unannounced" => [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(),
            &large,
        ]
        .concat(),
        "/bomb" => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                bomb.len()
            );
            [head.as_bytes(), &bomb].concat()
        }
        "/small" => response(200, &large[..2048]),
        _ => response(200, &large),
    });
    let server = reader().env("COG_MAX_DOWNLOAD_SIZE", "2K").ready();
    assert_eq!(
        server.output(json!({"p": receiver.url("/small")})),
        format!("2048 {}", "x".repeat(20))
    );
    for path in ["/announced", "/unannounced", "/bomb"] {
        let error = failure(&server, &receiver.url(&format!("{path}?s3cret")));
        let expected = format!(
            "Input validation error: `{}` is larger than the 2048 bytes that this server downloads",
            receiver.url(path)
        );
        assert_eq!(error, expected);
    }
    // Nothing of them is left.
    let directories = fs_err::read_dir(server.directory.path().join("tmp")).unwrap();
    for directory in directories.flatten().filter(|entry| entry.path().is_dir()) {
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn the_time_is_limited() {
    let receiver = Receiver::start(|_, _| {
        std::thread::sleep(std::time::Duration::from_secs(2));
        response(200, b"late")
    });
    let server = reader().env("COG_DOWNLOAD_TIMEOUT", "0.2").ready();
    let error = failure(&server, &receiver.url("/x"));
    assert!(
        error.contains("could not be downloaded within 0.2 seconds"),
        "{error}"
    );
}

#[test]
fn the_number_of_redirects_is_limited() {
    let receiver = Receiver::start(|number, _| {
        if number % 3 == 2 {
            response(200, b"end")
        } else {
            redirect("/next")
        }
    });
    let model = |limit| reader().env("COG_MAX_REDIRECTS", limit).ready();
    assert_eq!(model("2").output(json!({"p": receiver.url("/")})), "3 end");
    let error = failure(&model("1"), &receiver.url("/"));
    assert!(error.contains("more than 1 redirects"), "{error}");
}

#[test]
fn a_mistake_in_a_limit_is_not_no_limit() {
    for (variable, value) in [
        ("COG_MAX_DOWNLOAD_SIZE", "2T"),
        ("COG_DENY_PRIVATE_URLS", "maybe"),
        ("COG_DOWNLOAD_TIMEOUT", "soon"),
    ] {
        let refused = std::process::Command::new(env!("CARGO_BIN_EXE_coglet"))
            .args(["--host", "127.0.0.1", "--port", "0"])
            .env("COG_PREDICT_TYPE_STUB", "predict.py:Runner")
            .env(variable, value)
            .output()
            .unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("ERROR: `{value}` in `{variable}` is not ")),
            "{said}"
        );
    }
}

#[test]
fn secrets_in_urls_stay_out_of_errors() {
    let receiver = Receiver::start(|_, _| response(403, b"no"));
    let server = reader().ready();
    let url = format!(
        "http://user:s3cret@127.0.0.1:{}/a.png?X-Signature=s3cret",
        receiver.port
    );
    let expected = format!(
        "Input validation error: 403 Client Error: Forbidden for url: {}",
        receiver.url("/a.png")
    );
    assert_eq!(Value::from(failure(&server, &url)), Value::from(expected));
}
