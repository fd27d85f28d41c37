//! What happens to a supervisor from outside: signals, and the end of whoever started it.

use std::io::{self, Read as _};
use std::os::fd::BorrowedFd;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::supervisor::FORWARDED;

/// Listens from the moment it is made; nothing that comes before somebody waits is lost.
pub(super) struct Events(UnboundedReceiver<Event>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A signal that is meant for the workload.
    Signal(i32),
    /// The caller is gone, or wants everything to end.
    Gone,
}

impl Events {
    /// `alive` closes when the caller is gone.
    pub(super) fn listen(alive: BorrowedFd<'_>) -> io::Result<Self> {
        let (sender, receiver) = unbounded_channel();
        for number in FORWARDED {
            let mut stream = signal(SignalKind::from_raw(number))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                let event = Event::Signal(number);
                while stream.recv().await.is_some() && sender.send(event).is_ok() {}
            });
        }
        let mut alive = std::fs::File::from(alive.try_clone_to_owned()?);
        // Ends with the process.
        std::thread::spawn(move || {
            // Nothing is ever written: this returns when it is closed.
            let _ = alive.read_to_end(&mut Vec::new());
            let _ = sender.send(Event::Gone);
        });
        Ok(Self(receiver))
    }

    pub(super) async fn next(&mut self) -> Event {
        self.0.recv().await.unwrap_or(Event::Gone)
    }
}

/// The signal as the daemon wants it.
pub(super) fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        _ => return None,
    })
}
