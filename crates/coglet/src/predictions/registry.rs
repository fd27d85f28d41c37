//! All predictions in flight, by the client's id and by our own key.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::{Ending, History, Prediction, View};
use crate::json::Parts;
use crate::measures::Measures;
use crate::protocol::Key;
use crate::slots::Lane;
use crate::sync::lock;

/// Holds a prediction from its acceptance until it ended; then its id is forgotten, and at most its
/// result is kept.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    in_flight: Mutex<InFlight>,
    history: History,
    measures: Arc<Measures>,
    next_key: AtomicU64,
    last_generated_id: AtomicU64,
    became_idle: Notify,
}

#[derive(Debug, Default)]
struct InFlight {
    by_key: HashMap<Key, Arc<Prediction>>,
    by_id: HashMap<String, Key>,
}

impl Registry {
    pub(crate) fn new(history: History, measures: Arc<Measures>) -> Self {
        Self {
            history,
            measures,
            ..Self::default()
        }
    }

    /// Whoever asks for this prediction after its end gets its result, for a while.
    pub(crate) fn keep_result(&self, prediction: &Prediction) {
        if self.history.is_on() && !prediction.keep_result() {
            self.remember(prediction);
        }
    }

    /// A prediction as far as it is, or as it ended if that is still known.
    pub(crate) fn snapshot(&self, id: &str) -> Option<Parts> {
        match self.by_id(id) {
            Some(prediction) => Some(prediction.render(View::Final)),
            None => self.history.snapshot(id),
        }
    }

    /// Whether it runs, or its result is still known.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.by_id(id).is_some() || self.history.snapshot(id).is_some()
    }

    pub(crate) fn next_key(&self) -> Key {
        Key(self.next_key.fetch_add(1, Ordering::Relaxed))
    }

    /// An id like `pred_1893a4…`: the time in nanoseconds, moved on where the clock stands still.
    pub(crate) fn generate_id(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let bump = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self
            .last_generated_id
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, bump);
        format!(
            "pred_{:x}",
            last.map_or(now, |last| now.max(last.saturating_add(1)))
        )
    }

    pub(crate) fn insert(&self, prediction: Arc<Prediction>) {
        let mut in_flight = lock(&self.in_flight);
        in_flight
            .by_id
            .insert(prediction.order.id.clone(), prediction.key);
        in_flight.by_key.insert(prediction.key, prediction);
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Prediction>> {
        let in_flight = lock(&self.in_flight);
        in_flight
            .by_id
            .get(id)
            .and_then(|key| in_flight.by_key.get(key))
            .cloned()
    }

    pub(crate) fn by_key(&self, key: Key) -> Option<Arc<Prediction>> {
        lock(&self.in_flight).by_key.get(&key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Prediction>> {
        lock(&self.in_flight).by_key.values().cloned().collect()
    }

    /// The predictions whose user code runs on a worker.
    pub(crate) fn running(&self, lane: Lane) -> Vec<Arc<Prediction>> {
        let mut all = self.all();
        all.retain(|prediction| prediction.is_running_on(lane));
        all
    }

    /// The prediction whose user code runs on a worker, if there is exactly one.
    pub(crate) fn only_running(&self, lane: Lane) -> Option<Arc<Prediction>> {
        let in_flight = lock(&self.in_flight);
        let mut running = in_flight
            .by_key
            .values()
            .filter(|prediction| prediction.is_running_on(lane));
        running.next().filter(|_| running.next().is_none()).cloned()
    }

    /// Ends a prediction and tells everyone who waits for it. The first ending wins.
    ///
    /// **Invariant:** the slot is free and the id forgotten before anyone is told: a client that got
    /// its answer finds room for its next request.
    pub(crate) fn finish(&self, prediction: &Prediction, ending: Ending) -> bool {
        if !prediction.end(ending) {
            return false;
        }
        let (status, marks) = prediction.progress();
        self.measures.prediction_ended(status, &marks);
        // Before its id is forgotten: at no time is it unknown.
        if prediction.is_result_kept() {
            self.remember(prediction);
        }
        self.forget(prediction);
        prediction.notify();
        true
    }

    /// Does work for a prediction. Should it panic, which is a bug here, the prediction fails: nothing else would
    /// ever end it and free its slot.
    pub(crate) async fn fail_if_it_panics(
        &self,
        prediction: &Prediction,
        work: impl Future<Output = ()>,
    ) {
        // What they share is locked, and valid after every step.
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            let error = "Internal error of the server: see its log";
            self.finish(prediction, Ending::failed(error));
        }
    }

    /// How many are in flight, and how many of these wait for the worker.
    pub(crate) fn load(&self) -> (usize, usize) {
        let in_flight = lock(&self.in_flight);
        let waiting = in_flight
            .by_key
            .values()
            .filter(|prediction| prediction.is_waiting());
        (in_flight.by_key.len(), waiting.count())
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn idle(&self) {
        loop {
            let became_idle = self.became_idle.notified();
            if self.is_idle() {
                return;
            }
            became_idle.await;
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.in_flight).by_key.is_empty()
    }

    fn remember(&self, prediction: &Prediction) {
        let snapshot = prediction.render(View::Final);
        self.history.insert(&prediction.order.id, snapshot);
    }

    fn forget(&self, prediction: &Prediction) {
        let mut in_flight = lock(&self.in_flight);
        in_flight.by_key.remove(&prediction.key);
        // A later request may have taken the id over: then it stays with that one.
        if in_flight.by_id.get(&prediction.order.id) == Some(&prediction.key) {
            in_flight.by_id.remove(&prediction.order.id);
        }
        if in_flight.by_key.is_empty() {
            self.became_idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Asked;
    use crate::predictions::{Order, Output, Status, StopReason, StopStep};
    use crate::slots::{Slots, Turn};

    const LANE: Lane = Lane(0);

    fn slots(width: usize) -> Slots {
        let slots = Slots::new(1, width, 0);
        slots.open(LANE);
        slots
    }

    fn prediction(registry: &Registry, id: &str, slots: &Slots) -> Arc<Prediction> {
        let order = Order::new(id.into(), Asked::default(), None);
        let Some(Turn::Now(permit)) = slots.take_turn() else {
            panic!("no slot is free");
        };
        let prediction = Arc::new(Prediction::new(registry.next_key(), order, 1 << 20));
        prediction.occupy(permit);
        registry.insert(Arc::clone(&prediction));
        prediction
    }

    #[test]
    fn generated_ids_differ() {
        let registry = Registry::default();
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| registry.generate_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.starts_with("pred_")));
    }

    #[test]
    fn the_slot_and_the_id_are_free_when_the_listener_hears() {
        let (registry, slots) = (Registry::default(), slots(1));
        let prediction = prediction(&registry, "a", &slots);
        let mut ended = prediction.ended();
        assert!(ended.try_recv().is_err());
        assert!(registry.finish(&prediction, Ending::succeeded(Output::Value("1".into()))));
        assert_eq!(ended.try_recv(), Ok(()));
        assert!(!slots.all_busy());
        assert!(registry.by_id("a").is_none());
    }

    #[test]
    fn the_first_ending_wins() {
        let (registry, slots) = (Registry::default(), slots(1));
        let prediction = prediction(&registry, "a", &slots);
        assert!(registry.finish(&prediction, Ending::failed("broken")));
        assert!(!registry.finish(&prediction, Ending::succeeded(Output::Nothing)));
        assert_eq!(prediction.status(), Status::Failed);
    }

    #[tokio::test]
    async fn who_is_let_down_by_a_bug_fails() {
        let (registry, slots) = (Registry::default(), slots(1));
        let prediction = prediction(&registry, "a", &slots);
        let work = async { panic!("a bug") };
        registry.fail_if_it_panics(&prediction, work).await;
        assert_eq!(prediction.status(), Status::Failed);
        assert!(!slots.all_busy());
    }

    #[test]
    fn a_repeated_id_belongs_to_the_later_one() {
        let (registry, slots) = (Registry::default(), slots(2));
        let first = prediction(&registry, "a", &slots);
        let second = prediction(&registry, "a", &slots);
        registry.finish(&first, Ending::canceled());
        assert_eq!(registry.by_id("a").map(|found| found.key), Some(second.key));
    }

    #[test]
    fn output_caught_from_descriptors_needs_a_single_owner() {
        let (registry, slots) = (Registry::default(), slots(2));
        let first = prediction(&registry, "a", &slots);
        assert!(registry.only_running(LANE).is_none());
        assert!(first.begin_running(Vec::new()));
        assert_eq!(
            registry.only_running(LANE).map(|only| only.key),
            Some(first.key)
        );
        let second = prediction(&registry, "b", &slots);
        assert!(second.begin_running(Vec::new()));
        assert!(registry.only_running(LANE).is_none());
    }

    #[test]
    fn a_cancel_interrupts_once_and_decides_the_status() {
        let (registry, slots) = (Registry::default(), slots(1));
        let prediction = prediction(&registry, "a", &slots);
        assert!(prediction.begin_running(Vec::new()));
        assert_eq!(
            prediction.request_stop(StopReason::Canceled),
            StopStep::Interrupt
        );
        assert_eq!(
            prediction.request_stop(StopReason::Canceled),
            StopStep::Nothing
        );
        registry.finish(&prediction, Ending::failed("KeyboardInterrupt"));
        assert_eq!(prediction.status(), Status::Canceled);
        assert_eq!(
            prediction.request_stop(StopReason::Canceled),
            StopStep::Nothing
        );
    }

    #[test]
    fn a_prediction_canceled_while_preparing_never_runs() {
        let (registry, slots) = (Registry::default(), slots(1));
        let prediction = prediction(&registry, "a", &slots);
        assert_eq!(prediction.request_stop(StopReason::Canceled), StopStep::End);
        registry.finish(&prediction, Ending::canceled());
        assert!(!prediction.begin_running(Vec::new()));
    }

    #[test]
    fn the_first_reason_to_stop_decides() {
        let (registry, slots) = (Registry::default(), slots(1));
        let prediction = prediction(&registry, "a", &slots);
        assert!(prediction.begin_running(Vec::new()));
        let late = StopReason::TimedOut("too late".into());
        assert_eq!(prediction.request_stop(late), StopStep::Interrupt);
        assert_eq!(
            prediction.request_stop(StopReason::Canceled),
            StopStep::Nothing
        );
        registry.finish(&prediction, Ending::canceled());
        assert_eq!(prediction.status(), Status::Failed);
    }
}
