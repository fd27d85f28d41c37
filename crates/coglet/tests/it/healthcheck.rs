//! The model's own health check.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Model, Server};

fn model(healthcheck: &str, run: &str) -> Model {
    Model::new(&format!(
        "import asyncio, os, time\nfrom cog import BaseRunner\nclass Runner(BaseRunner):\n    {healthcheck}\n    {run}\n"
    ))
}

fn unhealthy(server: &Server) -> String {
    let health = server.health();
    assert_eq!(health["status"], "UNHEALTHY", "{health}");
    health["user_healthcheck_error"]
        .as_str()
        .unwrap()
        .to_owned()
}

const RUN: &str = "def run(self) -> str: return 'ok'";

#[test]
fn case_59_what_the_check_says() {
    for check in [
        "def healthcheck(self): return True",
        "async def healthcheck(self): return True",
        "def healthcheck(self): pass",
    ] {
        let server = model(check, RUN).ready();
        for _ in 0..50 {
            let health = server.health();
            assert_eq!(
                (&health["status"], health.get("user_healthcheck_error")),
                (&json!("READY"), None::<&Value>)
            );
        }
    }
    let server = model("def healthcheck(self): return False", RUN).ready();
    assert_eq!(
        unhealthy(&server),
        "Healthcheck failed: user-defined healthcheck returned False"
    );
    assert_eq!(server.output(json!({})), "ok");
    let server = model("def healthcheck(self): raise ValueError('no GPU')", RUN).ready();
    assert_eq!(unhealthy(&server), "Healthcheck failed: ValueError: no GPU");
}

#[test]
fn case_59_a_check_that_hangs() {
    let hangs = [
        "def healthcheck(self): time.sleep(8)",
        "async def healthcheck(self): await asyncio.sleep(60)",
    ];
    for check in hangs {
        let server = model(check, RUN).ready();
        assert_eq!(
            unhealthy(&server),
            "Healthcheck failed: user-defined healthcheck timed out after 5.0 seconds"
        );
        assert_eq!(server.output(json!({})), "ok");
    }
}

#[test]
fn case_59_checks_run_beside_a_prediction() {
    let run = "def run(self) -> str:\n        open('running', 'w').close()\n        time.sleep(2)\n        return 'ok'";
    let server = model("def healthcheck(self): return True", run).ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    let start = Instant::now();
    assert_eq!(server.status(), "BUSY");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(running.answer().json()["output"], "ok");
}

#[test]
fn case_60_no_check() {
    let server = Model::echo().ready();
    assert_eq!(server.status(), "READY");
}

#[test]
fn a_stopped_worker_is_unhealthy() {
    let server = Model::run("def run(self) -> int", "return os.getpid()").ready();
    let worker = server.output(json!({})).as_i64().unwrap();
    let worker = rustix::process::Pid::from_raw(worker.try_into().unwrap()).unwrap();
    let signal = |signal| rustix::process::kill_process(worker, signal).unwrap();
    signal(rustix::process::Signal::STOP);
    server.until_status("UNHEALTHY");
    assert_eq!(
        server.health()["user_healthcheck_error"],
        "the worker process is stopped: SIGCONT lets it go on"
    );
    signal(rustix::process::Signal::CONT);
    server.until_status("READY");
    server.stop();
}
