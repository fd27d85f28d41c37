//! What a client may send, and what it is told if it may not.

use serde_json::{Value, json};

use crate::http::Request;
use crate::server::{Model, Server};

fn details(server: &Server, input: Value) -> Vec<(String, String, String)> {
    let response = server.post("/predictions", &json!({"input": input}));
    assert_eq!(response.status, 422, "{}", response.text());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry = |entry: &Value| {
        (
            text(&entry["loc"][2]),
            text(&entry["msg"]),
            text(&entry["type"]),
        )
    };
    response.json()["detail"]
        .as_array()
        .unwrap()
        .iter()
        .map(entry)
        .collect()
}

fn missing(field: &str) -> (String, String, String) {
    (
        field.into(),
        "Field required".into(),
        "value_error.missing".into(),
    )
}

#[test]
fn case_09_ids() {
    let server = Model::echo().ready();
    let answer = server
        .post(
            "/predictions",
            &json!({"id": "mine/../x", "input": {"s": "x"}}),
        )
        .json();
    assert_eq!(answer["id"], "mine/../x");
    let generated = server.predict(json!({"s": "x"}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(generated.starts_with("pred_"), "{generated}");
}

#[test]
fn case_20_a_repeated_put_shows_no_secret() {
    let server = Model::run(
        "def run(self, key: Secret, s: str, other: Secret = None) -> str",
        "open('running', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nreturn key.get_secret_value()",
    )
    .ready();
    let body = json!({"input": {"key": "s3cret", "s": "x", "other": null}});
    let running = server.send(Request::json("PUT", "/predictions/a", &body));
    server.until_file("running");
    let joined = server.put("/predictions/a", &body).json();
    assert_eq!(
        joined["input"],
        json!({"key": "**********", "s": "x", "other": null})
    );
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert_eq!(running.answer().json()["output"], "s3cret");
}

#[test]
fn case_10_bodies_without_input() {
    let server = Model::run(
        "def run(self, n: int = Input(default=3)) -> int",
        "return n",
    )
    .input(&json!({"n": {"type": "integer", "default": 3}}), &[])
    .ready();
    let bodiless = server.send(Request::new("POST", "/predictions")).answer();
    assert_eq!(
        (bodiless.status, &bodiless.json()["output"]),
        (200, &json!(3))
    );
    for body in [json!({}), json!({"input": null}), json!({"input": {}})] {
        assert_eq!(
            server.post("/predictions", &body).json()["output"],
            3,
            "{body}"
        );
    }
}

#[test]
fn case_12_missing_fields() {
    let server = Model::echo().ready();
    assert_eq!(details(&server, json!({})), [missing("s")]);
    assert_eq!(details(&server, json!({"wrong": "x"})), [missing("s")]);
}

#[test]
fn case_13_unknown_fields() {
    let server = Model::echo().ready();
    assert_eq!(server.output(json!({"s": "x", "wrong": 1})), "hello x");
    server.until_logged("Unknown input fields ignored: wrong");
}

#[test]
fn case_14_wrong_types() {
    let server = Model::run("def run(self, n: int) -> int", "return n")
        .input(&json!({"n": {"type": "integer"}}), &["n"])
        .ready();
    let expected = (
        "n".to_owned(),
        r#""x" is not of type "integer""#.to_owned(),
        "value_error".to_owned(),
    );
    assert_eq!(details(&server, json!({"n": "x"})), [expected]);
}

#[test]
fn case_15_unions() {
    let union = json!({"anyOf": [{"type": "string"}, {"type": "number"}], "nullable": true, "default": null});
    let server = Model::run(
        "def run(self, v: Union[str, float, None] = Input(default=None)) -> str",
        "return f'{type(v).__name__}:{v}'",
    )
    .input(&json!({"v": union}), &[])
    .ready();
    for (value, expected) in [
        (json!("hello"), "str:hello"),
        (json!(1.5), "float:1.5"),
        (json!(1), "int:1"),
    ] {
        assert_eq!(server.output(json!({"v": value})), expected);
    }
    assert_eq!(server.output(json!({})), "NoneType:None");
    for refused in [json!(null), json!(true), json!({"a": 1})] {
        let message = details(&server, json!({"v": refused})).remove(0).1;
        assert!(
            message
                .ends_with("is not valid under any of the schemas listed in the 'anyOf' keyword"),
            "{message}"
        );
    }
}

#[test]
fn case_16_optional_without_default() {
    let server = Model::run("def run(self, s: Optional[str]) -> str", "return repr(s)")
        .input(&json!({"s": {"type": "string", "nullable": true}}), &[])
        .ready();
    assert_eq!(server.output(json!({})), "None");
    assert_eq!(server.output(json!({"s": "x"})), "'x'");
}

#[test]
fn case_17_choices() {
    let server = Model::run(
        "def run(self, c: str = Input(choices=['red', 'green'])) -> str",
        "return c",
    )
    .component("c", json!({"type": "string", "enum": ["red", "green"]}))
    .input(
        &json!({"c": {"allOf": [{"$ref": "#/components/schemas/c"}]}}),
        &["c"],
    )
    .ready();
    assert_eq!(server.output(json!({"c": "red"})), "red");
    assert_eq!(
        details(&server, json!({"c": "blue"}))[0].1,
        r#""blue" is not one of ["red","green"]"#
    );
}

#[test]
fn case_18_async_answers() {
    let server = Model::echo().ready();
    let response = server.begin_async(&json!({"id": "a", "input": {"s": "x"}}));
    assert_eq!(
        (response.status, response.json()),
        (202, json!({"id": "a", "status": "starting"}))
    );
}

#[test]
fn case_19_put() {
    let server = Model::echo().ready();
    let response = server.put("/predictions/my%20id", &json!({"input": {"s": "x"}}));
    assert_eq!(
        (response.status, &response.json()["id"]),
        (200, &json!("my id"))
    );
    for (path, what) in [
        ("/predictions/a", "prediction"),
        ("/trainings/a", "training"),
    ] {
        let response = server.put(path, &json!({"id": "b", "input": {"s": "x"}}));
        let expected = json!({"detail": [{
            "loc": ["body", "id"], "msg": format!("{what} ID must match the ID supplied in the URL"), "type": "value_error",
        }]});
        assert_eq!((response.status, response.json()), (422, expected));
    }
}

#[test]
fn case_51_context() {
    let server = Model::run("def run(self) -> dict", "return current_scope().context").ready();
    let context = json!({"user": "ann", "trace": "1"});
    assert_eq!(
        server
            .post("/predictions", &json!({"context": context}))
            .json()["output"],
        context
    );
    assert_eq!(server.output(json!({})), json!({}));
}

#[test]
fn case_54_event_streams_are_not_offered() {
    let server = Model::echo().ready();
    let request = Request::json("POST", "/predictions", &json!({"input": {"s": "x"}}));
    let response = server
        .send(request.header("Accept", "text/event-stream"))
        .answer();
    let message = "This model does not support streaming responses. Add @cog.streaming to predict() to enable SSE.";
    assert_eq!(
        (response.status, response.json()),
        (406, json!({"error": message}))
    );
}

#[test]
fn case_55_trainings_never_stream() {
    let server = Model::echo().ready();
    for (method, path) in [("POST", "/trainings"), ("PUT", "/trainings/x")] {
        let request = Request::json(method, path, &json!({"input": {}}))
            .header("Accept", "text/event-stream");
        let response = server.send(request).answer();
        let expected = json!({"error": "Training endpoints do not support streaming responses."});
        assert_eq!((response.status, response.json()), (406, expected));
    }
}

#[test]
fn case_69_odd_requests() {
    let server = Model::echo().ready();
    let input = json!({"input": {"s": "x"}});
    let request =
        Request::json("POST", "/predictions", &input).header("Prefer", "respond-async, wait=5");
    assert_eq!(server.send(request).answer().status, 200);

    let request = Request::new("POST", "/predictions")
        .header("Content-Type", "application/json")
        .body("{");
    let response = server.send(request).answer();
    assert_eq!(response.status, 400);
    assert!(
        response
            .text()
            .starts_with("Failed to parse the request body as JSON: "),
        "{}",
        response.text()
    );

    let request = Request::new("POST", "/predictions")
        .header("Content-Type", "text/plain")
        .body("{}");
    let response = server.send(request).answer();
    assert_eq!(response.status, 415);
    assert_eq!(
        response.text(),
        "Expected request with `Content-Type: application/json`"
    );

    for path in ["/predictions", "/predictions/x/cancel", "/shutdown"] {
        let response = server.get(path);
        assert_eq!(
            (response.status, response.text()),
            (405, String::new()),
            "{path}"
        );
        assert!(
            response.headers.contains("\r\nallow: "),
            "{}",
            response.headers
        );
    }
    for path in ["/nowhere", "/predictions/x/stream"] {
        assert_eq!(
            (server.get(path).status, server.get(path).text()),
            (404, String::new()),
            "{path}"
        );
    }
    assert_eq!(
        server
            .send(Request::new("HEAD", "/health-check"))
            .answer()
            .status,
        200
    );
}

#[test]
fn invalid_input_is_refused_even_when_busy() {
    let server = Model::run(
        "def run(self, s: str) -> str",
        "open('running', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nreturn s",
    )
    .input(&json!({"s": {"type": "string"}}), &["s"])
    .ready();
    let running = server.begin("a", json!({"s": "x"}));
    server.until_file("running");
    assert_eq!(
        server.post("/predictions", &json!({"input": {}})).status,
        422
    );
    assert_eq!(
        server
            .post("/predictions", &json!({"input": {"s": "y"}}))
            .status,
        409
    );
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert_eq!(running.answer().json()["output"], "x");
}
