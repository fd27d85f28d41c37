//! Ending a prediction early.

use serde_json::{Value, json};

use crate::http::Request;
use crate::receiver::Receiver;
use crate::server::{Model, Server};

const BUSY_LOOP: &str = "open('running', 'w').close()\nwhile True: pass";

fn cancel(server: &Server, id: &str) -> (u16, Value) {
    let response = server.post(&format!("/predictions/{id}/cancel"), &json!({}));
    (response.status, response.json())
}

/// Cancels a running prediction and returns its last report.
fn canceled_report(server: &Server) -> Value {
    let receiver = Receiver::accepting();
    let body =
        json!({"id": "a", "webhook": receiver.url("/"), "webhook_events_filter": ["completed"]});
    assert_eq!(server.begin_async(&body).status, 202);
    server.until_file("running");
    assert_eq!(server.status(), "BUSY");
    assert_eq!(cancel(server, "a"), (200, json!({})));
    let report = receiver.until_completed().pop().unwrap();
    server.until_status("READY");
    assert_eq!(
        cancel(server, "a"),
        (200, json!({})),
        "canceled is what it is"
    );
    report
}

#[test]
fn case_41_nobody_to_cancel() {
    let server = Model::echo().ready();
    assert_eq!(cancel(&server, "nobody"), (404, json!({})));
    let response = server.post("/trainings/nobody/cancel", &json!({}));
    assert_eq!((response.status, response.json()), (404, json!({})));
}

#[test]
fn a_canceled_generator_shows_what_it_had() {
    let server = Model::run(
        "def run(self) -> Iterator[int]",
        "yield 1\nyield 2\nopen('running', 'w').close()\nwhile True: pass",
    )
    .ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    assert_eq!(cancel(&server, "a"), (200, json!({})));
    let answer = running.answer().json();
    assert_eq!(answer["status"], "canceled");
    assert_eq!(answer["output"], json!([1, 2]));
    // Its client has the result: nothing of it is kept.
    assert_eq!(cancel(&server, "a"), (404, json!({})));
}

#[test]
fn case_42_a_busy_loop() {
    let server = Model::run("def run(self) -> str", BUSY_LOOP).ready();
    let report = canceled_report(&server);
    assert_eq!(report["status"], "canceled");
    assert!(report.get("error").is_none(), "{report}");
}

#[test]
fn case_43_an_async_sleep() {
    let server = Model::run(
        "async def run(self) -> str",
        "open('running', 'w').close()\nawait asyncio.sleep(60)",
    )
    .ready();
    assert_eq!(canceled_report(&server)["status"], "canceled");
}

#[test]
fn case_44_a_client_that_hangs_up() {
    let server = Model::run("def run(self) -> str", "try:\n    open('running', 'w').close()\n    while True: pass\nfinally:\n    open('ended', 'w').close()").ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    drop(running);
    server.until_file("ended");
    server.until_status("READY");
}

/// A client that only closes the direction in which it has nothing more to say looks like one that has left.
#[test]
fn a_client_that_says_no_more_gets_what_is_answered_soon() {
    let body = "if n == 1: return 'x' * 10_000_000\n\
                open('running', 'w').close()\nwhile n == 2: time.sleep(0.01)\nreturn 'done'";
    let server = Model::run("def run(self, n: int) -> str", body).ready();
    for _ in 0..5 {
        let asked = server.send(Request::new("GET", "/health-check"));
        assert_eq!(asked.says_no_more().answer().status, 200);
    }
    let large = server.begin("a", json!({"n": 1})).says_no_more();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let answer = large.answer().json();
    assert_eq!(answer["output"].as_str().unwrap().len(), 10_000_000);
    // It did not want to wait, so it does not have to listen.
    let request = Request::json("PUT", "/predictions/b", &json!({"input": {"n": 3}}));
    let request = request.header("Prefer", "respond-async");
    assert_eq!(server.send(request).says_no_more().answer().status, 202);
    server.until_file("running");
    server.until_status("READY");

    let long = server.begin("c", json!({"n": 2})).says_no_more();
    assert!(long.try_answer().is_err());
    server.until_status("READY");
}

#[test]
fn a_synchronous_prediction_can_be_canceled() {
    let server = Model::run(
        "def run(self) -> str",
        &format!("print('started')\n{BUSY_LOOP}"),
    )
    .ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    for _ in 0..3 {
        let (status, _) = cancel(&server, "a");
        assert!([200, 404].contains(&status));
    }
    let prediction = running.answer().json();
    assert_eq!(
        (&prediction["status"], &prediction["logs"]),
        (&json!("canceled"), &json!("started\n"))
    );
    assert!(prediction["metrics"]["predict_time"].is_f64());
}

#[test]
fn user_code_sees_the_cancelation() {
    let body = "try:\n    open('running', 'w').close()\n    while True:\n        try: time.sleep(0.001)\n        except Exception: pass\n\
                except CancelationException:\n    print('cleaning up')\n    raise";
    let server = Model::run("def run(self) -> str", body).ready();
    assert_eq!(canceled_report(&server)["logs"], "cleaning up\n");
}

#[test]
fn a_swallowed_cancelation_is_still_one() {
    let body = "try:\n    open('running', 'w').close()\n    while True: pass\nexcept CancelationException:\n    return 'fine'";
    let server = Model::run("def run(self) -> str", body).ready();
    assert_eq!(canceled_report(&server)["status"], "canceled");
}

#[test]
fn others_go_on_when_one_is_canceled() {
    let body = "open(f'running-{n}', 'w').close()\nwhile not os.path.exists('go'): await asyncio.sleep(0.01)\nreturn n";
    let server = Model::run("async def run(self, n: int) -> int", body)
        .env("COG_MAX_CONCURRENCY", 2)
        .ready();
    let [first, second] = [1, 2].map(|n| {
        let pending = server.begin(&n.to_string(), json!({"n": n}));
        server.until_file(&format!("running-{n}"));
        pending
    });
    assert_eq!(cancel(&server, "1").0, 200);
    assert_eq!(first.answer().json()["status"], "canceled");
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert_eq!(second.answer().json()["output"], 2);
}

#[test]
fn cancels_at_any_moment_leave_the_worker_whole() {
    let server = Model::run(
        "def run(self, n: int) -> int",
        "s = 0\nfor i in range(n): s += i\nprint(s)\nreturn s",
    )
    .ready();
    for round in 0..60_u64 {
        let id = format!("p{round}");
        let running = server.begin(&id, json!({"n": round * 700}));
        cancel(&server, &id);
        let status = running.answer().json()["status"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            ["succeeded", "canceled"].contains(&status.as_str()),
            "{status}"
        );
    }
    assert_eq!(server.output(json!({"n": 3})), 3);
    assert!(
        !server.log_text().contains("Worker crashed"),
        "{}",
        server.log_text()
    );
}
