//! The access log.

use serde_json::{Value, json};

use crate::http::Request;
use crate::server::{Model, Server, eventually};

fn lines(server: &Server) -> Vec<Value> {
    let log = server.log_text();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "access").collect()
}

fn until_lines(server: &Server, count: usize) -> Vec<Value> {
    eventually("the lines of the access log", || {
        lines(server).len() >= count
    });
    lines(server)
}

#[test]
fn a_line_for_each_request() {
    let server = Model::echo().env("COG_ACCESS_LOG", 1).ready();
    let answer = server.post(
        "/predictions",
        &json!({"id": "given", "input": {"s": "private"}}),
    );
    server.put("/predictions/in-url", &json!({"input": {"s": "private"}}));
    server.post("/predictions", &json!({"input": {"s": 5}}));
    let request = Request::new("GET", "/nowhere/private?key=private")
        .header("Authorization", "Bearer private");
    server.send(request).answer();
    let lines = until_lines(&server, 4);
    let seen = |line: &Value| {
        assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
        assert_eq!(
            (&line["level"], &line["message"]),
            (&json!("INFO"), &json!("request"))
        );
        json!([
            line["method"],
            line["route"],
            line["status"],
            line["prediction_id"]
        ])
    };
    assert_eq!(
        [0, 1].map(|number| seen(&lines[number])),
        [
            json!(["POST", "/predictions", 200, "given"]),
            json!(["PUT", "/predictions/{id}", 200, "in-url"]),
        ]
    );
    assert_eq!(lines[0]["bytes"], answer.body.len());
    // Refused, and nonetheless to be found by the id that it would have had.
    assert_eq!(lines[2]["status"], 422);
    assert!(
        lines[2]["prediction_id"]
            .as_str()
            .unwrap()
            .starts_with("pred_")
    );
    assert_eq!(seen(&lines[3]), json!(["GET", "unknown", 404, null]));
    assert!(
        lines
            .iter()
            .all(|line| !line.to_string().contains("private")),
        "{lines:?}"
    );
}

#[test]
fn a_client_that_leaves() {
    let server = Model::run(
        "def run(self) -> str",
        "open('running', 'w').close()\nwhile True: time.sleep(0.01)",
    )
    .env("COG_ACCESS_LOG", "yes")
    .ready();
    let request = server.begin("a", json!({}));
    server.until_file("running");
    drop(request);
    let line = until_lines(&server, 1).remove(0);
    assert_eq!(
        (&line["status"], &line["prediction_id"]),
        (&json!(499), &json!("a"))
    );
}

#[test]
fn off_unless_wanted() {
    let server = Model::echo().ready();
    server.output(json!({"s": "x"}));
    let mut server = server;
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit().success());
    assert_eq!(lines(&server), Vec::<Value>::new());
}
