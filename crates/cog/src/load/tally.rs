//! What many requests came to, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::request::{End, Sample};

/// The longest latency that is told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// Reasons that are told apart. What a server says may have a number in it.
const MOST_REASONS: usize = 16;
const OTHERS: &str = "for other reasons";

/// Latencies are in microseconds.
pub(crate) struct Tally {
    /// Of answers with an output.
    pub(super) latencies: Histogram<u64>,
    pub(super) first_outputs: Histogram<u64>,
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Why there was no output, and how often.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    /// Due, but too many were under way.
    pub(super) unsent: u64,
    pub(super) outputs: u64,
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            latencies: histogram(),
            first_outputs: histogram(),
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            succeeded: 0,
            failed: 0,
            unsent: 0,
            outputs: 0,
            bytes: 0,
        }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        self.outputs += sample.outputs;
        self.bytes += sample.bytes;
        match &sample.end {
            End::Succeeded(status) => {
                *self.statuses.entry(*status).or_default() += 1;
                self.succeeded += 1;
                self.latencies
                    .saturating_record(microseconds(sample.latency));
                if let Some(first) = sample.first_output {
                    self.first_outputs.saturating_record(microseconds(first));
                }
            }
            End::Refused(status, reason) => {
                *self.statuses.entry(*status).or_default() += 1;
                self.failed += 1;
                self.add_failure(&format!("{status}: {reason}"));
            }
            End::Failed(status, reason) => {
                *self.statuses.entry(*status).or_default() += 1;
                self.failed += 1;
                self.add_failure(reason);
            }
            End::Lost(reason) => {
                self.failed += 1;
                self.add_failure(reason);
            }
        }
    }

    pub(super) fn add_unsent(&mut self) {
        self.unsent += 1;
    }

    fn add_failure(&mut self, reason: &str) {
        let is_known = self.failures.contains_key(reason);
        let reason = if is_known || self.failures.len() < MOST_REASONS {
            reason
        } else {
            OTHERS
        };
        *self.failures.entry(reason.to_owned()).or_default() += 1;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST, DIGITS).expect("the bounds are valid")
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros())
        .unwrap_or(LONGEST)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(end: End) -> Sample {
        Sample {
            latency: Duration::from_millis(2),
            first_output: None,
            outputs: 0,
            bytes: 10,
            end,
        }
    }

    #[test]
    fn failures_are_no_latencies() {
        let mut tally = Tally::new();
        tally.add(&sample(End::Succeeded(200)));
        tally.add(&sample(End::Refused(409, "busy".into())));
        tally.add(&sample(End::Lost("connection refused".into())));
        assert_eq!(tally.latencies.len(), 1);
        assert_eq!((tally.succeeded, tally.failed), (1, 2));
        assert_eq!(tally.statuses, BTreeMap::from([(200, 1), (409, 1)]));
        assert_eq!(tally.failures["409: busy"], 1);
        assert_eq!(tally.bytes, 30);
    }

    #[test]
    fn what_a_server_says_takes_no_memory() {
        let mut tally = Tally::new();
        for number in 0..10_000 {
            tally.add(&sample(End::Refused(500, format!("request {number}"))));
        }
        assert_eq!(tally.failures.len(), MOST_REASONS + 1);
        assert_eq!(tally.failures[OTHERS], 10_000 - MOST_REASONS as u64);
    }
}
