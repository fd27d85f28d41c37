//! Predictions in flight: what is known of each, and how it ends.
//!
//! A prediction owns what it occupies (its slot, its temporary files) and gives it back when it
//! ends, whichever way it ends. How it gets to the worker is the business of [`crate::app`].

mod delivery;
mod ending;
mod history;
mod metrics;
mod order;
mod output;
mod registry;
mod snapshot;
mod state;
mod timeline;
mod watch;

use std::sync::Mutex;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

pub(crate) use delivery::{Delivery, Parcel};
pub(crate) use ending::{Ending, StopReason, StopStep};
pub(crate) use history::{History, HistoryLimits};
pub(crate) use order::{FileNames, Order, Watching};
pub(crate) use output::Output;
pub(crate) use registry::Registry;
pub(crate) use snapshot::View;
pub(crate) use timeline::{AfterGap, WatcherId};
pub(crate) use watch::WatchError;

use crate::marks::{Marks, Status};
use crate::protocol::{Key, MetricMode, Source};
use crate::secrets::LOG_CUT_MARK;
use crate::slots::{Lane, SlotPermit};
use crate::sync::lock;
use crate::temp::TempFile;
use crate::traces::Trace;
use crate::webhooks::{EventKind, Webhook};
use state::{Stage, State};
use timeline::{Record, Timeline};
use watch::MetricEvent;

/// One piece of log text is cut at this size.
const MAX_LOG_ITEM: usize = 4 << 20;

/// One prediction, from its acceptance to its end.
#[derive(Debug)]
pub(crate) struct Prediction {
    pub(crate) key: Key,
    pub(crate) order: Order,
    state: Mutex<State>,
}

impl Prediction {
    /// Of its log, `log_size` bytes are kept.
    pub(crate) fn new(key: Key, order: Order, log_size: usize) -> Self {
        Self {
            key,
            order,
            state: Mutex::new(State::new(log_size)),
        }
    }

    /// Resolves when the prediction has ended; with an error if it had ended before. For one listener:
    /// the request that created it.
    pub(crate) fn ended(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if !matches!(state.life.stage, Stage::Ended) {
            state.audience.ended = Some(sender);
        }
        receiver
    }

    /// Keeps its events, the last `replayed` of them for watchers who come late.
    pub(crate) fn keep_events(&self, replayed: usize) {
        lock(&self.state).audience.timeline = Some(Box::new(Timeline::new(replayed)));
    }

    pub(crate) fn set_webhook(&self, webhook: Webhook) {
        lock(&self.state).audience.webhook = Some(webhook);
    }

    /// It is its turn. Without effect if it has ended while it waited.
    pub(crate) fn occupy(&self, permit: SlotPermit) {
        let mut state = lock(&self.state);
        if !matches!(state.life.stage, Stage::Ended) {
            state.held.permit = Some(permit);
        }
    }

    /// It waits for its turn again.
    pub(crate) fn vacate(&self) {
        lock(&self.state).held.permit = None;
    }

    /// Remembers the task that fetches the input files. Has no effect if that is over.
    pub(crate) fn preparing(&self, task: AbortHandle) {
        if let Stage::Preparing(handle) = &mut lock(&self.state).life.stage {
            *handle = Some(task);
        }
    }

    /// The worker gets it now; with it go the temporary files that it needs. Returns whether it still
    /// should.
    pub(crate) fn begin_running(&self, files: Vec<TempFile>) -> bool {
        let mut state = lock(&self.state);
        if !matches!(state.life.stage, Stage::Preparing(_)) {
            return false;
        }
        state.life.stage = Stage::Running;
        state.life.marks.running = Some(Instant::now());
        state.life.status = Status::Processing;
        state.held.files = files;
        state.keep(0, |_| Record::Start);
        state.announce(EventKind::Start);
        true
    }

    /// What it spends its time on goes into this trace.
    pub(crate) fn set_trace(&self, trace: Trace) {
        let mut state = lock(&self.state);
        if matches!(state.life.stage, Stage::Ended) {
            trace.prediction_ended(&self.order.id, state.life.status, &state.life.marks);
        } else {
            state.audience.trace = Some(Box::new(trace));
        }
    }

    /// Its input files are there; fetching them has begun at `start`.
    pub(crate) fn fetched_since(&self, start: Instant) {
        lock(&self.state).life.marks.fetched = Some((start, Instant::now()));
    }

    /// How it stands, and since when.
    pub(crate) fn progress(&self) -> (Status, Marks) {
        let state = lock(&self.state);
        (state.life.status, state.life.marks)
    }

    /// Asks for its result to be kept. Returns whether that comes in time.
    fn keep_result(&self) -> bool {
        let mut state = lock(&self.state);
        state.audience.result_kept = true;
        !matches!(state.life.stage, Stage::Ended)
    }

    fn is_result_kept(&self) -> bool {
        lock(&self.state).audience.result_kept
    }

    /// A file that is removed when the prediction has ended.
    pub(crate) fn keep_until_end(&self, file: TempFile) {
        let mut state = lock(&self.state);
        if !matches!(state.life.stage, Stage::Ended) {
            state.held.files.push(file);
        }
    }

    /// Has a task aborted when it has ended.
    pub(crate) fn abort_at_end(&self, task: AbortHandle) {
        let mut state = lock(&self.state);
        if matches!(state.life.stage, Stage::Ended) {
            task.abort();
        } else {
            state.held.tasks.push(task);
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(lock(&self.state).life.stage, Stage::Running)
    }

    pub(crate) fn is_running_on(&self, lane: Lane) -> bool {
        let state = lock(&self.state);
        matches!(state.life.stage, Stage::Running) && state.lane() == Some(lane)
    }

    /// Where it runs, once it is its turn and until it has ended.
    pub(crate) fn lane(&self) -> Option<Lane> {
        lock(&self.state).lane()
    }

    /// Accepted, and not with the worker yet.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(lock(&self.state).life.stage, Stage::Preparing(_))
    }

    /// The task that turns its output files into the answer, if one was needed yet.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        lock(&self.state).held.delivery.clone()
    }

    pub(crate) fn set_delivery(&self, delivery: Delivery) {
        lock(&self.state).held.delivery = Some(delivery);
    }

    /// The worker is done with it; what is left is delivery.
    pub(crate) fn begin_delivering(&self) {
        let mut state = lock(&self.state);
        if matches!(state.life.stage, Stage::Running)
            && let Some(delivery) = &state.held.delivery
        {
            state.life.stage = Stage::Delivering(delivery.task.clone());
            state.life.marks.returned = Some(Instant::now());
        }
    }

    /// Adds whole lines to the log, as they may be told.
    pub(crate) fn append_log(&self, source: Source, text: &str) {
        let mut state = lock(&self.state);
        let mut place = state
            .product
            .logs
            .push(&text[..text.floor_char_boundary(MAX_LOG_ITEM)]);
        if text.len() > MAX_LOG_ITEM {
            place.end = state.product.logs.push(LOG_CUT_MARK).end;
        }
        state.keep(place.len(), |_| Record::Log {
            source,
            text: place,
        });
        state.announce(EventKind::Logs);
    }

    pub(crate) fn record_metric(&self, name: &str, value: serde_json::Value, mode: MetricMode) {
        let mut state = lock(&self.state);
        state.keep_with(|_| {
            let event = MetricEvent {
                name,
                value: &value,
                mode,
            };
            let text = serde_json::to_vec(&event).expect("plain values always serialise");
            (text.len(), Record::Metric(text.into()))
        });
        state.product.metrics.record(name, value, mode);
    }

    /// Adds an item of a stream, as JSON text.
    pub(crate) fn push_output(&self, item: &[u8]) {
        let mut state = lock(&self.state);
        if matches!(state.life.stage, Stage::Ended) {
            return;
        }
        state.product.output.push(item);
        state.keep(item.len(), |state| {
            Record::Output(state.product.output.item_count() - 1)
        });
        state.announce(EventKind::Output);
    }

    /// Notes that it has to stop.
    pub(crate) fn request_stop(&self, reason: StopReason) -> StopStep {
        lock(&self.state).life.request_stop(reason)
    }

    /// Ends it, once: whoever comes later finds it ended. What it occupied is free when this returns,
    /// but nobody has been told; `notify` does that.
    fn end(&self, mut ending: Ending) -> bool {
        if let Some(error) = &mut ending.error {
            *error = self.order.told(error).into_owned();
        }
        let is_first = lock(&self.state).end(ending);
        if is_first {
            self.order.release();
        }
        is_first
    }

    fn notify(&self) {
        let mut state = lock(&self.state);
        if let Some(ended) = state.audience.ended.take() {
            // Nobody listens after the client has left.
            let _ = ended.send(());
        }
        state.keep(0, |_| Record::Completed);
        if let Some(webhook) = state.audience.webhook.take() {
            let text = || {
                state
                    .render(&self.order, View::Final)
                    .into_pieces()
                    .concat()
            };
            webhook.complete(&self.order.id, text);
        }
        if let Some(trace) = state.audience.trace.take() {
            trace.prediction_ended(&self.order.id, state.life.status, &state.life.marks);
        }
    }
}
