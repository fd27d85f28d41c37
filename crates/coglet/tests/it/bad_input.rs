//! What must end in a clear message.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output};

use serde_json::json;

use crate::http::Request;
use crate::server::Model;

fn coglet(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coglet"));
    command
        .args(arguments)
        .env_remove("COG_PREDICT_TYPE_STUB")
        .env_remove("PORT");
    command.envs(variables.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_port_in_use() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let output = coglet(
        &["--host", "127.0.0.1"],
        &[("COG_PREDICT_TYPE_STUB", "m.py:M"), ("PORT", &port)],
    );
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(
        message.contains(&format!("could not listen on 127.0.0.1:{port}")),
        "{message}"
    );
    assert!(
        message.contains("Address already in use") && message.contains("set `PORT`"),
        "{message}"
    );
}

#[test]
fn a_port_that_is_no_number() {
    let output = coglet(
        &[],
        &[("COG_PREDICT_TYPE_STUB", "m.py:M"), ("PORT", "http")],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("`http` is no port number"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn no_model() {
    let output = coglet(&[], &[]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(
        message.starts_with("ERROR: COG_PREDICT_TYPE_STUB environment variable is not set."),
        "{message}"
    );
    let message = stderr(&coglet(&["--x-mode", "train"], &[]));
    assert!(
        message.starts_with("ERROR: COG_TRAIN_TYPE_STUB environment variable is not set."),
        "{message}"
    );
}

#[test]
fn arguments_that_are_not_understood() {
    for arguments in [
        &["--nonsense"][..],
        &["--x-mode", "both"],
        &["--threads", "many"],
        &["--upload-url", "ftp://user:word@h/"],
    ] {
        let output = coglet(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = stderr(&output);
        assert!(
            message.starts_with("usage: ") && !message.contains("word"),
            "{message}"
        );
    }
}

/// Taken for unset, a token that is to keep strangers out would be none.
#[test]
fn a_variable_that_is_no_text() {
    for variable in ["COG_AUTH_TOKEN", "COG_MAX_BODY_SIZE", "PORT"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coglet"));
        command.env("COG_PREDICT_TYPE_STUB", "m.py:M");
        command.env(variable, OsStr::from_bytes(b"a\xff"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            stderr(&output),
            format!("ERROR: the value of `{variable}` is not UTF-8 text\n")
        );
    }
}

/// What is longer than any clock can tell is for ever.
#[test]
fn times_without_end() {
    let longest = u64::MAX.to_string();
    let variables = [
        "COG_SETUP_TIMEOUT",
        "COG_PREDICT_TIMEOUT",
        "COG_CANCEL_GRACE",
        "COG_DRAIN_TIMEOUT",
        "COG_CLIENT_TIMEOUT",
        "COG_RESULTS_AGE",
        "COG_DOWNLOAD_TIMEOUT",
        "COG_THROTTLE_RESPONSE_INTERVAL",
    ];
    let mut model = Model::echo();
    for variable in variables {
        model = model.env(variable, &longest);
    }
    let server = model.ready();
    let request = Request::new("POST", "/predictions")
        .header("Content-Type", "application/json")
        .header("Cog-Timeout", "1000000000000000000")
        .body(r#"{"input":{"s":"x"}}"#);
    assert_eq!(server.send(request).answer().status, 200);
    server.stop();
}

#[test]
fn the_version() {
    let output = coglet(&["--version"], &[]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("coglet {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn no_python() {
    let server = Model::echo().env("PATH", "/nowhere").setup_failed();
    let logs = server.setup_logs();
    assert!(
        logs.contains("Setup failed: could not start `python`"),
        "{logs}"
    );
    server.stop();
}

#[test]
fn a_body_beyond_the_limit() {
    let server = Model::echo().ready();
    let request =
        || Request::new("POST", "/predictions").header("Content-Type", "application/json");
    let response = server.send(request().body(vec![b' '; 200 << 20])).answer();
    assert_eq!(response.status, 413);
    assert!(
        response
            .text()
            .contains("exceeds the limit of 104857600 bytes"),
        "{}",
        response.text()
    );
    assert_eq!(server.output(json!({"s": "x"})), "hello x");
}

#[test]
fn a_document_that_is_no_json() {
    let server = Model::run("def run(self) -> str", "return 'ok'")
        .file(".cog/openapi_schema.json", "{")
        .ready();
    server.until_logged("Inputs are not validated");
    assert_eq!(server.get("/openapi.json").status, 503);
    assert_eq!(server.output(json!({})), "ok");
}

#[test]
fn inputs_that_no_parser_takes() {
    let server = Model::run("def run(self, v: Any) -> Any", "return 'ok'").ready();
    let nested = format!(
        "{{\"input\":{{\"v\":{}{}}}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let digits = format!("{{\"input\":{{\"v\":{}}}}}", "9".repeat(10_000));
    let surrogate = r#"{"input":{"v":"\ud800"}}"#.to_owned();
    for body in [nested, digits, surrogate] {
        let request = Request::new("POST", "/predictions")
            .header("Content-Type", "application/json")
            .body(body);
        let response = server.send(request).answer();
        assert_eq!(response.status, 400, "{}", response.text());
    }
    assert_eq!(server.output(json!({"v": 1})), "ok");
}

#[test]
fn a_model_that_never_returns_from_setup_can_be_stopped() {
    let mut server = Model::new(
        "import signal, time\nfrom cog import BaseRunner\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         class Runner(BaseRunner):\n    def setup(self):\n        print('stuck', flush=True)\n        \
         while True: time.sleep(1)\n    def run(self) -> str: return ''\n",
    )
    .start();
    server.until_logged("stuck");
    server.post("/shutdown", &json!({}));
    assert!(server.exit().success());
}
