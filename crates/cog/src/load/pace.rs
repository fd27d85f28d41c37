//! Says when requests are due. A thread of its own, for the runtime's timers only know milliseconds.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Sends the time of each request when it is due, evenly spaced; closes when there are no more. It ends when nobody
/// listens.
///
/// The channel holds what was due while the listener was busy, so that nothing is left out of the measurement.
pub(super) fn start(
    rate: f64,
    begun: Instant,
    most: Option<u64>,
    until: Option<Instant>,
) -> UnboundedReceiver<Instant> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        for number in 0..most.unwrap_or(u64::MAX) {
            let when = begun + offset(number, rate);
            if until.is_some_and(|until| when >= until) {
                return;
            }
            let early = when.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            }
            if sender.send(when).is_err() {
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
    fn no_more_are_due_than_were_asked_for() {
        let mut due = start(1e9, Instant::now(), Some(3), None);
        assert_eq!(std::iter::from_fn(|| due.blocking_recv()).count(), 3);
    }
}
