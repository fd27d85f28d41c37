//! What goes to one place goes there one after another, so that the last one stays.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::oneshot::{self, Receiver, Sender, error::TryRecvError};

use crate::sync::lock;

/// Gives turns. It remembers only those that are not over.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By place, the last one, of which the end is told by closing.
    last: Mutex<HashMap<String, Receiver<()>>>,
}

/// A turn, which is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<Receiver<()>>,
    _over: Sender<()>,
}

impl Turns {
    /// After all for the same place that were given before.
    pub(super) fn next(&self, place: &str) -> Turn {
        let (over, ended) = oneshot::channel();
        let mut last = lock(&self.last);
        if last.len() == last.capacity() {
            // Room is made before more is taken: a stream may have no end.
            last.retain(|_, turn| turn.try_recv() == Err(TryRecvError::Empty));
        }
        Turn {
            before: last.insert(place.to_owned(), ended),
            _over: over,
        }
    }
}

impl Turn {
    /// Waits until it has come.
    pub(super) async fn come(&mut self) {
        if let Some(before) = &mut self.before {
            // Never a value, only the end.
            let _ = before.await;
        }
        self.before = None;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn has_come(turn: &mut Turn) -> bool {
        turn.come().now_or_never().is_some()
    }

    #[test]
    fn one_place_one_after_another() {
        let turns = Turns::default();
        let (mut first, mut second) = (turns.next("a"), turns.next("a"));
        let (mut third, mut other) = (turns.next("a"), turns.next("b"));
        assert!(has_come(&mut first) && has_come(&mut other));
        assert!(!has_come(&mut second) && !has_come(&mut third));
        drop(first);
        assert!(has_come(&mut second) && !has_come(&mut third));
        drop(second);
        assert!(has_come(&mut third));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let turns = Turns::default();
        let mut kept = turns.next("kept");
        for number in 0..10_000 {
            drop(turns.next(&number.to_string()));
        }
        assert!(lock(&turns.last).capacity() < 100);
        let mut after = turns.next("kept");
        assert!(has_come(&mut kept) && !has_come(&mut after));
    }
}
