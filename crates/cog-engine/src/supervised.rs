//! A workload that a process of ours supervises ([`crate::supervisor`]): all engines here start theirs so.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::EngineError;
use crate::running::{Exit, Remote, Running, Signal};
use crate::workload::Published;

/// How long a supervisor may take to end a workload and clear up before it is killed itself.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct SupervisedProcess {
    child: Child,
    handle: Arc<Handle>,
    ended: Option<Exit>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) published: Vec<Published>,
    pub(crate) warning: Option<String>,
}

#[derive(Debug)]
struct Handle {
    supervisor: OwnedFd,
    /// The pipe whose closing ends everything, also if we are killed. Taken out by whoever ends the workload first.
    alive: Mutex<Option<OwnedFd>>,
}

impl Remote for Handle {
    fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        match pidfd_send_signal(&self.supervisor, signal) {
            Err(Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(EngineError::host("signal the workload")(error.into())),
        }
    }

    fn end(&self) {
        // The supervisor sees this, kills, and clears up, which it could not if it was killed itself.
        drop(
            self.alive
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

impl Handle {
    /// Waits for the end; whether it came in time.
    fn ends_within(&self, time: Duration) -> Result<bool, EngineError> {
        let failed = |error: io::Error| EngineError::host("wait for the workload")(error);
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|error| failed(io::Error::other(error)))?;
            match poll(
                &mut [PollFd::new(&self.supervisor, PollFlags::IN)],
                Some(&left),
            ) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
                Ok(ended) => return Ok(ended > 0),
            }
        }
    }
}

impl SupervisedProcess {
    /// `child` supervises the workload and ends it when the other side of `alive` is closed.
    pub(crate) fn new(mut child: Child, alive: OwnedFd) -> Result<Self, EngineError> {
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(supervisor) => Ok(Self {
                child,
                handle: Arc::new(Handle {
                    supervisor,
                    alive: Mutex::new(Some(alive)),
                }),
                ended: None,
                terminal: None,
                published: Vec::new(),
                warning: None,
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
}

impl Running for SupervisedProcess {
    fn remote(&self) -> Arc<dyn Remote> {
        self.handle.clone()
    }

    fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    fn published(&self) -> &[Published] {
        &self.published
    }

    fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn wait(&mut self) -> Result<Exit, EngineError> {
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

    fn wait_timeout(&mut self, time: Duration) -> Result<Option<Exit>, EngineError> {
        if self.ended.is_some() || self.handle.ends_within(time)? {
            self.wait().map(Some)
        } else {
            Ok(None)
        }
    }

    fn kill(&mut self) -> Result<Exit, EngineError> {
        self.handle.end();
        if let Some(exit) = self.wait_timeout(PATIENCE)? {
            return Ok(exit);
        }
        self.signal(Signal::KILL)?;
        self.wait()
    }
}

impl Drop for SupervisedProcess {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Nothing can be done about a failure here; the closed pipe ends the workload anyway.
            let _ = self.kill();
        }
    }
}
