//! What a check finds.

use std::fmt;

use serde_json::{Value, json};

/// Whether a project with it can be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Warning,
    Error,
}

/// Something that should be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The file it is about, and the line.
    place: Option<(String, Option<usize>)>,
    message: String,
    /// What to do about it.
    pub(super) remediation: Option<String>,
}

impl Finding {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: None,
            message: message.into(),
            remediation: None,
        }
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    pub(super) fn at(self, file: &str, line: impl Into<Option<usize>>) -> Self {
        Self {
            place: Some((file.to_owned(), line.into())),
            ..self
        }
    }

    pub(super) fn with_remediation(self, remediation: impl Into<String>) -> Self {
        Self {
            remediation: Some(remediation.into()),
            ..self
        }
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let (file, line) = self.place.clone().unzip();
        json!({
            "severity": match self.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            "file": file,
            "line": line.flatten(),
            "message": self.message,
            "remediation": self.remediation,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((file, Some(line))) => write!(formatter, "{file}:{line} — ")?,
            Some((file, None)) => write!(formatter, "{file} — ")?,
            None => {}
        }
        formatter.write_str(&cog_errors::plain(&self.message))
    }
}
