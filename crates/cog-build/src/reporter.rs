//! What a build tells while it works.
//!
//! The library never prints. A [`Reporter`] receives [`Event`]s, possibly from several threads
//! at once; the command-line tool turns them into progress bars or plain lines.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Receives what happens during a build.
pub trait Reporter: Send + Sync {
    /// Called for every event, in order within one thread.
    fn report(&self, event: Event<'_>);
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on a step begins; its cache entry was not found.
    StepStarted {
        /// What the step does, such as `system packages: ffmpeg`.
        title: &'a str,
    },
    /// A step is done.
    StepFinished {
        /// The title given when it started.
        title: &'a str,
        /// Whether work was needed.
        outcome: Outcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// Progress within the step that runs.
    Progress {
        /// What is counted, such as `downloading packages`.
        label: &'a str,
        /// How far it is.
        done: u64,
        /// How far it goes, where known.
        total: Option<u64>,
        /// What the numbers count.
        unit: Unit,
    },
    /// A line that a command of the step printed, without its line end.
    Output {
        /// The line.
        line: &'a str,
    },
    /// What of the running step is done from now on, for who waits for its end.
    Doing {
        /// What is done, such as `downloading torch (797.3MiB)`.
        what: &'a str,
    },
    /// Something is odd, but the build goes on.
    Warning {
        /// What is odd, lower case, without a full stop.
        message: &'a str,
    },
    /// Worth telling only who wants to know everything.
    Detail {
        /// The detail, without a full stop.
        message: &'a str,
    },
    /// Worth telling, nothing is wrong.
    Notice {
        /// The notice, lower case, without a full stop.
        message: &'a str,
    },
}

/// Whether a step had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done now.
    Built,
    /// Its layers were in the store.
    Cached,
}

/// What a [`Event::Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things, such as packages.
    Items,
}

/// Passes everything on, but each warning and notice once: builds for several platforms have much in common.
pub(crate) struct ToldOnce<'a> {
    inner: &'a dyn Reporter,
    told: Mutex<HashSet<String>>,
}

impl<'a> ToldOnce<'a> {
    pub(crate) fn new(inner: &'a dyn Reporter) -> Self {
        Self {
            inner,
            told: Mutex::default(),
        }
    }
}

impl Reporter for ToldOnce<'_> {
    fn report(&self, event: Event<'_>) {
        if let Event::Warning { message } | Event::Notice { message } = event {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if !told.insert(message.to_owned()) {
                return;
            }
        }
        self.inner.report(event);
    }
}

/// A reporter that drops everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Reporter for Heard {
        fn report(&self, event: Event<'_>) {
            let mut heard = self.0.lock().expect("no panic");
            heard.push(format!("{event:?}"));
        }
    }

    #[test]
    fn the_same_words_are_told_once() {
        let heard = Heard::default();
        let told = ToldOnce::new(&heard);
        for message in ["a", "b", "a"] {
            told.report(Event::Warning { message });
            told.report(Event::Output { line: message });
        }
        let heard = heard.0.lock().expect("no panic");
        let count = |word: &str| heard.iter().filter(|one| one.starts_with(word)).count();
        assert_eq!((count("Warning"), count("Output")), (2, 3));
    }
}
