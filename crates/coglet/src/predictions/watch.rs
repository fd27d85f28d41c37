//! A prediction's events as server-sent events.
//!
//! The text is made when somebody reads it, from what the prediction keeps anyway.

use std::io::Write as _;
use std::task::{Context, Poll};

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::state::State;
use super::timeline::{AfterGap, Missed, Next, Purpose, Record};
use super::{Order, Prediction, View, WatcherId};
use crate::json::elements;
use crate::protocol::MetricMode;
use crate::sync::lock;

/// Events that are there are sent together up to about this size.
const BATCH: usize = 64 << 10;

/// In place of a part of the log that is not kept any more.
const LOG_LEFT_OUT: &str = "[**** LEFT OUT ****]\n";

/// What a metric event says: the value that was recorded, not the total.
#[derive(Serialize)]
pub(super) struct MetricEvent<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a serde_json::Value,
    pub(super) mode: MetricMode,
}

/// Why nobody more can watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WatchError {
    TooMany,
    /// Its events are not kept.
    NotKept,
}

impl Prediction {
    /// Adds a watcher. It first gets what has happened so far.
    pub(crate) fn watch(&self, after_gap: AfterGap) -> Result<WatcherId, WatchError> {
        let mut state = lock(&self.state);
        let timeline = state
            .audience
            .timeline
            .as_mut()
            .ok_or(WatchError::NotKept)?;
        timeline.join(after_gap).ok_or(WatchError::TooMany)
    }

    /// From now on it is canceled when nobody watches it any more.
    pub(crate) fn runs_for_watchers(&self) {
        if let Some(timeline) = &mut lock(&self.state).audience.timeline {
            timeline.purpose = Purpose::Events;
        }
    }

    /// Removes a watcher. Returns whether there is nobody left for whom it runs.
    pub(crate) fn unwatch(&self, watcher: WatcherId) -> bool {
        let mut state = lock(&self.state);
        state
            .audience
            .timeline
            .as_mut()
            .is_some_and(|timeline| timeline.leave(watcher))
    }

    /// The text of the events that the watcher has not read, in pieces; nothing after the last one.
    pub(crate) fn poll_events(
        &self,
        watcher: WatcherId,
        context: &Context<'_>,
    ) -> Poll<Option<Vec<Bytes>>> {
        let mut state = lock(&self.state);
        let Some(mut timeline) = state.audience.timeline.take() else {
            return Poll::Ready(None);
        };
        let mut batch = Batch::default();
        let is_over = loop {
            if batch.open.len() >= BATCH {
                break false;
            }
            match timeline.read(watcher) {
                Next::Record(record) => batch.add(record, &state, &self.order),
                Next::Missed(missed) => batch.add_missed(missed),
                Next::Nothing => break false,
                Next::End => break true,
            }
        };
        let pieces = batch.finish();
        if pieces.is_empty() && !is_over {
            timeline.wake_later(watcher, context.waker());
        }
        state.audience.timeline = Some(timeline);
        match (pieces.is_empty(), is_over) {
            (false, _) => Poll::Ready(Some(pieces)),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}

/// The events of an output that was returned instead of streamed: as if its elements had been yielded.
pub(super) fn returned(output: &Bytes) -> Vec<Record> {
    let elements = match output.first() {
        Some(b'n') => Vec::new(),
        Some(b'[') => elements(output),
        _ => vec![output.clone()],
    };
    let record = |(index, text)| Record::Returned { index, text };
    elements.into_iter().enumerate().map(record).collect()
}

/// Events put together.
#[derive(Default)]
struct Batch {
    done: Vec<Bytes>,
    open: Vec<u8>,
}

impl Batch {
    fn add(&mut self, record: &Record, state: &State, order: &Order) {
        match record {
            Record::Start => {
                self.event("start", &json!({"id": order.id, "status": "processing"}));
            }
            Record::Output(index) => {
                self.output(*index, state.product.output.item(*index).unwrap_or(b"null"));
            }
            Record::Returned { index, text } => self.output(*index, text),
            Record::Log { source, text } => {
                // One who reads so late that the middle of the log has been dropped.
                let data = state.product.logs.get(text.clone()).unwrap_or(LOG_LEFT_OUT);
                self.event("log", &json!({"source": source.name(), "data": data}));
            }
            Record::Metric(text) => {
                self.begin("metric");
                self.one_line(text);
                self.open.extend_from_slice(b"\n\n");
            }
            Record::Completed => self.completed(state, order),
        }
    }

    fn output(&mut self, index: usize, chunk: &[u8]) {
        self.begin("output");
        self.open.extend_from_slice(b"{\"chunk\":");
        self.one_line(chunk);
        // Writing to memory does not fail.
        let _ = write!(self.open, ",\"index\":{index}}}\n\n");
    }

    fn add_missed(&mut self, missed: Missed) {
        let (error, skipped) = match missed {
            Missed::BeforeJoining(count) => {
                ("SSE stream replay truncated; events were dropped", count)
            }
            Missed::WhileReading(count) => ("SSE stream lagged; events were dropped", count),
        };
        self.event("error", &json!({"error": error, "skipped": skipped}));
    }

    /// The last event holds the whole output, which may be large: shared, not copied.
    fn completed(&mut self, state: &State, order: &Order) {
        self.begin("completed");
        for piece in state.render(order, View::Final).into_pieces() {
            if piece.len() < BATCH || has_line_break(&piece) {
                self.one_line(&piece);
            } else {
                self.done.push(std::mem::take(&mut self.open).into());
                self.done.push(piece);
            }
        }
        self.open.extend_from_slice(b"\n\n");
    }

    fn event(&mut self, name: &str, data: &impl Serialize) {
        self.begin(name);
        serde_json::to_writer(&mut self.open, data).expect("plain values always serialise");
        self.open.extend_from_slice(b"\n\n");
    }

    fn begin(&mut self, name: &str) {
        for part in ["event: ", name, "\ndata: "] {
            self.open.extend_from_slice(part.as_bytes());
        }
    }

    /// Adds JSON text. A line break in it can only stand between tokens, where a space does as well.
    fn one_line(&mut self, json: &[u8]) {
        if has_line_break(json) {
            let spaced = json.iter().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                other => *other,
            });
            self.open.extend(spaced);
        } else {
            self.open.extend_from_slice(json);
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.done.push(self.open.into());
        }
        self.done
    }
}

fn has_line_break(text: &[u8]) -> bool {
    text.contains(&b'\n') || text.contains(&b'\r')
}
