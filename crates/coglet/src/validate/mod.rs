//! The model's `OpenAPI` document, and inputs checked against it.
//!
//! The rules are those of `cog-inputs`, compiled once; here are the words of the answers and the form in which
//! the worker gets an input. An input is walked as text: values that no rule looks into are neither parsed nor
//! copied. There is no coercion here and defaults are not filled in; the Python signature does that.

mod input;
mod messages;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use bytes::Bytes;
use cog_inputs::{Inputs, ModelInputs, Unchecked, components};
use serde::Serialize;
use serde_json::Value;

pub(crate) use cog_inputs::{Kind, each_element, each_member};
pub(crate) use input::{Accepted, accept_any_object, members};

/// The document bundled with the model, and what the server takes from it.
#[derive(Debug)]
pub(crate) struct ModelSchema {
    /// As loaded, byte for byte.
    pub(crate) document: Bytes,
    inputs: ModelInputs,
    /// The model may be watched as an event stream.
    pub(crate) streams: bool,
    /// Inputs that the document marks as secret.
    pub(crate) secrets: Vec<String>,
    output_is_array: bool,
    training_output_is_array: bool,
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
        let inputs = ModelInputs::of(&parsed);
        for unchecked in inputs.each().flat_map(Inputs::unchecked) {
            warn(unchecked);
        }
        let is_array = |name| {
            let component = components(&parsed).and_then(|schemas| schemas.get(name));
            component.and_then(|schema| schema.get("type")) == Some(&Value::from("array"))
        };
        let fields = || inputs.each().flat_map(Inputs::fields);
        Ok(Self {
            streams: parsed.pointer("/paths/~1predictions/post/x-cog-streaming")
                == Some(&Value::Bool(true)),
            secrets: fields()
                .filter(|field| field.is_secret())
                .map(|field| field.name().to_owned())
                .collect(),
            output_is_array: is_array("Output"),
            training_output_is_array: is_array("TrainingOutput"),
            inputs,
            document,
        })
    }

    /// Checks the text of an input, which must be valid JSON, and brings it into the form that the
    /// worker gets. Values of inputs that the document marks as secret, or that are in `secrets`, are not repeated in what
    /// is wrong.
    pub(crate) fn accept(
        &self,
        kind: Kind,
        input: &Bytes,
        secrets: &HashSet<String>,
    ) -> Result<Accepted, Vec<Violation>> {
        match self.inputs.inputs(kind) {
            Some(inputs) => input::accept(inputs, input, secrets),
            None => accept_any_object(input),
        }
    }

    pub(crate) fn supports_training(&self) -> bool {
        self.inputs.supports_training()
    }

    /// Whether the handler of that mode is declared to give a list or a stream.
    pub(crate) fn output_is_array(&self, mode: crate::args::Mode) -> bool {
        match mode {
            crate::args::Mode::Predict => self.output_is_array,
            crate::args::Mode::Train => self.training_output_is_array,
        }
    }
}

fn warn(unchecked: &Unchecked) {
    match unchecked {
        Unchecked::Reference(reference) => tracing::warn!(
            "The schema refers to `{reference}`, which it does not contain: not checked"
        ),
        Unchecked::Pattern(pattern) => tracing::warn!(
            "The pattern `{pattern}` is beyond this server's regular expressions: not checked"
        ),
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
