//! Workers that die.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::receiver::{Receiver, response};
use crate::server::{Model, Server, eventually};

/// Dies in the way it is told to, or answers with its process id.
fn mortal() -> Model {
    Model::run(
        "def run(self, how: str) -> Any",
        "import ctypes, signal\nif how.startswith('kill'): os.kill(os.getpid(), signal.SIGKILL)\nif how == 'exit': os._exit(3)\n\
         if how == 'segfault': ctypes.string_at(0)\nif how == 'words':\n    os.write(2, b'last words\\n')\n    os._exit(1)\n\
         return os.getpid()",
    )
}

fn crash(server: &Server, how: &str) -> Value {
    let prediction = server.predict(json!({"how": how}));
    assert_eq!(prediction["status"], "failed", "{prediction}");
    assert!(prediction["metrics"]["predict_time"].is_f64());
    prediction
}

#[test]
fn case_70_a_killed_worker_fails_its_prediction_and_is_replaced() {
    let server = mortal().ready();
    let before = server.output(json!({"how": ""}));
    assert_eq!(
        crash(&server, "kill")["error"],
        "Worker crashed: killed by SIGKILL"
    );
    server.until_status("READY");
    let after = server.output(json!({"how": ""}));
    assert_ne!(before, after);
    assert!(server.setup_logs().contains("Server ready"));
    server.stop();
}

#[test]
fn the_cause_is_told() {
    let server = mortal().ready();
    let causes = [
        ("exit", "exit code 3"),
        (
            "segfault",
            "killed by SIGSEGV\nFatal Python error: Segmentation fault",
        ),
        ("words", "exit code 1\nlast words"),
    ];
    for (how, cause) in causes {
        let prediction = crash(&server, how);
        let error = prediction["error"].as_str().unwrap();
        assert!(
            error.starts_with(&format!("Worker crashed: {cause}")),
            "{error}"
        );
        let last = cause.lines().last().filter(|_| cause.contains('\n'));
        let logs = prediction["logs"].as_str().unwrap();
        assert!(logs.contains(last.unwrap_or_default()), "{logs}");
        if how == "segfault" {
            assert!(error.contains("predict.py\", line"), "{error}");
        }
        server.until_status("READY");
        let first_line = cause.lines().next().unwrap();
        assert!(server.setup_logs().contains(first_line));
        assert!(server.output(json!({"how": ""})).is_number());
    }
    let log = server.log_text();
    for words in ["Fatal Python error", "last words"] {
        assert_eq!(log.matches(words).count(), 1, "told once: {log}");
    }
}

#[test]
fn an_input_that_crashes_the_model_twice_is_refused() {
    let server = mortal().env("COG_MAX_CONCURRENCY", 1).ready();
    let worker = || server.output(json!({"how": ""}));
    for _ in 0..2 {
        crash(&server, "kill");
        server.until_status("READY");
    }
    let before = worker();
    let refused = crash(&server, "kill");
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.starts_with("Prediction refused: the model crashed the last 2 times"),
        "{error}"
    );
    assert_eq!(worker(), before);
    assert_eq!(
        crash(&server, "kill-other")["error"],
        "Worker crashed: killed by SIGKILL"
    );
    server.until_status("READY");
    server.stop();
}

#[test]
fn a_refused_input_is_told_to_webhooks_too() {
    let receiver = Receiver::accepting();
    let server = mortal().ready();
    for _ in 0..2 {
        crash(&server, "kill");
        server.until_status("READY");
    }
    let accepted = server.begin_async(&json!({
        "input": {"how": "kill"}, "webhook": receiver.url(""), "webhook_events_filter": ["completed"],
    }));
    assert_eq!(accepted.status, 202);
    let told = receiver.next().json();
    assert_eq!(told["status"], "failed");
    let error = told["error"].as_str().unwrap();
    assert!(error.starts_with("Prediction refused"), "{error}");
    assert_eq!(server.status(), "READY");
}

#[test]
fn predictions_are_refused_while_the_worker_restarts() {
    let server = Model::new(
        "import os, time\nfrom cog import BaseRunner\nclass Runner(BaseRunner):\n    def setup(self):\n        \
         while os.path.exists('wait'): time.sleep(0.01)\n    def run(self, die: bool) -> str:\n        \
         if die: os._exit(1)\n        return 'ok'\n",
    )
    .ready();
    let gate = server.directory.path().join("wait");
    fs_err::write(&gate, "").unwrap();
    assert_eq!(server.predict(json!({"die": true}))["status"], "failed");
    server.until_status("STARTING");
    assert_eq!(
        server
            .post("/predictions", &json!({"input": {"die": false}}))
            .status,
        503
    );
    fs_err::remove_file(gate).unwrap();
    server.until_status("READY");
    assert_eq!(server.output(json!({"die": false})), "ok");
}

#[test]
fn a_model_that_keeps_dying_is_given_up() {
    let server = mortal().ready();
    for n in 0..5 {
        eventually("a live worker", || server.status() == "READY");
        crash(&server, &format!("kill {n}"));
    }
    server.until_status("DEFUNCT");
    let refused = server.post("/predictions", &json!({"input": {"how": ""}}));
    assert_eq!(refused.status, 503);
    let error = refused.json()["error"].to_string();
    assert!(
        error.contains("died again and again") && error.contains("restart"),
        "{error}"
    );
    let probe = server.get("/health/live");
    assert_eq!(
        (probe.status, &probe.json()["status"]),
        (503, &json!("DEFUNCT"))
    );
    assert_eq!(server.get("/openapi.json").status, 503);
    server.stop();
}

#[test]
fn every_prediction_of_the_dead_worker_fails() {
    let body = "open(f'running-{n}', 'w').close()\nwhile not os.path.exists('go'): await asyncio.sleep(0.01)\nos._exit(9)";
    let server = Model::run("async def run(self, n: int) -> int", body)
        .env("COG_MAX_CONCURRENCY", 3)
        .ready();
    let running: Vec<_> = (0..3)
        .map(|n| server.begin(&n.to_string(), json!({"n": n})))
        .collect();
    for n in 0..3 {
        server.until_file(&format!("running-{n}"));
    }
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    for pending in running {
        assert_eq!(
            pending.answer().json()["error"],
            "Worker crashed: exit code 9"
        );
    }
}

#[test]
fn a_worker_that_dies_in_setup() {
    let server = Model::new("import os\nos._exit(7)\n").setup_failed();
    let logs = server.setup_logs();
    assert!(
        logs.contains("Setup failed: worker crashed: exit code 7"),
        "{logs}"
    );
    assert_eq!(server.status(), "SETUP_FAILED");
}

#[test]
fn children_of_a_dead_worker_go_with_it() {
    let server = Model::new(
        "import os, subprocess\nfrom cog import BaseRunner\nclass Runner(BaseRunner):\n    def setup(self):\n        \
         subprocess.Popen(['sleep', '1001'])\n        \
         subprocess.run(['sh', '-c', 'setsid sleep 1002 & setsid sleep 1003 &'], check=True)\n    \
         def run(self, die: bool) -> str:\n        if die: os._exit(1)\n        return 'ok'\n",
    )
    .ready();
    let sleepers = || {
        server
            .processes()
            .iter()
            .filter(|command| command.starts_with("sleep"))
            .count()
    };
    eventually("three children", || sleepers() == 3);
    server.predict(json!({"die": true}));
    server.until_status("READY");
    eventually("three children, not six", || sleepers() == 3);
    server.stop();
}

#[test]
fn a_prediction_that_is_still_downloading_outlives_the_worker() {
    let (began, begins) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let receiver = Receiver::start(move |number, _| {
        if number == 0 {
            began.send(()).unwrap();
            goes.recv().unwrap();
        }
        response(200, b"content")
    });
    let server = Model::new(
        "import os\nfrom cog import BaseRunner, Path\n\nclass Runner(BaseRunner):\n    \
         def setup(self): open('worker', 'w').write(str(os.getpid()))\n    \
         def run(self, p: Path) -> str: return f'{open(p).read()} of {os.getpid()}'\n",
    )
    .input(&json!({"p": {"type": "string", "format": "uri"}}), &["p"])
    .ready();
    let worker = || fs_err::read_to_string(server.directory.path().join("worker")).unwrap();
    let first = worker();
    let pending = server.begin("p1", json!({"p": receiver.url("/file")}));
    begins.recv().unwrap();
    kill_process(Pid::from_raw(first.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    server.until_logged("Starting a new worker");
    go.send(()).unwrap();
    let ended = pending.answer().json();
    assert_eq!(
        ended["output"],
        format!("content of {}", worker()),
        "{ended}"
    );
    assert_ne!(worker(), first);
    server.until_status("READY");
    server.stop();
}
