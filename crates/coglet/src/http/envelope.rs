//! The JSON around an input.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::answer::{self, Refusal};
use crate::json::{check_readable, slice_of};
use crate::webhooks::{EventKind, EventKinds};

/// What a create request says, the input unread.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) id: Option<String>,
    /// JSON text of any type.
    pub(super) input: Bytes,
    /// A JSON object of strings, as text: in memory it takes no more room than it took in the body.
    pub(super) context: Bytes,
    pub(super) webhook: Option<String>,
    pub(super) events: EventKinds,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context: Strings<'a>,
    #[serde(default)]
    webhook: Option<String>,
    #[serde(default)]
    webhook_events_filter: Filter,
}

/// The body has to be an object: what is derived would take a list for one, in the order of its members.
struct Body<'a>(Wire<'a>);

/// The text of an object whose values are strings; none if it is absent.
#[derive(Default)]
struct Strings<'a>(Option<&'a RawValue>);

/// A list of events, in any order, of any length.
struct Filter(EventKinds);

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
        let Body(wire) = serde_json::from_slice(body).map_err(|error| refuse(&error))?;
        if let Some(input) = wire.input {
            check_readable(input).map_err(|error| malformed(&error))?;
        }
        Ok(Self {
            id: wire.id,
            input: wire
                .input
                .map_or_else(empty_object, |input| slice_of(body, input)),
            context: wire
                .context
                .0
                .map_or_else(empty_object, |context| slice_of(body, context)),
            webhook: wire.webhook,
            events: wire.webhook_events_filter.0,
        })
    }

    fn empty() -> Self {
        Self {
            id: None,
            input: empty_object(),
            context: empty_object(),
            webhook: None,
            events: EventKinds::all(),
        }
    }
}

fn empty_object() -> Bytes {
    Bytes::from_static(b"{}")
}

impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Body<'de>;

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                // Whether it is JSON at all comes first.
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Err(A::Error::invalid_type(Unexpected::Seq, &self))
            }

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                Wire::deserialize(MapAccessDeserializer::new(members)).map(Body)
            }
        }
        deserializer.deserialize_any(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Strings<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?;
        serde_json::from_str::<OfStrings>(text.get()).map_err(D::Error::custom)?;
        Ok(Self(Some(text)))
    }
}

/// Proves that a text is an object of strings.
struct OfStrings;

impl<'de> Deserialize<'de> for OfStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for OfStrings {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while let Some((AString, AString)) = members.next_entry()? {}
        Ok(self)
    }
}

struct AString;

impl<'de> Deserialize<'de> for AString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Self)
    }
}

impl Visitor<'_> for AString {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self(EventKinds::all())
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Events;
        impl<'de> Visitor<'de> for Events {
            type Value = Filter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Filter, A::Error> {
                let mut kinds = EventKinds::none();
                while let Some(kind) = list.next_element::<EventKind>()? {
                    kinds.add(kind);
                }
                Ok(Filter(kinds))
            }
        }
        deserializer.deserialize_seq(Events)
    }
}

/// Whether this type is JSON, or a kind of it.
pub(super) fn is_json(content_type: &str) -> bool {
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
        assert_eq!(envelope.events, EventKinds::all());
    }

    #[test]
    fn the_context_is_a_slice_too_and_events_are_a_set() {
        let envelope = parse(
            None,
            r#"{"context": {"k": "v"}, "webhook_events_filter": ["logs", "logs", "start"]}"#,
        )
        .unwrap();
        assert_eq!(envelope.context, r#"{"k": "v"}"#);
        assert!(envelope.events.contains(EventKind::Start));
        assert!(!envelope.events.contains(EventKind::Completed));
        let none = parse(None, r#"{"webhook_events_filter": []}"#).unwrap();
        assert!(none.events.is_empty());
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
            (json, "[]", StatusCode::UNPROCESSABLE_ENTITY),
            (json, r#"["a",{}]"#, StatusCode::UNPROCESSABLE_ENTITY),
            (json, "[", StatusCode::BAD_REQUEST),
            (
                json,
                r#"{"context":["a"]}"#,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (
                json,
                r#"{"context":{"a":"\ud800"}}"#,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
        ];
        for (content_type, body, status) in table {
            assert_eq!(parse(content_type, body).unwrap_err(), status, "{body}");
        }
    }
}
