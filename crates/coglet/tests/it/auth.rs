//! The bearer token.

use serde_json::json;

use crate::http::{Request, Response};
use crate::server::{Model, Server};

const TOKEN: &str = "s3cret-token";

fn guarded() -> Server {
    Model::run(
        "def run(self) -> str",
        "return os.environ.get('COG_AUTH_TOKEN', 'unknown')",
    )
    .env("COG_AUTH_TOKEN", TOKEN)
    .ready()
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
fn shutdown_is_for_neighbours_and_those_with_the_token() {
    let mut server = guarded();
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
