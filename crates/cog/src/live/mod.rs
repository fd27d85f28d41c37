//! What goes on: known here, shown by the printer. On a terminal each thing has a line of its own that moves; elsewhere a
//! line says what goes on when nothing else was said for a while.
//!
//! [`frame`] says what to show, [`meter`] how fast it is, [`region`] what to send to a terminal.

mod frame;
mod meter;
mod region;
mod text;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::printer::Colour;
pub(crate) use frame::Size;
use frame::{Line, frame, sentence};
use meter::Meter;
pub(crate) use region::{Narrowing, Region};

/// A reader who counts two seconds of silence thinks that something hangs.
const FIRST_SILENCE: Duration = Duration::from_millis(1500);
/// One who knows that something goes on waits longer: a build of half an hour is not a thousand lines.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// All that goes on.
pub(crate) struct Works {
    state: Mutex<State>,
    begun: Condvar,
}

struct State {
    /// The innermost last.
    works: Vec<Work>,
    last_id: u64,
    /// When something was last said.
    spoken: Instant,
    /// How long nothing may be said from then on.
    silence: Duration,
}

/// Something that goes on.
#[derive(Debug, Clone)]
struct Work {
    id: WorkId,
    title: String,
    /// What of it is being done now, or a line that it has printed.
    says: String,
    since: Instant,
    /// How far it is, if it is a transfer.
    meter: Option<Meter>,
    /// Of another one that tells the sum.
    is_part: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkId(u64);

/// What a work is, when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes as long as it takes.
    Work,
    /// Bytes, and how many there will be.
    Transfer(Option<u64>),
    /// The same, as a part of a transfer that was begun before.
    Part(Option<u64>),
}

impl Works {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                works: Vec::new(),
                last_id: 0,
                spoken: Instant::now(),
                silence: FIRST_SILENCE,
            }),
            begun: Condvar::new(),
        }
    }

    /// It goes on until [`Self::end`] is told.
    pub(crate) fn begin(&self, title: &str, kind: Kind) -> WorkId {
        let mut state = self.state();
        state.last_id += 1;
        let total = match kind {
            Kind::Work => None,
            Kind::Transfer(total) | Kind::Part(total) => Some(total),
        };
        let work = Work {
            id: WorkId(state.last_id),
            meter: total.map(Meter::new),
            is_part: matches!(kind, Kind::Part(_)),
            ..Work::new(title, Instant::now())
        };
        let id = work.id;
        state.works.push(work);
        self.begun.notify_all();
        id
    }

    pub(crate) fn end(&self, id: WorkId) {
        self.state().works.retain(|work| work.id != id);
    }

    /// Gives it another title.
    pub(crate) fn rename(&self, id: WorkId, title: &str) {
        self.change(id, |work| title.clone_into(&mut work.title));
    }

    /// What of it is being done now.
    pub(crate) fn say(&self, id: WorkId, what: &str) {
        self.change(id, |work| what.clone_into(&mut work.says));
    }

    /// How many bytes there are, and will be, if that is known.
    pub(crate) fn advance(&self, id: WorkId, done: u64, total: Option<u64>) {
        self.change(id, |work| {
            let meter = work.meter.get_or_insert_default();
            meter.total = total.or(meter.total);
            meter.advance(done, Instant::now());
        });
    }

    /// Something was said.
    pub(crate) fn spoken(&self) {
        let mut state = self.state();
        state.spoken = Instant::now();
        state.silence = FIRST_SILENCE;
    }

    /// Waits until something goes on.
    pub(crate) fn wait(&self) {
        let state = self.state();
        let waited = self.begun.wait_while(state, |state| state.works.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// What to show on a terminal.
    pub(crate) fn frame(&self, size: Size, colour: Colour) -> Vec<Line> {
        frame(&self.state().works, size, colour, Instant::now())
    }

    /// What to say if nothing was said for too long. Whoever asks says it.
    pub(crate) fn overdue(&self) -> Option<String> {
        let mut state = self.state();
        let now = Instant::now();
        if now.saturating_duration_since(state.spoken) < state.silence {
            return None;
        }
        let sentence = sentence(&state.works, now)?;
        state.spoken = now;
        state.silence = (state.silence * 2).min(LONGEST_SILENCE);
        Some(sentence)
    }

    fn change(&self, id: WorkId, change: impl FnOnce(&mut Work)) {
        if let Some(work) = self.state().works.iter_mut().find(|work| work.id == id) {
            change(work);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn new(title: &str, since: Instant) -> Self {
        Self {
            id: WorkId(0),
            title: title.to_owned(),
            says: String::new(),
            since,
            meter: None,
            is_part: false,
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said when so much time has gone by without a word.
    fn after(works: &Works, silence: Duration) -> Option<String> {
        works.state().spoken -= silence;
        works.overdue()
    }

    #[test]
    fn what_goes_on_is_told_until_it_ends() {
        let works = Works::new();
        let base = works.begin("base", Kind::Work);
        assert_eq!(works.overdue(), None);
        assert_eq!(after(&works, FIRST_SILENCE).as_deref(), Some("base (0 s)"));
        let packages = works.begin("python packages", Kind::Work);
        works.say(packages, "layer 2 of 3");
        let told = after(&works, LONGEST_SILENCE);
        assert_eq!(told.as_deref(), Some("layer 2 of 3 (0 s)"));
        works.end(packages);
        let told = after(&works, LONGEST_SILENCE);
        assert_eq!(told.as_deref(), Some("base (0 s)"));
        works.end(base);
        assert_eq!(after(&works, LONGEST_SILENCE), None);
    }

    #[test]
    fn less_and_less_is_said_of_the_same() {
        let works = Works::new();
        works.begin("base", Kind::Work);
        let mut silences = Vec::new();
        for _ in 0..6 {
            let silence = works.state().silence;
            silences.push(silence.as_millis());
            assert!(after(&works, silence).is_some());
            assert_eq!(works.overdue(), None, "it was said");
        }
        assert_eq!(silences, [1500, 3000, 6000, 10_000, 10_000, 10_000]);
        works.spoken();
        assert_eq!(works.state().silence, FIRST_SILENCE);
    }
}
