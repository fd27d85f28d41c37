//! Looks after a server: until it ends, is stopped, or has to make way for one in another environment.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::anyhow;
use cog_engine::{Exit, Remote, Signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::follow::{FINISH_WITHIN, Follower, Step};
use super::{Service, Started, shown_url};
use crate::interrupts::Interrupts;
use crate::printer::Printer;
use crate::runtime::{Events, SETUP_FAILED, Server, Told, block_on, setup_advice};
use crate::session::Project;

const STOP_GRACE: Duration = Duration::from_secs(30);
/// What a server may take that was told not to wait any longer.
const LAST_GRACE: Duration = Duration::from_secs(3);
/// A setup that says nothing is said to go on so often.
const STILL_INTERVAL: Duration = Duration::from_secs(10);

/// How it ended.
pub(super) enum Ended {
    Stopped,
    /// By itself.
    Failed(Exit),
    /// The project, as it is now, needs another environment.
    ForAnother(Box<Project>),
}

pub(super) fn attend(
    service: &mut Service<'_>,
    project: Project,
    started: Started,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Ended> {
    let Started {
        launcher,
        server,
        snapshot,
    } = started;
    let Server {
        mut running,
        address,
        readiness,
        mut control,
    } = server;
    let printer = service.session.printer.clone();
    let (door, relay) = (service.door.address, service.door.relay.clone());
    let remote = running.remote();
    let (ended, mut has_ended) = tokio::sync::oneshot::channel();
    let waiter = std::thread::spawn(move || {
        let exit = running.wait();
        let _ = ended.send(());
        exit
    });
    let (stop, next) = block_on(async {
        let mut events = control.take_events()?;
        let mut follower = Follower::new(service, project, &launcher, control, snapshot);
        let mut word = pin!(readiness.word(address));
        let mut in_setup = true;
        let mut stop = Stop::NotAsked;
        let mut next = None;
        let began = Instant::now();
        let mut reminders = interval_at(began + STILL_INTERVAL, STILL_INTERVAL);
        reminders.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = tokio::select! {
                _ = interrupts.next() => {
                    next = None;
                    stop = stop.asked(&printer, remote.as_ref())?;
                    Step::Stay
                }
                () = stop.time_is_up() => {
                    stop = stop.overdue(remote.as_ref())?;
                    Step::Stay
                }
                word = &mut word, if in_setup => {
                    in_setup = false;
                    let word = word.unwrap_or_default();
                    follower.begun(&word);
                    announce(&printer, &word, (door, address), follower.follows()).await;
                    Step::Stay
                }
                told = told(&mut events) => follower.hear(told, address).await?,
                () = follower.changed(), if matches!(stop, Stop::NotAsked) => follower.look()?,
                _ = reminders.tick() => {
                    if let Some(since) = follower.loading_since() {
                        printer.info(&format!("setup() goes on ({} s)", since.elapsed().as_secs()));
                    }
                    Step::Stay
                }
                _ = &mut has_ended => return Ok((stop, next)),
            };
            if let Step::MakeWay(project) = wanted
                && matches!(stop, Stop::NotAsked)
            {
                next = Some(project);
                if let Some(relay) = &relay {
                    relay.rest().await;
                }
                stop = Stop::make_way(remote.as_ref())?;
            }
        }
    })?;
    let exit = waiter
        .join()
        .map_err(|_| anyhow!("the thread that waits for the server ended"))??;
    Ok(match (next, stop) {
        (Some(project), _) => Ended::ForAnother(project),
        (None, Stop::NotAsked) if !exit.success() => Ended::Failed(exit),
        (None, _) => Ended::Stopped,
    })
}

/// What the server tells next; never resolves once it tells no more.
async fn told(events: &mut Option<Events>) -> Told {
    loop {
        let Some(some) = events else {
            return std::future::pending().await;
        };
        match some.next().await {
            Some(told) => return told,
            None => *events = None,
        }
    }
}

/// Tells how the first setup has ended: of the server behind the door.
async fn announce(
    printer: &Printer,
    word: &str,
    (door, server): (SocketAddr, SocketAddr),
    follows: bool,
) {
    let url = shown_url(door);
    match word {
        "READY" => printer.info(&format!("Serving at {url}")),
        SETUP_FAILED => {
            let mended = if follows {
                "it is tried again when the code is changed"
            } else {
                "Ctrl-C stops the server"
            };
            printer.warning(&format!(
                "Model setup failed, as its log says; {url}/health-check has it too, {mended}"
            ));
            if let Some(advice) = setup_advice(server).await {
                printer.warning(&advice);
            }
        }
        // It has ended, which is told elsewhere.
        _ => {}
    }
}

/// How far stopping has come.
#[derive(Clone, Copy)]
enum Stop {
    NotAsked,
    Until(Instant),
    /// For another server; it will be told again.
    MakesWay(Instant),
    Now,
}

impl Stop {
    /// The first signal asks the server to stop when its predictions are done, the second ends it.
    fn asked(self, printer: &Printer, remote: &dyn Remote) -> anyhow::Result<Self> {
        if let Self::NotAsked = self {
            // The server ignores SIGTERM here, as its arguments say; SIGINT ends it in good order.
            remote.signal(Signal::INT)?;
            printer.info(&format!(
                "Stopping: waiting up to {} s for predictions to end; stop again to end them",
                STOP_GRACE.as_secs()
            ));
            return Ok(Self::Until(Instant::now() + STOP_GRACE));
        }
        remote.end();
        Ok(Self::Now)
    }

    fn make_way(remote: &dyn Remote) -> anyhow::Result<Self> {
        remote.signal(Signal::INT)?;
        Ok(Self::MakesWay(Instant::now() + FINISH_WITHIN))
    }

    fn overdue(self, remote: &dyn Remote) -> anyhow::Result<Self> {
        if let Self::MakesWay(_) = self {
            // It ends what runs, and answers.
            remote.signal(Signal::INT)?;
            return Ok(Self::Until(Instant::now() + LAST_GRACE));
        }
        remote.end();
        Ok(Self::Now)
    }

    async fn time_is_up(self) {
        match self {
            Self::Until(time) | Self::MakesWay(time) => sleep_until(time).await,
            Self::NotAsked | Self::Now => std::future::pending().await,
        }
    }
}
