//! Serving another generation of the model's code, without another server: what runs may end, new requests wait, the
//! workers are started anew. Asked for by whoever has started the server ([`crate::control`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::App;
use super::course::STOP_LIMIT;
use crate::control::{Command, Event};
use crate::predictions::StopReason;
use crate::settings::ControlLine;
use crate::sync::lock;

/// How long those may still wait for the new code who have asked when the server is to stop. It is less than what
/// connections are given then.
const LAST_WAIT: Duration = Duration::from_secs(4);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// None is under way.
    Settled,
    /// What runs may still end; nothing new is begun.
    Finishing,
    /// The workers are started with the new code.
    Starting,
}

/// Whether a request had to wait for the new code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Yes,
    No,
}

impl App {
    /// Does what is asked, one thing after another.
    pub(crate) async fn obey(self: Arc<Self>, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Reload {
                    generation,
                    finish_within_ms,
                } => {
                    self.renew(generation, Duration::from_millis(finish_within_ms), None)
                        .await;
                }
                Command::Withhold {
                    generation,
                    finish_within_ms,
                    reason,
                } => {
                    let limit = Duration::from_millis(finish_within_ms);
                    self.renew(generation, limit, Some(reason)).await;
                }
                Command::Status => self.tell_status(),
            }
        }
    }

    /// A renewal is under way: whoever asks now waits in [`Self::settled`].
    pub(crate) fn is_renewing(&self) -> bool {
        *self.renewal.borrow() != Renewal::Settled
    }

    /// Waits until the code that was asked for is served, or cannot be. A server that is to stop is one that makes way
    /// for another, most likely, and it answers whom it has let in.
    pub(crate) async fn settled(&self) -> Waited {
        if !self.is_renewing() {
            return Waited::No;
        }
        let mut renewal = self.renewal.subscribe();
        let last_wait = async {
            self.shutdown_requested().await;
            sleep(LAST_WAIT).await;
        };
        tokio::select! {
            // The sender lives in `self`: it cannot have gone.
            _ = renewal.wait_for(|renewal| *renewal == Renewal::Settled) => {}
            () = last_wait => {}
        }
        Waited::Yes
    }

    /// Waits until this server may take what comes. One that takes the place of another leaves its clients where they
    /// are until it can answer: should it have to make way before, the next one finds them there.
    pub(crate) async fn may_accept(&self) {
        if self.settings.control == Some(ControlLine::Succeed) {
            self.settled().await;
        }
    }

    /// Other code may be asked for.
    pub(crate) fn reloads(&self) -> bool {
        matches!(
            self.settings.control,
            Some(ControlLine::Reload | ControlLine::Succeed)
        )
    }

    /// Why the code is not served, if it is not.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Which reading of the code is served.
    pub(super) fn generation(&self) -> u64 {
        self.wish.borrow().generation
    }

    /// The workers serve the new code, or will not.
    pub(super) fn settle(&self, failure: Option<&str>) {
        *lock(&self.failure) = failure.map(str::to_owned);
        // What was asked for meanwhile has begun another one.
        self.renewal.send_if_modified(|renewal| {
            let is_started = *renewal == Renewal::Starting;
            if is_started {
                *renewal = Renewal::Settled;
            }
            is_started
        });
    }

    /// With a reason, nothing is served afterwards.
    async fn renew(self: &Arc<Self>, generation: u64, limit: Duration, withheld: Option<String>) {
        self.renewal.send_replace(Renewal::Finishing);
        self.slots.close_all();
        self.control.tell(&Event::Reloading { generation });
        self.finish_within(limit).await;
        self.health.begin_anew();
        self.slots.revive();
        let serves = withheld.is_none();
        *lock(&self.withheld) = withheld;
        self.renewal.send_replace(Renewal::Starting);
        self.wish.send_modify(|wish| {
            wish.generation = generation;
            wish.serves = serves;
        });
    }

    /// Waits for what runs, and stops it when the time is over.
    async fn finish_within(self: &Arc<Self>, limit: Duration) {
        let running = self.slots.taken();
        if running == 0 {
            return;
        }
        self.control.tell(&Event::Finishing {
            predictions: running,
        });
        if timeout(limit, self.slots.all_free()).await.is_ok() {
            return;
        }
        let error = format!(
            "The model's code was changed while this ran, and it did not end within {} s",
            limit.as_secs_f64()
        );
        for prediction in self.registry.all() {
            if prediction.lane().is_some() {
                self.stop(&prediction, StopReason::TimedOut(error.clone()));
            }
        }
        if timeout(STOP_LIMIT, self.slots.all_free()).await.is_ok() {
            return;
        }
        for (_, worker) in self.pool.all() {
            worker.kill("killed because a prediction did not stop for the changed code");
        }
        self.slots.all_free().await;
    }

    fn tell_status(&self) {
        let idle = self.slots.idle();
        self.control.tell(&Event::Status {
            running: self.slots.taken(),
            idle_ms: idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)),
        });
    }
}
