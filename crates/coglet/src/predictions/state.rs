//! What is known of one prediction, by what it is for. All of it changes under one lock.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::metrics::Metrics;
use super::timeline::{Record, Timeline};
use super::watch::returned;
use super::{Delivery, Ending, Output, StopReason, StopStep};
use crate::log_text::LogText;
use crate::marks::{Marks, Status};
use crate::slots::{Lane, SlotPermit};
use crate::temp::TempFile;
use crate::traces::Trace;
use crate::webhooks::{Event, EventKind, Webhook};

#[derive(Debug)]
pub(super) struct State {
    pub(super) life: Life,
    pub(super) product: Product,
    pub(super) held: Held,
    pub(super) audience: Audience,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) status: Status,
    pub(super) marks: Marks,
    pub(super) stage: Stage,
    /// The first one counts.
    pub(super) stop_reason: Option<StopReason>,
}

/// What has come of it.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) output: Output,
    pub(super) logs: LogText,
    pub(super) metrics: Metrics,
    pub(super) error: Option<String>,
    pub(super) predict_time: Option<f64>,
}

/// What it occupies, and gives back when it ends.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) permit: Option<SlotPermit>,
    pub(super) files: Vec<TempFile>,
    /// Work for it that is in vain once it has ended.
    pub(super) tasks: Vec<AbortHandle>,
    /// Once there is one, all output takes this way, so that it stays in order.
    pub(super) delivery: Option<Delivery>,
}

/// Who wants to know of it.
#[derive(Debug, Default)]
pub(super) struct Audience {
    pub(super) ended: Option<oneshot::Sender<()>>,
    pub(super) webhook: Option<Webhook>,
    /// What watchers get; kept only for models that can be watched.
    pub(super) timeline: Option<Box<Timeline>>,
    pub(super) trace: Option<Box<Trace>>,
    /// Its result is asked for after its end.
    pub(super) result_kept: bool,
}

/// Who is working on it.
#[derive(Debug)]
pub(super) enum Stage {
    /// This server: fetching input files.
    Preparing(Option<AbortHandle>),
    Running,
    /// This server again: turning output files into what the client gets.
    Delivering(AbortHandle),
    Ended,
}

impl Life {
    /// Notes that it has to stop.
    pub(super) fn request_stop(&mut self, reason: StopReason) -> StopStep {
        let first_request = self.stop_reason.is_none();
        self.stop_reason.get_or_insert(reason);
        match &self.stage {
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

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Ends it: so, unless it was to be stopped. Returns the error to be told.
    fn end(&mut self, status: Status, error: Option<String>) -> Option<String> {
        self.stage = Stage::Ended;
        self.marks.ended = Some(Instant::now());
        let (status, error) = match self.stop_reason.take() {
            Some(StopReason::Canceled) => (Status::Canceled, None),
            Some(StopReason::TimedOut(error)) => (Status::Failed, Some(error)),
            None => (status, error),
        };
        self.status = status;
        error
    }
}

impl Product {
    fn end(&mut self, error: Option<String>, time: Duration) {
        self.error = error;
        self.predict_time = Some(time.as_secs_f64());
        self.output.seal();
    }
}

impl Held {
    fn give_back(&mut self) {
        self.permit = None;
        self.files = Vec::new();
        // If this is the delivery's own doing, it has nothing left to wait for.
        if let Some(delivery) = self.delivery.take() {
            delivery.task.abort();
        }
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
        }
    }
}

impl State {
    /// Of its log, `log_size` bytes are kept.
    pub(super) fn new(log_size: usize) -> Self {
        Self {
            life: Life {
                status: Status::Starting,
                marks: Marks::new(),
                stage: Stage::Preparing(None),
                stop_reason: None,
            },
            product: Product {
                output: Output::Nothing,
                logs: LogText::new(log_size),
                metrics: Metrics::default(),
                error: None,
                predict_time: None,
            },
            held: Held::default(),
            audience: Audience::default(),
        }
    }

    /// Ends it and gives back what it occupied. Returns whether this was the first ending.
    pub(super) fn end(&mut self, ending: Ending) -> bool {
        if self.life.has_ended() {
            return false;
        }
        let error = self.life.end(ending.status, ending.error);
        match ending.output {
            Some(output) => self.set_output(output),
            None if ending.status == Status::Succeeded => self.product.output.ensure_items(),
            None => {}
        }
        self.product.end(error, self.life.marks.total());
        self.held.give_back();
        true
    }

    pub(super) fn lane(&self) -> Option<Lane> {
        self.held.permit.as_ref().map(SlotPermit::lane)
    }

    /// Adds to the timeline, if there is one. Else the record is not even made.
    pub(super) fn keep(&mut self, length: usize, record: impl FnOnce(&Self) -> Record) {
        self.keep_with(|state| (length, record(state)));
    }

    /// The same for one whose length is known only when it is made.
    pub(super) fn keep_with(&mut self, record: impl FnOnce(&Self) -> (usize, Record)) {
        if self.audience.timeline.is_some() {
            let (length, record) = record(self);
            if let Some(timeline) = &mut self.audience.timeline {
                timeline.push(record, length);
            }
        }
    }

    pub(super) fn set_output(&mut self, output: Output) {
        if let (Some(timeline), Output::Value(text)) = (&mut self.audience.timeline, &output) {
            for record in returned(text) {
                // It points to what is about to be sent as a whole.
                timeline.push(record, 0);
            }
        }
        self.product.output = output;
    }

    pub(super) fn announce(&mut self, kind: EventKind) {
        if let Some(webhook) = &mut self.audience.webhook {
            webhook.announce(Event {
                kind,
                items: self.product.output.item_count(),
            });
        }
    }
}
