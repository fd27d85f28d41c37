//! Starting: before, during and after setup.

use serde_json::json;

use crate::http::Request;
use crate::server::Model;

const WAITS_FOR_FILE: &str = r#"
import os, time
from cog import BaseRunner

class Runner(BaseRunner):
    def setup(self):
        print("setting up", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)

    def run(self) -> str:
        return "ok"
"#;

#[test]
fn case_01_health_while_starting() {
    let server = Model::new(WAITS_FOR_FILE).start();
    let health = server.health();
    assert_eq!(health["status"], "STARTING");
    assert_eq!(health["setup"]["status"], "starting");
    assert!(
        health["setup"]["started_at"]
            .as_str()
            .unwrap()
            .ends_with("+00:00")
    );
    assert!(health["setup"].get("completed_at").is_none());
    assert_eq!(health["version"]["coglet"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn case_02_predictions_while_starting() {
    let server = Model::new(WAITS_FOR_FILE).start();
    let response = server.post("/predictions", &json!({"input": {}}));
    assert_eq!(response.status, 503);
    let expected = json!({
        "error": "Setup has not finished yet. Wait until it has finished, or GET /health-check for status.",
        "status": "failed",
    });
    assert_eq!(response.json(), expected);
}

#[test]
fn case_03_the_document_appears_with_ready() {
    let server = Model::new(WAITS_FOR_FILE)
        .input(&json!({"a": {"type": "string", "x-order": 0}}), &[])
        .start();
    let response = server.get("/openapi.json");
    assert_eq!(
        (response.status, response.json()),
        (503, json!({"error": "OpenAPI schema not available"}))
    );
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    server.until_status("READY");
    let document = fs_err::read(server.directory.path().join(".cog/openapi_schema.json")).unwrap();
    let response = server.get("/openapi.json");
    assert_eq!((response.status, response.body), (200, document));
}

#[test]
fn case_04_setup_has_no_limit_unless_asked() {
    let server = Model::new(WAITS_FOR_FILE).start();
    server.until_logged("setting up");
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    server.until_status("READY");
    assert_eq!(server.output(json!({})), "ok");
}

#[test]
fn case_05_a_setup_that_takes_too_long() {
    let server = Model::new(WAITS_FOR_FILE)
        .env("COG_SETUP_TIMEOUT", 3)
        .setup_failed();
    let health = server.health();
    assert_eq!(
        (&health["status"], &health["setup"]["status"]),
        (&json!("SETUP_FAILED"), &json!("failed"))
    );
    let logs = server.setup_logs();
    assert!(
        logs.contains("setting up") && logs.contains("worker setup timed out"),
        "{logs}"
    );
    let workers = server
        .processes()
        .into_iter()
        .filter(|command| command.contains("_worker"))
        .count();
    assert_eq!(workers, 0, "the worker was left running");
    server.stop();
}

#[test]
fn case_06_a_setup_that_raises() {
    let model = Model::new(
        "from cog import BaseRunner\nclass Runner(BaseRunner):\n    def setup(self):\n        print('before')\n        \
         raise ValueError('no weights')\n    def run(self) -> str: return ''\n",
    );
    let server = model.setup_failed();
    assert_eq!(server.status(), "SETUP_FAILED");
    let health = server.health();
    assert!(health["setup"]["completed_at"].is_string());
    let logs = server.setup_logs();
    assert!(logs.contains("[coglet::setup] before\n"), "{logs}");
    assert!(
        logs.trim_end()
            .ends_with("Setup failed: setup failed: ValueError: no weights"),
        "{logs}"
    );
    let refused = server.post("/predictions", &json!({}));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["status"], "failed");
    let error = refused.json()["error"].to_string();
    assert!(
        error.contains("Setup failed") && error.contains("/health-check"),
        "{error}"
    );
    assert_eq!(server.get("/openapi.json").status, 503);
    server.stop();
}

#[test]
fn an_import_that_fails() {
    let server = Model::new("import no_such_module\n").setup_failed();
    let logs = server.setup_logs();
    assert!(
        logs.contains("Setup failed: failed to load predictor: ModuleNotFoundError: "),
        "{logs}"
    );
}

#[test]
fn a_class_that_is_missing() {
    let server = Model::echo().reference("predict.py:Nobody").setup_failed();
    let logs = server.setup_logs();
    assert!(
        logs.contains("failed to load predictor") && logs.contains("Nobody"),
        "{logs}"
    );
}

#[test]
fn case_07_concurrency_needs_an_async_handler() {
    let server = Model::echo().env("COG_MAX_CONCURRENCY", 2).setup_failed();
    let logs = server.setup_logs();
    assert!(
        logs.contains("COG_MAX_CONCURRENCY > 1 requires an async run() or predict() method"),
        "{logs}"
    );

    let server = Model::run("async def run(self) -> int", "return 1")
        .env("COG_MAX_CONCURRENCY", 2)
        .ready();
    assert_eq!(server.output(json!({})), 1);

    for nonsense in ["wat", "0"] {
        let server = Model::echo().env("COG_MAX_CONCURRENCY", nonsense).ready();
        assert_eq!(server.output(json!({"s": "x"})), "hello x");
    }
}

#[test]
fn case_08_the_index() {
    let server = Model::echo().ready();
    let index = server.get("/").json();
    assert_eq!(index.as_object().unwrap().len(), 8, "{index}");
    assert_eq!(
        index["predictions_cancel_url"],
        "/predictions/{prediction_id}/cancel"
    );
    assert_eq!(
        index["cog_version"],
        server.health()["version"]["python_sdk"]
    );

    let server = Model::echo()
        .component("TrainingInput", json!({"type": "object"}))
        .ready();
    let index = server.get("/").json();
    assert_eq!(index.as_object().unwrap().len(), 11, "{index}");
    assert_eq!(index["trainings_url"], "/trainings");
}

#[test]
fn the_document_as_a_page() {
    let server = Model::echo().ready();
    let page = server.get("/docs");
    assert_eq!(page.status, 200);
    assert!(
        page.headers.contains("content-type: text/html"),
        "{}",
        page.headers
    );
    assert!(
        page.headers
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(
        page.text()
            .contains("<code>s</code></td><td>string</td><td>required"),
        "{}",
        page.text()
    );
    let bare = Model::run("def run(self) -> str", "return ''").ready();
    assert!(bare.get("/docs").text().contains("no document"));
}

#[test]
fn case_11_state_from_async_setup() {
    let source = |run: &str| {
        format!(
            "import asyncio\nfrom cog import BaseRunner\nclass Runner(BaseRunner):\n    async def setup(self, weights):\n        \
             await asyncio.sleep(0)\n        self.weights = weights\n    {run} run(self, s: str) -> str:\n        \
             return f'hello {{s}} {{self.weights}}'\n"
        )
    };
    for run in ["def", "async def"] {
        let server = Model::new(&source(run))
            .env("COG_WEIGHTS", "https://w/1")
            .ready();
        assert_eq!(server.output(json!({"s": "x"})), "hello x https://w/1");
    }
    let server = Model::new(&source("def")).ready();
    assert_eq!(server.output(json!({"s": "x"})), "hello x None");
}

#[test]
fn case_63_the_setup_log() {
    let server = Model::new(
        "import os\nfrom cog import BaseRunner\nprint('importing')\nclass Runner(BaseRunner):\n    def setup(self):\n        \
         print('loading')\n        os.write(1, b'from C')\n    def run(self) -> str:\n        print('running')\n        \
         return ''\n",
    )
    .ready();
    let logs = server.setup_logs();
    for text in [
        "Spawning worker subprocess",
        "File descriptor redirection complete",
        "Connected to slot transport",
        "Server ready",
        "[coglet::setup] importing\n",
        "[coglet::setup] loading\n",
        "[coglet::setup] from C\n",
    ] {
        assert!(logs.contains(text), "no `{text}` in {logs}");
    }
    assert!(
        !logs.contains("Setup complete, now accepting requests"),
        "{logs}"
    );
    server.until_logged("Setup complete, now accepting requests");
    server.output(json!({}));
    assert_eq!(server.setup_logs(), logs, "fixed once setup has finished");
}

#[test]
fn case_64_module_state_lives_on() {
    let server = Model::new(
        "from cog import BaseRunner\nseen = []\nclass Runner(BaseRunner):\n    def run(self, s: str) -> str:\n        \
         seen.append(s)\n        return str(seen)\n",
    )
    .ready();
    for (letter, expected) in [
        ("a", "['a']"),
        ("b", "['a', 'b']"),
        ("c", "['a', 'b', 'c']"),
    ] {
        assert_eq!(server.output(json!({"s": letter})), expected);
    }
}

#[test]
fn case_65_a_reference_in_a_subdirectory() {
    let model = Model::new("").file("common.py", "WORD = 'root'\n").file(
        "my-subdir/predict.py",
        "from cog import BaseRunner\nfrom common import WORD\nclass Predictor(BaseRunner):\n    def run(self) -> str:\n        \
         return WORD\n",
    );
    let server = model.reference("my-subdir/predict.py:Predictor").ready();
    assert_eq!(server.output(json!({})), "root");
}

#[test]
fn case_66_forms_of_models() {
    let plain_class =
        "class Runner:\n    def run(self, s: str) -> str:\n        return 'class ' + s\n";
    assert_eq!(
        Model::new(plain_class).ready().output(json!({"s": "x"})),
        "class x"
    );
    let function = "def predict(s: str) -> str:\n    return 'function ' + s\n";
    let server = Model::new(function).reference("predict.py:predict").ready();
    assert_eq!(server.output(json!({"s": "x"})), "function x");
    let named_run = "def run(s: str) -> str:\n    return 'run ' + s\n";
    let server = Model::new(named_run).reference("predict.py:run").ready();
    assert_eq!(server.output(json!({"s": "x"})), "run x");
}

#[test]
fn case_67_train_mode() {
    let server = Model::new("def train(n: int) -> str:\n    return f'weights {n}'\n")
        .component(
            "TrainingInput",
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
        )
        .env("COG_TRAIN_TYPE_STUB", "predict.py:train")
        .arg("--x-mode=train")
        .ready();
    let response = server.post("/trainings", &json!({"input": {"n": 3}}));
    assert_eq!(
        (response.status, &response.json()["output"]),
        (200, &json!("weights 3"))
    );
    assert_eq!(server.post("/trainings", &json!({"input": {}})).status, 422);
}

#[test]
fn case_72_the_environment_reaches_the_model() {
    let server = Model::run("def run(self) -> str", "return os.getenv('MY_SETTING')")
        .env("MY_SETTING", "x y")
        .ready();
    assert_eq!(server.output(json!({})), "x y");
}

#[test]
fn without_a_document_nothing_is_checked() {
    let server = Model::run("def run(self, s) -> str", "return repr(s)").ready();
    assert_eq!(server.output(json!({"s": 3})), "3");
    let response = server.post("/predictions", &json!({"input": [1]}));
    assert_eq!(response.status, 422);
    assert_eq!(
        response.json()["detail"][0]["loc"],
        json!(["body", "input", "__root__"])
    );
    let response = server
        .send(Request::new("POST", "/predictions").header("Accept", "text/event-stream"))
        .answer();
    assert_eq!(response.status, 406);
}

#[test]
fn a_socket_can_be_handed_in() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let server = Model::echo().socket(socket).ready();
    assert_eq!(server.port, port);
    assert_eq!(server.output(json!({"s": "you"})), "hello you");
}

#[test]
fn what_is_handed_in_has_to_listen() {
    let command = |fd: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_coglet"))
            .envs([
                ("COG_PREDICT_TYPE_STUB", "predict.py:Runner"),
                ("COG_LISTEN_FD", fd),
            ])
            .output()
            .unwrap()
    };
    for (fd, reason) in [
        (
            "77",
            "`77` in `COG_LISTEN_FD` is not an open descriptor above 2",
        ),
        (
            "one",
            "`one` in `COG_LISTEN_FD` is not an open descriptor above 2",
        ),
        (
            "1",
            "`1` in `COG_LISTEN_FD` is not an open descriptor above 2",
        ),
    ] {
        let output = command(fd);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(reason), "{text}");
    }
}
