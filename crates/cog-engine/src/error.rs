//! What can go wrong before a workload runs.

use std::io;

use cog_errors::Hint;

use crate::docker::DockerError;

/// An engine could not do its work. A workload's own failure is an [`crate::Exit`], not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// There is no daemon, or it failed.
    #[error(transparent)]
    Docker(#[from] DockerError),
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

impl Hint for EngineError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Docker(error) => error.hint(),
            _ => None,
        }
    }
}

impl EngineError {
    pub(crate) fn host(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Host { action, source }
    }
}
