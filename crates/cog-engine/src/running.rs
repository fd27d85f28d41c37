//! A started workload, whatever runs it: waiting, signals, stopping.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

pub use rustix::process::Signal;

use crate::EngineError;
use crate::workload::Published;

/// How a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it was status 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// Ends this process in the same way, so that whoever waits for it sees what happened.
    pub fn imitate(self) -> ! {
        match self {
            Self::Code(code) => std::process::exit(code),
            Self::Signal(signal) => crate::supervisor::end_by(signal),
        }
    }

    /// The status a shell would report: 128 plus the signal's number.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Code(1),
        }
    }
}

/// A workload that was started. Dropping it kills everything in it.
pub trait Running: Debug + Send {
    /// A handle for other threads.
    fn remote(&self) -> Arc<dyn Remote>;

    /// The write end of its standard input, if that was piped; can be taken once.
    fn take_stdin(&mut self) -> Option<ChildStdin>;

    /// The read end of its standard output, if that was piped; can be taken once.
    fn take_stdout(&mut self) -> Option<ChildStdout>;

    /// The read end of its standard error, if that was piped; can be taken once.
    fn take_stderr(&mut self) -> Option<ChildStderr>;

    /// The other side of its terminal, if it was given one; can be taken once.
    fn take_terminal(&mut self) -> Option<OwnedFd>;

    /// Where the ports that were asked for are reached. None of a workload that shares the host's network.
    fn published(&self) -> &[Published] {
        &[]
    }

    /// What should be known about how it was started.
    fn warning(&self) -> Option<&str> {
        None
    }

    /// Waits until it has ended. Nothing that it started is left then.
    fn wait(&mut self) -> Result<Exit, EngineError>;

    /// Waits until it has ended, at most for `time`.
    fn wait_timeout(&mut self, time: Duration) -> Result<Option<Exit>, EngineError>;

    /// Ends it and everything it started, at once.
    fn kill(&mut self) -> Result<Exit, EngineError>;

    /// How it ended, if it has.
    fn try_wait(&mut self) -> Result<Option<Exit>, EngineError> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Sends it a signal; one that has ended is left alone.
    fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        self.remote().signal(signal)
    }

    /// Asks it to end with SIGTERM, and after `grace` ends it.
    fn stop(&mut self, grace: Duration) -> Result<Exit, EngineError> {
        self.signal(Signal::TERM)?;
        match self.wait_timeout(grace)? {
            Some(exit) => Ok(exit),
            None => self.kill(),
        }
    }
}

/// Signals a workload from another thread, for instance while one waits for it. Keeps nothing alive.
pub trait Remote: Debug + Send + Sync {
    /// Sends the workload a signal; one that has ended is left alone.
    fn signal(&self, signal: Signal) -> Result<(), EngineError>;

    /// Ends the workload and everything it started, without waiting for that.
    fn end(&self);
}
