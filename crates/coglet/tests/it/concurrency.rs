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

#[test]
fn a_thread_safe_model_runs_several_and_cancels_one() {
    let server = Model::run(
        "@concurrent(max=2, threads=True)\n    def run(self, name: str) -> str",
        "print('begun', name)\nopen(name, 'w').close()\n\
         while name == 'loop': time.sleep(0.001)\n\
         return name",
    )
    .env("COG_MAX_CONCURRENCY", 2)
    .ready();
    let looping = server.begin("p1", json!({"name": "loop"}));
    server.until_file("loop");
    for name in ["a", "b"] {
        let ended = server.predict(json!({"name": name}));
        assert_eq!(
            (&ended["output"], &ended["logs"]),
            (&json!(name), &json!(format!("begun {name}\n")))
        );
    }
    server.post("/predictions/p1/cancel", &json!({}));
    let canceled = looping.answer().json();
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(canceled["logs"], "begun loop\n");
    assert_eq!(server.output(json!({"name": "c"})), "c");
    server.stop();
}

#[test]
fn predictions_at_the_same_time_are_one_batch() {
    let server = Model::new(
        "import cog\n\nclass Runner(cog.BaseRunner):\n    @cog.batch(max_size=3, max_wait=20)\n    \
         def squares(self, numbers: list[int]) -> list[int]:\n        \
         return [ValueError('odd one') if n == 13 else n * n for n in numbers]\n    \
         async def run(self, n: int) -> int:\n        return await self.squares(n)\n",
    )
    .env("COG_MAX_CONCURRENCY", 3)
    .ready();
    let pending = [2, 13, 4].map(|n| server.begin(&format!("p{n}"), json!({"n": n})));
    let ended = pending.map(|one| one.answer().json());
    assert_eq!(ended[0]["output"], 4);
    assert_eq!(ended[1]["error"], "Prediction failed: ValueError: odd one");
    assert_eq!(ended[2]["output"], 16);
    let page = server.get("/metrics").text();
    assert!(page.contains("cog_batch_size_sum 3\n"), "{page}");
    assert!(page.contains("cog_batch_size_count 1\n"), "{page}");
    server.stop();
}
