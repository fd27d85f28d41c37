//! OpenTelemetry: spans of prediction requests, sent to a collector.
//!
//! A request that is sampled carries a [`ServerSpan`], its prediction and its webhook a [`Trace`] to hang
//! their own spans on. Spans are made when they are over, from times that are kept anyway, and put into
//! a bounded queue: where the collector is slow, spans are lost and never time. Without
//! `COG_TRACE_CONFIGURED` there is no [`Tracer`], and nothing here runs.

mod context;
mod export;
mod otlp;
mod sampler;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::{mpsc, oneshot};

pub(crate) use export::Exporter;
pub(crate) use settings::TraceSettings;

use crate::marks::{Marks, Status};
use context::{Parent, SpanId, TraceId};
use sampler::Sampler;

/// Spans that wait to be sent.
const QUEUE: usize = 2048;

/// Makes spans.
#[derive(Debug)]
pub(crate) struct Tracer {
    sampler: Sampler,
    queue: mpsc::Sender<Message>,
}

/// A trace that is recorded, seen from the span of its request.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    tracer: Arc<Tracer>,
    id: TraceId,
    request: SpanId,
    /// One moment on both clocks, to tell times by.
    anchor: (SystemTime, Instant),
}

/// The span of a request. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ServerSpan {
    pub(crate) trace: Trace,
    parent: Option<SpanId>,
    method: Method,
    route: &'static str,
    prediction_id: Option<String>,
    /// None as long as there is no answer.
    status: Option<u16>,
}

/// The span of a webhook, whose name the receiver is told.
#[derive(Debug)]
pub(crate) struct WebhookSpan {
    trace: Trace,
    id: SpanId,
}

/// One thing that took time.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    name: String,
    kind: Kind,
    /// Nanoseconds since 1970.
    start: u64,
    end: u64,
    attributes: Vec<(&'static str, Attribute)>,
    failed: bool,
}

/// With the numbers that they have on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

#[derive(Debug, Clone, PartialEq)]
enum Attribute {
    Text(String),
    Number(i64),
}

#[derive(Debug)]
enum Message {
    Span(Box<Span>),
    /// Send what there is, and say when that is done.
    Flush(oneshot::Sender<()>),
}

impl Tracer {
    /// The tracer, and the exporter that has to run for it.
    pub(crate) fn new(settings: TraceSettings) -> (Arc<Self>, Exporter) {
        let (queue, messages) = mpsc::channel(QUEUE);
        let tracer = Self {
            sampler: settings.sampler,
            queue,
        };
        let exporter = Exporter::new(messages, settings);
        (Arc::new(tracer), exporter)
    }

    /// Begins the span of a request, if that is to be recorded.
    pub(crate) fn begin(
        self: &Arc<Self>,
        headers: &HeaderMap,
        method: &Method,
        route: &'static str,
    ) -> Option<ServerSpan> {
        let parent = Parent::of(headers);
        let id = parent.as_ref().map_or_else(TraceId::random, |p| p.trace);
        if !self.sampler.samples(parent.as_ref(), id) {
            return None;
        }
        let trace = Trace {
            tracer: Arc::clone(self),
            id,
            request: SpanId::random(),
            anchor: (SystemTime::now(), Instant::now()),
        };
        Some(ServerSpan {
            trace,
            parent: parent.map(|parent| parent.span),
            method: method.clone(),
            route,
            prediction_id: None,
            status: None,
        })
    }

    /// Waits until everything recorded so far has been sent, but not for ever.
    pub(crate) async fn flush(&self, limit: Duration) {
        let flush = async {
            let (sender, receiver) = oneshot::channel();
            if self.queue.send(Message::Flush(sender)).await.is_ok() {
                // An error means that the exporter has gone: then there is nothing to wait for.
                let _ = receiver.await;
            }
        };
        if tokio::time::timeout(limit, flush).await.is_err() {
            tracing::warn!("Not all traces were sent before the end");
        }
    }
}

impl ServerSpan {
    pub(crate) fn set_prediction(&mut self, id: &str) {
        self.prediction_id = Some(id.to_owned());
    }

    pub(crate) fn set_status(&mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        let mut attributes = vec![
            (
                "http.request.method",
                Attribute::Text(self.method.to_string()),
            ),
            ("http.route", Attribute::Text(self.route.to_owned())),
        ];
        if let Some(status) = self.status {
            let status = Attribute::Number(status.into());
            attributes.push(("http.response.status_code", status));
        }
        if let Some(id) = self.prediction_id.take() {
            attributes.push(("cog.prediction.id", Attribute::Text(id)));
        }
        self.trace.send(Span {
            trace: self.trace.id,
            id: self.trace.request,
            parent: self.parent,
            name: format!("{} {}", self.method, self.route),
            kind: Kind::Server,
            start: self.trace.nanoseconds(self.trace.anchor.1),
            end: self.trace.nanoseconds(Instant::now()),
            attributes,
            // A client that left is nobody's fault.
            failed: self.status.is_some_and(|status| status >= 500),
        });
    }
}

impl Trace {
    /// A prediction has ended: what it spent its time on.
    pub(crate) fn prediction_ended(&self, id: &str, status: Status, marks: &Marks) {
        let attributes = || vec![("cog.prediction.id", Attribute::Text(id.to_owned()))];
        if let Some((from, to)) = marks.fetched {
            self.child("input download", from, to, attributes(), false);
        }
        let end = marks.ended.unwrap_or_else(Instant::now);
        let Some(running) = marks.running else {
            return;
        };
        let (from, to) = marks.queued(running);
        self.child("queue", from, to, attributes(), false);
        let mut outcome = attributes();
        let status_name = Attribute::Text(status.name().to_owned());
        outcome.push(("cog.prediction.status", status_name));
        let returned = marks.returned.unwrap_or(end);
        let failed = status == Status::Failed;
        self.child("predict", running, returned, outcome, failed);
        if marks.returned.is_some() {
            self.child("output delivery", returned, end, attributes(), failed);
        }
    }

    /// A span for a webhook that is going to be sent.
    pub(crate) fn webhook(&self) -> WebhookSpan {
        WebhookSpan {
            trace: self.clone(),
            id: SpanId::random(),
        }
    }

    fn child(
        &self,
        name: &str,
        from: Instant,
        to: Instant,
        attributes: Vec<(&'static str, Attribute)>,
        failed: bool,
    ) {
        self.send(Span {
            trace: self.id,
            id: SpanId::random(),
            parent: Some(self.request),
            name: name.to_owned(),
            kind: Kind::Internal,
            start: self.nanoseconds(from),
            end: self.nanoseconds(to),
            attributes,
            failed,
        });
    }

    fn send(&self, span: Span) {
        // A full queue loses the span: nothing waits for the collector.
        let _ = self.tracer.queue.try_send(Message::Span(Box::new(span)));
    }

    fn nanoseconds(&self, moment: Instant) -> u64 {
        let (clock, instant) = self.anchor;
        let time = clock + moment.saturating_duration_since(instant)
            - instant.saturating_duration_since(moment);
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl WebhookSpan {
    /// What the receiver gets as `traceparent`.
    pub(crate) fn header(&self) -> HeaderValue {
        context::traceparent(self.trace.id, self.id)
    }

    /// The terminal report was delivered, or given up.
    pub(crate) fn end(&self, begun: Instant, attempts: u32, delivered: bool) {
        let attempts = Attribute::Number(attempts.into());
        self.trace.send(Span {
            trace: self.trace.id,
            id: self.id,
            parent: Some(self.trace.request),
            name: "webhook".to_owned(),
            kind: Kind::Client,
            start: self.trace.nanoseconds(begun),
            end: self.trace.nanoseconds(Instant::now()),
            attributes: vec![("cog.webhook.attempts", attempts)],
            failed: !delivered,
        });
    }
}
