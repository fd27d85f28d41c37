//! The model's `OpenAPI` document, and inputs checked against it.
//!
//! The rules are the JSON Schema keywords that a model's inputs can use, compiled once. An input is
//! walked as text: values that no rule looks into are neither parsed nor copied. There is no
//! coercion here and defaults are not filled in; the Python signature does that.

mod check;
mod compile;
mod input;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod walk;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

pub(crate) use input::{Accepted, InputSchema, accept_any_object, members};
pub(crate) use walk::{each_element, each_member};

/// The document bundled with the model, and what the server takes from it.
#[derive(Debug)]
pub(crate) struct ModelSchema {
    /// As loaded, byte for byte.
    pub(crate) document: Bytes,
    input: Option<InputSchema>,
    training_input: Option<InputSchema>,
    /// The model may be watched as an event stream.
    pub(crate) streams: bool,
    /// Inputs that the document marks as secret.
    pub(crate) secrets: Vec<String>,
    output_is_array: bool,
    training_output_is_array: bool,
}

/// Which of the two families of end points a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prediction,
    Training,
}

/// One entry of a 422 answer's `detail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    loc: Vec<String>,
    msg: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl ModelSchema {
    /// Reads a document. It comes with the image and is not trusted: what is odd in it is skipped
    /// with a warning, only text that is no JSON is an error.
    pub(crate) fn parse(document: Bytes) -> Result<Self, serde_json::Error> {
        let parsed: Value = serde_json::from_slice(&document)?;
        let component = |name: &str| {
            parsed
                .pointer("/components/schemas")
                .and_then(|schemas| schemas.get(name))
        };
        let input = |name| component(name).map(|schema| InputSchema::compile(schema, &parsed));
        let is_array = |name| {
            component(name).and_then(|schema| schema.get("type")) == Some(&Value::from("array"))
        };
        Ok(Self {
            input: input("Input"),
            training_input: input("TrainingInput"),
            streams: parsed.pointer("/paths/~1predictions/post/x-cog-streaming")
                == Some(&Value::Bool(true)),
            secrets: ["Input", "TrainingInput"]
                .into_iter()
                .filter_map(component)
                .flat_map(secrets)
                .collect(),
            output_is_array: is_array("Output"),
            training_output_is_array: is_array("TrainingOutput"),
            document,
        })
    }

    /// The rules for a request; none if the document has none.
    pub(crate) fn input(&self, kind: Kind) -> Option<&InputSchema> {
        match kind {
            Kind::Prediction => self.input.as_ref(),
            Kind::Training => self.training_input.as_ref().or(self.input.as_ref()),
        }
    }

    pub(crate) fn supports_training(&self) -> bool {
        self.training_input.is_some()
    }

    /// Whether the handler of that mode is declared to give a list or a stream.
    pub(crate) fn output_is_array(&self, mode: crate::args::Mode) -> bool {
        match mode {
            crate::args::Mode::Predict => self.output_is_array,
            crate::args::Mode::Train => self.training_output_is_array,
        }
    }
}

/// The properties of a schema that hold a secret, anywhere in them.
fn secrets(schema: &Value) -> Vec<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let secret = properties
        .into_iter()
        .flatten()
        .filter(|(_, property)| is_secret(property));
    secret.map(|(name, _)| name.clone()).collect()
}

fn is_secret(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.get("x-cog-secret") == Some(&Value::Bool(true))
                || members.get("format").and_then(Value::as_str) == Some("password")
                || members.values().any(is_secret)
        }
        Value::Array(elements) => elements.iter().any(is_secret),
        _ => false,
    }
}

impl Violation {
    /// Something is wrong with a member of the envelope.
    pub(crate) fn in_body(member: &str, msg: impl Into<String>) -> Self {
        Self {
            loc: vec!["body".into(), member.into()],
            msg: msg.into(),
            kind: "value_error",
        }
    }

    /// Something is wrong with the URL.
    pub(crate) fn in_path(name: &str, msg: impl Into<String>) -> Self {
        Self {
            loc: vec!["path".into(), name.into()],
            msg: msg.into(),
            kind: "value_error",
        }
    }

    /// Something is wrong with a header.
    pub(crate) fn in_header(name: &str, msg: impl Into<String>) -> Self {
        Self {
            loc: vec!["header".into(), name.into()],
            msg: msg.into(),
            kind: "value_error",
        }
    }

    /// Something is wrong with a field of the input.
    pub(crate) fn in_input(field: impl Into<String>, msg: impl Into<String>) -> Self {
        Self {
            loc: vec!["body".into(), "input".into(), field.into()],
            msg: msg.into(),
            kind: "value_error",
        }
    }

    /// As part of a sentence, such as `count: Field required`.
    pub(crate) fn describe(&self) -> String {
        let field = self.loc.last().map_or("", String::as_str);
        format!("{field}: {}", self.msg)
    }

    /// There are more than are listed.
    fn left_out(count: usize) -> Self {
        let plural = if count == 1 { "" } else { "s" };
        Self::in_input(
            "__root__",
            format!("{count} more problem{plural} not listed"),
        )
    }

    fn missing(field: impl Into<String>) -> Self {
        Self {
            kind: "value_error.missing",
            ..Self::in_input(field, "Field required")
        }
    }
}
