//! `GET /predictions/{id}`: asking for a prediction instead of being called.

use serde_json::{Value, json};

use crate::server::{Model, Server, eventually};

fn stepwise() -> Model {
    Model::run(
        "def run(self, s: str = 'x') -> Iterator[str]",
        "print('begun')\nyield s\nopen('running', 'w').close()\n\
         while not os.path.exists('go'): time.sleep(0.01)\nyield 'end'",
    )
}

fn ask(server: &Server, id: &str) -> Value {
    let response = server.get(&format!("/predictions/{id}"));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn until_ended(server: &Server, id: &str) -> Value {
    eventually("an end", || ask(server, id)["status"] != "processing");
    ask(server, id)
}

fn assert_unknown(server: &Server, path: &str) {
    let response = server.get(path);
    assert_eq!((response.status, response.text()), (404, "{}".into()));
}

#[test]
fn in_flight_and_after() {
    let server = stepwise().ready();
    server.begin_async(&json!({"id": "a"}));
    server.until_file("running");
    eventually("the first item", || {
        ask(&server, "a")["output"] == json!(["x"])
    });
    let expected = json!({"id": "a", "status": "processing", "logs": "begun\n", "metrics": {}, "output": ["x"]});
    assert_eq!(ask(&server, "a"), expected);
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    let mut ended = until_ended(&server, "a");
    assert!(
        ended["metrics"]["predict_time"].take().as_f64().unwrap() > 0.0,
        "{ended}"
    );
    let expected = json!({
        "id": "a", "status": "succeeded", "logs": "begun\n", "metrics": {"predict_time": null}, "output": ["x", "end"],
    });
    assert_eq!(ended, expected);
    // Both families of paths lead to it, as with canceling.
    assert_eq!(server.get("/trainings/a").json()["status"], "succeeded");
    assert_unknown(&server, "/predictions/b");
}

#[test]
fn a_finished_id_runs_anew() {
    let server = Model::run(
        "def run(self, s: str = 'x') -> str",
        "print('run')\nreturn s",
    )
    .ready();
    server.begin_async(&json!({"id": "a", "input": {"s": "1"}}));
    assert_eq!(until_ended(&server, "a")["output"], "1");
    let again = server.put("/predictions/a", &json!({"input": {"s": "2"}}));
    assert_eq!(
        (again.status, &again.json()["output"]),
        (200, &json!("2")),
        "a kept result answers no PUT"
    );
    server.begin_async(&json!({"id": "a", "input": {"s": "3"}}));
    eventually("the later result", || ask(&server, "a")["output"] == "3");
}

#[test]
fn failures_and_cancels_are_results() {
    let server = Model::run(
        "def run(self, s: str = 'x') -> str",
        "if s == 'wait':\n  open('running', 'w').close()\n  while True: time.sleep(0.01)\nraise ValueError('bad thing')",
    )
    .ready();
    server.begin_async(&json!({"id": "failed"}));
    let failed = until_ended(&server, "failed");
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"].as_str().unwrap().contains("bad thing"));
    eventually("a free slot", || server.status() == "READY");
    server.begin_async(&json!({"id": "canceled", "input": {"s": "wait"}}));
    server.until_file("running");
    server.post("/predictions/canceled/cancel", &json!({}));
    assert_eq!(until_ended(&server, "canceled")["status"], "canceled");
}

#[test]
fn who_got_the_answer_is_not_remembered() {
    let server = Model::echo().ready();
    let body = json!({"id": "a", "input": {"s": "x"}});
    assert_eq!(server.post("/predictions", &body).status, 200);
    assert_unknown(&server, "/predictions/a");
}

#[test]
fn the_number_kept_is_the_operators() {
    let run = |server: &Server, id: &str| {
        server.begin_async(&json!({"id": id, "input": {"s": "x"}}));
        server.until_status("READY");
    };
    let server = Model::echo().env("COG_RESULTS_KEPT", 1).ready();
    run(&server, "a");
    run(&server, "b");
    assert_unknown(&server, "/predictions/a");
    assert_eq!(ask(&server, "b")["output"], "hello x");
    let server = Model::echo().env("COG_RESULTS_KEPT", 0).ready();
    run(&server, "a");
    assert_unknown(&server, "/predictions/a");
    let server = Model::echo().env("COG_RESULTS_AGE", 0.01).ready();
    run(&server, "a");
    eventually("forgetting", || server.get("/predictions/a").status == 404);
}
