//! What is said of a prediction that did not succeed.

use std::fmt::Write as _;

use cog_build::missing;
use cog_errors::{Hint, line};
use serde_json::Value;

/// A prediction that ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
#[error("Prediction failed with status \"{status}\"{}{error}", if error.is_empty() { "" } else { ": " })]
pub(crate) struct PredictionFailed {
    status: String,
    error: String,
    /// What the model printed.
    logs: String,
    /// What may be wrong with the inputs.
    advice: Option<String>,
}

impl PredictionFailed {
    /// Of a prediction whose logs were shown as they came: what they have of the error is not told again. `advice` is for
    /// when nothing is known of the error itself.
    pub(super) fn of(response: &Value, advice: Option<String>) -> Self {
        let text = |field: &str| response[field].as_str().unwrap_or_default().to_owned();
        let (mut error, logs) = (text("error"), text("logs"));
        if let Some((first, rest)) = error.split_once('\n')
            && logs.contains(rest.trim_end())
        {
            error = first.to_owned();
        }
        Self {
            status: text("status"),
            error,
            logs,
            advice,
        }
    }
}

impl Hint for PredictionFailed {
    fn hint(&self) -> Option<String> {
        missing::advice(&self.error)
            .or_else(|| missing::advice(&self.logs))
            .or_else(|| self.advice.clone())
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
        let _ = writeln!(text, "- {}: {}", line(field), line(message));
    }
    text.push_str("Give inputs as `-i name=value`, and files as `-i name=@path`");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_printed_is_not_told_again() {
        let trace = "Fatal Python error: Segmentation fault\n\n  File \"run.py\"";
        let shown = |error: &str, logs: String| {
            let response = json!({"status": "failed", "error": error, "logs": logs});
            PredictionFailed::of(&response, Some("look".into())).to_string()
        };
        let error = format!("Worker crashed: killed by SIGSEGV\n{trace}");
        let crashed = "Prediction failed with status \"failed\": Worker crashed: killed by SIGSEGV";
        assert_eq!(shown(&error, format!("begun\n{trace}\n")), crashed);
        assert_eq!(
            shown(&error, "begun\n".into()),
            format!("{crashed}\n{trace}")
        );
        let response = json!({"status": "failed", "error": "no such file"});
        let failed = PredictionFailed::of(&response, Some("look".into()));
        let canceled = PredictionFailed::of(&json!({"status": "canceled"}), None);
        assert_eq!(
            canceled.to_string(),
            "Prediction failed with status \"canceled\""
        );
        assert_eq!(failed.hint().as_deref(), Some("look"));
    }

    #[test]
    fn findings_of_a_server_are_a_line_each() {
        let detail = json!([{"loc": ["body", "a\nb"], "msg": "bad\n- c: good"}]);
        let said = refused(json!({ "detail": detail }).to_string().as_bytes());
        assert!(said.contains("\n- a\\nb: bad\\n- c: good\n"), "{said}");
    }
}
