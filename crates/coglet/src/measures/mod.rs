//! What the server measures of itself, for `GET /metrics`.
//!
//! Everything that happens often is a fixed set of atomic numbers, made at start: counting a request
//! neither allocates nor locks. What can be looked up is looked up when somebody asks
//! ([`crate::http`] does that). The text format is in [`exposition`].

mod exposition;
mod instruments;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use exposition::Page;
pub(crate) use instruments::{Counter, Histogram, Requests};

use crate::marks::{Marks, Status};

/// Boundaries for durations from a millisecond to half an hour, in nanoseconds.
const DURATIONS: &[u64] = &[
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
    600_000_000_000,
    1_800_000_000_000,
];
const NANOSECONDS: f64 = 1e9;
const BATCH_SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

/// All instruments.
#[derive(Debug)]
pub(crate) struct Measures {
    pub(crate) requests: Requests,
    pub(crate) succeeded: Histogram,
    pub(crate) failed: Histogram,
    pub(crate) canceled: Histogram,
    pub(crate) queue_time: Histogram,
    pub(crate) batch_size: Histogram,
    pub(crate) worker_restarts: Counter,
    started: SystemTime,
}

impl Default for Measures {
    fn default() -> Self {
        let durations = || Histogram::new(DURATIONS, NANOSECONDS);
        Self {
            requests: Requests::default(),
            succeeded: durations(),
            failed: durations(),
            canceled: durations(),
            queue_time: durations(),
            batch_size: Histogram::new(BATCH_SIZES, 1.0),
            worker_restarts: Counter::default(),
            started: SystemTime::now(),
        }
    }
}

impl Measures {
    /// When the server was started, in seconds since 1970.
    pub(crate) fn started_at(&self) -> f64 {
        let since_epoch = self.started.duration_since(UNIX_EPOCH);
        since_epoch.unwrap_or_default().as_secs_f64()
    }

    /// A prediction has ended.
    pub(crate) fn prediction_ended(&self, status: Status, marks: &Marks) {
        let durations = match status {
            Status::Failed => &self.failed,
            Status::Canceled => &self.canceled,
            Status::Starting | Status::Processing | Status::Succeeded => &self.succeeded,
        };
        durations.observe(nanoseconds(marks.total()));
        if let Some(waited) = marks.waited() {
            self.queue_time.observe(nanoseconds(waited));
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
