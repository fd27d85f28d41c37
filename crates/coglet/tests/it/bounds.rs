//! What grows with what is sent, and how far.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::http::{Pending, Request, Response};
use crate::server::{Model, Server, eventually};

/// Takes its slot until there is a file `go`.
fn gated() -> Model {
    Model::run(
        "def run(self, s: str) -> str",
        "open('runs', 'a').write('x')\nwhile not os.path.exists('go'): time.sleep(0.01)\nreturn s[:5]",
    )
    .input(&json!({"s": {"type": "string"}}), &["s"])
}

fn release(server: &Server) {
    fs_err::write(server.directory.path().join("go"), "").unwrap();
}

fn large_body() -> Value {
    json!({"input": {"s": "large".repeat(1 << 20)}})
}

/// Sends the head of a request and a first part of its body only.
fn begin_upload(server: &Server, method: &str, path: &str, length: usize) -> Pending {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).unwrap();
    Pending::from(stream)
}

#[test]
fn a_million_wrong_elements() {
    let server = Model::run("def run(self, n: list[int]) -> int", "return len(n)")
        .input(
            &json!({"n": {"type": "array", "items": {"type": "integer"}}}),
            &["n"],
        )
        .ready();
    let refused = server.post(
        "/predictions",
        &json!({"input": {"n": vec!["x"; 1_000_000]}}),
    );
    assert_eq!(refused.status, 422);
    let details = refused.json()["detail"].as_array().unwrap().clone();
    assert_eq!(details.len(), 101);
    assert_eq!(details[0]["loc"], json!(["body", "input", "n/0"]));
    assert_eq!(details[100]["msg"], "999900 more problems not listed");
    assert!(refused.body.len() < 20_000, "{}", refused.body.len());
    assert_eq!(server.output(json!({"n": [1]})), 1);
}

#[test]
fn ids_are_short_and_printable() {
    let server = Model::echo().ready();
    let body = |id: &str| json!({"id": id, "input": {"s": "x"}});
    let long = "é".repeat(512);
    assert_eq!(server.post("/predictions", &body(&long)).json()["id"], long);
    for id in [
        format!("{long}x"),
        "a\nb".into(),
        "a\u{7f}".into(),
        "\u{85}".into(),
    ] {
        let refused = server.post("/predictions", &body(&id));
        assert_eq!(refused.status, 422, "{id:?}");
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", "id"]));
    }
    let path = format!("/predictions/{}", "a".repeat(1025));
    for path in [path.as_str(), "/predictions/a%0ab"] {
        let refused = server.put(path, &json!({"input": {"s": "x"}}));
        assert_eq!(refused.status, 422, "{path}");
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["path", "id"]));
    }
}

#[test]
fn what_stands_beside_the_input_is_short() {
    let server = Model::run(
        "def run(self) -> int",
        "return len(current_scope().context['k'])",
    )
    .ready();
    let context = |length: usize| json!({"context": {"k": "v".repeat(length)}});
    let done = server.post("/predictions", &context((1 << 20) - 8)).json();
    assert_eq!(done["output"], (1 << 20) - 8);
    let refused = server.post("/predictions", &context(1 << 20));
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.json()["detail"][0]["loc"],
        json!(["body", "context"])
    );
    let webhook = json!({"webhook": format!("http://h/{}", "x".repeat(16 << 10))});
    let refused = server.post("/predictions", &webhook);
    assert_eq!(
        refused.json()["detail"][0]["loc"],
        json!(["body", "webhook"])
    );
}

#[test]
fn a_body_that_is_a_list() {
    let server = Model::run("def run(self, s: str = 'x') -> str", "return s").ready();
    for body in ["[]", "[null]", "[\"a\", {}]", " []"] {
        let request =
            Request::new("POST", "/predictions").header("Content-Type", "application/json");
        let refused = server.send(request.body(body)).answer();
        assert_eq!(refused.status, 422, "{body}");
        let text = refused.text();
        assert!(
            text.starts_with("Failed to deserialize the JSON body into the target type: "),
            "{text}"
        );
    }
}

#[test]
fn a_full_server_refuses_large_bodies_unread() {
    let server = gated().ready();
    let running = server.begin("first", json!({"s": "x"}));
    server.until_file("runs");
    // None of these has sent its body.
    let pending = [
        begin_upload(&server, "POST", "/predictions", 90 << 20),
        begin_upload(&server, "PUT", "/predictions/other", 90 << 20),
    ];
    let answers: Vec<_> = pending.map(half_closed).into_iter().collect();
    assert!(answers.iter().all(|answer| answer.status == 409));
    let refused = server.post("/predictions", &large_body());
    assert_eq!(refused.status, 409, "after all of it was sent");
    // The order of checks stays what it is for what is small.
    let wrong = server.post("/predictions", &json!({"input": {"s": 1}}));
    assert_eq!(wrong.status, 422);
    // One that means what runs is read.
    let again = server.put("/predictions/first", &large_body());
    assert_eq!(
        (again.status, &again.json()["input"]),
        (202, &json!({"s": "x"}))
    );
    release(&server);
    assert_eq!(running.answer().json()["output"], "x");
    assert_eq!(
        server.post("/predictions", &large_body()).json()["output"],
        "large"
    );
}

/// The answer to a client that sends no more.
fn half_closed(pending: Pending) -> Response {
    let stream = pending.into_stream();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    Pending::from(stream).answer()
}

#[test]
fn a_server_that_starts_refuses_large_bodies_unread() {
    let server = Model::new("import time\ntime.sleep(60)").start();
    let upload = begin_upload(&server, "POST", "/predictions", 90 << 20);
    assert_eq!(half_closed(upload).status, 503);
}

#[test]
fn bodies_share_their_memory() {
    let server = gated()
        .env("COG_QUEUE", 10)
        .env("COG_MAX_BODY_SIZE", "6M")
        .env("COG_BODY_MEMORY", "44M")
        .env("COG_CLIENT_TIMEOUT", 1)
        .ready();
    // 32 MiB of it are for small ones: two of 5 MiB have room.
    let held = [1, 2].map(|_| server.send(Request::json("POST", "/predictions", &large_body())));
    eventually("both", || {
        server
            .get("/metrics")
            .text()
            .contains("cog_predictions_in_flight 2\n")
    });
    let refused = server.post("/predictions", &large_body());
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(
        refused.headers.contains("retry-after: 1"),
        "{}",
        refused.headers
    );
    let small = server.begin("small", json!({"s": "small"}));
    release(&server);
    for answer in held {
        assert_eq!(answer.answer().json()["output"], "large");
    }
    assert_eq!(small.answer().json()["output"], "small");
    assert_eq!(
        server.post("/predictions", &large_body()).json()["output"],
        "large"
    );
}

#[test]
fn the_largest_body_is_for_the_operator_to_say() {
    let server = Model::echo().env("COG_MAX_BODY_SIZE", "1M").ready();
    let refused = server.post("/predictions", &large_body());
    assert_eq!(refused.status, 413);
    assert!(
        refused.text().contains("`COG_MAX_BODY_SIZE`"),
        "{}",
        refused.text()
    );
}

#[test]
fn one_id_runs_once() {
    let server = gated().ready();
    let path = "/predictions/mine";
    let sent: Vec<_> = (0..6)
        .map(|_| server.send(Request::json("PUT", path, &large_body())))
        .collect();
    server.until_file("runs");
    let body = json!({"input": {"s": "x"}});
    assert_eq!(server.put(path, &body).status, 202);
    // All but the one that runs are answered before it ends.
    let (mut first, mut joined) = (None, 0);
    std::thread::scope(|scope| {
        let (sender, answers) = std::sync::mpsc::channel();
        for pending in sent {
            let sender = sender.clone();
            scope.spawn(move || sender.send(pending.answer()).unwrap());
        }
        for _ in 0..5 {
            assert_eq!(answers.recv().unwrap().status, 202);
            joined += 1;
        }
        release(&server);
        first = Some(answers.recv().unwrap());
    });
    assert_eq!((first.unwrap().status, joined), (200, 5));
    let runs = fs_err::read_to_string(server.directory.path().join("runs")).unwrap();
    assert_eq!(runs, "x");
}

#[test]
fn a_log_keeps_its_beginning_and_its_end() {
    let server = Model::run(
        "def setup(self) -> None:\n        for n in range(2000): print('setup', n)\n\n    def run(self) -> str",
        "for n in range(20000): print('line', n)\nreturn 'done'",
    )
    .env("COG_LOG_SIZE", "20k")
    .env("COG_SETUP_LOG_SIZE", "4k")
    .ready();
    let logs = server.predict(json!({}))["logs"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(logs.starts_with("line 0\nline 1\n"), "{logs}");
    assert!(logs.ends_with("line 19998\nline 19999\n"), "{logs}");
    assert!(logs.contains(" BYTES OF LOG LEFT OUT ****]\n") && logs.len() < 25_000);
    let setup = server.setup_logs();
    assert!(
        setup.starts_with("[coglet] Spawning worker subprocess\n"),
        "{setup}"
    );
    assert!(setup.ends_with("[coglet] Server ready\n"), "{setup}");
    assert!(
        setup.contains("LEFT OUT") && setup.len() < 6000,
        "{}",
        setup.len()
    );
}

#[test]
fn many_files_for_one_input() {
    let server = Model::run("def run(self, ps: list[Path]) -> int", "return len(ps)")
        .env("COG_MAX_INPUT_FILES", 5)
        .ready();
    assert_eq!(server.output(json!({"ps": vec!["data:,x"; 5]})), 5);
    let refused = server.post(
        "/predictions",
        &json!({"input": {"ps": vec!["data:,x"; 6]}}),
    );
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.json()["detail"][0]["loc"],
        json!(["body", "input", "ps"])
    );
}

#[test]
fn who_is_refused_gets_the_answer_while_it_sends() {
    let server = Model::echo().env("COG_AUTH_TOKEN", "secret").ready();
    let body = "x".repeat(50 << 20);
    for (method, path) in [("POST", "/predictions"), ("PUT", "/nowhere"), ("POST", "/")] {
        let refused = server
            .send(Request::new(method, path).body(body.clone()))
            .answer();
        assert_eq!(refused.status, 401, "{path}");
    }
    for (path, status) in [("/nowhere", 404), ("/", 405)] {
        let request = Request::new("POST", path).header("Authorization", "Bearer secret");
        assert_eq!(
            server.send(request.body(body.clone())).answer().status,
            status,
            "{path}"
        );
    }
}
