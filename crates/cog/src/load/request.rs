//! One request and what came of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use super::wire::{Answer, Wire, WireError};
use crate::client::Decoder;

const EVENT_STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";
/// Bytes of an answer that are looked at. Of a longer one, which cannot be read, only its HTTP status counts.
const MOST_OF_A_BODY: usize = 16 << 20;
/// Characters of a foreign text that are kept.
const MOST_OF_A_REASON: usize = 200;

/// Where requests go, and what they are. Clones share connections.
#[derive(Clone)]
pub(crate) struct Target {
    wire: Wire,
    headers: HeaderMap,
    body: Bytes,
    answers: Answers,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Whole,
    Events,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Sample {
    /// From when it was due until the last byte.
    pub(super) latency: Duration,
    /// From when it was due until the first output of a stream.
    pub(super) first_output: Option<Duration>,
    /// Outputs of a stream.
    pub(super) outputs: u64,
    /// Bytes of the answer's body.
    pub(super) bytes: u64,
    pub(super) end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded(u16),
    /// The model ran, and there is no output.
    Failed(u16, String),
    /// The server answered something else.
    Refused(u16, String),
    /// There was no answer.
    Lost(String),
}

/// What is read of a result.
#[derive(Deserialize)]
struct Outcome {
    status: String,
    error: Option<Value>,
}

impl Sample {
    /// Why there is no output.
    pub(crate) fn failure(&self) -> Option<String> {
        match &self.end {
            End::Succeeded(_) => None,
            End::Refused(status, reason) if reason.is_empty() => {
                Some(format!("the answer has HTTP status {status}"))
            }
            End::Refused(status, reason) => Some(format!("{reason} (HTTP status {status})")),
            End::Failed(_, reason) | End::Lost(reason) => Some(reason.clone()),
        }
    }
}

impl Target {
    pub(crate) fn new(wire: Wire, mut headers: HeaderMap, body: Bytes, answers: Answers) -> Self {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static(match answers {
                Answers::Whole => JSON,
                Answers::Events => EVENT_STREAM,
            }),
        );
        Self {
            wire,
            headers,
            body,
            answers,
        }
    }

    /// Sends the request; it was due at `when`.
    pub(crate) async fn ask(&self, when: Instant) -> Sample {
        let mut sample = Sample {
            latency: Duration::ZERO,
            first_output: None,
            outputs: 0,
            bytes: 0,
            end: End::Lost(String::new()),
        };
        let exchange = self.exchange(when, &mut sample);
        let exchanged = self.wire.within_limit(exchange).await;
        sample.end = exchanged.unwrap_or_else(|error| End::Lost(cause(&error)));
        sample.latency = when.elapsed();
        sample
    }

    async fn exchange(&self, when: Instant, sample: &mut Sample) -> Result<End, WireError> {
        let answer = self.wire.post(&self.headers, &self.body).await?;
        let status = answer.status();
        if status.is_success() && self.answers == Answers::Events {
            return follow(answer, when, sample).await;
        }
        let body;
        (body, sample.bytes) = answer.whole(MOST_OF_A_BODY).await?;
        Ok(if status.is_success() && sample.bytes > body.len() as u64 {
            End::Succeeded(status.as_u16())
        } else if status.is_success() {
            of_result(status.as_u16(), &body)
        } else {
            End::Refused(status.as_u16(), reason(&body))
        })
    }
}

/// Reads a stream of events to its end.
async fn follow(mut answer: Answer, when: Instant, sample: &mut Sample) -> Result<End, WireError> {
    let status = answer.status().as_u16();
    let mut decoder = Decoder::default();
    let mut end = None;
    while let Some(piece) = answer.chunk().await? {
        sample.bytes += piece.len() as u64;
        decoder.add(&piece);
        while let Some(event) = decoder.next() {
            match event.name.as_str() {
                "output" => {
                    sample.outputs += 1;
                    sample.first_output.get_or_insert_with(|| when.elapsed());
                }
                "completed" => end = Some(of_result(status, event.data.as_bytes())),
                _ => {}
            }
        }
    }
    Ok(end.unwrap_or_else(|| End::Failed(status, "the stream ended before the prediction".into())))
}

/// What a result says of its prediction. An answer that is none is no success, whatever its HTTP status says: a page of
/// some other server, or that of a prediction that has only begun.
fn of_result(status: u16, body: &[u8]) -> End {
    let Ok(Outcome {
        status: word,
        error,
    }) = serde_json::from_slice(body)
    else {
        let begins = cut(&beginning(body));
        let reason = if begins.is_empty() {
            "the answer is empty".to_owned()
        } else {
            format!("the answer is no result of a prediction: {begins}")
        };
        return End::Failed(status, reason);
    };
    let reason = match (word.as_str(), error) {
        ("succeeded", _) => return End::Succeeded(status),
        ("failed" | "canceled", Some(Value::String(error))) if !error.trim().is_empty() => error,
        ("failed" | "canceled", _) => word,
        _ => format!("the answer is not the result: its status is `{word}`"),
    };
    End::Failed(status, cut(&reason))
}

/// What a server says of its refusal: `detail` in the words of ours, or the beginning of the body.
fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        detail: Value,
    }
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal {
            detail: Value::String(text),
        }) => text,
        Ok(Refusal { detail }) => match detail[0]["msg"].as_str() {
            Some(message) => message.to_owned(),
            None => detail.to_string(),
        },
        Err(_) => beginning(body),
    };
    cut(&text)
}

/// As much of a body as can be a reason.
fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(4 * MOST_OF_A_REASON)]).into()
}

/// The innermost cause, which says what happened; what is around it only repeats the address.
fn cause(error: &WireError) -> String {
    if error.is_timeout() {
        return WireError::TimedOut.to_string();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    cut(&innermost.to_string())
}

fn cut(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let printable = line.chars().filter(|letter| !letter.is_control());
    printable.take(MOST_OF_A_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_prediction_is_no_success() {
        let of = |body: &str| of_result(200, body.as_bytes());
        assert_eq!(of(r#"{"status": "succeeded"}"#), End::Succeeded(200));
        assert_eq!(
            of(r#"{"status": "succeeded", "output": {"status": "failed"}, "error": null}"#),
            End::Succeeded(200)
        );
        for (body, reason) in [
            (
                r#"{"status": "failed", "error": "no memory\nx"}"#,
                "no memory",
            ),
            (r#"{"status": "failed", "error": ""}"#, "failed"),
            (r#"{"status": "failed", "error": {"code": 7}}"#, "failed"),
            (r#"{"status": "canceled"}"#, "canceled"),
            (
                r#"{"status": "processing"}"#,
                "the answer is not the result: its status is `processing`",
            ),
            ("", "the answer is empty"),
            ("{}", "the answer is no result of a prediction: {}"),
            (
                "<html>\nWelcome",
                "the answer is no result of a prediction: <html>",
            ),
        ] {
            assert_eq!(of(body), End::Failed(200, reason.into()), "{body}");
        }
    }

    #[test]
    fn refusals_are_told_in_the_servers_words() {
        assert_eq!(reason(br#"{"detail": "busy"}"#), "busy");
        let detail = br#"{"detail": [{"msg": "field required", "loc": ["body"]}]}"#;
        assert_eq!(reason(detail), "field required");
        assert_eq!(reason(b"<html>\nBad gateway"), "<html>");
        assert_eq!(reason(&vec![b'x'; 1 << 20]).len(), MOST_OF_A_REASON);
    }
}
