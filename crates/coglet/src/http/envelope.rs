//! The JSON around an input.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{self, Refusal};
use crate::json::{check_readable, slice_of};
use crate::webhooks::EventKind;

/// What a create request says, the input unread.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) id: Option<String>,
    /// JSON text of any type.
    pub(super) input: Bytes,
    pub(super) context: BTreeMap<String, String>,
    pub(super) webhook: Option<String>,
    pub(super) events: Vec<EventKind>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(default)]
    context: BTreeMap<String, String>,
    #[serde(default)]
    webhook: Option<String>,
    #[serde(default = "all_events")]
    webhook_events_filter: Vec<EventKind>,
}

fn all_events() -> Vec<EventKind> {
    vec![
        EventKind::Start,
        EventKind::Output,
        EventKind::Logs,
        EventKind::Completed,
    ]
}

impl Envelope {
    /// Reads a body, or gives the answer that refuses it. No body is an empty envelope.
    pub(super) fn parse(content_type: Option<&HeaderValue>, body: &Bytes) -> Result<Self, Refusal> {
        if content_type.is_none() && body.is_empty() {
            return Ok(Self::empty());
        }
        if content_type.is_some_and(|value| !value.to_str().is_ok_and(is_json)) {
            let message = "Expected request with `Content-Type: application/json`";
            let refusal = answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.into());
            return Err(Refusal::from(refusal));
        }
        let wire: Wire<'_> = serde_json::from_slice(body).map_err(|error| refuse(&error))?;
        if let Some(input) = wire.input {
            check_readable(input).map_err(|error| malformed(&error))?;
        }
        Ok(Self {
            id: wire.id,
            input: wire
                .input
                .map_or_else(|| Bytes::from_static(b"{}"), |input| slice_of(body, input)),
            context: wire.context,
            webhook: wire.webhook,
            events: wire.webhook_events_filter,
        })
    }

    fn empty() -> Self {
        Self {
            id: None,
            input: Bytes::from_static(b"{}"),
            context: BTreeMap::new(),
            webhook: None,
            events: all_events(),
        }
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn refuse(error: &serde_json::Error) -> Refusal {
    if error.is_data() {
        let message = format!("Failed to deserialize the JSON body into the target type: {error}");
        Refusal::from(answer::text(StatusCode::UNPROCESSABLE_ENTITY, message))
    } else {
        malformed(error)
    }
}

fn malformed(error: &serde_json::Error) -> Refusal {
    let message = format!("Failed to parse the request body as JSON: {error}");
    Refusal::from(answer::text(StatusCode::BAD_REQUEST, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content_type: Option<&str>, body: &str) -> Result<Envelope, StatusCode> {
        let content_type = content_type.map(|value| HeaderValue::from_str(value).unwrap());
        let body = Bytes::copy_from_slice(body.as_bytes());
        Envelope::parse(content_type.as_ref(), &body)
            .map_err(|refusal| refusal.into_response().status())
    }

    #[test]
    fn no_body_and_null_input_are_empty_inputs() {
        for (content_type, body) in [
            (None, ""),
            (Some("application/json"), "{}"),
            (Some("application/json; charset=utf-8"), r#"{"input":null}"#),
            (None, r#"{"input":{}}"#),
        ] {
            assert_eq!(parse(content_type, body).unwrap().input, "{}", "{body}");
        }
    }

    #[test]
    fn the_input_is_a_slice_of_the_body() {
        let envelope = parse(
            Some("application/vnd.x+json"),
            r#"{"id":"a","input": {"s" : 1},"other":2}"#,
        )
        .unwrap();
        assert_eq!(
            (envelope.id.as_deref(), envelope.input.as_ref()),
            (Some("a"), r#"{"s" : 1}"#.as_bytes())
        );
        assert_eq!(envelope.events, all_events());
    }

    #[test]
    fn refusals() {
        let json = Some("application/json");
        let table = [
            (Some("text/plain"), "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (json, "", StatusCode::BAD_REQUEST),
            (json, "{", StatusCode::BAD_REQUEST),
            (json, "{} x", StatusCode::BAD_REQUEST),
            (json, r#"{"input":{"a":"\ud800"}}"#, StatusCode::BAD_REQUEST),
            (json, r#"{"id":5}"#, StatusCode::UNPROCESSABLE_ENTITY),
            (
                json,
                r#"{"context":null}"#,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (
                json,
                r#"{"context":{"a":1}}"#,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (
                json,
                r#"{"webhook_events_filter":null}"#,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (
                json,
                r#"{"webhook_events_filter":["end"]}"#,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (json, "3", StatusCode::UNPROCESSABLE_ENTITY),
        ];
        for (content_type, body, status) in table {
            assert_eq!(parse(content_type, body).unwrap_err(), status, "{body}");
        }
    }
}
