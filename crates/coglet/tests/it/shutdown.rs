//! The end.

use rustix::process::Signal;
use serde_json::json;

use crate::http::Request;
use crate::receiver::Receiver;
use crate::server::{Model, eventually};

fn waiting() -> Model {
    Model::run(
        "def run(self) -> str",
        "open('running', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nreturn 'ok'",
    )
}

#[test]
fn case_71_sigterm_lets_predictions_finish() {
    let mut server = waiting().ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    server.signal(Signal::TERM);
    eventually("closed doors", || {
        Request::new("GET", "/health-check")
            .send(server.port)
            .is_err()
    });
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert_eq!(running.answer().json()["output"], "ok");
    assert!(server.exit().success());
}

#[test]
fn case_71_explicit_shutdown_only() {
    let mut server = Model::echo().arg("--await-explicit-shutdown=true").ready();
    server.signal(Signal::TERM);
    server.until_logged("SIGTERM is ignored");
    assert_eq!(server.output(json!({"s": "x"})), "hello x");
    server.signal(Signal::INT);
    assert!(server.exit().success());
}

#[test]
fn async_predictions_finish_before_the_end() {
    let receiver = crate::receiver::Receiver::accepting();
    let mut server = waiting().ready();
    let body = json!({"webhook": receiver.url("/"), "webhook_events_filter": ["completed"]});
    assert_eq!(server.begin_async(&body).status, 202);
    server.until_file("running");
    server.signal(Signal::TERM);
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert!(server.exit().success());
    assert_eq!(receiver.next().json()["status"], "succeeded");
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut server = waiting().ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    server.signal(Signal::TERM);
    server.until_logged("Shutting down: SIGTERM");
    server.signal(Signal::TERM);
    assert!(server.exit().success());
    drop(running);
}

#[test]
fn what_a_second_signal_ends_is_told_to_its_webhook() {
    let receiver = Receiver::accepting();
    let mut server = waiting().ready();
    let body = json!({"webhook": receiver.url("/"), "webhook_events_filter": ["completed"]});
    assert_eq!(server.begin_async(&body).status, 202);
    server.until_file("running");
    server.signal(Signal::INT);
    server.until_logged("Shutting down: SIGINT");
    server.signal(Signal::INT);
    assert!(server.exit().success());
    let told = receiver.next().json();
    assert_eq!(told["status"], "failed");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("the server was told to stop"), "{error}");
}

#[test]
fn a_webhook_that_nobody_takes_does_not_hold_up_a_second_signal() {
    let receiver = Receiver::start(|_, _| {
        std::thread::sleep(std::time::Duration::from_mins(1));
        Vec::new()
    });
    let mut server = waiting().ready();
    let body = json!({"webhook": receiver.url("/"), "webhook_events_filter": ["completed"]});
    assert_eq!(server.begin_async(&body).status, 202);
    server.until_file("running");
    server.signal(Signal::INT);
    server.until_logged("Shutting down: SIGINT");
    let begun = std::time::Instant::now();
    server.signal(Signal::INT);
    assert!(server.exit().success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn signals_during_setup_end_it() {
    let mut server =
        Model::new("import time\nprint('importing', flush=True)\ntime.sleep(1000)\n").start();
    server.until_logged("importing");
    server.signal(Signal::TERM);
    assert!(server.exit().success());
}

#[test]
fn exit_handlers_of_the_model_run() {
    let mut server = Model::new(
        "import atexit\nfrom cog import BaseRunner\natexit.register(lambda: open('bye', 'w').close())\n\
         class Runner(BaseRunner):\n    def run(self) -> str: return ''\n",
    )
    .ready();
    server.output(json!({}));
    server.post("/shutdown", &json!({}));
    assert!(server.exit().success());
    assert!(server.directory.path().join("bye").exists());
}

#[test]
fn nothing_outlives_a_killed_server() {
    let mut server = Model::new(
        "import subprocess\nfrom cog import BaseRunner\nclass Runner(BaseRunner):\n    \
         def run(self) -> str: return ''\n",
    )
    .ready();
    server.signal(Signal::KILL);
    eventually("the end of the worker", || server.processes().is_empty());
    assert!(!server.exit().success());
}

#[test]
fn temporary_directories_are_removed() {
    let mut server = Model::run("def run(self, p: Path) -> str", "return p.read_text()")
        .file("tmp/.keep", "")
        .env("TMPDIR", "tmp")
        .ready();
    assert_eq!(server.output(json!({"p": "data:,x"})), "x");
    server.post("/shutdown", &json!({}));
    assert!(server.exit().success());
    let left = fs_err::read_dir(server.directory.path().join("tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 1, "only .keep");
}

#[test]
fn a_client_that_never_finishes_its_request_does_not_hold_up_the_end() {
    use std::io::Write as _;
    let mut server = Model::echo().ready();
    let mut half = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    half.write_all(b"POST /predictions HTTP/1.1\r\nHost")
        .unwrap();
    assert_eq!(server.output(json!({"s": "x"})), "hello x");
    server.signal(Signal::TERM);
    assert!(server.exit().success());
}

#[test]
fn what_does_not_end_in_time_is_canceled_and_told_so() {
    let receiver = Receiver::accepting();
    let mut server = Model::run(
        "def run(self, n: int) -> int",
        "open(f'running-{n}', 'w').close()\ntime.sleep(60)\nreturn n",
    )
    .env("COG_QUEUE", 1)
    .env("COG_DRAIN_TIMEOUT", 0.2)
    .ready();
    let body = json!({"input": {"n": 1}, "webhook": receiver.url("/hook"), "webhook_events_filter": ["completed"]});
    let running = server.send(Request::json("POST", "/predictions", &body));
    server.until_file("running-1");
    let waiting = server.begin("p2", json!({"n": 2}));
    eventually("one waits", || {
        server
            .get("/metrics")
            .text()
            .contains("\ncog_queue_depth 1\n")
    });
    server.signal(Signal::TERM);
    assert_eq!(running.answer().json()["status"], "canceled");
    assert_eq!(waiting.answer().json()["status"], "canceled");
    assert!(server.exit().success());
    assert_eq!(receiver.next().json()["status"], "canceled");
}
