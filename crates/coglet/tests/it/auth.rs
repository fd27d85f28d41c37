//! The bearer token.

use serde_json::json;

use crate::http::{Request, Response};
use crate::server::{Model, Server};

const TOKEN: &str = "s3cret-token";

fn guarded() -> Server {
    model().ready()
}

fn model() -> Model {
    Model::run(
        "def run(self) -> str",
        "return os.environ.get('COG_AUTH_TOKEN', 'unknown')",
    )
    .env("COG_AUTH_TOKEN", TOKEN)
}

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let body = json!({});
    let mut request = match method {
        "GET" => Request::new("GET", path),
        _ => Request::json(method, path, &body),
    };
    request.headers.extend(headers);
    server.send(request).answer()
}

#[test]
fn everything_but_probes_is_closed() {
    let server = guarded();
    for path in [
        "/health-check",
        "/health/live",
        "/health/ready",
        "/health/startup",
    ] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let closed = [
        ("GET", "/"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", "/predictions/x"),
        ("POST", "/predictions"),
        ("PUT", "/predictions/x"),
        ("POST", "/predictions/x/cancel"),
        ("POST", "/trainings"),
        ("GET", "/nowhere"),
        ("GET", "/health/../predictions/x"),
        ("GET", "/health-check/"),
    ];
    for (method, path) in closed {
        let response = ask(&server, method, path, &[]);
        assert_eq!(response.status, 401, "{method} {path}");
        assert!(
            response.headers.contains("\r\nwww-authenticate: bearer"),
            "{}",
            response.headers
        );
        assert!(response.json()["error"].is_string());
    }
    for wrong in [
        "Bearer wrong",
        "Bearer ",
        "Basic s3cret-token",
        "s3cret-token",
    ] {
        let response = ask(&server, "POST", "/predictions", &[("Authorization", wrong)]);
        assert_eq!(response.status, 401, "{wrong}");
    }
}

#[test]
fn the_token_opens_and_is_not_passed_on() {
    let server = guarded();
    let authorization = format!("Bearer {TOKEN}");
    let right = [("Authorization", authorization.as_str())];
    let response = ask(&server, "POST", "/predictions", &right);
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["output"], "unknown");
    assert_eq!(ask(&server, "GET", "/metrics", &right).status, 200);
    assert_eq!(ask(&server, "GET", "/nowhere", &right).status, 404);
    assert!(!server.log_text().contains(TOKEN));
}

#[test]
fn shutdown_is_for_those_with_the_token_and_neighbours_if_they_are_let() {
    let server = guarded();
    // It may come from a proxy on this machine, which nobody can tell.
    assert_eq!(ask(&server, "POST", "/shutdown", &[]).status, 401);
    assert_eq!(server.status(), "READY");

    let mut server = model().env("COG_LOCAL_SHUTDOWN", 1).ready();
    for elsewhere in ["X-Forwarded-For", "Forwarded", "Origin"] {
        let response = ask(
            &server,
            "POST",
            "/shutdown",
            &[(elsewhere, "for=203.0.113.9")],
        );
        assert_eq!(response.status, 401, "{elsewhere}");
    }
    assert_eq!(ask(&server, "POST", "/shutdown", &[]).status, 200);
    assert!(server.exit().success());

    let mut server = guarded();
    let authorization = format!("Bearer {TOKEN}");
    let headers = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("Authorization", authorization.as_str()),
    ];
    assert_eq!(ask(&server, "POST", "/shutdown", &headers).status, 200);
    assert!(server.exit().success());
}

#[test]
fn without_a_token_everybody_may() {
    let mut server = Model::echo().ready();
    let headers = [("X-Forwarded-For", "203.0.113.9")];
    assert_eq!(ask(&server, "POST", "/shutdown", &headers).status, 200);
    assert!(server.exit().success());
}

#[test]
fn the_model_cannot_look_it_up() {
    // Whoever may read any process is not asked: the model gives that right up, if it has it.
    let look = "import ctypes\n\
         libc = ctypes.CDLL(None)\n\
         class Head(ctypes.Structure): _fields_ = [('version', ctypes.c_uint32), ('pid', ctypes.c_int)]\n\
         sets = (ctypes.c_uint32 * 6)()\n\
         head = Head(0x20080522, 0)\n\
         assert libc.capget(ctypes.byref(head), sets) == 0\n\
         for cap in (19, 21, 38):\n    sets[cap // 32 * 3] &= ~(1 << cap % 32)\n\
         for cap in (19, 21, 38):\n    sets[cap // 32 * 3 + 1] &= ~(1 << cap % 32)\n\
         assert libc.capset(ctypes.byref(head), sets) == 0\n\
         try:\n    return open(f'/proc/{os.getppid()}/environ').read()\n\
         except PermissionError:\n    return 'hidden'";
    let server = Model::run("def run(self) -> str", look)
        .env("COG_AUTH_TOKEN", TOKEN)
        .without_tracing_rights()
        .ready();
    let authorization = format!("Bearer {TOKEN}");
    let right = [("Authorization", authorization.as_str())];
    let answer = ask(&server, "POST", "/predictions", &right).json();
    assert_eq!(answer["output"], "hidden", "{answer}");
    // Not even those who may look find it where it was given.
    assert!(!server.environment().contains(TOKEN));
}

#[test]
fn an_empty_token_is_a_mistake() {
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_coglet"))
        .args(["--host", "127.0.0.1", "--port", "0"])
        .env("COG_PREDICT_TYPE_STUB", "predict.py:Runner")
        .env("COG_AUTH_TOKEN", "")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("ERROR: `COG_AUTH_TOKEN` is empty"), "{said}");
}

#[test]
fn pages_of_other_sites_run_and_stop_nothing() {
    let server = Model::run("def run(self) -> str", "return 'ran'").ready();
    let ask = |path: &str, headers: &[(&str, &str)], body: &str| {
        let mut request = Request::new("POST", path).body(body.to_owned());
        request.headers.extend(headers);
        server.send(request).answer()
    };
    let page = ("Sec-Fetch-Site", "cross-site");
    let origin = ("Origin", "http://evil.example");
    for (path, body) in [
        ("/predictions", r#"{"input": {}}"#),
        ("/predictions", ""),
        ("/trainings", ""),
        ("/shutdown", ""),
    ] {
        for header in [page, origin] {
            let answer = ask(path, &[header], body);
            assert_eq!(answer.status, 403, "{path} {header:?}");
            assert!(
                answer
                    .headers
                    .contains("\r\ncontent-type: application/json")
            );
        }
    }
    // Nothing has been stopped; and who was allowed to ask gets an answer.
    let json = ("Content-Type", "application/json");
    let allowed = ask("/predictions", &[page, origin, json], r#"{"input": {}}"#);
    assert_eq!(allowed.status, 200);
    assert_eq!(ask("/predictions", &[], r#"{"input": {}}"#).status, 200);
}
