//! Whether a document, ours or one handed in, can be served: OpenAPI 3.0, with defaults that fit their own properties.

use std::ops::ControlFlow;

use cog_inputs::{Finding, Inputs, Kind, ModelInputs, Problem};
use serde_json::Value;

/// Why a document can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON.
    #[error("Failed to load model schema JSON: {0}")]
    Unreadable(String),
    /// It is no OpenAPI document, or contradicts itself.
    #[error("Model schema is invalid: {0}")]
    Invalid(String),
    /// The default of an input is none that the input takes.
    #[error("Model schema is invalid: default of `{input}` is invalid: {why}")]
    Default {
        /// The input, as `Input.name`.
        input: String,
        /// What is wrong.
        why: String,
    },
}

/// Checks a document.
pub fn validate_document(json: &str) -> Result<(), DocumentError> {
    let document: Value =
        serde_json::from_str(json).map_err(|error| DocumentError::Unreadable(error.to_string()))?;
    let invalid = |message: String| Err(DocumentError::Invalid(message));
    match document["openapi"].as_str() {
        Some(version) if version.starts_with("3.0") => {}
        Some(version) => return invalid(format!("`openapi` is {version}, not 3.0")),
        None => return invalid("`openapi` is missing".into()),
    }
    for field in ["title", "version"] {
        if !document["info"][field].is_string() {
            return invalid(format!("`info.{field}` is missing"));
        }
    }
    if !document["paths"].is_object() {
        return invalid("`paths` is missing".into());
    }
    let inputs = ModelInputs::of(&document);
    for (kind, component) in [
        (Kind::Prediction, "Input"),
        (Kind::Training, "TrainingInput"),
    ] {
        let why = inputs.inputs(kind).and_then(unfit_default);
        if let Some((name, why)) = why {
            let input = format!("{component}.{name}");
            return Err(DocumentError::Default { input, why });
        }
    }
    Ok(())
}

/// The first input whose default does not fit, and why.
fn unfit_default(inputs: &Inputs) -> Option<(&str, String)> {
    inputs.fields().find_map(|field| {
        let mut why = None;
        field.check_default(&mut |finding| {
            why = Some(reason(finding));
            ControlFlow::Break(())
        });
        Some((field.name(), why?))
    })
}

fn reason(finding: &Finding<'_>) -> String {
    match &finding.problem {
        Problem::Type(types) => {
            let names: Vec<_> = types.iter().map(|kind| kind.name()).collect();
            format!("value must be of type {}", names.join(" or "))
        }
        Problem::Choices(_) => "value is not one of the allowed values".into(),
        Problem::Minimum(minimum) => format!("number must be at least {minimum} (minimum)"),
        Problem::Maximum(maximum) => format!("number must be at most {maximum} (maximum)"),
        Problem::MinLength(minimum) => format!("minimum string length is {minimum}"),
        Problem::MaxLength(maximum) => format!("maximum string length is {maximum}"),
        Problem::Pattern(pattern) => format!("it does not match \"{pattern}\" (pattern)"),
        Problem::NoneOf(_) => "it fits no member of the union".into(),
        Problem::Missing => format!("`{}` is missing", finding.place.joined(".")),
    }
}
