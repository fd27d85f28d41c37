//! How a prediction stands, and when it reached which point of its way.

use std::time::{Duration, Instant};

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Starting,
    Processing,
    Succeeded,
    Failed,
    Canceled,
}

impl Status {
    /// As it is on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// The points that were reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) accepted: Instant,
    /// Its input files were fetched: from when to when.
    pub(crate) fetched: Option<(Instant, Instant)>,
    /// The worker got it.
    pub(crate) running: Option<Instant>,
    /// The worker gave it back, and there was something left to do with its output.
    pub(crate) returned: Option<Instant>,
    pub(crate) ended: Option<Instant>,
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            fetched: None,
            running: None,
            returned: None,
            ended: None,
        }
    }

    /// From its acceptance to its end, or until now.
    pub(crate) fn total(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.accepted
    }

    /// How long it has waited for its turn: the time until it ran in which nothing was done for it.
    pub(crate) fn waited(&self) -> Option<Duration> {
        let fetching = self
            .fetched
            .map_or(Duration::ZERO, |(from, to)| to.duration_since(from));
        let until_running = self.running?.duration_since(self.accepted);
        Some(until_running.saturating_sub(fetching))
    }

    /// The time in which it waited for its turn, given when it ran: before or after its input files were
    /// fetched, whichever took longer.
    pub(crate) fn queued(&self, running: Instant) -> (Instant, Instant) {
        let Some((from, to)) = self.fetched else {
            return (self.accepted, running);
        };
        let (before, after) = (from - self.accepted, running - to);
        if before > after {
            (self.accepted, from)
        } else {
            (to, running)
        }
    }
}
