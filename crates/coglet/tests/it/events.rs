//! Predictions watched as server-sent events.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::http::Request;
use crate::receiver::Receiver;
use crate::server::{Model, Server};

const NOT_STREAMING: &str = "This model does not support streaming responses. Add @cog.streaming to predict() to enable SSE.";
const STEPS: &str = "\
for n in range(count):
    yield f'token {n}'
    while not os.path.exists(f'go{n}') and wait: time.sleep(0.002)";

/// An event stream being read.
struct Events {
    reader: BufReader<TcpStream>,
    head: String,
    text: String,
    ready: VecDeque<(String, Value)>,
    comments: Vec<String>,
}

impl Events {
    fn open(server: &Server, request: Request<'_>) -> Self {
        let pending = server.send(request.header("Accept", "text/event-stream"));
        let mut reader = BufReader::new(pending.into_stream());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        Self {
            reader,
            head: head.to_lowercase(),
            text: String::new(),
            ready: VecDeque::new(),
            comments: Vec::new(),
        }
    }

    /// Starts a prediction to watch it.
    fn post(server: &Server, body: &Value) -> Self {
        let events = Self::open(server, Request::json("POST", "/predictions", body));
        assert!(events.head.starts_with("http/1.1 200"), "{}", events.head);
        events
    }

    /// Watches one that is under way.
    fn put(server: &Server, id: &str) -> Self {
        let path = format!("/predictions/{id}");
        let events = Self::open(server, Request::json("PUT", &path, &json!({})));
        assert!(events.head.starts_with("http/1.1 200"), "{}", events.head);
        events
    }

    /// The next event; none when the stream has ended in an orderly way.
    fn next(&mut self) -> Option<(String, Value)> {
        while self.ready.is_empty() {
            let chunk = self.chunk()?;
            self.text.push_str(&chunk);
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                if event.starts_with(':') {
                    self.comments.push(event.to_owned());
                } else {
                    self.ready.push_back(parse(event));
                }
                self.text = rest.to_owned();
            }
        }
        self.ready.pop_front()
    }

    /// Reads until an event of that name.
    fn until(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().expect("more events");
            if found == name {
                return data;
            }
        }
    }

    fn rest(mut self) -> Vec<(String, Value)> {
        let events = std::iter::from_fn(|| self.next()).collect();
        assert_eq!(self.text, "");
        events
    }

    /// A chunk of the transfer encoding; none is the last.
    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk");
        let mut data = vec![0; size + 2];
        self.reader.read_exact(&mut data).unwrap();
        data.truncate(size);
        Some(String::from_utf8(data).unwrap()).filter(|data| !data.is_empty())
    }
}

fn parse(event: &str) -> (String, Value) {
    let (name, data) = event
        .strip_prefix("event: ")
        .and_then(|rest| rest.split_once("\ndata: "))
        .unwrap_or_else(|| panic!("not an event: {event}"));
    (name.to_owned(), serde_json::from_str(data).unwrap())
}

fn named<'a>(events: &'a [(String, Value)], name: &str) -> Vec<&'a Value> {
    let named = events.iter().filter(|(found, _)| found == name);
    named.map(|(_, data)| data).collect()
}

/// `count` tokens; with `wait`, each waits for a file after it.
fn steps() -> Model {
    let signature = "def run(self, count: int = 2, wait: bool = False) -> Iterator[str]";
    Model::run(signature, STEPS).streaming()
}

fn go_on(server: &Server) {
    fs_err::write(server.directory.path().join("go"), "").unwrap();
}

fn go(server: &Server, step: usize) {
    fs_err::write(server.directory.path().join(format!("go{step}")), "").unwrap();
}

#[test]
fn case_52_outputs_in_order() {
    let server = steps().ready();
    let events = Events::post(&server, &json!({"id": "a"}));
    for header in [
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "transfer-encoding: chunked",
    ] {
        assert!(events.head.contains(&format!("\r\n{header}\r\n")));
    }
    let mut events = events.rest();
    let (name, mut completed) = events.pop().unwrap();
    let expected = [
        ("start", json!({"id": "a", "status": "processing"})),
        ("output", json!({"chunk": "token 0", "index": 0})),
        ("output", json!({"chunk": "token 1", "index": 1})),
    ]
    .map(|(name, data)| (name.to_owned(), data));
    assert_eq!(events, expected);
    assert!(completed["metrics"]["predict_time"].is_f64());
    completed["metrics"] = json!({});
    let expected = json!({"id": "a", "status": "succeeded", "output": ["token 0", "token 1"], "logs": "", "metrics": {}});
    assert_eq!((name.as_str(), completed), ("completed", expected));
    assert_eq!(server.status(), "READY");
}

#[test]
fn tokens_come_as_they_are_yielded() {
    for signature in ["def", "async def"] {
        let body = STEPS.replace(
            "time.sleep",
            if signature == "def" {
                "time.sleep"
            } else {
                "await asyncio.sleep"
            },
        );
        let signature = format!(
            "{signature} run(self, count: int = 3, wait: bool = True) -> AsyncIterator[str]"
        );
        let server = Model::run(&signature, &body).streaming().ready();
        let mut events = Events::post(&server, &json!({}));
        for n in 0..3 {
            assert_eq!(
                events.until("output"),
                json!({"chunk": format!("token {n}"), "index": n})
            );
            go(&server, n);
        }
        assert_eq!(events.until("completed")["status"], "succeeded");
    }
}

#[test]
fn logs_with_their_source() {
    let body = "print('out')\nprint('err', file=sys.stderr)\nyield 1";
    let server = Model::run("def run(self) -> Iterator[int]", body)
        .streaming()
        .ready();
    let events = Events::post(&server, &json!({})).rest();
    assert_eq!(
        named(&events, "log"),
        [
            &json!({"source": "stdout", "data": "out\n"}),
            &json!({"source": "stderr", "data": "err\n"})
        ]
    );
    assert_eq!(events.last().unwrap().1["logs"], "out\nerr\n");
}

#[test]
fn case_53_metrics() {
    let body = "record = current_scope().record_metric\nrecord('score', 0.7)\nrecord('n', 1, mode='increment')\n\
                record('n', 2, mode='increment')\nrecord('tags', 'a', mode='append')\nyield 'x'";
    let server = Model::run("def run(self) -> Iterator[str]", body)
        .streaming()
        .ready();
    let events = Events::post(&server, &json!({})).rest();
    assert_eq!(
        named(&events, "metric"),
        [
            &json!({"name": "score", "value": 0.7, "mode": "replace"}),
            &json!({"name": "n", "value": 1, "mode": "increment"}),
            &json!({"name": "n", "value": 2, "mode": "increment"}),
            &json!({"name": "tags", "value": "a", "mode": "append"}),
        ]
    );
    let metrics = &events.last().unwrap().1["metrics"];
    assert_eq!(
        (&metrics["score"], &metrics["n"], &metrics["tags"]),
        (&json!(0.7), &json!(3), &json!(["a"]))
    );
    assert!(metrics["predict_time"].is_f64());
}

#[test]
fn case_54_a_model_that_did_not_opt_in() {
    let server = Model::run("def run(self) -> Iterator[int]", "yield 1\nyield 2").ready();
    for (method, path) in [("POST", "/predictions"), ("PUT", "/predictions/a")] {
        let request = Request::json(method, path, &json!({})).header("Accept", "text/event-stream");
        let response = server.send(request).answer();
        assert_eq!(response.status, 406);
        assert_eq!(response.json(), json!({"error": NOT_STREAMING}));
    }
    assert_eq!(server.output(json!({})), json!([1, 2]));
    let response = server.get("/predictions/a/stream");
    assert_eq!(response.status, 404);
}

#[test]
fn who_asks_for_it_can_watch_any_model() {
    let server = Model::run("def run(self) -> str", "print('thinking')\nreturn 'x'").ready();
    let request = |method, path| Request::json(method, path, &json!({})).header("Cog-Events", "1");
    let mut events = Events::open(&server, request("POST", "/predictions")).rest();
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["start", "log", "output", "completed"]);
    let completed = events.pop().unwrap().1;
    assert_eq!(
        (&completed["status"], &completed["output"]),
        (&json!("succeeded"), &json!("x"))
    );
    // The header alone asks for nothing.
    let answer = server.send(request("POST", "/predictions")).answer();
    assert_eq!(answer.json()["output"], "x");
    let training = request("POST", "/trainings").header("Accept", "text/event-stream");
    assert_eq!(server.send(training).answer().status, 406);
}

#[test]
fn what_was_not_meant_to_be_watched_is_watched_only_by_those_who_ask() {
    let body =
        "open('running', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.002)\nreturn 1";
    let server = Model::run("def run(self) -> int", body).ready();
    let put =
        || Request::json("PUT", "/predictions/a", &json!({})).header("Accept", "text/event-stream");
    let plain = server.send(Request::json("PUT", "/predictions/a", &json!({})));
    server.until_status("BUSY");
    // Nobody has asked to keep its events.
    for request in [put(), put().header("Cog-Events", "1")] {
        assert_eq!(server.send(request).answer().status, 406);
    }
    go_on(&server);
    assert_eq!(plain.answer().json()["output"], 1);
    fs_err::remove_file(server.directory.path().join("go")).unwrap();
    let asked = put().header("Cog-Events", "1");
    let mut first = Events::open(&server, asked);
    first.until("start");
    assert_eq!(server.send(put()).answer().status, 406);
    let second = Events::open(&server, put().header("Cog-Events", "1"));
    go_on(&server);
    assert_eq!(first.until("completed"), second.rest().pop().unwrap().1);
}

#[test]
fn case_55_trainings() {
    let server = steps().ready();
    for (method, path) in [("POST", "/trainings"), ("PUT", "/trainings/x")] {
        let request = Request::json(method, path, &json!({})).header("Accept", "text/event-stream");
        let response = server.send(request).answer();
        assert_eq!(response.status, 406);
        let error = "Training endpoints do not support streaming responses.";
        assert_eq!(response.json(), json!({"error": error}));
    }
}

#[test]
fn refusals_stay_json() {
    let server = steps()
        .input(
            &json!({"count": {"type": "integer"}, "wait": {"type": "boolean"}}),
            &[],
        )
        .ready();
    let ask = |body: Value| {
        let request =
            Request::json("POST", "/predictions", &body).header("Accept", "text/event-stream");
        server.send(request).answer()
    };
    let response = ask(json!({"input": {"count": "x"}}));
    assert_eq!(response.status, 422);
    assert!(response.text().contains(r#"not of type \"integer\""#));
    let mut events = Events::post(&server, &json!({"input": {"wait": true}}));
    events.until("output");
    assert_eq!(ask(json!({})).status, 409);
    drop(events);
    server.until_status("READY");
}

#[test]
fn case_56_failures() {
    let server = Model::run(
        "def run(self) -> Iterator[str]",
        "yield 'x'\nraise ValueError('late')",
    )
    .streaming()
    .ready();
    let events = Events::post(&server, &json!({})).rest();
    let completed = &events.last().unwrap().1;
    assert_eq!(completed["status"], "failed");
    assert_eq!(completed["output"], json!(["x"]));
    assert!(
        completed["error"]
            .as_str()
            .unwrap()
            .contains("ValueError: late")
    );
}

#[test]
fn case_56_cancelations() {
    let server = steps().ready();
    let mut events = Events::post(&server, &json!({"id": "a", "input": {"wait": true}}));
    events.until("output");
    assert_eq!(server.post("/predictions/a/cancel", &json!({})).status, 200);
    let completed = events.until("completed");
    assert_eq!(completed["status"], "canceled");
    assert!(completed.get("error").is_none());
    assert_eq!(events.next(), None);
}

#[test]
fn a_crash_ends_the_stream() {
    let server = Model::run("def run(self) -> Iterator[str]", "yield 'x'\nos._exit(3)")
        .streaming()
        .ready();
    let completed = Events::post(&server, &json!({})).until("completed");
    assert_eq!(completed["status"], "failed");
    assert!(
        completed["error"]
            .as_str()
            .unwrap()
            .contains("Worker crashed")
    );
}

#[test]
fn large_items_that_came_before_a_crash_are_delivered() {
    let body = "for n in range(4): yield str(n) * 2_000_000\nos._exit(3)";
    let server = Model::run("def run(self) -> Iterator[str]", body)
        .streaming()
        .ready();
    let mut events = Events::post(&server, &json!({}));
    for n in 0..4 {
        assert_eq!(
            events.until("output")["chunk"],
            n.to_string().repeat(2_000_000)
        );
    }
    let completed = events.until("completed");
    let error = completed["error"].as_str().unwrap();
    assert!(error.contains("Worker crashed"), "{error}");
}

#[test]
fn case_57_a_second_watcher_gets_everything() {
    let server = steps().ready();
    let mut first = Events::post(&server, &json!({"id": "a", "input": {"wait": true}}));
    first.until("output");
    go(&server, 0);
    first.until("output");
    let mut second = Events::put(&server, "a");
    assert_eq!(second.next().unwrap().0, "start");
    for n in 0..2 {
        assert_eq!(second.until("output")["index"], n);
    }
    go(&server, 1);
    let ends = [first, second].map(|mut events| events.until("completed"));
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0]["output"], json!(["token 0", "token 1"]));
}

#[test]
fn case_58_who_comes_too_late_is_told() {
    let server = steps().ready();
    let body = json!({"id": "a", "input": {"count": 1030, "wait": true}});
    (0..1029).for_each(|n| go(&server, n));
    let mut creator = Events::post(&server, &body);
    while creator.until("output")["index"] != 1029 {}
    // 1031 events, one of them `start`.
    let late = Events::put(&server, "a").rest();
    let error = json!({"error": "SSE stream replay truncated; events were dropped", "skipped": 7});
    assert_eq!(late, [("error".to_owned(), error)]);
    go(&server, 1029);
    assert_eq!(creator.until("completed")["status"], "succeeded");
}

#[test]
fn a_slow_watcher_loses_nothing() {
    let server = steps().ready();
    let count = 100_000;
    let mut events = Events::post(&server, &json!({"id": "a", "input": {"count": count}}));
    // By then the model has long ended, and what the sockets hold is a part of it only.
    server.until_status("READY");
    for n in 0..count {
        assert_eq!(events.until("output")["index"], n);
    }
    let completed = events.until("completed");
    assert_eq!(completed["output"].as_array().unwrap().len(), count);
}

#[test]
fn case_58_who_stops_reading_is_told() {
    let body = "open('running', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.002)\n\
                for n in range(1500): yield 'x' * 40_000";
    let server = Model::run("def run(self) -> Iterator[str]", body)
        .streaming()
        .ready();
    let mut events = Events::post(&server, &json!({"id": "a"}));
    assert_eq!(events.until("start")["id"], "a");
    go_on(&server);
    server.until_status("READY");
    let (name, data) = events.rest().pop().unwrap();
    assert_eq!(name, "error");
    assert_eq!(data["error"], "SSE stream lagged; events were dropped");
    let skipped = data["skipped"].as_u64().unwrap();
    assert!((1..1500).contains(&skipped), "{skipped}");
}

#[test]
fn who_asks_for_it_goes_on_after_what_it_missed() {
    let body = "while not os.path.exists('go'): time.sleep(0.002)\n\
                for n in range(1500): yield 'x' * 40_000";
    let server = Model::run("def run(self) -> Iterator[str]", body).ready();
    let request = Request::json("POST", "/predictions", &json!({})).header("Cog-Events", "1");
    let mut events = Events::open(&server, request);
    events.until("start");
    go_on(&server);
    server.until_status("READY");
    let events = events.rest();
    let missed: Vec<_> = named(&events, "error");
    let skipped = missed[0]["skipped"].as_u64().unwrap();
    assert_eq!(missed.len(), 1);
    assert_eq!(named(&events, "output").len() as u64 + skipped, 1500);
    let completed = &events.last().unwrap().1;
    assert_eq!(completed["output"].as_array().unwrap().len(), 1500);
}

#[test]
fn no_replay() {
    let server = steps().env("COG_STREAM_HISTORY_CAPACITY", 0).ready();
    let mut creator = Events::post(&server, &json!({"id": "a", "input": {"wait": true}}));
    assert_eq!(creator.next().unwrap().0, "start");
    creator.until("output");
    let late = Events::put(&server, "a");
    go(&server, 0);
    creator.until("output");
    go(&server, 1);
    creator.until("completed");
    let names: Vec<_> = late.rest().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["output", "completed"]);
}

#[test]
fn a_prediction_ends_with_its_last_watcher() {
    let server = steps().ready();
    let mut creator = Events::post(&server, &json!({"id": "a", "input": {"wait": true}}));
    creator.until("output");
    let mut observer = Events::put(&server, "a");
    drop(creator);
    observer.until("output");
    go(&server, 0);
    assert_eq!(observer.until("output")["index"], 1);
    assert_eq!(server.status(), "BUSY");
    drop(observer);
    server.until_status("READY");
}

#[test]
fn an_observer_of_an_asynchronous_prediction_may_leave() {
    let server = steps().ready();
    let receiver = Receiver::accepting();
    let body = json!({
        "id": "a", "input": {"wait": true},
        "webhook": receiver.url("/"), "webhook_events_filter": ["completed"],
    });
    assert_eq!(server.begin_async(&body).status, 202);
    let mut observer = Events::put(&server, "a");
    observer.until("output");
    drop(observer);
    go(&server, 0);
    let mut second = Events::put(&server, "a");
    assert_eq!(second.until("start")["id"], "a");
    drop(second);
    go(&server, 1);
    let report = receiver.until_completed().pop().unwrap();
    assert_eq!(report["status"], "succeeded");
}

#[test]
fn event_streams_win_over_asynchronous_answers() {
    let server = steps().ready();
    let request =
        Request::json("POST", "/predictions", &json!({})).header("Prefer", "respond-async");
    let events = Events::open(&server, request).rest();
    assert_eq!(events.last().unwrap().0, "completed");
}

#[test]
fn what_is_returned_comes_as_if_yielded() {
    let server = Model::run("def run(self, value: Any = None) -> Any", "return value")
        .streaming()
        .ready();
    for (value, chunks) in [
        (json!("a"), json!(["a"])),
        (json!({"a": [1]}), json!([{"a": [1]}])),
        (json!([1, "b"]), json!([1, "b"])),
        (json!([]), json!([])),
        (json!(null), json!([])),
    ] {
        let events = Events::post(&server, &json!({"input": {"value": value}})).rest();
        let outputs = named(&events, "output");
        let outputs: Value = outputs
            .iter()
            .map(|output| output["chunk"].clone())
            .collect();
        assert_eq!(outputs, chunks);
        assert_eq!(events.last().unwrap().1["output"], value);
    }
}

#[test]
fn a_silent_stream_shows_that_it_is_alive() {
    let server = Model::run(
        "def run(self) -> Iterator[str]",
        "time.sleep(16)\nyield 'x'",
    )
    .streaming()
    .ready();
    let mut events = Events::post(&server, &json!({}));
    events.until("completed");
    assert_eq!(events.comments, [": keep-alive"]);
}

#[test]
fn files_are_chunks_too() {
    let body = "open('a.txt', 'w').write('Hello')\nyield Path('a.txt')\nyield Path('a.txt')";
    let server = Model::run("def run(self) -> Iterator[Path]", body)
        .streaming()
        .ready();
    let events = Events::post(&server, &json!({})).rest();
    let chunk = "data:text/plain;base64,SGVsbG8=";
    assert_eq!(
        named(&events, "output"),
        [
            &json!({"chunk": chunk, "index": 0}),
            &json!({"chunk": chunk, "index": 1})
        ]
    );
}
