//! What can go wrong before a workload runs.

use std::io;

/// An engine could not do its work. A workload's own failure is an [`crate::Exit`], not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine exists in name only.
    #[error(
        "the `{engine}` engine is not supported yet by this version; use `--engine embedded` or `--engine host`"
    )]
    NotSupported {
        /// Its name.
        engine: &'static str,
    },
    /// The kernel does not let us make containers.
    #[error("cannot run containers here: {reason}; `--engine host` runs without one")]
    NoContainers {
        /// What is missing.
        reason: String,
    },
    /// The workload was made for another engine.
    #[error("the {engine} engine cannot run a workload made for {root}")]
    WrongRoot {
        /// This engine.
        engine: &'static str,
        /// What the workload has.
        root: &'static str,
    },
    /// A step of the container's set-up failed.
    #[error("could not set up the container: {step}: {reason}")]
    SetUp {
        /// What was being done.
        step: String,
        /// The operating system's answer.
        reason: String,
    },
    /// The command is not in the image.
    #[error("`{command}`: {reason}")]
    Command {
        /// The program.
        command: String,
        /// Why it does not start.
        reason: String,
    },
    /// An operation on the host failed.
    #[error("could not {action}")]
    Host {
        /// What was being done.
        action: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

impl EngineError {
    pub(crate) fn host(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Host { action, source }
    }
}
