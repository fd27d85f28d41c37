//! A worker that is lost, and a successor with another model: code and document have changed meanwhile.

use serde_json::{Value, json};

use crate::server::{Model, Server, eventually};

/// Replaces itself by what is in `next.py` and `next.json`, and dies.
const OLD: &str = r#"
import os, time
from cog import *

class Runner(BaseRunner):
    def run(self, x: str) -> str:
        open("running", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
        os.replace("next.py", "predict.py")
        os.replace("next.json", ".cog/openapi_schema.json")
        os._exit(1)
"#;

fn document(properties: &Value, required: &[&str]) -> String {
    let input = json!({"type": "object", "properties": properties, "required": required});
    json!({"openapi": "3.0.2", "components": {"schemas": {"Input": input}}}).to_string()
}

/// Serves `OLD`, which takes `x` as `old` says, and then a model that takes what `new` and `required` say.
fn replaced(old: &Value, run: &str, new: &Value, required: &[&str]) -> Server {
    let next =
        format!("import os, time\nfrom cog import *\n\nclass Runner(BaseRunner):\n    {run}\n");
    Model::new(OLD)
        .input(old, &["x"])
        .file("next.py", &next)
        .file("next.json", &document(new, required))
        .env("COG_QUEUE", 2)
        .ready()
}

/// Has the model die while the prediction `b` with this input waits for its turn.
fn die_while_waiting(server: &Server, input: &Value) {
    let first = server.put_async("a", &json!({"input": {"x": "first"}}));
    assert_eq!(first.status, 202);
    server.until_file("running");
    let second = server.put_async("b", &json!({"input": input}));
    assert_eq!(second.status, 202);
    fs_err::write(server.directory.path().join("go"), "").unwrap();
}

fn result(server: &Server, id: &str) -> Value {
    let get = || server.get(&format!("/predictions/{id}")).json();
    eventually("the end", || {
        ["succeeded", "failed"].contains(&get()["status"].as_str().unwrap_or_default())
    });
    get()
}

#[test]
fn what_waited_is_checked_by_the_model_that_runs_it() {
    let text = json!({"x": {"type": "string"}});
    let server = replaced(
        &text,
        "def run(self, x: str, must: int) -> str: return f'{x} {must}'",
        &json!({"x": {"type": "string"}, "must": {"type": "integer"}}),
        &["x", "must"],
    );
    die_while_waiting(&server, &json!({"x": "second"}));
    let error = result(&server, "b")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("the model was replaced"), "{error}");
    assert!(error.contains("must: Field required"), "{error}");
    // It serves those who know it.
    assert_eq!(server.output(json!({"x": "y", "must": 1})), "y 1");
}

#[test]
fn code_that_is_newer_than_its_document_is_named() {
    let server = Model::new("import os\nfrom cog import *\n\nclass Runner(BaseRunner):\n    def run(self, x: str) -> str: os._exit(1)\n")
        .input(&json!({"x": {"type": "string"}}), &["x"])
        .ready();
    let edited = server.directory.path().join("predict.py");
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_hours(24);
    let file = std::fs::File::options().append(true).open(edited).unwrap();
    file.set_modified(tomorrow).unwrap();
    assert_eq!(server.predict(json!({"x": "y"}))["status"], "failed");
    server.until_logged("has changed since");
}

#[test]
fn what_still_fits_runs() {
    let server = replaced(
        &json!({"x": {"type": "string"}, "more": {"type": "string"}}),
        "def run(self, x: str) -> str: return 'new ' + x",
        &json!({"x": {"type": "string"}}),
        &["x"],
    );
    die_while_waiting(&server, &json!({"x": "second", "more": "gone"}));
    assert_eq!(result(&server, "b")["output"], "new second");
}

#[test]
fn what_was_secret_stays_so() {
    let server = replaced(
        &json!({"x": {"type": "string", "format": "password", "x-cog-secret": true}}),
        "def run(self, x: str) -> str:\n        open('new', 'w').close()\n        while not os.path.exists('end'): time.sleep(0.01)\n        return ''",
        &json!({"x": {"type": "string"}}),
        &["x"],
    );
    die_while_waiting(&server, &json!({"x": "hunter2"}));
    server.until_file("new");
    let again = server.put("/predictions/b", &json!({"input": {"x": "again"}}));
    assert_eq!(again.status, 202);
    assert_eq!(again.json()["input"], json!({"x": "**********"}));
    fs_err::write(server.directory.path().join("end"), "").unwrap();
}

#[test]
fn the_document_is_that_of_a_model_that_answers() {
    let old = r#"
import os
from cog import *

class Runner(BaseRunner):
    def run(self, x: str) -> str:
        if x == "go":
            os.replace("next.py", "predict.py")
            os.replace("next.json", ".cog/openapi_schema.json")
            os._exit(1)
        return "old " + x
"#;
    let new = r#"
import os, time
from cog import *

class Runner(BaseRunner):
    def setup(self):
        while os.path.exists("hold"):
            time.sleep(0.01)
        with open("pid", "w") as file:
            file.write(str(os.getpid()))

    def run(self, x: int) -> int:
        return x
"#;
    let text = json!({"x": {"type": "string"}});
    let server = Model::new(old)
        .input(&text, &["x"])
        .file("next.py", new)
        .file(
            "next.json",
            &document(&json!({"x": {"type": "integer"}}), &["x"]),
        )
        .env("COG_WORKERS", 2)
        .ready();
    let taken = || {
        let document = server.get("/openapi.json").json();
        document["components"]["schemas"]["Input"]["properties"]["x"]["type"].clone()
    };
    assert_eq!(server.predict(json!({"x": "go"}))["status"], "failed");
    eventually("the new model", || taken() == "integer");
    let file = |name: &str| server.directory.path().join(name);
    let newer = fs_err::read_to_string(file("pid")).unwrap();
    fs_err::write(file("hold"), "").unwrap();
    let newer = rustix::process::Pid::from_raw(newer.parse().unwrap()).unwrap();
    rustix::process::kill_process(newer, rustix::process::Signal::KILL).unwrap();
    eventually("the old model again", || taken() == "string");
    assert_eq!(server.output(json!({"x": "y"})), "old y");
    fs_err::remove_file(file("hold")).unwrap();
    eventually("the new model again", || taken() == "integer");
}
