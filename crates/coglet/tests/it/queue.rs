//! Waiting for a turn.

use serde_json::json;

use crate::server::{Model, Server, eventually};

const NOTES: &str = "open('order', 'a').write(f'{n} ')\nopen(f'running-{n}', 'w').close()\n\
                     while not os.path.exists('go'): await asyncio.sleep(0.01)\nreturn n";

fn model() -> Model {
    Model::run("async def run(self, n: int) -> int", NOTES)
}

fn release(server: &Server) {
    fs_err::write(server.directory.path().join("go"), "").unwrap();
}

fn waiting(server: &Server, count: usize) {
    let line = format!("cog_queue_depth {count}");
    eventually(&line, || {
        server
            .get("/metrics")
            .text()
            .lines()
            .any(|found| found == line)
    });
}

#[test]
fn predictions_run_in_the_order_in_which_they_came() {
    let server = model().env("COG_QUEUE", 3).ready();
    let mut pending = vec![server.begin("p0", json!({"n": 0}))];
    server.until_file("running-0");
    for n in 1..4 {
        pending.push(server.begin(&format!("p{n}"), json!({"n": n})));
        waiting(&server, n);
    }
    let full = server.post("/predictions", &json!({"input": {"n": 9}}));
    assert_eq!(full.status, 409);
    assert!(
        full.headers.to_lowercase().contains("retry-after: 1\r\n"),
        "{}",
        full.headers
    );
    release(&server);
    for (n, answer) in pending.into_iter().enumerate() {
        assert_eq!(answer.answer().json()["output"], n);
    }
    let order = fs_err::read_to_string(server.directory.path().join("order")).unwrap();
    assert_eq!(order, "0 1 2 3 ");
    assert_eq!(server.status(), "READY");
}

#[test]
fn what_waits_can_be_canceled_and_makes_room() {
    let server = model().env("COG_QUEUE", 1).ready();
    let running = server.begin("p0", json!({"n": 0}));
    server.until_file("running-0");
    let queued = server.begin("p1", json!({"n": 1}));
    waiting(&server, 1);
    let snapshot = server.put("/predictions/p1", &json!({"input": {"n": 1}}));
    assert_eq!(
        (snapshot.status, &snapshot.json()["status"]),
        (202, &json!("starting"))
    );
    assert_eq!(
        server.post("/predictions/p1/cancel", &json!({})).status,
        200
    );
    assert_eq!(queued.answer().json()["status"], "canceled");
    let next = server.begin("p2", json!({"n": 2}));
    waiting(&server, 1);
    release(&server);
    assert_eq!(running.answer().json()["output"], 0);
    assert_eq!(next.answer().json()["output"], 2);
    let order = fs_err::read_to_string(server.directory.path().join("order")).unwrap();
    assert_eq!(order, "0 2 ");
}

#[test]
fn a_client_that_leaves_loses_its_place() {
    let server = model().env("COG_QUEUE", 1).ready();
    let running = server.begin("p0", json!({"n": 0}));
    server.until_file("running-0");
    drop(server.begin("p1", json!({"n": 1})));
    waiting(&server, 0);
    release(&server);
    assert_eq!(running.answer().json()["output"], 0);
    assert_eq!(server.output(json!({"n": 5})), 5);
}

#[test]
fn what_waits_outlives_a_crash() {
    let body = "if n == 0:\n    open('running', 'w').close()\n    \
                while not os.path.exists('go'): time.sleep(0.01)\n    os._exit(3)\nreturn n";
    let server = Model::run("def run(self, n: int) -> int", body)
        .env("COG_QUEUE", 2)
        .ready();
    let crashing = server.begin("p0", json!({"n": 0}));
    server.until_file("running");
    let queued = [1, 2].map(|n| server.begin(&format!("p{n}"), json!({"n": n})));
    waiting(&server, 2);
    release(&server);
    assert_eq!(crashing.answer().json()["status"], "failed");
    for (n, answer) in (1..).zip(queued) {
        assert_eq!(answer.answer().json()["output"], n);
    }
}
