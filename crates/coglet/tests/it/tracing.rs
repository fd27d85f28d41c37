//! Traces, as a collector gets them.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::http::Request;
use crate::receiver::{Received, Receiver, response};
use crate::server::{Model, Server};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A field of a protobuf message: its number and what is in it.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    kind: u64,
    start: u64,
    end: u64,
    attributes: HashMap<String, Value>,
    failed: bool,
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Number(u64::from_le_bytes(number.try_into().unwrap()))
            }
            2 => {
                let length = varint(&mut bytes).try_into().unwrap();
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(content)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn messages(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of_number = fields(bytes)
        .into_iter()
        .filter(|(found, _)| *found == number);
    of_number
        .map(|(_, field)| match field {
            Field::Bytes(bytes) => bytes,
            Field::Number(number) => panic!("{number} where a message belongs"),
        })
        .collect()
}

fn number(bytes: &[u8], number: u64) -> u64 {
    let field = fields(bytes)
        .into_iter()
        .find(|(found, _)| *found == number);
    match field {
        Some((_, Field::Number(number))) => number,
        _ => 0,
    }
}

fn text(bytes: &[u8], number: u64) -> String {
    let first = messages(bytes, number).first().copied();
    String::from_utf8(first.unwrap_or_default().to_vec()).unwrap()
}

fn hexadecimal(bytes: &[u8], number: u64) -> String {
    let first = messages(bytes, number).first().copied().unwrap_or_default();
    first.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(message: &[u8], number_of_field: u64) -> HashMap<String, Value> {
    let pairs = messages(message, number_of_field).into_iter();
    pairs
        .map(|pair| {
            let value = messages(pair, 2)[0];
            let value = match fields(value).remove(0) {
                (1, Field::Bytes(_)) => json!(text(value, 1)),
                (3, Field::Number(number)) => json!(number),
                (other, _) => panic!("attribute of type {other}"),
            };
            (text(pair, 1), value)
        })
        .collect()
}

/// The attributes of the service, and the spans by name.
fn decoded(request: &Received) -> (HashMap<String, Value>, HashMap<String, Span>) {
    let resource_spans = messages(&request.body, 1)[0];
    let scope_spans = messages(resource_spans, 2)[0];
    assert_eq!(text(messages(scope_spans, 1)[0], 1), "coglet");
    let spans = messages(scope_spans, 2).into_iter().map(|span| {
        let decoded = Span {
            trace: hexadecimal(span, 1),
            id: hexadecimal(span, 2),
            parent: hexadecimal(span, 4),
            kind: number(span, 6),
            start: number(span, 7),
            end: number(span, 8),
            attributes: attributes(span, 9),
            failed: messages(span, 15)
                .first()
                .is_some_and(|status| number(status, 3) == 2),
        };
        (text(span, 5), decoded)
    });
    let resource = messages(resource_spans, 1)[0];
    (attributes(resource, 1), spans.collect())
}

fn traced(model: Model, collector: &Receiver) -> Model {
    model
        .env("COG_TRACE_CONFIGURED", "true")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url(""))
}

fn predict(server: &Server, body: &Value, traceparent: Option<&str>) -> Value {
    let mut request = Request::json("POST", "/predictions", body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    server.send(request).answer().json()
}

#[test]
fn a_prediction_with_everything() {
    let collector = Receiver::accepting();
    let files = Receiver::start(|_, _| response(200, b"input"));
    let hooks = Receiver::accepting();
    let model = Model::run(
        "def run(self, p: Path) -> Path",
        "time.sleep(0.05)\nopen('out.txt', 'w').write(p.read_text())\nreturn Path('out.txt')",
    );
    let server = traced(model, &collector)
        .env("OTEL_SERVICE_NAME", "painter")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
        .ready();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let body = json!({
        "id": "mine", "input": {"p": files.url("/x")},
        "webhook": hooks.url("/"), "webhook_events_filter": ["completed"],
    });
    assert_eq!(predict(&server, &body, Some(PARENT))["status"], "succeeded");
    let hook = hooks.next();
    server.stop();

    let request = collector.next();
    assert_eq!(request.path, "/v1/traces");
    assert!(
        request
            .headers
            .contains("content-type: application/x-protobuf")
    );
    assert!(request.headers.contains("x-key: abc"));
    let mut spans = HashMap::new();
    let (resource, first) = decoded(&request);
    assert_eq!(resource["service.name"], "painter");
    spans.extend(first);
    for request in collector.rest() {
        spans.extend(decoded(&request).1);
    }
    let mut names: Vec<_> = spans.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "POST /predictions",
            "input download",
            "output delivery",
            "predict",
            "queue",
            "webhook"
        ]
    );
    let server_span = &spans["POST /predictions"];
    assert_eq!(server_span.parent, "b7ad6b7169203331");
    assert_eq!(server_span.kind, 2);
    assert_eq!(
        server_span.attributes,
        HashMap::from(
            [
                ("http.request.method", json!("POST")),
                ("http.route", json!("/predictions")),
                ("http.response.status_code", json!(200)),
                ("cog.prediction.id", json!("mine")),
            ]
            .map(|(name, value)| (name.to_owned(), value))
        )
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for (name, span) in &spans {
        assert_eq!(span.trace, TRACE, "{name}");
        assert!(!span.failed, "{name}");
        assert!(
            before.as_nanos() <= span.start.into()
                && span.start <= span.end
                && u128::from(span.end) <= now.as_nanos(),
            "{name}: {span:?}"
        );
        if name != "POST /predictions" {
            assert_eq!(span.parent, server_span.id, "{name}");
        }
    }
    let (download, predict, delivery) = (
        &spans["input download"],
        &spans["predict"],
        &spans["output delivery"],
    );
    assert!(predict.end - predict.start >= 50_000_000);
    assert!(download.end <= predict.start && predict.end <= delivery.start);
    assert_eq!(predict.attributes["cog.prediction.status"], "succeeded");
    let expected = format!("traceparent: 00-{TRACE}-{}-01", spans["webhook"].id);
    assert!(hook.headers.contains(&expected), "{}", hook.headers);
    assert_eq!(spans["webhook"].kind, 3);
}

#[test]
fn failures_and_refusals() {
    let collector = Receiver::accepting();
    let model = Model::run("def run(self, s: str) -> str", "raise ValueError(s)")
        .input(&json!({"s": {"type": "string"}}), &["s"]);
    let server = traced(model, &collector)
        .env("COG_TRACE_SAMPLER", "always_on")
        .ready();
    predict(&server, &json!({"input": {"s": "private"}}), None);
    predict(&server, &json!({"input": {"s": 5}}), None);
    server.stop();
    let mut requests = vec![collector.next()];
    requests.extend(collector.rest());
    let spans: Vec<_> = requests
        .iter()
        .flat_map(|request| decoded(request).1)
        .collect();
    let predict = spans.iter().find(|(name, _)| name == "predict").unwrap();
    assert!(predict.1.failed);
    assert_eq!(predict.1.attributes["cog.prediction.status"], "failed");
    let refused = spans
        .iter()
        .find(|(_, span)| span.attributes.get("http.response.status_code") == Some(&json!(422)));
    assert_eq!(refused.map_or(0, |(_, span)| span.kind), 2);
    assert!(
        requests
            .iter()
            .all(|request| !String::from_utf8_lossy(&request.body).contains("private")),
        "an input in a trace"
    );
}

#[test]
fn only_what_is_sampled() {
    let collector = Receiver::accepting();
    let server = traced(Model::echo(), &collector).ready();
    let body = json!({"input": {"s": "x"}});
    predict(&server, &body, None);
    predict(&server, &body, Some(&PARENT.replace("-01", "-00")));
    predict(&server, &body, Some("nonsense"));
    server.stop();
    assert!(collector.rest().is_empty());
}

#[test]
fn inert_unless_configured() {
    let (collector, hooks) = (Receiver::accepting(), Receiver::accepting());
    let server = Model::echo()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url(""))
        .env("OTEL_TRACES_SAMPLER", "always_on")
        .ready();
    let body = json!({"input": {"s": "x"}, "webhook": hooks.url("/"), "webhook_events_filter": ["completed"]});
    predict(&server, &body, Some(PARENT));
    let hook = hooks.next();
    assert!(hook.headers.contains(&format!("traceparent: {PARENT}")));
    server.stop();
    assert!(collector.rest().is_empty());
}

#[test]
fn a_collector_that_is_down_delays_nothing() {
    let server = Model::echo()
        .env("COG_TRACE_CONFIGURED", 1)
        .env("OTEL_TRACES_SAMPLER", "always_on")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .ready();
    // More than the queue holds.
    for _ in 0..1000 {
        assert_eq!(server.output(json!({"s": "x"})), "hello x");
    }
    server.until_logged("Traces are lost: ");
    server.stop();
}
