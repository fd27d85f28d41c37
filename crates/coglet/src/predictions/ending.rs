//! How a prediction ends, or is made to.

use super::Output;
use crate::marks::Status;

/// How a prediction ends.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    /// `None` keeps what was streamed.
    pub(crate) output: Option<Output>,
}

/// Why a prediction does not run to its own end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    Canceled,
    /// With the error that the client sees.
    TimedOut(String),
}

/// What has to be done for a stop to take effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StopStep {
    /// Not with the worker: it can end right away.
    End,
    /// User code is running and has to be interrupted.
    Interrupt,
    /// It has ended, or is being interrupted already.
    Nothing,
}

impl Ending {
    pub(crate) fn succeeded(output: Output) -> Self {
        Self {
            status: Status::Succeeded,
            error: None,
            output: Some(output),
        }
    }

    /// Succeeded with the items that were pushed, which may be none.
    pub(crate) fn streamed() -> Self {
        Self {
            status: Status::Succeeded,
            error: None,
            output: None,
        }
    }

    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            error: Some(error.into()),
            output: None,
        }
    }

    pub(crate) fn canceled() -> Self {
        Self {
            status: Status::Canceled,
            error: None,
            output: None,
        }
    }
}
