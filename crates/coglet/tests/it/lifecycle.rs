//! Predictions from start to end: outputs of all shapes, failures, metrics.

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::server::{Model, Server};

/// Runs a prediction with a webhook and returns its last report.
fn last_report(server: &Server, input: Value) -> Value {
    let receiver = Receiver::accepting();
    let body = json!({"input": input, "webhook": receiver.url("/"), "webhook_events_filter": ["completed"]});
    assert_eq!(server.begin_async(&body).status, 202);
    receiver.until_completed().pop().unwrap()
}

#[test]
fn case_20_put_on_an_id_in_flight() {
    let server = Model::run(
        "def run(self, s: str) -> str",
        "print('at work')\nopen(f'running-{s}', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nreturn s",
    )
    .input(&json!({"s": {"type": "string"}}), &["s"])
    .ready();
    let running = server.begin("a", json!({"s": "x", "unknown": 1}));
    server.until_file("running-x");
    let snapshot = || server.put("/predictions/a", &json!({"input": {"s": "other"}}));
    crate::server::eventually("the log", || snapshot().json()["logs"] == "at work\n");
    let response = snapshot();
    let expected = json!({"id": "a", "status": "processing", "logs": "at work\n", "metrics": {}, "input": {"s": "x"}});
    assert_eq!((response.status, response.json()), (202, expected));
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert_eq!(running.answer().json()["output"], "x");
    assert!(!server.directory.path().join("running-other").exists());
    assert_eq!(
        server
            .put("/predictions/a", &json!({"input": {"s": "again"}}))
            .status,
        200
    );
}

#[test]
fn case_25_failures() {
    for raised in [
        "ValueError('bad thing')",
        "RuntimeError('bad thing')",
        "Exception('bad thing')",
    ] {
        let server = Model::run("def run(self) -> str", &format!("raise {raised}")).ready();
        let check = |prediction: &Value| {
            assert_eq!(prediction["status"], "failed");
            let error = prediction["error"].as_str().unwrap();
            assert!(error.contains("bad thing"), "{error}");
            assert!(prediction["metrics"]["predict_time"].is_f64());
        };
        let prediction = server.predict(json!({}));
        check(&prediction);
        assert!(prediction.get("output").is_none());
        check(&last_report(&server, json!({})));
        assert_eq!(server.status(), "READY");
    }
}

#[test]
fn leaving_the_interpreter_fails_only_that_prediction() {
    for definition in ["def", "async def"] {
        let body = "if s == 'exit': sys.exit(3)\nreturn s";
        let server = Model::run(&format!("{definition} run(self, s: str) -> str"), body).ready();
        let prediction = server.predict(json!({"s": "exit"}));
        let error = prediction["error"].as_str().unwrap();
        assert!(error.contains("SystemExit: 3"), "{error}");
        assert_eq!(server.output(json!({"s": "x"})), "x");
    }
}

#[test]
fn case_26_generators_give_arrays() {
    for annotation in ["Iterator[str]", "ConcatenateIterator[str]"] {
        let server = Model::run(
            &format!("def run(self) -> {annotation}"),
            "yield 'a'\nyield 'b'\nyield 'c'",
        )
        .ready();
        assert_eq!(server.output(json!({})), json!(["a", "b", "c"]));
    }
    let server = Model::run("def run(self) -> Iterator[str]", "return\nyield").ready();
    assert_eq!(server.output(json!({})), json!([]));
}

#[test]
fn case_27_async_generators() {
    let body = "for n in range(5):\n    await asyncio.sleep(0.1)\n    yield n";
    let server = Model::run("async def run(self) -> AsyncIterator[int]", body).ready();
    let prediction = server.predict(json!({}));
    assert_eq!(prediction["output"], json!([0, 1, 2, 3, 4]));
    assert!(prediction["metrics"]["predict_time"].as_f64().unwrap() >= 0.5);
}

#[test]
fn async_items_arrive_as_they_are_made() {
    let body = "yield 1\nwhile not os.path.exists('go'): await asyncio.sleep(0.01)\nyield 2";
    let server = Model::run("async def run(self) -> AsyncIterator[int]", body).ready();
    let running = server.begin("a", json!({}));
    crate::server::eventually("the first item", || {
        let snapshot = server.put("/predictions/a", &json!({}));
        snapshot.status == 202 && snapshot.json()["output"] == json!([1])
    });
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert_eq!(running.answer().json()["output"], json!([1, 2]));
}

#[test]
fn case_28_a_generator_that_fails_midway() {
    let server = Model::run(
        "def run(self) -> Iterator[int]",
        "yield 1\nyield 2\nyield 3\nraise RuntimeError('late')",
    )
    .ready();
    let report = last_report(&server, json!({}));
    assert_eq!(
        (&report["status"], &report["output"]),
        (&json!("failed"), &json!([1, 2, 3]))
    );
    assert!(
        report["error"]
            .as_str()
            .unwrap()
            .contains("RuntimeError: late")
    );
    assert!(server.predict(json!({})).get("output").is_none());
}

#[test]
fn case_29_none_is_null() {
    let server = Model::run("def run(self) -> int", "return None").ready();
    let prediction = server.predict(json!({}));
    assert_eq!(
        (&prediction["status"], prediction.get("output")),
        (&json!("succeeded"), Some(&json!(null)))
    );
}

#[test]
fn case_30_json_passes_unchanged() {
    let server = Model::run("def run(self, v: dict) -> dict", "return v").ready();
    for value in [
        json!({}),
        json!({"a": {"b": [1, 2.5, null, true, "é\n\"\\"]}, "": []}),
        json!({"list": [{"a": 1}, {}], "big": 9_007_199_254_740_993_i64}),
    ] {
        assert_eq!(server.output(json!({"v": value})), value);
    }
    let server = Model::run("def run(self, v: List[dict]) -> List[dict]", "return v").ready();
    for value in [json!([]), json!([{"a": 1}, {"b": {}}])] {
        assert_eq!(server.output(json!({"v": value})), value);
    }
}

#[test]
fn case_31_structured_outputs() {
    let server = Model::new(
        "from typing import *\nfrom cog import BaseModel, BaseRunner\nclass Out(BaseModel):\n    name: str\n    \
         note: Optional[str] = None\n    items: List[int] = None\nclass Runner(BaseRunner):\n    def run(self) -> Out:\n        \
         return Out(name='n', items=[1, 2])\n",
    )
    .ready();
    assert_eq!(
        server.output(json!({})),
        json!({"name": "n", "note": null, "items": [1, 2]})
    );
}

#[test]
fn case_32_plain_values() {
    let server = Model::run("def run(self, v: Any) -> Any", "return v").ready();
    for value in [
        json!(true),
        json!([1, -2, 3]),
        json!(-3),
        json!(-1.5),
        json!(""),
    ] {
        assert_eq!(server.output(json!({"v": value})), value);
    }
}

#[test]
fn outputs_declared_as_arrays_are_arrays() {
    let server = Model::run("def run(self, v: Any) -> List[str]", "return v")
        .component(
            "Output",
            json!({"type": "array", "items": {"type": "string"}}),
        )
        .ready();
    assert_eq!(server.output(json!({"v": ["a"]})), json!(["a"]));
    assert_eq!(server.output(json!({"v": "a"})), json!(["a"]));
}

#[test]
fn outputs_that_are_no_json() {
    for (value, expected) in [
        ("b'bytes'", "Object of type bytes is not JSON serializable"),
        ("float('nan')", "Failed to parse output JSON"),
        ("[float('inf')]", "Failed to parse output JSON"),
        ("'\\ud800'", ""),
    ] {
        let server = Model::run("def run(self) -> Any", &format!("return {value}")).ready();
        let prediction = server.predict(json!({}));
        assert_eq!(prediction["status"], "failed", "{prediction}");
        assert!(
            prediction["error"].as_str().unwrap().contains(expected),
            "{prediction}"
        );
        assert_eq!(server.status(), "READY");
    }
}

#[test]
fn large_values_pass_both_ways() {
    let body = "if s == 'left over': return os.listdir(os.environ['COG_WORKER_SPILL_DIR'])\nreturn s + '!'";
    let server = Model::run("def run(self, s: str) -> Any", body)
        .input(&json!({"s": {"type": "string"}}), &["s"])
        .ready();
    let large = "é\"x".repeat(3 << 20);
    assert_eq!(server.output(json!({"s": large})), format!("{large}!"));
    assert_eq!(server.output(json!({"s": "left over"})), json!([]));
    server.stop();
}

#[test]
fn large_items_keep_their_order() {
    let body = "for n in range(6):\n    yield str(n) * (2 << 20 if n % 2 else 1)";
    let server = Model::run("def run(self) -> Iterator[str]", body).ready();
    let output = server.output(json!({}));
    let lengths: Vec<_> = output
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap().len())
        .collect();
    assert_eq!(lengths, [1, 2 << 20, 1, 2 << 20, 1, 2 << 20]);
}

#[test]
fn case_49_metrics() {
    let server = Model::run(
        "def run(self) -> str",
        "m = current_scope().metrics\nm.record('score', 0.7)\nm.record('n', 1, mode='incr')\nm.record('n', 2, mode='incr')\n\
         m.record('tags', 'a', mode='append')\nm.record('tags', 'b', mode='append')\nm.record('timing.load', 3)\n\
         m['k'] = 'hello'\nreturn ''",
    )
    .ready();
    let check = |mut metrics: Value| {
        assert!(
            metrics
                .as_object_mut()
                .unwrap()
                .remove("predict_time")
                .unwrap()
                .is_f64()
        );
        let expected =
            json!({"score": 0.7, "n": 3, "tags": ["a", "b"], "timing": {"load": 3}, "k": "hello"});
        assert_eq!(metrics, expected);
    };
    check(server.predict(json!({}))["metrics"].take());
    check(last_report(&server, json!({}))["metrics"].take());
}

#[test]
fn case_50_invalid_metric_names() {
    let server = Model::run(
        "def run(self, name: str) -> str",
        "self.record_metric(name, 1)\nreturn ''",
    )
    .ready();
    for (name, text) in [
        ("predict_time", "'predict_time' is reserved by the runtime"),
        ("a..b", "metric name must not contain empty segments"),
        ("a-b", "contains invalid character '-'"),
    ] {
        let prediction = server.predict(json!({"name": name}));
        assert_eq!(prediction["status"], "failed");
        assert!(
            prediction["error"].as_str().unwrap().contains(text),
            "{prediction}"
        );
    }
}
