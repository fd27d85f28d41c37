//! A model server that was started: where it is reached, when it is ready, how it ends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use anyhow::bail;
use cog_engine::{Exit, Running, Signal};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::control::{Control, Events, Told};
use super::setup::{Printed, SETUP_FAILED, SetupFailed, SetupTimedOut, setup_logs};
use crate::client;
use crate::interrupts::Interrupts;

/// How long a server that is asked to stop may take for that.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long one that does not answer any more may take to end, so that we can tell how it did.
const LAST_MOMENTS: Duration = Duration::from_secs(2);
/// How often a server is asked that does not tell by itself, and how long it has for an answer.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
const ASK_LIMIT: Duration = Duration::from_millis(250);

const READY: &str = "READY";
const STARTING: &str = "STARTING";

/// What a server of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ours: takes a socket that listens already, and says when it is ready.
    Coglet,
    /// Of an image of somebody else: opens a port, and is asked.
    Other,
}

/// A server that was started. Dropping it ends it at once.
pub(crate) struct Server {
    pub(crate) running: Box<dyn Running>,
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    pub(crate) control: Control,
}

/// How it is known that setup has ended.
pub(crate) enum Readiness {
    /// The server says it here. Closing this says that the server is gone.
    Told(OwnedFd),
    /// The same of a server that may know nothing of it, and is asked.
    ToldOrAsked(OwnedFd),
    /// It is asked.
    Asked,
}

impl Readiness {
    /// What the server at `address` says. Nothing if it is gone and has told so; whoever only asks learns of that
    /// elsewhere.
    pub(crate) async fn word(&self, address: SocketAddr) -> io::Result<String> {
        match self {
            Self::Told(pipe) | Self::ToldOrAsked(pipe) => told(pipe).await,
            Self::Asked => {
                let mut ticks = ticks();
                loop {
                    ticks.tick().await;
                    if let Some(status) = settled(address).await {
                        return Ok(status);
                    }
                }
            }
        }
    }
}

/// What is written into the pipe; nothing if it is closed.
async fn told(pipe: &OwnedFd) -> io::Result<String> {
    /// The words are shorter.
    const MOST: u64 = 64;
    let pipe = pipe::Receiver::from_owned_fd(pipe.try_clone()?)?;
    let mut line = String::new();
    BufReader::new(pipe.take(MOST)).read_line(&mut line).await?;
    Ok(line.trim().to_owned())
}

fn ticks() -> Interval {
    let mut ticks = interval(ASK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Server {
    /// Waits until setup has ended. What it prints meanwhile is given to `show`, if somebody sees it.
    pub(crate) async fn await_ready(
        &mut self,
        limit: Duration,
        show: Option<&mut dyn FnMut(&str)>,
    ) -> anyhow::Result<()> {
        let mut setup = Listening {
            events: self.control.take_events()?,
            show,
            was_heard: false,
            has_ended: false,
            printed: Printed::Nothing,
        };
        let status = {
            let mut word = pin!(timeout(limit, self.word()));
            loop {
                tokio::select! {
                    word = &mut word => break word,
                    () = setup.listen() => {}
                }
            }
        };
        let Ok(status) = status else {
            let logs = setup_logs(self.address).await;
            return Err(SetupTimedOut::new(&logs, setup.printed, limit).into());
        };
        setup.end().await;
        match status?.as_str() {
            READY => Ok(()),
            SETUP_FAILED => {
                let logs = setup_logs(self.address).await;
                Err(SetupFailed::new(&logs, setup.printed).into())
            }
            "" => bail!(exited(self.running.stop(STOP_GRACE)?)),
            other => bail!("Container healthcheck returned unexpected status: {other}"),
        }
    }

    /// The same server, of which it is known that it is ready: it is asked if somebody wants to know again.
    pub(crate) fn that_is_ready(self) -> Self {
        Self {
            readiness: Readiness::Asked,
            ..self
        }
    }

    async fn word(&mut self) -> io::Result<String> {
        match &self.readiness {
            Readiness::Told(pipe) => told(pipe).await,
            Readiness::ToldOrAsked(_) | Readiness::Asked => self.asked().await,
        }
    }

    /// The status of a server that may not tell by itself, when it is no longer that of the beginning; nothing if it is
    /// gone.
    async fn asked(&mut self) -> io::Result<String> {
        let pipe = match &self.readiness {
            Readiness::Told(pipe) | Readiness::ToldOrAsked(pipe) => Some(pipe),
            Readiness::Asked => None,
        };
        let mut may_tell = pipe.is_some();
        let mut word = Box::pin(async {
            match pipe {
                Some(pipe) => told(pipe).await,
                None => Ok(String::new()),
            }
        });
        let mut ticks = ticks();
        loop {
            tokio::select! {
                said = &mut word, if may_tell => match said {
                    Ok(said) if !said.is_empty() => return Ok(said),
                    // It has closed what it knows nothing of, if it is not gone.
                    _ => may_tell = false,
                },
                _ = ticks.tick() => {}
            }
            if self.running.try_wait().map_err(io::Error::other)?.is_some() {
                return Ok(String::new());
            }
            if let Some(status) = settled(self.address).await {
                return Ok(status);
            }
        }
    }

    /// Why there is no answer: if the server has ended, that is why.
    pub(crate) fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.running.wait_timeout(LAST_MOMENTS) {
            Ok(Some(exit)) => error.context(exited(exit)),
            // The error is what is known.
            Ok(None) | Err(_) => error,
        }
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.running.stop(STOP_GRACE)?;
        Ok(())
    }

    /// The same for somebody who may become impatient: another signal ends it at once.
    pub(crate) async fn stop_or_end(self, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        let mut running = self.running;
        let remote = running.remote();
        remote.signal(Signal::TERM)?;
        let mut ended = tokio::task::spawn_blocking(move || running.wait());
        tokio::select! {
            exit = &mut ended => {
                exit??;
                return Ok(());
            }
            _ = interrupts.next() => {}
            () = sleep(STOP_GRACE) => {}
        }
        remote.end();
        ended.await??;
        Ok(())
    }
}

/// Hears what a server tells of setup.
struct Listening<'a> {
    events: Option<Events>,
    show: Option<&'a mut dyn FnMut(&str)>,
    was_heard: bool,
    has_ended: bool,
    printed: Printed,
}

impl Listening<'_> {
    /// Takes what is told next; never resolves if nothing is.
    async fn listen(&mut self) {
        let Some(events) = &mut self.events else {
            return std::future::pending().await;
        };
        let Some(told) = events.next().await else {
            self.events = None;
            return;
        };
        self.was_heard = true;
        match told {
            Told::SetupLog { text } => {
                if let Some(show) = &mut self.show {
                    show(&text);
                    self.printed = Printed::Shown;
                }
            }
            Told::Ready { .. } | Told::Failed { .. } => self.has_ended = true,
            _ => {}
        }
    }

    /// Setup has ended, and all that it has printed is on its way.
    async fn end(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let rest = async {
            while self.was_heard && !self.has_ended && self.events.is_some() {
                self.listen().await;
            }
        };
        // A server that was killed says no more.
        let _ = timeout(PATIENCE, rest).await;
    }
}

fn exited(exit: Exit) -> String {
    format!(
        "Container exited unexpectedly (status {})",
        exit.shell_code()
    )
}

/// The status of a server whose setup has ended; nothing before, or if it does not answer soon.
pub(crate) async fn settled(address: SocketAddr) -> Option<String> {
    let status = health(address).await?;
    (status != STARTING).then_some(status)
}

/// The status that a server says it has; nothing if it does not answer, or not soon.
async fn health(address: SocketAddr) -> Option<String> {
    let answer = timeout(ASK_LIMIT, client::get(address, "/health-check"));
    let answer = answer.await.ok()?.ok()?;
    let health: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(health["status"].as_str()?.to_owned())
}
