//! Ctrl-C and SIGTERM: what they mean is up to who listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context as _;
use cog_engine::{Exit, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::runtime::block_on;

/// The signals, for as long as this lives. After that they end this process as they would have without it, whatever it
/// is waiting for.
pub(crate) struct Interrupts {
    signals: UnboundedReceiver<Signal>,
    /// Nobody asks for them now.
    unheeded: Arc<AtomicBool>,
}

impl Interrupts {
    /// Begins to listen.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let (sender, receiver) = unbounded_channel();
        let (listens, begun) = oneshot::channel();
        let unheeded = Arc::<AtomicBool>::default();
        let is_unheeded = Arc::clone(&unheeded);
        // Ends with the program.
        let thread = thread::spawn(move || {
            block_on::<()>(async move {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                let _ = listens.send(());
                loop {
                    let signal = tokio::select! {
                        _ = interrupt.recv() => Signal::INT,
                        _ = terminate.recv() => Signal::TERM,
                    };
                    let is_unheeded = is_unheeded.load(Ordering::Relaxed);
                    if is_unheeded || sender.send(signal).is_err() {
                        Exit::Signal(signal.as_raw()).imitate();
                    }
                }
            })
        });
        if begun.blocking_recv().is_err() {
            let failed = thread.join().unwrap_or(Ok(()));
            failed.context("could not listen to signals")?;
        }
        Ok(Self {
            signals: receiver,
            unheeded,
        })
    }

    /// Does work that cannot be asked to stop: meanwhile they end this process, as they would have without this.
    pub(crate) fn unheeded_during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.unheeded.store(true, Ordering::Relaxed);
        let done = work();
        self.unheeded.store(false, Ordering::Relaxed);
        done
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.signals.recv().await {
            Some(signal) => signal,
            // The thread that listens does not end.
            None => std::future::pending().await,
        }
    }
}
