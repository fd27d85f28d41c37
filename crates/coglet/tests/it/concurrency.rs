//! Slots.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Model, Server};

const WAITS: &str = "open(f'running-{n}', 'w').close()\nwhile not os.path.exists('go'): await asyncio.sleep(0.01)\nreturn n";

fn release(server: &Server) {
    fs_err::write(server.directory.path().join("go"), "").unwrap();
}

#[test]
fn case_21_one_slot() {
    let server = Model::run("async def run(self, n: int) -> int", WAITS).ready();
    let running = server.begin("a", json!({"n": 1}));
    server.until_file("running-1");
    let response = server.post("/predictions", &json!({"input": {"n": 2}}));
    let expected = json!({"error": "At capacity - all prediction slots busy", "status": "failed"});
    assert_eq!((response.status, response.json()), (409, expected));
    assert_eq!(server.status(), "BUSY");
    release(&server);
    assert_eq!(running.answer().json()["output"], 1);
    assert_eq!(server.status(), "READY");
}

#[test]
fn a_slot_is_free_before_its_answer_arrives() {
    let server = Model::echo().ready();
    for _ in 0..300 {
        assert_eq!(server.output(json!({"s": "x"})), "hello x");
    }
}

#[test]
fn case_22_parallel_predictions_survive_a_shutdown() {
    let body = "open(f'running-{n}', 'w').close()\nawait asyncio.sleep(1)\nreturn n";
    let mut server = Model::run("async def run(self, n: int) -> int", body)
        .env("COG_MAX_CONCURRENCY", 5)
        .ready();
    let start = Instant::now();
    let running: Vec<_> = (0..5)
        .map(|n| server.begin(&format!("p{n}"), json!({"n": n})))
        .collect();
    for n in 0..5 {
        server.until_file(&format!("running-{n}"));
    }
    assert_eq!(server.post("/shutdown", &json!({})).status, 200);
    for (n, pending) in running.into_iter().enumerate() {
        let response = pending.answer();
        assert_eq!(
            (response.status, &response.json()["output"]),
            (200, &json!(n))
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert!(server.exit().success());
}

#[test]
fn case_23_all_slots_busy() {
    let server = Model::run("async def run(self, n: int) -> int", WAITS)
        .env("COG_MAX_CONCURRENCY", 2)
        .ready();
    let running = [1, 2].map(|n| server.begin(&n.to_string(), json!({"n": n})));
    server.until_file("running-1");
    server.until_file("running-2");
    assert_eq!(
        server
            .post("/predictions", &json!({"input": {"n": 3}}))
            .status,
        409
    );
    release(&server);
    for pending in running {
        assert_eq!(pending.answer().status, 200);
    }
}

#[test]
fn case_24_concurrent_predictions_do_not_mix() {
    let body = "for i in range(5):\n    print(f'{name} {i}')\n    self.record_metric(name, i)\n    await asyncio.sleep(0.01)\nreturn name";
    let server = Model::run("async def run(self, name: str) -> str", body)
        .env("COG_MAX_CONCURRENCY", 8)
        .ready();
    let names: Vec<_> = (0..8).map(|n| format!("p{n}")).collect();
    let running: Vec<_> = names
        .iter()
        .map(|name| server.begin(name, json!({"name": name})))
        .collect();
    for (name, pending) in names.iter().zip(running) {
        let prediction = pending.answer().json();
        let expected: String = (0..5).map(|i| format!("{name} {i}\n")).collect();
        assert_eq!(prediction["logs"], expected);
        assert_eq!(prediction["metrics"][name], 4);
        assert_eq!(
            prediction["metrics"].as_object().unwrap().len(),
            2,
            "{prediction}"
        );
    }
}
