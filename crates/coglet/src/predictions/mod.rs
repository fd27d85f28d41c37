//! Predictions in flight: what is known of each, and how it ends.
//!
//! A prediction owns what it occupies (its slot, its temporary files) and gives it back when it
//! ends, whichever way it ends. How it gets to the worker is the business of [`crate::app`].

mod history;
mod marks;
mod metrics;
mod output;
mod registry;
mod snapshot;
mod timeline;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

pub(crate) use history::{History, HistoryLimits};
pub(crate) use marks::Marks;
pub(crate) use metrics::{MetricMode, Metrics};
pub(crate) use output::Output;
pub(crate) use registry::Registry;
pub(crate) use snapshot::View;
pub(crate) use timeline::WatcherId;
pub(crate) use watch::WatchError;

use crate::delivery::Delivery;
use crate::files::TempFile;
use crate::log_text::LogText;
use crate::memory::Asked;
use crate::slots::{Lane, SlotPermit};
use crate::sync::lock;
use crate::traces::Trace;
use crate::webhooks::{Event, EventKind, Webhook};
use crate::worker::protocol::Source;
use timeline::{Record, Timeline};
use watch::{MetricEvent, returned};

/// One piece of log text is cut at this size.
const MAX_LOG_ITEM: usize = 4 << 20;
const LOG_CUT_MARK: &str = "[**** LOG LINE TRUNCATED AT 4 MiB ****]\n";

/// The name of a prediction between server and worker. The client's id is free text and need not be
/// unique; this one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Starting,
    Processing,
    Succeeded,
    Failed,
    Canceled,
}

/// What a client asked for, valid and complete.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) id: String,
    /// How long the client waits for it.
    pub(crate) timeout: Option<Duration>,
    pub(crate) file_names: FileNames,
    /// Given back at the end, however long somebody may still hold on to the prediction.
    asked: Mutex<Arc<Asked>>,
}

/// Whether data URLs of output files say how the model has named them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FileNames {
    #[default]
    LeftOut,
    /// As the parameter `name`, for clients that ask for it: others may not expect any.
    InUrls,
}

/// One prediction, from its acceptance to its end.
#[derive(Debug)]
pub(crate) struct Prediction {
    pub(crate) key: Key,
    pub(crate) order: Order,
    state: Mutex<State>,
}

/// How a prediction ends.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    /// `None` keeps what was streamed.
    pub(crate) output: Option<Output>,
}

/// Why a prediction does not run to its own end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    Canceled,
    /// With the error that the client sees.
    TimedOut(String),
}

/// What has to be done for a stop to take effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StopStep {
    /// Not with the worker: it can end right away.
    End,
    /// User code is running and has to be interrupted.
    Interrupt,
    /// It has ended, or is being interrupted already.
    Nothing,
}

#[derive(Debug)]
struct State {
    status: Status,
    marks: Marks,
    stage: Stage,
    logs: LogText,
    metrics: Metrics,
    output: Output,
    error: Option<String>,
    predict_time: Option<f64>,
    /// The first one counts.
    stop_reason: Option<StopReason>,
    result_kept: bool,
    trace: Option<Box<Trace>>,
    permit: Option<SlotPermit>,
    files: Vec<TempFile>,
    /// Work for it that is in vain once it has ended.
    tasks: Vec<AbortHandle>,
    /// Once there is one, all output takes this way, so that it stays in order.
    delivery: Option<Delivery>,
    ended: Option<oneshot::Sender<()>>,
    webhook: Option<Webhook>,
    /// What watchers get; kept only for models that can be watched.
    timeline: Option<Box<Timeline>>,
}

/// Who is working on it.
#[derive(Debug)]
enum Stage {
    /// This server: fetching input files.
    Preparing(Option<AbortHandle>),
    Running,
    /// This server again: turning output files into what the client gets.
    Delivering(AbortHandle),
    Ended,
}

impl Order {
    pub(crate) fn new(id: String, asked: Asked, timeout: Option<Duration>) -> Self {
        Self {
            id,
            timeout,
            file_names: FileNames::default(),
            asked: Mutex::new(Arc::new(asked)),
        }
    }

    /// Input and context; empty once the prediction has ended.
    pub(crate) fn asked(&self) -> Arc<Asked> {
        Arc::clone(&lock(&self.asked))
    }

    fn release(&self) {
        *lock(&self.asked) = Arc::default();
    }
}

impl Prediction {
    /// Of its log, `log_size` bytes are kept.
    pub(crate) fn new(key: Key, order: Order, log_size: usize) -> Self {
        let state = State {
            status: Status::Starting,
            marks: Marks::new(),
            stage: Stage::Preparing(None),
            logs: LogText::new(log_size),
            metrics: Metrics::default(),
            output: Output::Nothing,
            error: None,
            predict_time: None,
            stop_reason: None,
            result_kept: false,
            trace: None,
            permit: None,
            files: Vec::new(),
            tasks: Vec::new(),
            delivery: None,
            ended: None,
            webhook: None,
            timeline: None,
        };
        Self {
            key,
            order,
            state: Mutex::new(state),
        }
    }

    /// Resolves when the prediction has ended; with an error if it had ended before. For one listener:
    /// the request that created it.
    pub(crate) fn ended(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if !matches!(state.stage, Stage::Ended) {
            state.ended = Some(sender);
        }
        receiver
    }

    /// Keeps its events, the last `replayed` of them for watchers who come late.
    pub(crate) fn keep_events(&self, replayed: usize) {
        lock(&self.state).timeline = Some(Box::new(Timeline::new(replayed)));
    }

    pub(crate) fn set_webhook(&self, webhook: Webhook) {
        lock(&self.state).webhook = Some(webhook);
    }

    /// It is its turn. Without effect if it has ended while it waited.
    pub(crate) fn occupy(&self, permit: SlotPermit) {
        let mut state = lock(&self.state);
        if !matches!(state.stage, Stage::Ended) {
            state.permit = Some(permit);
        }
    }

    /// It waits for its turn again.
    pub(crate) fn vacate(&self) {
        lock(&self.state).permit = None;
    }

    /// Remembers the task that fetches the input files. Has no effect if that is over.
    pub(crate) fn preparing(&self, task: AbortHandle) {
        if let Stage::Preparing(handle) = &mut lock(&self.state).stage {
            *handle = Some(task);
        }
    }

    /// The worker gets it now; with it go the temporary files that it needs. Returns whether it still
    /// should.
    pub(crate) fn begin_running(&self, files: Vec<TempFile>) -> bool {
        let mut state = lock(&self.state);
        if !matches!(state.stage, Stage::Preparing(_)) {
            return false;
        }
        state.stage = Stage::Running;
        state.marks.running = Some(Instant::now());
        state.status = Status::Processing;
        state.files = files;
        state.keep(0, |_| Record::Start);
        state.announce(EventKind::Start);
        true
    }

    /// What it spends its time on goes into this trace.
    pub(crate) fn set_trace(&self, trace: Trace) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Ended) {
            trace.prediction_ended(&self.order.id, state.status, &state.marks);
        } else {
            state.trace = Some(Box::new(trace));
        }
    }

    /// Its input files are there; fetching them has begun at `start`.
    pub(crate) fn fetched_since(&self, start: Instant) {
        lock(&self.state).marks.fetched = Some((start, Instant::now()));
    }

    /// How it stands, and since when.
    pub(crate) fn progress(&self) -> (Status, Marks) {
        let state = lock(&self.state);
        (state.status, state.marks)
    }

    /// Asks for its result to be kept. Returns whether that comes in time.
    fn keep_result(&self) -> bool {
        let mut state = lock(&self.state);
        state.result_kept = true;
        !matches!(state.stage, Stage::Ended)
    }

    fn is_result_kept(&self) -> bool {
        lock(&self.state).result_kept
    }

    /// A file that is removed when the prediction has ended.
    pub(crate) fn keep_until_end(&self, file: TempFile) {
        let mut state = lock(&self.state);
        if !matches!(state.stage, Stage::Ended) {
            state.files.push(file);
        }
    }

    /// Has a task aborted when it has ended.
    pub(crate) fn abort_at_end(&self, task: AbortHandle) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Ended) {
            task.abort();
        } else {
            state.tasks.push(task);
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(lock(&self.state).stage, Stage::Running)
    }

    pub(crate) fn is_running_on(&self, lane: Lane) -> bool {
        let state = lock(&self.state);
        matches!(state.stage, Stage::Running) && state.lane() == Some(lane)
    }

    /// Where it runs, once it is its turn and until it has ended.
    pub(crate) fn lane(&self) -> Option<Lane> {
        lock(&self.state).lane()
    }

    /// Accepted, and not with the worker yet.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(lock(&self.state).stage, Stage::Preparing(_))
    }

    /// The task that turns its output files into the answer, if one was needed yet.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        lock(&self.state).delivery.clone()
    }

    pub(crate) fn set_delivery(&self, delivery: Delivery) {
        lock(&self.state).delivery = Some(delivery);
    }

    /// The worker is done with it; what is left is delivery.
    pub(crate) fn begin_delivering(&self) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Running)
            && let Some(delivery) = &state.delivery
        {
            state.stage = Stage::Delivering(delivery.task.clone());
            state.marks.returned = Some(Instant::now());
        }
    }

    /// Adds whole lines to the log.
    pub(crate) fn append_log(&self, source: Source, text: &str) {
        let mut state = lock(&self.state);
        let mut place = state
            .logs
            .push(&text[..text.floor_char_boundary(MAX_LOG_ITEM)]);
        if text.len() > MAX_LOG_ITEM {
            place.end = state.logs.push(LOG_CUT_MARK).end;
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
        state.metrics.record(name, value, mode);
    }

    /// Adds an item of a stream, as JSON text.
    pub(crate) fn push_output(&self, item: &[u8]) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Ended) {
            return;
        }
        state.output.push(item);
        state.keep(item.len(), |state| {
            Record::Output(state.output.item_count() - 1)
        });
        state.announce(EventKind::Output);
    }

    /// Notes that it has to stop.
    pub(crate) fn request_stop(&self, reason: StopReason) -> StopStep {
        let mut state = lock(&self.state);
        let first_request = state.stop_reason.is_none();
        state.stop_reason.get_or_insert(reason);
        match &state.stage {
            Stage::Preparing(task) => {
                if let Some(task) = task {
                    task.abort();
                }
                StopStep::End
            }
            Stage::Delivering(task) => {
                task.abort();
                StopStep::End
            }
            Stage::Running if first_request => StopStep::Interrupt,
            Stage::Running | Stage::Ended => StopStep::Nothing,
        }
    }

    /// Ends it, once: whoever comes later finds it ended. What it occupied is free when this returns,
    /// but nobody has been told; `notify` does that.
    fn end(&self, ending: Ending) -> bool {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Ended) {
            return false;
        }
        state.stage = Stage::Ended;
        (state.status, state.error) = match state.stop_reason.take() {
            Some(StopReason::Canceled) => (Status::Canceled, None),
            Some(StopReason::TimedOut(error)) => (Status::Failed, Some(error)),
            None => (ending.status, ending.error),
        };
        match ending.output {
            Some(output) => state.set_output(output),
            None if ending.status == Status::Succeeded => state.output.ensure_items(),
            None => {}
        }
        state.output.seal();
        state.marks.ended = Some(Instant::now());
        state.predict_time = Some(state.marks.total().as_secs_f64());
        state.permit = None;
        state.files = Vec::new();
        self.order.release();
        // If this is the delivery's own doing, it has nothing left to wait for.
        if let Some(delivery) = state.delivery.take() {
            delivery.task.abort();
        }
        for task in std::mem::take(&mut state.tasks) {
            task.abort();
        }
        true
    }

    fn notify(&self) {
        let mut state = lock(&self.state);
        if let Some(ended) = state.ended.take() {
            // Nobody listens after the client has left.
            let _ = ended.send(());
        }
        state.keep(0, |_| Record::Completed);
        if let Some(webhook) = state.webhook.take() {
            let text = || {
                state
                    .render(&self.order, View::Final)
                    .into_pieces()
                    .concat()
            };
            webhook.complete(&self.order.id, text);
        }
        if let Some(trace) = state.trace.take() {
            trace.prediction_ended(&self.order.id, state.status, &state.marks);
        }
    }
}

impl Status {
    /// As it is on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl State {
    fn lane(&self) -> Option<Lane> {
        self.permit.as_ref().map(SlotPermit::lane)
    }

    /// Adds to the timeline, if there is one. Else the record is not even made.
    fn keep(&mut self, length: usize, record: impl FnOnce(&Self) -> Record) {
        self.keep_with(|state| (length, record(state)));
    }

    /// The same for one whose length is known only when it is made.
    fn keep_with(&mut self, record: impl FnOnce(&Self) -> (usize, Record)) {
        if self.timeline.is_some() {
            let (length, record) = record(self);
            if let Some(timeline) = &mut self.timeline {
                timeline.push(record, length);
            }
        }
    }

    fn set_output(&mut self, output: Output) {
        if let (Some(timeline), Output::Value(text)) = (&mut self.timeline, &output) {
            for record in returned(text) {
                // It points to what is about to be sent as a whole.
                timeline.push(record, 0);
            }
        }
        self.output = output;
    }

    fn announce(&mut self, kind: EventKind) {
        if let Some(webhook) = &mut self.webhook {
            webhook.announce(Event {
                kind,
                items: self.output.item_count(),
            });
        }
    }
}

impl Ending {
    pub(crate) fn succeeded(output: Output) -> Self {
        Self {
            status: Status::Succeeded,
            error: None,
            output: Some(output),
        }
    }

    /// Succeeded with the items that were pushed, which may be none.
    pub(crate) fn streamed() -> Self {
        Self {
            status: Status::Succeeded,
            error: None,
            output: None,
        }
    }

    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            error: Some(error.into()),
            output: None,
        }
    }

    pub(crate) fn canceled() -> Self {
        Self {
            status: Status::Canceled,
            error: None,
            output: None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
