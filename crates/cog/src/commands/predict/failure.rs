//! What is said of a prediction that did not succeed.

use std::fmt::Write as _;

use cog_build::missing;
use cog_errors::Hint;
use serde_json::Value;

/// A prediction that ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
#[error("Prediction failed with status \"{status}\": {error}")]
pub(crate) struct PredictionFailed {
    status: String,
    error: String,
    /// What the model printed.
    logs: String,
}

impl PredictionFailed {
    pub(super) fn of(response: &Value) -> Self {
        let text = |field: &str| response[field].as_str().unwrap_or_default().to_owned();
        Self {
            status: text("status"),
            error: text("error"),
            logs: text("logs"),
        }
    }
}

impl Hint for PredictionFailed {
    fn hint(&self) -> Option<String> {
        missing::advice(&self.error).or_else(|| missing::advice(&self.logs))
    }
}

/// The server's own findings, which should have been found before: its schema differs from the one we checked against.
pub(super) fn refused(body: &[u8]) -> String {
    let mut text =
        String::from("Failed to run prediction: The inputs you passed could not be validated:\n");
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    for detail in answer["detail"].as_array().into_iter().flatten() {
        let field = detail["loc"]
            .as_array()
            .and_then(|loc| loc.last())
            .and_then(Value::as_str)
            .unwrap_or_default();
        let message = detail["msg"].as_str().unwrap_or_default();
        let _ = writeln!(text, "- {field}: {message}");
    }
    text.push_str("Give inputs as `-i name=value`, and files as `-i name=@path`");
    text
}
