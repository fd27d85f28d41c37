//! Tells that something goes on, for as long as it says nothing itself.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::reporter::{Event, Reporter};

/// How often it is told.
const EVERY: Duration = Duration::from_secs(1);

/// What goes on.
pub(crate) struct Heartbeat<'a> {
    what: &'a str,
    reporter: &'a dyn Reporter,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    spoken: Instant,
    ended: bool,
}

impl<'a> Heartbeat<'a> {
    /// Does `work`, and tells of `what` once a second. Work that reports something itself calls [`Self::spoken`].
    pub(crate) fn during<T>(
        reporter: &'a dyn Reporter,
        what: &'a str,
        work: impl FnOnce(&Self) -> T,
    ) -> T {
        let beat = Self {
            what,
            reporter,
            state: Mutex::new(State {
                spoken: Instant::now(),
                ended: false,
            }),
            ended: Condvar::new(),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| beat.tell());
            // Also where the work panics, or the scope would wait for ever.
            let _end = End(&beat);
            work(&beat)
        })
    }

    /// Something else was reported.
    pub(crate) fn spoken(&self) {
        self.state().spoken = Instant::now();
    }

    fn tell(&self) {
        let started = Instant::now();
        let mut state = self.state();
        while !state.ended {
            let left = EVERY.saturating_sub(state.spoken.elapsed());
            if left.is_zero() {
                state.spoken = Instant::now();
                drop(state);
                let line = &*format!("{} ({} s)", self.what, started.elapsed().as_secs());
                self.reporter.report(Event::Waiting { line });
                state = self.state();
            } else {
                let waited = self.ended.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End<'a, 'b>(&'a Heartbeat<'b>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Lines(Mutex<mpsc::Sender<String>>);

    impl Reporter for Lines {
        fn report(&self, event: Event<'_>) {
            if let Event::Waiting { line } = event {
                let sender = self.0.lock().expect("no panic");
                sender.send(line.to_owned()).expect("it is received");
            }
        }
    }

    #[test]
    fn silent_work_is_told_of_until_it_ends() {
        let (sender, lines) = mpsc::channel();
        let reporter = Lines(Mutex::new(sender));
        let first = Heartbeat::during(&reporter, "packing", |_| {
            lines.recv_timeout(Duration::from_secs(30))
        });
        assert_eq!(first.expect("a line comes"), "packing (1 s)");
        drop(reporter);
        assert!(lines.iter().count() <= 1, "nothing is told afterwards");
    }

    #[test]
    fn a_panic_is_passed_on() {
        let caught = std::panic::catch_unwind(|| {
            Heartbeat::during(&crate::Silent, "x", |_| panic!("as wanted"));
        });
        assert!(caught.is_err());
    }
}
