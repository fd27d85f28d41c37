//! Says when requests are due. A thread of its own, for the runtime's timers only know milliseconds.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel};

/// Times that wait for a listener who is busy.
const WAITING: usize = 1024;

/// Sends the time of each request when it is due, evenly spaced; closes when there are no more. It ends when nobody
/// listens.
///
/// What cannot be taken at once is sent late, with the time when it was due: nothing is left out of the measurement.
pub(super) fn start(
    rate: f64,
    begun: Instant,
    most: Option<u64>,
    until: Option<Instant>,
) -> Receiver<Instant> {
    let (sender, receiver) = channel(WAITING);
    thread::spawn(move || {
        for number in 0..most.unwrap_or(u64::MAX) {
            // Beyond what a clock knows nothing is due.
            let Some(when) = begun.checked_add(offset(number, rate)) else {
                return;
            };
            if until.is_some_and(|until| when >= until) {
                return;
            }
            let early = when.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            }
            if sender.blocking_send(when).is_err() {
                return;
            }
        }
    });
    receiver
}

/// How long after the beginning the request of this number is due.
fn offset(number: u64, rate: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        reason = "no run sends more than 2^53 requests"
    )]
    let seconds = number as f64 / rate;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced_and_end() {
        let begun = Instant::now();
        let until = begun + Duration::from_millis(50);
        let mut due = start(100.0, begun, None, Some(until));
        let times = std::iter::from_fn(|| due.blocking_recv()).map(|when| when - begun);
        let times = times.collect::<Vec<_>>();
        assert_eq!(times, [0, 10, 20, 30, 40].map(Duration::from_millis));
        assert!(begun.elapsed() >= Duration::from_millis(40));
    }

    #[test]
    fn a_rate_that_takes_for_ever_has_one() {
        for rate in [1e-12, 1e-300, f64::MIN_POSITIVE] {
            let begun = Instant::now();
            let mut due = start(rate, begun, Some(2), Some(begun + Duration::from_secs(5)));
            assert_eq!(std::iter::from_fn(|| due.blocking_recv()).count(), 1);
        }
    }

    #[test]
    fn who_is_late_gets_the_times_all_the_same() {
        let begun = Instant::now();
        let most = 4 * WAITING as u64;
        let mut due = start(1e6, begun, Some(most), None);
        thread::sleep(Duration::from_millis(50));
        let times: Vec<_> = std::iter::from_fn(|| due.blocking_recv()).collect();
        assert_eq!(times.len() as u64, most);
        assert_eq!(times.last(), Some(&(begun + offset(most - 1, 1e6))));
    }

    #[test]
    fn no_more_are_due_than_were_asked_for() {
        let mut due = start(1e9, Instant::now(), Some(3), None);
        assert_eq!(std::iter::from_fn(|| due.blocking_recv()).count(), 3);
    }
}
