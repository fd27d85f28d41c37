//! Other code for the same server: whoever has started it says so on a line that nobody else has.

use serde_json::{Value, json};

use crate::http::Pending;
use crate::server::{Model, Server, eventually};

/// Says what `version` says, once there are the files that it waits for.
fn code(version: &str, setup: &str) -> String {
    format!(
        r#"
import os, time
from cog import *

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.002)

class Runner(BaseRunner):
    def setup(self):
        print("setting up {version}", flush=True)
        {setup}

    def run(self, s: str) -> str:
        if s == "slow":
            open("running", "w").close()
            wait_for("go")
        if s == "stubborn":
            open("running", "w").close()
            while True:
                try:
                    wait_for("never")
                except BaseException:
                    open("asked to stop", "w").close()
        return "{version} " + s
"#
    )
}

fn model() -> Model {
    Model::new(&code("old", "pass")).controlled()
}

fn ready() -> Server {
    let server = model().ready();
    server.until_told(r#"{"event":"ready","generation":0}"#);
    server
}

fn reload(server: &Server, generation: u64, finish_within_ms: u64) {
    server.command(
        &json!({"command": "reload", "generation": generation, "finish_within_ms": finish_within_ms}),
    );
}

fn until_ready(server: &Server, generation: u64) {
    server.until_told(&format!(r#"{{"event":"ready","generation":{generation}}}"#));
}

fn answer(pending: Pending) -> Value {
    let response = pending.answer();
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

#[test]
fn the_code_is_read_anew() {
    let server = ready();
    assert_eq!(server.output(json!({"s": "a"})), "old a");
    server.write("predict.py", &code("new", "pass"));
    reload(&server, 7, 1000);
    server.until_told("setting up new");
    until_ready(&server, 7);
    assert_eq!(server.output(json!({"s": "a"})), "new a");
    assert_eq!(server.status(), "READY");
    // Nothing of it is said to be a crash, and nothing is left.
    assert!(
        !server.log_text().contains("crash"),
        "{}",
        server.log_text()
    );
    server.stop();
}

#[test]
fn requests_wait_for_the_new_code_and_none_is_refused() {
    let server = ready();
    let before = server.connections();
    server.write("predict.py", &code("new", "wait_for('hold')"));
    reload(&server, 1, 1000);
    server.until_told("setting up new");
    assert_eq!(server.status(), "STARTING");
    let waiting: Vec<_> = (0..8)
        .map(|number| server.begin(&format!("p{number}"), json!({"s": "a"})))
        .collect();
    // They have arrived, and nothing is answered.
    eventually("the connections", || server.connections() >= before + 8);
    server.write("hold", "");
    for pending in waiting {
        assert_eq!(answer(pending)["output"], "new a");
    }
}

#[test]
fn what_waits_is_checked_by_the_document_of_the_new_code() {
    let text = json!({"s": {"type": "string"}});
    let server = model().input(&text, &["s"]).ready();
    server.write(
        "predict.py",
        "import os, time\nfrom cog import *\n\nclass Runner(BaseRunner):\n    def setup(self):\n        \
         print('setting up new', flush=True)\n        while not os.path.exists('hold'): time.sleep(0.002)\n\n    \
         def run(self, n: int) -> int: return n + 1\n",
    );
    let input =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let document = json!({"openapi": "3.0.2", "components": {"schemas": {"Input": input}}});
    server.write(".cog/openapi_schema.json", &document.to_string());
    reload(&server, 1, 1000);
    server.until_told("setting up new");
    let good = server.begin("good", json!({"n": 1}));
    let bad = server.begin("bad", json!({"s": "x"}));
    server.write("hold", "");
    assert_eq!(answer(good)["output"], 2);
    let refused = bad.answer();
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("Field required"));
    assert_eq!(server.get("/openapi.json").json(), document);
    assert!(!server.log_text().contains("has changed since"));
}

#[test]
fn what_runs_ends_by_itself_with_the_old_code() {
    let server = ready();
    let running = server.begin("p", json!({"s": "slow"}));
    server.until_file("running");
    server.write("predict.py", &code("new", "pass"));
    reload(&server, 1, 60_000);
    server.until_told(r#"{"event":"reloading","generation":1}"#);
    let told = server.until_told("finishing");
    assert_eq!(told["predictions"], 1);
    let waiting = server.begin("q", json!({"s": "a"}));
    server.write("go", "");
    assert_eq!(answer(running)["output"], "old slow");
    assert_eq!(answer(waiting)["output"], "new a");
}

#[test]
fn what_takes_too_long_is_stopped_and_told_why() {
    let server = ready();
    let running = server.begin("p", json!({"s": "slow"}));
    server.until_file("running");
    server.write("predict.py", &code("new", "pass"));
    reload(&server, 1, 50);
    let stopped = answer(running);
    assert_eq!(stopped["status"], "failed");
    let error = stopped["error"].as_str().unwrap();
    assert!(error.contains("code was changed while this ran"), "{error}");
    assert!(error.contains("within 0.05 s"), "{error}");
    until_ready(&server, 1);
    assert_eq!(server.output(json!({"s": "a"})), "new a");
}

#[test]
fn what_does_not_stop_at_all_goes_with_its_process() {
    let server = ready();
    let running = server.begin("p", json!({"s": "stubborn"}));
    server.until_file("running");
    server.write("predict.py", &code("new", "pass"));
    reload(&server, 1, 0);
    assert_eq!(answer(running)["status"], "failed");
    server.until_file("asked to stop");
    until_ready(&server, 1);
    assert_eq!(server.output(json!({"s": "a"})), "new a");
}

#[test]
fn a_failure_is_told_to_all_and_mended() {
    let server = ready();
    server.write(
        "predict.py",
        &code("bad", "wait_for('hold'); raise RuntimeError('no weights')"),
    );
    reload(&server, 1, 1000);
    server.until_told("setting up bad");
    let waiting = server.begin("p", json!({"s": "a"}));
    server.write("hold", "");
    let told = server.until_told("failed");
    assert_eq!(told["generation"], 1);
    assert!(told["reason"].as_str().unwrap().contains("no weights"));
    for refused in [waiting, server.begin("q", json!({"s": "a"}))] {
        let refused = refused.answer();
        assert_eq!(refused.status, 503, "{}", refused.text());
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("no weights"), "{error}");
        assert!(
            error.contains("tried again when the code is changed"),
            "{error}"
        );
    }
    assert_eq!(server.status(), "SETUP_FAILED");
    server.write("predict.py", &code("mended", "pass"));
    reload(&server, 2, 1000);
    until_ready(&server, 2);
    assert_eq!(server.output(json!({"s": "a"})), "mended a");
}

#[test]
fn a_first_setup_that_fails_is_mended_too() {
    let server = Model::new(&code("bad", "raise RuntimeError('no weights')"))
        .controlled()
        .setup_failed();
    server.write("predict.py", &code("mended", "pass"));
    reload(&server, 1, 1000);
    until_ready(&server, 1);
    assert_eq!(server.output(json!({"s": "a"})), "mended a");
}

#[test]
fn code_that_is_withheld_is_not_served() {
    let server = ready();
    let reason = "line 3: invalid syntax";
    server.command(
        &json!({"command": "withhold", "generation": 1, "finish_within_ms": 0, "reason": reason}),
    );
    assert_eq!(server.until_told("failed")["reason"], reason);
    let refused = server.begin("p", json!({"s": "a"})).answer();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains(reason), "{}", refused.text());
    assert_eq!(server.status(), "SETUP_FAILED");
    assert!(server.setup_logs().contains(reason));
    reload(&server, 2, 1000);
    until_ready(&server, 2);
    assert_eq!(server.output(json!({"s": "a"})), "old a");
}

#[test]
fn the_last_of_several_changes_is_served() {
    let server = ready();
    for generation in 1..=5 {
        server.write("predict.py", &code(&format!("v{generation}"), "pass"));
        reload(&server, generation, 1000);
    }
    until_ready(&server, 5);
    assert_eq!(server.output(json!({"s": "a"})), "v5 a");
}

#[test]
fn each_of_several_workers_gets_the_new_code() {
    let server = model().env("COG_WORKERS", 2).env("COG_QUEUE", 4).ready();
    server.write("predict.py", &code("new", "pass"));
    reload(&server, 1, 1000);
    until_ready(&server, 1);
    let all: Vec<_> = (0..4)
        .map(|number| server.begin(&format!("p{number}"), json!({"s": "a"})))
        .collect();
    for pending in all {
        assert_eq!(answer(pending)["output"], "new a");
    }
}

#[test]
fn a_server_is_stopped_in_the_middle_of_it() {
    let mut server = ready();
    let before = server.connections();
    server.write("predict.py", &code("new", "wait_for('never')"));
    reload(&server, 1, 1000);
    server.until_told("setting up new");
    let waiting = server.begin("p", json!({"s": "a"}));
    eventually("the connection", || server.connections() > before);
    server.signal(rustix::process::Signal::INT);
    assert_eq!(waiting.answer().status, 503);
    assert!(server.exit().success());
}

#[test]
fn who_was_let_in_is_answered_before_a_server_makes_way() {
    let mut server = ready();
    let before = server.connections();
    server.write("predict.py", &code("new", "wait_for('gate')"));
    reload(&server, 1, 1000);
    server.until_told("setting up new");
    let waiting = server.begin("p", json!({"s": "a"}));
    eventually("the connection", || server.connections() > before);
    server.signal(rustix::process::Signal::INT);
    server.until_logged("Shutting down: SIGINT");
    server.write("gate", "");
    assert_eq!(answer(waiting)["output"], "new a");
    assert!(server.exit().success());
}

#[test]
fn one_that_succeeds_another_lets_nobody_in_before_it_can_answer() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let on_it = |model: Model| {
        let socket = socket.try_clone().unwrap();
        model
            .controlled()
            .env("COG_CONTROL", "succeed")
            .socket(socket)
    };
    let mut first = on_it(Model::new(&code("first", "wait_for('never')"))).start();
    first.until_told("setting up first");
    let waiting = first.begin("p", json!({"s": "a"}));
    first.signal(rustix::process::Signal::INT);
    assert!(first.exit().success());
    let second = on_it(Model::new(&code("second", "pass"))).ready();
    assert_eq!(answer(waiting)["output"], "second a");
    assert_eq!(second.output(json!({"s": "b"})), "second b");
    second.stop();
    let failed = on_it(Model::new(&code("bad", "raise RuntimeError('no weights')"))).start();
    failed.until_told("failed");
    assert_eq!(failed.status(), "SETUP_FAILED");
}

#[test]
fn what_goes_on_can_be_asked() {
    let server = ready();
    server.command(&json!({"command": "status"}));
    let told = server.until_told("status");
    assert_eq!(
        (&told["running"], &told["idle_ms"]),
        (&json!(0), &Value::Null)
    );
    let running = server.begin("p", json!({"s": "slow"}));
    server.until_file("running");
    server.command(&json!({"command": "status"}));
    server.until_told(r#""running":1"#);
    server.write("go", "");
    answer(running);
}

#[test]
fn without_such_a_line_nothing_is_told_and_nothing_read() {
    let server = Model::new(&code("old", "pass"))
        .env("COG_CONTROL", "events")
        .ready();
    assert_eq!(server.output(json!({"s": "a"})), "old a");
    // A worker does not know of it either.
    let asks = Model::run(
        "def run(self) -> bool",
        "return 'COG_CONTROL' in os.environ",
    )
    .controlled();
    assert_eq!(asks.ready().output(json!({})), false);
}
