//! Telling whoever started the server that setup has ended, so that it need not poll.

use std::io::Write as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::Mutex;

use rustix::fd::BorrowedFd;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::Error;
use crate::sync::lock;

/// An inherited descriptor that gets one line: `READY` or `SETUP_FAILED`.
#[derive(Debug, Default)]
pub(crate) struct ReadySignal {
    pipe: Mutex<Option<OwnedFd>>,
}

impl ReadySignal {
    /// Takes over a descriptor by its number.
    pub(crate) fn new(number: Option<i32>) -> Result<Self, Error> {
        let Some(number) = number else {
            return Ok(Self::default());
        };
        // SAFETY: only asks about the number; the call fails if nothing is open there.
        let inherited = unsafe { BorrowedFd::borrow_raw(number) };
        // The worker must not hold it open: its closing says that the server is gone.
        fcntl_setfd(inherited, FdFlags::CLOEXEC).map_err(|_| Error::InvalidReadyFd {
            value: number.to_string(),
        })?;
        // SAFETY: it is open, and whoever passed its number to this process meant us to own it.
        let pipe = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self {
            pipe: Mutex::new(Some(pipe)),
        })
    }

    /// Writes the line, once; later calls do nothing.
    pub(crate) fn tell(&self, word: &str) {
        if let Some(pipe) = lock(&self.pipe).take() {
            // The other side may have stopped waiting.
            let _ = std::fs::File::from(pipe).write_all(format!("{word}\n").as_bytes());
        }
    }
}
