//! When a worker is started, and what its end means for the server.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::directories::Directories;
use super::session::{End, Session};
use super::{GivenUp, Owner};
use crate::Settings;
use crate::env;
use crate::health::Phase;
use crate::process::{Reaper, kill_children_with, kill_remaining_children};
use crate::slots::Lane;

/// Losses in a row, without a prediction finished in between, after which the server gives up: where no other worker
/// serves, an orchestrator can do more about it.
const MAX_LOSSES: u32 = 5;
/// As long as others serve, it is tried again after so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the server wants of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    /// Let it finish, with limits.
    Gracefully,
    Now,
}

/// What the server wants of all its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) stop: Stop,
    /// Which reading of the model's code is to be served. A worker of another one makes way.
    pub(crate) generation: u64,
    /// Whether there are to be workers.
    pub(crate) serves: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            stop: Stop::No,
            generation: 0,
            serves: true,
        }
    }
}

impl Wish {
    /// Whether a worker that was started for `other` is of no use any more.
    fn is_another_than(self, other: Self) -> bool {
        self.stop != Stop::No || self.generation != other.generation
    }
}

/// Keeps the worker of a lane running.
pub(crate) struct Supervisor {
    owner: Arc<dyn Owner>,
    settings: Arc<Settings>,
    lane: Lane,
    reaper: Reaper,
    wish: watch::Receiver<Wish>,
}

/// What to do after a worker has ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Restart { pause: Duration },
    Rest(Phase),
}

/// The history that decides about the next start.
#[derive(Debug, Default)]
struct Record {
    was_ready: bool,
    losses: u32,
}

impl Supervisor {
    pub(crate) fn new(
        owner: Arc<dyn Owner>,
        settings: Arc<Settings>,
        lane: Lane,
        reaper: Reaper,
        wish: watch::Receiver<Wish>,
    ) -> Self {
        Self {
            owner,
            settings,
            lane,
            reaper,
            wish,
        }
    }

    /// Runs until told to stop; then no process that its worker started is left.
    pub(crate) async fn run(mut self) {
        let mut record = Record::default();
        loop {
            let wish = *self.wish.borrow_and_update();
            if wish.stop != Stop::No {
                return;
            }
            if wish.serves {
                self.serve(wish, &mut record).await;
            } else {
                self.owner.given_up(self.lane, &GivenUp::Withheld);
                self.another_wish(wish).await;
            }
            if self.wish.borrow().generation != wish.generation {
                // What became of other code says nothing about this one.
                record = Record::default();
            }
        }
    }

    /// Runs a worker to its end, and waits until it is time for another one.
    async fn serve(&mut self, wish: Wish, record: &mut Record) {
        let end = self.run_worker(wish).await;
        if self.wish.borrow().is_another_than(wish) {
            return;
        }
        match record.next(&end, self.owner.others_serve(self.lane)) {
            Next::Rest(phase) => {
                self.rest(&end, phase);
                self.another_wish(wish).await;
            }
            Next::Restart { pause } => {
                if let End::SetupFailed { reason } = &end {
                    tracing::error!("{reason}");
                }
                tracing::warn!("Starting a new worker in {} ms", pause.as_millis());
                self.owner.restarting(self.lane, end.reason());
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.another_wish(wish) => {}
                }
            }
        }
    }

    async fn another_wish(&mut self, wish: Wish) {
        // An error means that the server itself has gone.
        let _ = self.wish.wait_for(|now| now.is_another_than(wish)).await;
    }

    async fn run_worker(&mut self, wish: Wish) -> End {
        let failed = |error| End::SetupFailed {
            reason: format!("Setup failed: could not start `python`: {error}"),
        };
        let directories = match Directories::make() {
            Ok(directories) => directories,
            Err(error) => return failed(error),
        };
        let mark = format!(
            "{}={}",
            env::WORKER_SPILL_DIR,
            directories.spill.path().display()
        );
        let owner = Arc::clone(&self.owner);
        let end = match Session::start(owner, &self.settings, self.lane, &self.reaper, directories)
        {
            Ok(session) => session.run(wish, &mut self.wish).await,
            Err(error) => failed(error),
        };
        // Those that left the worker's process group. A new worker's setup will start its own.
        if self.settings.workers == 1 {
            kill_remaining_children().await;
        } else {
            kill_children_with(&mark).await;
        }
        end
    }

    /// Nothing more will be tried: the server answers requests and waits for its end, or for other code.
    fn rest(&self, end: &End, phase: Phase) {
        let cause = match end {
            End::SetupFailed { reason } => GivenUp::SetupFailed {
                reason: reason.clone(),
                phase,
            },
            End::Crashed { .. } | End::Stopped => GivenUp::LostTooOften,
        };
        if phase == Phase::Defunct {
            tracing::error!("The worker was lost {MAX_LOSSES} times in a row: giving up");
        }
        self.owner.given_up(self.lane, &cause);
    }
}

impl Record {
    /// The first setup is not repeated: it failed for a reason that its author has to see. Later ones
    /// are, because it has worked before.
    fn next(&mut self, end: &End, others_serve: bool) -> Next {
        match end {
            End::SetupFailed { .. } if !self.was_ready => return Next::Rest(Phase::SetupFailed),
            End::Crashed {
                was_useful: true, ..
            } => self.losses = 1,
            End::Crashed {
                was_useful: false, ..
            }
            | End::SetupFailed { .. }
            | End::Stopped => {
                self.losses += 1;
            }
        }
        self.was_ready = true;
        if self.losses >= MAX_LOSSES && !others_serve {
            return Next::Rest(Phase::Defunct);
        }
        // At once, then 200 ms, 400 ms, …
        let pause = self.losses.checked_sub(2).map_or(Duration::ZERO, |n| {
            LONGEST_PAUSE.min(Duration::from_millis(200) * 2_u32.pow(n.min(10)))
        });
        Next::Restart { pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crashed(was_useful: bool) -> End {
        End::Crashed {
            was_useful,
            reason: "no".into(),
        }
    }

    fn setup_failed() -> End {
        End::SetupFailed {
            reason: "no".into(),
        }
    }

    fn restart(milliseconds: u64) -> Next {
        Next::Restart {
            pause: Duration::from_millis(milliseconds),
        }
    }

    #[test]
    fn a_first_setup_is_not_repeated() {
        assert_eq!(
            Record::default().next(&setup_failed(), false),
            Next::Rest(Phase::SetupFailed)
        );
    }

    #[test]
    fn a_worker_that_keeps_dying_is_given_up() {
        let mut record = Record::default();
        let pauses = [
            crashed(false),
            setup_failed(),
            crashed(false),
            crashed(false),
        ]
        .map(|end| record.next(&end, false));
        assert_eq!(
            pauses,
            [restart(0), restart(200), restart(400), restart(800)]
        );
        assert_eq!(
            record.next(&crashed(false), false),
            Next::Rest(Phase::Defunct)
        );
    }

    #[test]
    fn a_finished_prediction_wipes_the_record() {
        let mut record = Record::default();
        for _ in 0..20 {
            assert_eq!(record.next(&crashed(true), false), restart(0));
        }
    }

    #[test]
    fn one_of_several_is_tried_for_ever() {
        let mut record = Record::default();
        let mut pauses = (0..20).map(|_| record.next(&crashed(false), true));
        assert_eq!(pauses.nth(3), Some(restart(800)));
        assert_eq!(pauses.last(), Some(restart(30_000)));
        // Once the others are lost too, it is over.
        assert_eq!(
            record.next(&crashed(false), false),
            Next::Rest(Phase::Defunct)
        );
    }
}
