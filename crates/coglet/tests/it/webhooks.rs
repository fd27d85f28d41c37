//! Webhooks.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Request;
use crate::receiver::{Receiver, response};
use crate::server::Model;

fn statuses(reports: &[Value]) -> Vec<&str> {
    reports
        .iter()
        .map(|report| report["status"].as_str().unwrap())
        .collect()
}

#[test]
fn case_45_an_unreachable_receiver() {
    let server = Model::echo().ready();
    let body = json!({"input": {"s": "x"}, "webhook": "http://127.0.0.1:1/", "webhook_events_filter": ["start", "completed"]});
    assert_eq!(server.begin_async(&body).status, 202);
    server.until_status("READY");
    assert_eq!(server.output(json!({"s": "y"})), "hello y");
}

#[test]
fn case_46_retries() {
    let receiver = Receiver::start(|number, _| response(if number < 2 { 500 } else { 200 }, b""));
    let server = Model::echo().ready();
    let body = |url: String| json!({"input": {"s": "x"}, "webhook": url, "webhook_events_filter": ["completed"]});
    server.begin_async(&body(receiver.url("/")));
    let deliveries = [receiver.next(), receiver.next(), receiver.next()];
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery.json()["status"] == "succeeded")
    );

    let refusing = Receiver::start(|_, _| response(400, b""));
    server.begin_async(&body(refusing.url("/")));
    refusing.next();
    server.until_logged("The terminal webhook was not delivered: 400");
    assert!(refusing.rest().is_empty() && receiver.rest().is_empty());
    server.stop();
}

#[test]
fn case_47_filters() {
    let receiver = Receiver::accepting();
    let server = Model::run(
        "def run(self) -> Iterator[int]",
        "print('x')\nyield 1\nyield 2",
    )
    .ready();
    let run = |filter: Value| {
        let body = json!({"webhook": receiver.url("/"), "webhook_events_filter": filter});
        assert_eq!(
            server.post("/predictions", &body).json()["status"],
            "succeeded"
        );
    };
    run(json!(["completed"]));
    assert_eq!(statuses(&receiver.until_completed()), ["succeeded"]);
    run(json!(["output"]));
    run(json!([]));
    server.stop();
    let outputs: Vec<_> = receiver
        .rest()
        .iter()
        .map(|received| received.json()["output"].clone())
        .collect();
    assert_eq!(outputs, [json!([1]), json!([1, 2])]);
}

#[test]
fn case_48_logs_are_throttled_and_outputs_are_not() {
    let receiver = Receiver::accepting();
    let server = Model::run(
        "def run(self) -> Iterator[int]",
        "print('a')\nprint('b')\nyield 1\nyield 2",
    )
    .ready();
    let run = |filter: Value| {
        let body = json!({"webhook": receiver.url("/"), "webhook_events_filter": filter});
        assert_eq!(server.begin_async(&body).status, 202);
        receiver.until_completed()
    };
    let reports = run(json!(["logs", "completed"]));
    assert_eq!(statuses(&reports), ["processing", "succeeded"]);
    assert_eq!(reports[1]["logs"], "a\nb\n");
    server.until_status("READY");
    let reports = run(json!(["output", "completed"]));
    assert_eq!(
        statuses(&reports),
        ["processing", "processing", "succeeded"]
    );
}

#[test]
fn everything_in_order() {
    let receiver = Receiver::accepting();
    let server = Model::run("def run(self) -> Iterator[int]", "yield 1\nyield 2")
        .env("WEBHOOK_AUTH_TOKEN", "s3cret")
        .ready();
    let body = json!({"id": "a", "input": {}, "webhook": receiver.url("/hook")});
    let request =
        Request::json("POST", "/predictions", &body).header("traceparent", "00-abc-def-01");
    assert_eq!(server.send(request).answer().status, 200);
    let first = receiver.next();
    assert_eq!(first.path, "/hook");
    for header in [
        "content-type: application/json",
        "authorization: bearer s3cret",
        "traceparent: 00-abc-def-01",
        "user-agent: coglet/",
    ] {
        assert!(
            first.headers.contains(&format!("\r\n{header}")),
            "{}",
            first.headers
        );
    }
    assert_eq!(
        first.json(),
        json!({"id": "a", "status": "processing", "logs": "", "metrics": {}})
    );
    let reports = receiver.until_completed();
    assert_eq!(
        statuses(&reports),
        ["processing", "processing", "succeeded"]
    );
    assert_eq!(reports[2]["output"], json!([1, 2]));
    assert!(reports[2].get("input").is_none());
}

#[test]
fn a_slow_receiver_gets_the_newest_and_the_end_in_time() {
    // Each call is held until the test lets it go; all are, once `gate` is dropped.
    let (gate, held) = mpsc::channel::<()>();
    let receiver = Receiver::start(move |_, _| {
        let _ = held.recv();
        response(200, b"")
    });
    let server = Model::run(
        "def run(self) -> Iterator[int]",
        "for n in range(100):\n    yield n\nopen('yielded', 'w').close()\n\
         while not os.path.exists('go'):\n    time.sleep(0.01)\n\
         for n in range(200):\n    yield n",
    )
    .ready();
    assert_eq!(
        server
            .begin_async(&json!({"webhook": receiver.url("/")}))
            .status,
        202
    );
    server.until_file("yielded");
    let mut lengths = Vec::new();
    while lengths.last() != Some(&100) {
        // Longer than a state is kept for a receiver that takes each.
        std::thread::sleep(Duration::from_millis(700));
        gate.send(()).unwrap();
        let report = receiver.next().json();
        lengths.push(report["output"].as_array().map_or(0, Vec::len));
    }
    assert!(lengths.is_sorted() && lengths.len() < 10, "{lengths:?}");
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    server.until_status("READY");
    drop(gate);
    let reports = receiver.until_completed();
    // The call under way, and its own.
    assert!(reports.len() <= 2, "{}", reports.len());
    let last = reports.last().unwrap();
    assert_eq!(last["output"].as_array().unwrap().len(), 300);
    server.stop();
}

#[test]
fn the_end_is_told_when_the_server_is_stopped() {
    let receiver = Receiver::start(|_, _| {
        std::thread::sleep(Duration::from_millis(150));
        response(200, b"")
    });
    let mut server = Model::run(
        "def run(self) -> Iterator[int]",
        "for n in range(300):\n    time.sleep(0.002)\n    yield n",
    )
    .ready();
    let body = json!({"webhook": receiver.url("/")});
    assert_eq!(server.begin_async(&body).status, 202);
    receiver.next();
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(
        receiver.until_completed().pop().unwrap()["status"],
        "succeeded"
    );
    assert!(server.exit().success());
}

#[test]
fn what_is_lost_by_a_quick_end_is_named() {
    // Accepts connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Model::echo().ready();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let body = json!({"id": "lost", "input": {"s": "x"}, "webhook": url, "webhook_events_filter": ["completed"]});
    assert_eq!(server.begin_async(&body).status, 202);
    let _call = silent.accept().unwrap();
    server.signal(rustix::process::Signal::TERM);
    server.until_logged("Shutting down: SIGTERM");
    server.signal(rustix::process::Signal::TERM);
    server.until_logged("1 terminal webhooks were not delivered before the end: lost");
    assert!(server.exit().success());
}

#[test]
fn undelivered_results_are_bounded() {
    let server = Model::run("def run(self, n: int) -> str", "return 'x' * 1000000")
        .env("COG_WEBHOOK_MEMORY", "5M")
        .ready();
    for n in 0..8 {
        let body = json!({
            "id": format!("p{n}"), "input": {"n": n},
            "webhook": "http://127.0.0.1:1/", "webhook_events_filter": ["completed"],
        });
        assert_eq!(server.begin_async(&body).status, 202);
        server.until_status("READY");
    }
    for n in 0..3 {
        let line = server.until_logged(&format!("\"prediction_id\":\"p{n}\""));
        assert!(
            line.contains("was given up: more than 5242880 bytes wait"),
            "{line}"
        );
    }
    assert!(!server.log_text().contains("\"prediction_id\":\"p3\""));
}
