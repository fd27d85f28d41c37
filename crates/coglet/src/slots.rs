//! How many predictions may run at once, and who waits for a turn. A slot is held as a value: dropping it
//! gives it to the first in the queue, or frees it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::sync::lock;

/// The longest that clients are told to wait.
const MAX_RETRY_AFTER: u64 = 3600;

/// The slots of the server.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total: usize,
    /// Above zero only while nobody waits.
    free: AtomicUsize,
    /// Places in the queue.
    places: usize,
    /// First come, first served. Those who have left are still in it until their turn.
    waiting: Mutex<VecDeque<oneshot::Sender<SlotPermit>>>,
    /// How long a slot is held on average, in microseconds; the last ones count most.
    held: AtomicU64,
}

/// One occupied slot.
#[derive(Debug)]
pub(crate) struct SlotPermit {
    /// Nothing once the slot is another's.
    shared: Option<Arc<Shared>>,
    since: Instant,
}

/// When a prediction may run.
#[derive(Debug)]
pub(crate) enum Turn {
    Now(SlotPermit),
    /// When this resolves.
    Later(oneshot::Receiver<SlotPermit>),
}

impl Slots {
    /// So many slots, and so many places in the queue for them.
    pub(crate) fn new(total: usize, places: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                total,
                free: AtomicUsize::new(total),
                places,
                waiting: Mutex::default(),
                held: AtomicU64::new(0),
            }),
        }
    }

    /// Takes a free slot, else a place in the queue; none if that is full too. Never waits.
    pub(crate) fn take_turn(&self) -> Option<Turn> {
        if let Some(permit) = self.try_acquire() {
            return Some(Turn::Now(permit));
        }
        if self.shared.places == 0 {
            return None;
        }
        let mut waiting = lock(&self.shared.waiting);
        // One may have become free in the meantime; from here on none can, because that needs the lock.
        if let Some(permit) = self.try_acquire() {
            return Some(Turn::Now(permit));
        }
        if waiting.len() >= self.shared.places {
            waiting.retain(|sender| !sender.is_closed());
        }
        (waiting.len() < self.shared.places).then(|| {
            let (sender, receiver) = oneshot::channel();
            waiting.push_back(sender);
            Turn::Later(receiver)
        })
    }

    fn try_acquire(&self) -> Option<SlotPermit> {
        self.shared
            .free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
                free.checked_sub(1)
            })
            .ok()
            .map(|_| SlotPermit::new(&self.shared))
    }

    pub(crate) fn free(&self) -> usize {
        self.shared.free.load(Ordering::Acquire)
    }

    pub(crate) fn all_busy(&self) -> bool {
        self.free() == 0
    }

    /// Whole seconds after which a client that found no place may try again; nothing where there is no queue.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let shared = &self.shared;
        if shared.places == 0 {
            return None;
        }
        let ahead = lock(&shared.waiting).len() as u64 + 1;
        let held = shared.held.load(Ordering::Relaxed);
        let wait = Duration::from_micros(held * ahead / shared.total as u64);
        Some(wait.as_secs().saturating_add(1).min(MAX_RETRY_AFTER))
    }
}

impl SlotPermit {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Some(Arc::clone(shared)),
            since: Instant::now(),
        }
    }
}

impl Shared {
    fn note(&self, held: Duration) {
        let new = u64::try_from(held.as_micros()).unwrap_or(u64::MAX) / 8;
        let old = self.held.load(Ordering::Relaxed);
        let average = if old == 0 {
            new * 8
        } else {
            old - old / 8 + new
        };
        // Two at the same time lose one of the two: it is an estimate.
        self.held.store(average, Ordering::Relaxed);
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        shared.note(self.since.elapsed());
        if shared.places == 0 {
            shared.free.fetch_add(1, Ordering::AcqRel);
            return;
        }
        let mut waiting = lock(&shared.waiting);
        while let Some(next) = waiting.pop_front() {
            match next.send(SlotPermit::new(&shared)) {
                Ok(()) => return,
                // Gone: its permit must not come back to us.
                Err(mut permit) => permit.shared = None,
            }
        }
        shared.free.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(turn: Option<Turn>) -> SlotPermit {
        match turn {
            Some(Turn::Now(permit)) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn later(turn: Option<Turn>) -> oneshot::Receiver<SlotPermit> {
        match turn {
            Some(Turn::Later(receiver)) => receiver,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_dropped_permit_is_free_again() {
        let slots = Slots::new(2, 0);
        let first = now(slots.take_turn());
        let _second = now(slots.take_turn());
        assert!(slots.all_busy());
        assert!(slots.take_turn().is_none());
        assert_eq!(slots.retry_after(), None);
        drop(first);
        assert!(!slots.all_busy());
        now(slots.take_turn());
    }

    #[test]
    fn the_first_in_the_queue_is_the_first_served() {
        let slots = Slots::new(1, 2);
        let running = now(slots.take_turn());
        let (mut first, mut second) = (later(slots.take_turn()), later(slots.take_turn()));
        assert!(slots.take_turn().is_none());
        assert_eq!(slots.retry_after(), Some(1));
        drop(running);
        let permit = first.try_recv().unwrap();
        assert!(slots.all_busy());
        assert!(second.try_recv().is_err());
        drop(permit);
        drop(second.try_recv().unwrap());
        assert!(!slots.all_busy());
    }

    #[test]
    fn who_leaves_the_queue_makes_room_and_is_passed_over() {
        let slots = Slots::new(1, 1);
        let running = now(slots.take_turn());
        drop(later(slots.take_turn()));
        let mut patient = later(slots.take_turn());
        drop(running);
        let permit = patient.try_recv().unwrap();
        drop(permit);
        // A permit that nobody took out goes on, too.
        let running = now(slots.take_turn());
        let unread = later(slots.take_turn());
        drop(running);
        drop(unread);
        now(slots.take_turn());
    }

    #[test]
    fn no_slot_is_lost_between_threads() {
        let slots = Slots::new(3, 1000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        match slots.take_turn() {
                            Some(Turn::Now(permit)) => drop(permit),
                            Some(Turn::Later(receiver)) => drop(receiver.blocking_recv()),
                            None => {}
                        }
                    }
                });
            }
        });
        assert_eq!(slots.free(), 3);
    }
}
