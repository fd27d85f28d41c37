//! Results of asynchronous predictions, kept for a while for clients that ask instead of being called.
//!
//! Bounded in number, age and memory; what does not fit is forgotten, the oldest first. Nothing here is
//! in flight: an id that is kept here is free for a new prediction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::json::Parts;
use crate::sync::lock;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryLimits {
    /// 0 keeps nothing.
    pub(crate) count: usize,
    pub(crate) age: Duration,
    pub(crate) bytes: u64,
}

/// The last results.
#[derive(Debug)]
pub(crate) struct History {
    limits: HistoryLimits,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Entry>,
    /// Their ids, in the order in which they ended.
    order: BTreeMap<u64, String>,
    next_turn: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    turn: u64,
    ended: Instant,
    bytes: u64,
    /// As the client gets it.
    snapshot: Parts,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            count: 1000,
            age: Duration::from_mins(10),
            bytes: 64 << 20,
        }
    }
}

impl History {
    pub(crate) fn new(limits: HistoryLimits) -> Self {
        Self {
            limits,
            kept: Mutex::default(),
        }
    }

    /// Whether anything is kept at all.
    pub(crate) fn is_on(&self) -> bool {
        self.limits.count > 0
    }

    /// The snapshot of a prediction that has ended.
    pub(crate) fn snapshot(&self, id: &str) -> Option<Parts> {
        let mut kept = lock(&self.kept);
        kept.trim(&self.limits, Instant::now());
        kept.by_id.get(id).map(|entry| entry.snapshot.clone())
    }

    pub(super) fn insert(&self, id: &str, snapshot: Parts) {
        self.insert_at(id, snapshot, Instant::now());
    }

    fn insert_at(&self, id: &str, snapshot: Parts, ended: Instant) {
        // What an entry costs beside its text: two copies of the id and the places in the tables.
        const OVERHEAD: usize = 256;
        let bytes = u64::try_from(snapshot.len() + 2 * id.len() + OVERHEAD).unwrap_or(u64::MAX);
        let mut kept = lock(&self.kept);
        // A result that is too large takes the place of an older one of the same id all the same: that
        // one would be taken for it.
        kept.remove(id);
        if bytes <= self.limits.bytes {
            let turn = kept.next_turn;
            kept.next_turn += 1;
            kept.bytes += bytes;
            kept.order.insert(turn, id.to_owned());
            let entry = Entry {
                turn,
                ended,
                bytes,
                snapshot,
            };
            kept.by_id.insert(id.to_owned(), entry);
        }
        kept.trim(&self.limits, ended);
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new(HistoryLimits::default())
    }
}

impl Kept {
    fn remove(&mut self, id: &str) {
        if let Some(entry) = self.by_id.remove(id) {
            self.order.remove(&entry.turn);
            self.bytes -= entry.bytes;
        }
    }

    /// Forgets the oldest until the rest is within the limits.
    fn trim(&mut self, limits: &HistoryLimits, now: Instant) {
        while let Some(oldest) = self.order.first_entry() {
            let is_old = self
                .by_id
                .get(oldest.get())
                .is_none_or(|entry| now.saturating_duration_since(entry.ended) > limits.age);
            if !is_old && self.by_id.len() <= limits.count && self.bytes <= limits.bytes {
                return;
            }
            if let Some(entry) = self.by_id.remove(&oldest.remove()) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::object_with;

    fn snapshot(text: &str) -> Parts {
        object_with(&serde_json::json!({ "output": text }), &[])
    }

    fn history(count: usize, bytes: u64) -> History {
        History::new(HistoryLimits {
            count,
            bytes,
            age: Duration::from_mins(10),
        })
    }

    fn known<'a>(history: &History, ids: &'a str) -> Vec<&'a str> {
        let present = |id: &&str| history.snapshot(id).is_some();
        ids.split(' ').filter(present).collect()
    }

    #[test]
    fn the_oldest_go_first() {
        let history = history(2, 1 << 20);
        for id in ["a", "b", "c"] {
            history.insert(id, snapshot("x"));
        }
        assert_eq!(known(&history, "a b c"), ["b", "c"]);
    }

    #[test]
    fn a_repeated_id_is_new_again() {
        let history = history(2, 1 << 20);
        for id in ["a", "b", "a", "c"] {
            history.insert(id, snapshot("x"));
        }
        assert_eq!(known(&history, "a b c"), ["a", "c"]);
    }

    #[test]
    fn memory_is_bounded() {
        let history = history(1000, 4000);
        for id in ["a", "b", "c"] {
            history.insert(id, snapshot(&"x".repeat(1500)));
        }
        assert_eq!(known(&history, "a b c"), ["b", "c"]);
        history.insert("b", snapshot(&"x".repeat(5000)));
        assert_eq!(known(&history, "a b c"), ["c"]);
        assert!(lock(&history.kept).bytes <= 4000);
    }

    #[test]
    fn the_old_are_forgotten() {
        let history = history(1000, 1 << 20);
        let long_ago = Instant::now()
            .checked_sub(Duration::from_secs(601))
            .expect("a machine that has run for ten minutes");
        history.insert_at("a", snapshot("x"), long_ago);
        assert_eq!(known(&history, "a"), Vec::<&str>::new());
        assert_eq!(lock(&history.kept).bytes, 0);
    }
}
