//! What has happened to a prediction, in order, and how far each of its watchers has read.
//!
//! A record only points to what the prediction keeps anyway: its output and its log. So a prediction
//! that nobody watches costs a few bytes an event, and a watcher needs no queue of its own, only a
//! position. How records become text is in [`super::watch`].

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::task::Waker;

use bytes::Bytes;

use crate::protocol::Source;

/// On one prediction at a time.
const MAX_WATCHERS: usize = 1024;
/// A watcher may be this many events behind, whatever their size,
const MAX_LAG_EVENTS: usize = 1024;
/// and more of them as long as their text is not larger: some 600,000 tokens. One that is further behind
/// has stopped reading, and misses what is dropped.
const MAX_LAG_BYTES: usize = 32 << 20;
/// What is replayed to those who come late, and is kept for nothing else, may be so large.
const MAX_REPLAY_BYTES: usize = 16 << 20;
/// About what an event is beside its content, as text or as a record.
const EVENT_OVERHEAD: usize = 50;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Start,
    /// An item of the output, by its index.
    Output(usize),
    /// The output of a handler that returned it, or an element of the list that it returned.
    Returned {
        index: usize,
        text: Bytes,
    },
    /// A part of the log.
    Log {
        source: Source,
        text: Range<usize>,
    },
    /// What was recorded, as JSON text. Only the totals are kept elsewhere.
    Metric(Bytes),
    Completed,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// About the length of its text.
    bytes: usize,
}

/// Names a watcher of one prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatcherId(u64);

/// What a watcher that has missed events gets after it was told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterGap {
    /// Nothing more.
    End,
    /// The events that are still there, and those that come.
    GoOn,
}

/// What a prediction means to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It was asked for by somebody who does not depend on watching.
    Result,
    /// It was asked for in order to be watched: without watchers it is canceled.
    Events,
}

#[derive(Debug)]
pub(super) struct Timeline {
    records: VecDeque<Entry>,
    /// The size of all `records`.
    bytes: usize,
    /// The size of what only they keep.
    own_bytes: usize,
    /// The number of the first record in `records`, counted from the beginning.
    first: usize,
    limits: Limits,
    pub(super) purpose: Purpose,
    watchers: BTreeMap<WatcherId, Watcher>,
    next_watcher: u64,
    /// No watcher needs a record before this one. May be too low, never too high.
    needed: usize,
    has_sleepers: bool,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Records that one who comes late still gets.
    replayed: usize,
    lag_events: usize,
    lag_bytes: usize,
    own_bytes: usize,
}

#[derive(Debug)]
struct Watcher {
    /// The number of the next record it reads.
    next: usize,
    /// Records that were gone when it came.
    truncated: usize,
    after_gap: AfterGap,
    has_ended: bool,
    waker: Option<Waker>,
}

/// What a watcher finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Record(&'a Record),
    /// Events that it should have got are gone.
    Missed(Missed),
    /// Nothing yet.
    Nothing,
    /// It has everything it will get.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    BeforeJoining(usize),
    WhileReading(usize),
}

impl Watcher {
    /// What it has missed if `first` is the first record that is still there; once.
    fn missed(&mut self, first: usize) -> Option<Missed> {
        let truncated = std::mem::take(&mut self.truncated);
        if truncated > 0 {
            return Some(Missed::BeforeJoining(truncated));
        }
        let gap = first.checked_sub(self.next).filter(|gap| *gap > 0)?;
        self.next = first;
        Some(Missed::WhileReading(gap))
    }
}

impl Record {
    /// What is in memory for it alone: the others point to the output, and to the log.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Metric(text) => text.len(),
            _ => 0,
        }
    }
}

impl Timeline {
    /// Keeps at least the last `replayed` records for those who come late.
    pub(super) fn new(replayed: usize) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            own_bytes: 0,
            first: 0,
            limits: Limits {
                replayed,
                lag_events: MAX_LAG_EVENTS,
                lag_bytes: MAX_LAG_BYTES,
                own_bytes: MAX_REPLAY_BYTES,
            },
            purpose: Purpose::Result,
            watchers: BTreeMap::new(),
            next_watcher: 0,
            needed: usize::MAX,
            has_sleepers: false,
        }
    }

    /// Adds a record; `length` is that of what it points to.
    pub(super) fn push(&mut self, record: Record, length: usize) {
        let bytes = length + EVENT_OVERHEAD;
        self.bytes += bytes;
        self.own_bytes += record.own_bytes();
        self.records.push_back(Entry { record, bytes });
        self.trim();
        if self.has_sleepers {
            self.has_sleepers = false;
            for watcher in self.watchers.values_mut() {
                if let Some(waker) = watcher.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    /// Adds a watcher, unless there are too many. It gets what is replayed, then what comes.
    pub(super) fn join(&mut self, after_gap: AfterGap) -> Option<WatcherId> {
        if self.watchers.len() >= MAX_WATCHERS {
            return None;
        }
        let replayed = self.limits.replayed.min(self.records.len());
        let next = self.end() - replayed;
        // Who asks for no replay misses nothing.
        let truncated = if self.limits.replayed == 0 { 0 } else { next };
        let id = WatcherId(self.next_watcher);
        self.next_watcher += 1;
        self.needed = self.needed.min(next);
        let watcher = Watcher {
            next,
            truncated,
            after_gap,
            has_ended: false,
            waker: None,
        };
        self.watchers.insert(id, watcher);
        Some(id)
    }

    /// Removes a watcher. Returns whether nobody is left of those for whom the prediction runs.
    pub(super) fn leave(&mut self, id: WatcherId) -> bool {
        let was_there = self.watchers.remove(&id).is_some();
        was_there && self.watchers.is_empty() && self.purpose == Purpose::Events
    }

    /// What the watcher reads next. A record counts as read.
    pub(super) fn read(&mut self, id: WatcherId) -> Next<'_> {
        let Some(watcher) = self.watchers.get_mut(&id).filter(|found| !found.has_ended) else {
            return Next::End;
        };
        if let Some(missed) = watcher.missed(self.first) {
            watcher.has_ended = watcher.after_gap == AfterGap::End;
            return Next::Missed(missed);
        }
        match self.records.get(watcher.next - self.first) {
            Some(Entry { record, .. }) => {
                watcher.next += 1;
                watcher.has_ended = *record == Record::Completed;
                Next::Record(record)
            }
            None if self.is_complete() => Next::End,
            None => Next::Nothing,
        }
    }

    /// Has the watcher woken at the next record.
    pub(super) fn wake_later(&mut self, id: WatcherId, waker: &Waker) {
        if let Some(watcher) = self.watchers.get_mut(&id) {
            match &mut watcher.waker {
                Some(known) => known.clone_from(waker),
                unknown => *unknown = Some(waker.clone()),
            }
            self.has_sleepers = true;
        }
    }

    fn is_complete(&self) -> bool {
        self.records
            .back()
            .is_some_and(|last| last.record == Record::Completed)
    }

    fn end(&self) -> usize {
        self.first + self.records.len()
    }

    /// Drops what nobody will read: neither a watcher nor, as replay, one who comes late.
    fn trim(&mut self) {
        while self.records.len() > self.limits.replayed
            || self.own_bytes > self.limits.own_bytes && self.records.len() > 1
        {
            let is_needed = self.first >= self.needed && self.first >= self.slowest();
            let is_bearable =
                self.records.len() <= self.limits.lag_events || self.bytes <= self.limits.lag_bytes;
            // The end is told to everybody who still comes to look.
            let is_end = self.records.len() == 1 && self.is_complete();
            let is_small = self.own_bytes <= self.limits.own_bytes;
            if is_needed && is_bearable && is_small || is_end {
                return;
            }
            if let Some(dropped) = self.records.pop_front() {
                self.bytes -= dropped.bytes;
                self.own_bytes -= dropped.record.own_bytes();
                self.first += 1;
            }
        }
    }

    /// Brings `needed` up to date.
    fn slowest(&mut self) -> usize {
        let readers = self.watchers.values().filter(|found| !found.has_ended);
        self.needed = readers
            .map(|watcher| watcher.next)
            .min()
            .unwrap_or(usize::MAX);
        self.needed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LENGTH: usize = 100 - EVENT_OVERHEAD;

    /// One in which nothing can lag by more than that many events of 100 bytes.
    fn timeline(replayed: usize, lag: usize) -> Timeline {
        let mut timeline = Timeline::new(replayed);
        timeline.limits.lag_events = lag;
        timeline.limits.lag_bytes = lag * 100;
        timeline
    }

    /// The numbers of the outputs that the watcher can read now, and what comes after them.
    fn read(timeline: &mut Timeline, id: WatcherId) -> (Vec<usize>, Option<Missed>) {
        let mut outputs = Vec::new();
        loop {
            match timeline.read(id) {
                Next::Record(Record::Output(index)) => outputs.push(*index),
                Next::Record(_) => {}
                Next::Missed(missed) => return (outputs, Some(missed)),
                Next::Nothing | Next::End => return (outputs, None),
            }
        }
    }

    fn push(timeline: &mut Timeline, indexes: Range<usize>) {
        for index in indexes {
            timeline.push(Record::Output(index), LENGTH);
        }
    }

    #[test]
    fn who_comes_late_gets_the_replay_and_then_what_comes() {
        let mut timeline = timeline(4, 10);
        push(&mut timeline, 0..4);
        let id = timeline.join(AfterGap::End).unwrap();
        assert_eq!(read(&mut timeline, id), ((0..4).collect(), None));
        push(&mut timeline, 4..40);
        assert_eq!(
            read(&mut timeline, id),
            (Vec::new(), Some(Missed::WhileReading(26)))
        );
        assert_eq!(timeline.read(id), Next::End);
    }

    #[test]
    fn who_goes_on_after_a_gap_is_told_of_it_once() {
        let mut timeline = timeline(4, 10);
        push(&mut timeline, 0..7);
        let id = timeline.join(AfterGap::GoOn).unwrap();
        let late = Some(Missed::BeforeJoining(3));
        assert_eq!(read(&mut timeline, id), (Vec::new(), late));
        assert_eq!(read(&mut timeline, id), ((3..7).collect(), None));
        push(&mut timeline, 7..40);
        let slow = Some(Missed::WhileReading(23));
        assert_eq!(read(&mut timeline, id), (Vec::new(), slow));
        assert_eq!(read(&mut timeline, id), ((30..40).collect(), None));
    }

    #[test]
    fn who_comes_too_late_is_told_how_much_is_gone() {
        let mut timeline = timeline(4, 10);
        push(&mut timeline, 0..7);
        assert_eq!(timeline.records.len(), 4);
        let id = timeline.join(AfterGap::End).unwrap();
        assert_eq!(
            read(&mut timeline, id),
            (Vec::new(), Some(Missed::BeforeJoining(3)))
        );
    }

    #[test]
    fn a_slow_watcher_within_the_backlog_loses_nothing() {
        let mut timeline = timeline(4, 100);
        let (slow, quick) = (
            timeline.join(AfterGap::End).unwrap(),
            timeline.join(AfterGap::End).unwrap(),
        );
        for start in (0..90).step_by(10) {
            push(&mut timeline, start..start + 10);
            assert_eq!(read(&mut timeline, quick).0.len(), 10);
        }
        assert_eq!(read(&mut timeline, slow), ((0..90).collect(), None));
        push(&mut timeline, 90..91);
        assert_eq!(timeline.records.len(), 4, "what all have read is dropped");
        assert_eq!(read(&mut timeline, slow), (vec![90], None));
    }

    #[test]
    fn small_events_may_be_many_and_large_ones_a_few() {
        let mut timeline = timeline(1, 10);
        let id = timeline.join(AfterGap::End).unwrap();
        for index in 0..20 {
            timeline.push(Record::Output(index), 0);
        }
        assert_eq!(read(&mut timeline, id), ((0..20).collect(), None));
        for index in 20..30 {
            timeline.push(Record::Output(index), 1000);
        }
        assert_eq!(read(&mut timeline, id), ((20..30).collect(), None));
    }

    #[test]
    fn large_metrics_are_replayed_up_to_a_size() {
        let mut timeline = timeline(1000, 100);
        timeline.limits.own_bytes = 5000;
        for _ in 0..1000 {
            let text = Bytes::from(vec![b'x'; 1000]);
            timeline.push(Record::Metric(text), 1000);
        }
        assert_eq!((timeline.records.len(), timeline.own_bytes), (5, 5000));
        let late = timeline.join(AfterGap::End).unwrap();
        assert_eq!(
            read(&mut timeline, late).1,
            Some(Missed::BeforeJoining(995))
        );
    }

    #[test]
    fn a_watcher_that_has_left_or_ended_holds_nothing() {
        let mut timeline = timeline(1, 100);
        let leaves = timeline.join(AfterGap::End).unwrap();
        push(&mut timeline, 0..10);
        let truncated = timeline.join(AfterGap::End).unwrap();
        assert!(matches!(timeline.read(truncated), Next::Missed(_)));
        timeline.leave(leaves);
        push(&mut timeline, 10..20);
        assert_eq!(timeline.records.len(), 1);
    }

    #[test]
    fn without_replay_nothing_is_missed() {
        let mut timeline = timeline(0, 100);
        let creator = timeline.join(AfterGap::End).unwrap();
        push(&mut timeline, 0..5);
        assert_eq!(read(&mut timeline, creator).0.len(), 5);
        let late = timeline.join(AfterGap::End).unwrap();
        assert_eq!(timeline.read(late), Next::Nothing);
        timeline.push(Record::Completed, 0);
        assert_eq!(timeline.read(late), Next::Record(&Record::Completed));
        assert_eq!(timeline.read(late), Next::End);
        let later = timeline.join(AfterGap::End).unwrap();
        assert_eq!(timeline.read(later), Next::End, "it does not wait for ever");
    }

    #[test]
    fn watchers_are_counted() {
        let mut timeline = timeline(4, 100);
        let ids: Vec<_> = (0..MAX_WATCHERS)
            .map(|_| timeline.join(AfterGap::End).unwrap())
            .collect();
        assert_eq!(timeline.join(AfterGap::End), None);
        assert!(!timeline.leave(ids[0]));
        assert!(timeline.join(AfterGap::End).is_some());
    }

    #[test]
    fn only_the_last_watcher_of_a_watched_prediction_counts() {
        let mut timeline = timeline(4, 100);
        let (first, second) = (
            timeline.join(AfterGap::End).unwrap(),
            timeline.join(AfterGap::End).unwrap(),
        );
        timeline.purpose = Purpose::Events;
        assert!(!timeline.leave(first));
        assert!(timeline.leave(second));
        assert!(!timeline.leave(second), "only once");
        timeline.purpose = Purpose::Result;
        let observer = timeline.join(AfterGap::End).unwrap();
        assert!(!timeline.leave(observer));
    }

    #[test]
    fn sleepers_are_woken_once() {
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count::default());
        let waker = Arc::clone(&count).into();
        let mut timeline = timeline(4, 100);
        let id = timeline.join(AfterGap::End).unwrap();
        timeline.wake_later(id, &waker);
        timeline.wake_later(id, &waker);
        push(&mut timeline, 0..3);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
