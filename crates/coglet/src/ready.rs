//! Telling whoever started the server that setup has ended, so that it need not poll.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use crate::Error;
use crate::descriptors::inherited;
use crate::env;
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
        // Its closing says that the server is gone.
        let pipe = inherited(env::READY_FD, number)?;
        Ok(Self {
            pipe: Mutex::new(Some(pipe)),
        })
    }

    /// Whether somebody still waits to be told.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.pipe).is_some()
    }

    /// Writes the line, once; later calls do nothing.
    pub(crate) fn tell(&self, word: &str) {
        if let Some(pipe) = lock(&self.pipe).take() {
            // The other side may have stopped waiting.
            let _ = std::fs::File::from(pipe).write_all(format!("{word}\n").as_bytes());
        }
    }
}
