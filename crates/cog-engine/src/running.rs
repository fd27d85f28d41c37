//! A started workload: waiting, signals, stopping.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

pub use rustix::process::Signal;

use crate::EngineError;

/// How long a supervisor may take to end a workload and clear up before it is killed itself.
const PATIENCE: Duration = Duration::from_secs(30);

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
#[derive(Debug)]
pub struct Running {
    child: Child,
    process: Remote,
    ended: Option<Exit>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// The pipe whose closing ends everything, also if we are killed. Taken out by whoever ends the workload first.
type Alive = Arc<Mutex<Option<OwnedFd>>>;

/// Signals a workload from another thread, for instance while one waits for it. Keeps nothing alive.
#[derive(Debug, Clone)]
pub struct Remote {
    process: Arc<OwnedFd>,
    alive: Alive,
}

impl Remote {
    /// Sends the workload a signal; one that has ended is left alone.
    pub fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        match pidfd_send_signal(&self.process, signal) {
            Err(Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(EngineError::host("signal the workload")(error.into())),
        }
    }

    /// Ends the workload and everything it started, without waiting for that.
    pub fn end(&self) {
        // The supervisor sees this, kills, and clears up, which it could not if it was killed itself.
        drop(
            self.alive
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Waits for the end; whether it came in time.
    fn ends_within(&self, time: Duration) -> Result<bool, EngineError> {
        let failed = |error: io::Error| EngineError::host("wait for the workload")(error);
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|error| failed(io::Error::other(error)))?;
            match poll(
                &mut [PollFd::new(&self.process, PollFlags::IN)],
                Some(&left),
            ) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
                Ok(ended) => return Ok(ended > 0),
            }
        }
    }
}

impl Running {
    /// `child` supervises the workload and ends it when the other side of `alive` is closed.
    pub(crate) fn new(mut child: Child, alive: OwnedFd) -> Result<Self, EngineError> {
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => Ok(Self {
                child,
                process: Remote {
                    process: Arc::new(process),
                    alive: Arc::new(Mutex::new(Some(alive))),
                },
                ended: None,
                terminal: None,
            }),
            Err(error) => {
                drop(alive);
                let _ = child.wait();
                Err(EngineError::host("watch the workload's supervisor")(
                    error.into(),
                ))
            }
        }
    }

    /// The process on the host that stands for the workload.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A handle for signals from other threads.
    pub fn remote(&self) -> Remote {
        self.process.clone()
    }

    /// The write end of its standard input, if that was piped; can be taken once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The read end of its standard output, if that was piped; can be taken once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The read end of its standard error, if that was piped; can be taken once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The other side of its terminal, if it was given one; can be taken once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits until it has ended. Nothing that it started is left then.
    pub fn wait(&mut self) -> Result<Exit, EngineError> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        let exit = self
            .child
            .wait()
            .map_err(EngineError::host("wait for the workload"))?
            .into();
        self.ended = Some(exit);
        Ok(exit)
    }

    /// Waits until it has ended, at most for `time`.
    pub fn wait_timeout(&mut self, time: Duration) -> Result<Option<Exit>, EngineError> {
        if self.ended.is_some() || self.process.ends_within(time)? {
            self.wait().map(Some)
        } else {
            Ok(None)
        }
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Result<Option<Exit>, EngineError> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Sends it a signal; one that has ended is left alone.
    pub fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        self.process.signal(signal)
    }

    /// Asks it to end with SIGTERM, and after `grace` ends it.
    pub fn stop(&mut self, grace: Duration) -> Result<Exit, EngineError> {
        self.signal(Signal::TERM)?;
        match self.wait_timeout(grace)? {
            Some(exit) => Ok(exit),
            None => self.kill(),
        }
    }

    /// Ends it and everything it started, at once.
    pub fn kill(&mut self) -> Result<Exit, EngineError> {
        self.process.end();
        if let Some(exit) = self.wait_timeout(PATIENCE)? {
            return Ok(exit);
        }
        self.signal(Signal::KILL)?;
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Nothing can be done about a failure here; the closed pipe ends the workload anyway.
            let _ = self.kill();
        }
    }
}
