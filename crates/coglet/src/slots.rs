//! How many predictions may run at once, and who waits for a turn. A slot is held as a value: dropping it
//! gives it to the first in the queue, or frees it.
//!
//! Slots come in lanes, one for each worker. Those of a lane that is closed, because its worker is not
//! there, are given to nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::sync::lock;

/// The longest that clients are told to wait.
const MAX_RETRY_AFTER: u64 = 3600;

/// The place of a worker. It stays when its process is lost and another one is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane(pub(crate) usize);

/// The slots of the server.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Slots of each lane.
    width: usize,
    /// Places in the queue.
    places: usize,
    state: Mutex<State>,
    /// Told when a slot of a closed lane is free again.
    freed: Notify,
}

/// **Invariant:** while somebody waits, no open lane has a free slot.
#[derive(Debug)]
struct State {
    lanes: Vec<LaneState>,
    /// First come, first served. Those who have left are still in it until their turn.
    waiting: VecDeque<oneshot::Sender<SlotPermit>>,
    /// How long a slot is held on average; the last ones count most.
    held: Duration,
    /// When one was given back.
    given_back: Option<Instant>,
    /// No lane will be open again, so nobody waits for one.
    is_over: bool,
}

#[derive(Debug)]
struct LaneState {
    is_open: bool,
    free: usize,
}

/// One occupied slot.
#[derive(Debug)]
pub(crate) struct SlotPermit {
    /// Nothing once the slot is another's.
    shared: Option<Arc<Shared>>,
    lane: Lane,
    since: Instant,
}

/// When a prediction may run.
#[derive(Debug)]
pub(crate) enum Turn {
    Now(SlotPermit),
    /// When this resolves; with an error if no lane will ever be open again.
    Later(oneshot::Receiver<SlotPermit>),
}

impl Slots {
    /// So many lanes, all closed, of so many slots each, and so many places in the queue for them.
    pub(crate) fn new(lanes: usize, width: usize, places: usize) -> Self {
        let lane = || LaneState {
            is_open: false,
            free: width,
        };
        Self {
            shared: Arc::new(Shared {
                width,
                places,
                state: Mutex::new(State {
                    lanes: std::iter::repeat_with(lane).take(lanes).collect(),
                    waiting: VecDeque::new(),
                    held: Duration::ZERO,
                    given_back: None,
                    is_over: false,
                }),
                freed: Notify::new(),
            }),
        }
    }

    /// Takes a free slot, else a place in the queue; none if that is full too. Never waits.
    pub(crate) fn take_turn(&self) -> Option<Turn> {
        let mut state = lock(&self.shared.state);
        if let Some(permit) = self.shared.take(&mut state) {
            return Some(Turn::Now(permit));
        }
        let State { waiting, .. } = &mut *state;
        if waiting.len() >= self.shared.places {
            waiting.retain(|sender| !sender.is_closed());
        }
        (waiting.len() < self.shared.places).then(|| {
            let (sender, receiver) = oneshot::channel();
            waiting.push_back(sender);
            Turn::Later(receiver)
        })
    }

    /// The same for one that was made to wait before: it has a place whether or not there is a queue.
    pub(crate) fn take_turn_after_waiting(&self) -> Turn {
        let mut state = lock(&self.shared.state);
        if let Some(permit) = self.shared.take(&mut state) {
            return Turn::Now(permit);
        }
        let (sender, receiver) = oneshot::channel();
        if !state.is_over {
            state.waiting.push_back(sender);
        }
        Turn::Later(receiver)
    }

    /// Whether `take_turn` would find something now.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = lock(&self.shared.state);
        let is_free = |lane: &LaneState| lane.is_open && lane.free > 0;
        if state.lanes.iter().any(is_free) {
            return true;
        }
        if state.waiting.len() >= self.shared.places {
            state.waiting.retain(|sender| !sender.is_closed());
        }
        state.waiting.len() < self.shared.places
    }

    /// The same for one whose turn had come when its worker was lost: it is the next.
    pub(crate) fn retake_turn(&self) -> Turn {
        let mut state = lock(&self.shared.state);
        if let Some(permit) = self.shared.take(&mut state) {
            return Turn::Now(permit);
        }
        let (sender, receiver) = oneshot::channel();
        if !state.is_over {
            state.waiting.push_front(sender);
        }
        Turn::Later(receiver)
    }

    /// The slots of a lane can be taken from now on.
    pub(crate) fn open(&self, lane: Lane) {
        let mut state = lock(&self.shared.state);
        state.lanes[lane.0].is_open = true;
        self.shared.hand_out(&mut state);
    }

    /// The slots of a lane cannot be taken for now. Those that are taken stay so.
    pub(crate) fn close(&self, lane: Lane) {
        lock(&self.shared.state).lanes[lane.0].is_open = false;
    }

    /// The same of all lanes.
    pub(crate) fn close_all(&self) {
        for lane in &mut lock(&self.shared.state).lanes {
            lane.is_open = false;
        }
    }

    /// Waits until no slot is taken, with all lanes closed.
    pub(crate) async fn all_free(&self) {
        loop {
            // Made before looking, so that nothing is missed in between.
            let freed = self.shared.freed.notified();
            if self.taken() == 0 {
                return;
            }
            freed.await;
        }
    }

    /// How long ago the last slot was given back; nothing if none was.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let given_back = lock(&self.shared.state).given_back;
        given_back.map(|moment| moment.elapsed())
    }

    /// There will be lanes again.
    pub(crate) fn revive(&self) {
        lock(&self.shared.state).is_over = false;
    }

    /// Sends away who waits or would wait again: no lane will be open again.
    pub(crate) fn dismiss(&self) {
        let mut state = lock(&self.shared.state);
        state.is_over = true;
        state.waiting.clear();
    }

    pub(crate) fn total(&self) -> usize {
        self.shared.width * lock(&self.shared.state).lanes.len()
    }

    /// Slots that are taken.
    pub(crate) fn taken(&self) -> usize {
        let state = lock(&self.shared.state);
        let taken = |lane: &LaneState| self.shared.width - lane.free;
        state.lanes.iter().map(taken).sum()
    }

    /// No slot can be taken just now.
    pub(crate) fn all_busy(&self) -> bool {
        let state = lock(&self.shared.state);
        !state.lanes.iter().any(|lane| lane.is_open && lane.free > 0)
    }

    /// Whole seconds after which a client that found no place may try again; nothing where there is no queue.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        if self.shared.places == 0 {
            return None;
        }
        let state = lock(&self.shared.state);
        let ahead = u32::try_from(state.waiting.len() + 1).unwrap_or(u32::MAX);
        let open = state.lanes.iter().filter(|lane| lane.is_open).count();
        let slots = u32::try_from((open * self.shared.width).max(1)).unwrap_or(u32::MAX);
        let wait = state.held.saturating_mul(ahead) / slots;
        Some(wait.as_secs().saturating_add(1).min(MAX_RETRY_AFTER))
    }
}

impl Shared {
    /// A slot of the open lane that has most of them.
    fn take(self: &Arc<Self>, state: &mut State) -> Option<SlotPermit> {
        let lanes = state.lanes.iter_mut().enumerate();
        let open = lanes.filter(|(_, lane)| lane.is_open && lane.free > 0);
        // Of several, the first: `max_by_key` would take the last.
        let (index, lane) = open.min_by_key(|(_, lane)| self.width - lane.free)?;
        lane.free -= 1;
        Some(SlotPermit {
            shared: Some(Arc::clone(self)),
            lane: Lane(index),
            since: Instant::now(),
        })
    }

    fn hand_out(self: &Arc<Self>, state: &mut State) {
        while !state.waiting.is_empty() {
            let Some(permit) = self.take(state) else {
                return;
            };
            let next = state.waiting.pop_front();
            if let Some(Err(mut unwanted)) = next.map(|next| next.send(permit)) {
                // Gone. We hold the lock that its drop would take.
                unwanted.shared = None;
                state.lanes[unwanted.lane.0].free += 1;
            }
        }
    }
}

impl State {
    fn note(&mut self, held: Duration) {
        self.held = if self.held.is_zero() {
            held
        } else {
            (self.held * 7 + held) / 8
        };
    }
}

impl SlotPermit {
    /// Whose slot it is.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        let mut state = lock(&shared.state);
        let now = Instant::now();
        state.note(now - self.since);
        state.given_back = Some(now);
        let lane = &mut state.lanes[self.lane.0];
        lane.free += 1;
        if !lane.is_open {
            shared.freed.notify_waiters();
        }
        shared.hand_out(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One open lane.
    fn slots(width: usize, places: usize) -> Slots {
        let slots = Slots::new(1, width, places);
        slots.open(Lane(0));
        slots
    }

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
        let slots = slots(2, 0);
        let first = now(slots.take_turn());
        let _second = now(slots.take_turn());
        assert!(slots.all_busy());
        assert!(slots.take_turn().is_none());
        assert!(!slots.has_room());
        assert_eq!(slots.retry_after(), None);
        drop(first);
        assert!(!slots.all_busy());
        now(slots.take_turn());
    }

    #[test]
    fn the_first_in_the_queue_is_the_first_served() {
        let slots = slots(1, 2);
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
        let slots = slots(1, 1);
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
        let slots = two_lanes(1000);
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
        assert_eq!(slots.taken(), 0);
    }

    fn two_lanes(places: usize) -> Slots {
        let slots = Slots::new(2, 2, places);
        slots.open(Lane(0));
        slots.open(Lane(1));
        slots
    }

    #[test]
    fn the_lane_with_most_room_is_next() {
        let slots = two_lanes(0);
        let permits: Vec<_> = (0..4).map(|_| now(slots.take_turn())).collect();
        let lanes: Vec<_> = permits.iter().map(|permit| permit.lane().0).collect();
        assert_eq!(lanes, [0, 1, 0, 1]);
        assert!(slots.all_busy());
    }

    #[test]
    fn a_closed_lane_gives_nothing() {
        let slots = two_lanes(9);
        let in_first = now(slots.take_turn());
        slots.close(Lane(0));
        let permits = [(); 2].map(|()| now(slots.take_turn()));
        assert!(permits.iter().all(|permit| permit.lane() == Lane(1)));
        let mut waiting = later(slots.take_turn());
        drop(in_first);
        assert!(waiting.try_recv().is_err());
        slots.open(Lane(0));
        assert_eq!(waiting.try_recv().unwrap().lane(), Lane(0));
        assert_eq!(slots.taken(), 2);
    }

    #[test]
    fn who_lost_its_worker_is_the_next() {
        let slots = slots(1, 9);
        let lost = now(slots.take_turn());
        let mut second = later(slots.take_turn());
        slots.close(Lane(0));
        drop(lost);
        let Turn::Later(mut first) = slots.retake_turn() else {
            panic!("no lane is open");
        };
        slots.open(Lane(0));
        drop(first.try_recv().unwrap());
        drop(second.try_recv().unwrap());
    }

    #[tokio::test]
    async fn closed_lanes_become_free_and_who_has_waited_has_a_place() {
        let slots = slots(1, 0);
        assert_eq!(slots.idle(), None);
        let running = now(slots.take_turn());
        slots.close_all();
        let mut free = std::pin::pin!(slots.all_free());
        tokio::select! {
            biased;
            () = &mut free => panic!("one is taken"),
            () = std::future::ready(()) => {}
        }
        let mut waiting = later(Some(slots.take_turn_after_waiting()));
        drop(running);
        free.await;
        assert!(slots.idle().is_some());
        assert!(waiting.try_recv().is_err(), "no lane is open");
        slots.open(Lane(0));
        drop(waiting.try_recv().unwrap());
        now(Some(slots.take_turn_after_waiting()));
    }

    #[test]
    fn who_waits_for_nothing_is_sent_away() {
        let slots = Slots::new(1, 1, 1);
        let mut waiting = later(slots.take_turn());
        slots.dismiss();
        let closed = Some(oneshot::error::TryRecvError::Closed);
        assert_eq!(waiting.try_recv().err(), closed);
        assert_eq!(later(Some(slots.retake_turn())).try_recv().err(), closed);
        slots.revive();
        let mut waiting = later(slots.take_turn());
        slots.open(Lane(0));
        drop(waiting.try_recv().unwrap());
    }
}
