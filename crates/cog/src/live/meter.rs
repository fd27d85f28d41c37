//! How fast something comes, and how long the rest of it takes. The time is given, so that it can be tested.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What came longer ago says little of what comes now.
const WINDOW: Duration = Duration::from_secs(8);
/// Marks that are closer to each other would only be more of them.
const SPACING: Duration = Duration::from_millis(200);
/// In less time a rate is chance.
const LEAST: Duration = Duration::from_millis(500);
/// Nobody waits longer, and a rate that is nearly nothing gives any number.
const LONGEST: Duration = Duration::from_hours(99);

/// What has come so far of something, in bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    /// When how much was there, the oldest first. What was there at the first mark came earlier, perhaps in another process.
    marks: VecDeque<(Instant, u64)>,
}

impl Meter {
    pub(crate) fn new(total: Option<u64>) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// `done` bytes are there; fewer than before if it had to start over.
    pub(crate) fn advance(&mut self, done: u64, now: Instant) {
        if done < self.done {
            self.marks.clear();
        }
        self.done = done;
        let last = self.marks.back();
        if last.is_none_or(|(at, _)| now.saturating_duration_since(*at) >= SPACING) {
            self.marks.push_back((now, done));
        }
        while let Some((at, _)) = self.marks.get(1)
            && now.saturating_duration_since(*at) >= WINDOW
        {
            self.marks.pop_front();
        }
    }

    /// Bytes a second, lately. Nothing as long as that cannot be said.
    pub(crate) fn rate(&self, now: Instant) -> Option<u64> {
        let age = |at: Instant| now.saturating_duration_since(at);
        let before = self.marks.iter().rev().find(|(at, _)| age(*at) >= WINDOW);
        let (at, done) = before.or_else(|| self.marks.front())?;
        let elapsed = age(*at);
        if elapsed < LEAST {
            return None;
        }
        let came = u128::from(self.done.saturating_sub(*done));
        u64::try_from(came * 1000 / elapsed.as_millis()).ok()
    }

    /// How long the rest takes at that rate. Nothing if there is none, or if it stands still.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let rest = self.total?.checked_sub(self.done)?;
        let rate = self.rate(now).filter(|rate| *rate > 0)?;
        // Rounded up: what says 0 seconds should be there.
        let left = Duration::from_secs(rest.div_ceil(rate));
        (left <= LONGEST).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A meter that was told these bytes at these milliseconds, and the moment that it began.
    fn told(total: u64, marks: &[(u64, u64)]) -> (Meter, Instant) {
        let start = Instant::now();
        let mut meter = Meter::new(Some(total));
        for (at, done) in marks {
            meter.advance(*done, start + Duration::from_millis(*at));
        }
        (meter, start)
    }

    #[test]
    fn the_rate_is_what_came_since_the_first_mark() {
        let (meter, start) = told(10_000, &[(0, 0), (1000, 1000), (2000, 2000)]);
        let now = start + Duration::from_secs(2);
        assert_eq!(meter.rate(now), Some(1000));
        assert_eq!(meter.left(now), Some(Duration::from_secs(8)));
    }

    #[test]
    fn nothing_is_said_at_once() {
        let (meter, start) = told(10_000, &[(0, 0), (100, 5000)]);
        assert_eq!(meter.rate(start + Duration::from_millis(100)), None);
        assert_eq!(meter.left(start + Duration::from_millis(100)), None);
        assert_eq!(Meter::new(Some(1)).rate(start), None);
    }

    #[test]
    fn what_was_there_before_is_no_rate() {
        // A download that is continued begins with half of it.
        let (meter, start) = told(1_000_000, &[(0, 500_000), (1000, 501_000)]);
        let now = start + Duration::from_secs(1);
        assert_eq!(meter.rate(now), Some(1000));
        assert_eq!(meter.left(now), Some(Duration::from_secs(499)));
    }

    #[test]
    fn only_the_last_seconds_count() {
        let slow: Vec<(u64, u64)> = (0..=60).map(|second| (second * 1000, second)).collect();
        let (mut meter, start) = told(100_000, &slow);
        for second in 61..=70 {
            let done = 60 + (second - 60) * 1000;
            meter.advance(done, start + Duration::from_secs(second));
        }
        assert_eq!(meter.rate(start + Duration::from_secs(70)), Some(1000));
        assert!(meter.marks.len() < 12, "{}", meter.marks.len());
    }

    #[test]
    fn what_stands_still_has_no_end() {
        let (meter, start) = told(10_000, &[(0, 0), (1000, 1000)]);
        let now = start + Duration::from_mins(1);
        assert_eq!(meter.rate(now), Some(0));
        assert_eq!(meter.left(now), None);
    }

    #[test]
    fn what_starts_over_is_measured_anew() {
        let (mut meter, start) = told(10_000, &[(0, 0), (1000, 8000)]);
        meter.advance(0, start + Duration::from_secs(2));
        meter.advance(100, start + Duration::from_secs(3));
        assert_eq!(meter.rate(start + Duration::from_secs(3)), Some(100));
    }

    #[test]
    fn odd_numbers_are_no_matter() {
        let (meter, start) = told(10, &[(0, 0), (1000, 20)]);
        assert_eq!(meter.left(start + Duration::from_secs(1)), None);
        let (meter, start) = told(u64::MAX, &[(0, 0), (1000, 1)]);
        assert_eq!(meter.left(start + Duration::from_secs(1)), None);
    }

    #[test]
    fn marks_have_a_bound() {
        let start = Instant::now();
        let mut meter = Meter::new(None);
        for number in 0..100_000 {
            meter.advance(number, start + Duration::from_millis(number));
        }
        assert!(meter.marks.len() < 64, "{}", meter.marks.len());
    }
}
