//! Fills silence: where nothing moves on the screen, a line says what goes on when nothing else was said for a while.
//!
//! It knows what is being done and when something was last said; the printer says it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A reader who counts two seconds of silence thinks that something hangs.
const LONGEST: Duration = Duration::from_millis(1500);

pub(crate) struct Silence {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// When something was last said.
    spoken: Instant,
    /// What is being done, the innermost last.
    works: Vec<Work>,
    /// Whether somebody waits for [`Silence::next`].
    watched: bool,
}

struct Work {
    title: String,
    /// What of it is being done now.
    what: String,
    since: Instant,
}

impl Silence {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                spoken: Instant::now(),
                works: Vec::new(),
                watched: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Something was said.
    pub(crate) fn spoken(&self) {
        self.state().spoken = Instant::now();
    }

    /// Work that was announced and goes on until [`Self::ends`] is told the same title. True the first time: somebody has to begin
    /// calling [`Self::next`].
    #[must_use]
    pub(crate) fn begins(&self, title: &str) -> bool {
        let mut state = self.state();
        state.works.push(Work {
            title: title.to_owned(),
            what: title.to_owned(),
            since: Instant::now(),
        });
        self.changed.notify_all();
        !std::mem::replace(&mut state.watched, true)
    }

    pub(crate) fn ends(&self, title: &str) {
        let mut state = self.state();
        if let Some(last) = state.works.iter().rposition(|work| work.title == title) {
            state.works.remove(last);
        }
    }

    /// All work is over, or was given up.
    pub(crate) fn rests(&self) {
        self.state().works.clear();
    }

    /// What is done now of the innermost work.
    pub(crate) fn goes_on(&self, what: &str) {
        if let Some(work) = self.state().works.last_mut() {
            what.clone_into(&mut work.what);
        }
    }

    /// Waits until silence has lasted too long, and gives what to say. That it is said starts the next wait.
    pub(crate) fn next(&self) -> String {
        let mut state = self.state();
        loop {
            let Some(work) = state.works.last() else {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = LONGEST.saturating_sub(state.spoken.elapsed());
            if left.is_zero() {
                let line = format!("{} ({} s)", work.what, work.since.elapsed().as_secs());
                state.spoken = Instant::now();
                return line;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_until_it_ends() {
        let silence = Silence::new();
        assert!(silence.begins("base"));
        assert_eq!(silence.next(), "base (1 s)");
        assert!(!silence.begins("python packages"), "it is watched");
        silence.goes_on("layer 2 of 3");
        assert_eq!(silence.next(), "layer 2 of 3 (1 s)");
        silence.ends("python packages");
        let line = silence.next();
        assert!(line.starts_with("base ("), "{line}");
    }
}
