//! Webhooks: a prediction's events, sent to where its client wants them.
//!
//! Every prediction with a webhook has a task that sends its events in order, so nothing arrives after
//! `completed`. Only `completed` is repeated until it gets through; nothing here can slow down or fail
//! a prediction.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Body, Client, Url};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};

use crate::destinations::{Destinations, Refused, refusal};
use crate::predictions::{Prediction, View};
use crate::sync::lock;
use crate::traces::WebhookSpan;

/// What a client can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EventKind {
    Start,
    Output,
    Logs,
    Completed,
}

/// Something happened to a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// How many items the output had then.
    pub(crate) items: usize,
}

/// Where a request wants its events.
#[derive(Debug)]
pub(crate) struct WebhookOrder {
    pub(crate) url: String,
    pub(crate) events: Vec<EventKind>,
    /// `traceparent` and `tracestate` of the request.
    pub(crate) trace: HeaderMap,
    /// If the request is traced by this server too.
    pub(crate) span: Option<WebhookSpan>,
}

/// A prediction's end of its webhook.
#[derive(Debug)]
pub(crate) struct Webhook {
    events: mpsc::UnboundedSender<Event>,
    filter: Vec<EventKind>,
    throttle: Throttle,
}

/// Opens webhooks, and knows when all of them are done.
#[derive(Debug)]
pub(crate) struct Webhooks {
    client: OnceLock<Client>,
    /// Calls at the same time: each takes a descriptor, and receivers may never answer.
    calls: Arc<Semaphore>,
    token: Option<HeaderValue>,
    throttle_interval: Duration,
    destinations: Destinations,
    /// Every task holds a clone; when all are gone, nothing is left to send.
    running: Mutex<Option<mpsc::Sender<()>>>,
    all_done: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Webhooks {
    pub(crate) fn new(
        token: Option<String>,
        throttle_interval: Duration,
        max_calls: usize,
        destinations: Destinations,
    ) -> Self {
        let (running, all_done) = mpsc::channel(1);
        let token = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        Self {
            client: OnceLock::new(),
            calls: Arc::new(Semaphore::new(max_calls)),
            token: token.map(|mut token| {
                token.set_sensitive(true);
                token
            }),
            throttle_interval,
            destinations,
            running: Mutex::new(Some(running)),
            all_done: tokio::sync::Mutex::new(all_done),
        }
    }

    /// Starts the task that sends a prediction's events.
    pub(crate) fn open(&self, prediction: &Arc<Prediction>, order: WebhookOrder) -> Webhook {
        const TIMEOUT: Duration = Duration::from_secs(30);
        let mut headers = order.trace;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        if let Some(span) = &order.span {
            headers.insert("traceparent", span.header());
        }
        let sender = Sender {
            client: self
                .client
                .get_or_init(|| crate::client::for_calls(TIMEOUT, &self.destinations))
                .clone(),
            calls: Arc::clone(&self.calls),
            url: order.url,
            span: order.span,
            headers,
            destinations: self.destinations.clone(),
            prediction: Arc::clone(prediction),
        };
        let (events, queue) = mpsc::unbounded_channel();
        let running = lock(&self.running).clone();
        tokio::spawn(async move {
            sender.run(queue).await;
            drop(running);
        });
        Webhook {
            events,
            filter: order.events,
            throttle: Throttle::new(self.throttle_interval),
        }
    }

    /// Waits until everything has been sent or given up. No webhook may be opened any more.
    pub(crate) async fn finished(&self) {
        drop(lock(&self.running).take());
        let _ = self.all_done.lock().await.recv().await;
    }
}

impl Webhook {
    pub(crate) fn announce(&mut self, event: Event) {
        if self.filter.contains(&event.kind)
            && self.throttle.lets_through(event.kind, Instant::now())
        {
            // The task ends only after `completed`.
            let _ = self.events.send(event);
        }
    }
}

/// Drops log events that follow another event too closely. They are not sent later: `completed`
/// carries all of the log.
#[derive(Debug)]
struct Throttle {
    interval: Duration,
    last: Option<Instant>,
}

impl Throttle {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    fn lets_through(&mut self, kind: EventKind, now: Instant) -> bool {
        let is_soon = |last: Instant| now.duration_since(last) < self.interval;
        match kind {
            EventKind::Completed => return true,
            EventKind::Logs if self.last.is_some_and(is_soon) => return false,
            EventKind::Logs | EventKind::Start | EventKind::Output => {}
        }
        self.last = Some(now);
        true
    }
}

/// Sends the events of one prediction.
struct Sender {
    client: Client,
    calls: Arc<Semaphore>,
    url: String,
    headers: HeaderMap,
    span: Option<WebhookSpan>,
    destinations: Destinations,
    prediction: Arc<Prediction>,
}

enum Failure {
    /// Worth another try.
    Temporary(String),
    Permanent(String),
}

impl Sender {
    const RETRIES: u32 = 12;

    async fn run(&self, mut queue: mpsc::UnboundedReceiver<Event>) {
        let mut reachable = true;
        while let Some(event) = queue.recv().await {
            if event.kind == EventKind::Completed {
                self.send_completed().await;
                return;
            }
            // A receiver that is down must not hold back `completed` once per event.
            if reachable || !self.prediction.has_ended() {
                let result = self.send(View::Interim { items: event.items }).await;
                reachable = !matches!(result, Err(Failure::Temporary(_)));
                if let Err(Failure::Temporary(reason) | Failure::Permanent(reason)) = result {
                    tracing::debug!("Webhook {:?} was not delivered: {reason}", event.kind);
                }
            }
        }
    }

    async fn send_completed(&self) {
        let begun = Instant::now();
        let mut retries = 0;
        let failure = loop {
            match self.send(View::Final).await {
                Ok(()) => break None,
                Err(Failure::Temporary(_)) if retries < Self::RETRIES => {
                    retries += 1;
                    tokio::time::sleep(Duration::from_millis(100) * 2_u32.pow(retries.min(10)))
                        .await;
                }
                Err(Failure::Temporary(reason) | Failure::Permanent(reason)) => break Some(reason),
            }
        };
        if let Some(reason) = &failure {
            tracing::warn!("The terminal webhook was not delivered: {reason}");
        }
        if let Some(span) = &self.span {
            span.end(begun, retries + 1, failure.is_none());
        }
    }

    async fn send(&self, view: View) -> Result<(), Failure> {
        // Never closed, so it cannot fail.
        let _turn = self.calls.acquire().await;
        let url: Url = self
            .url
            .parse()
            .map_err(|_| Failure::Permanent("its URL is not valid".into()))?;
        let refused = |refused: &Refused| Failure::Permanent(refused.to_string());
        self.destinations
            .check(&url)
            .map_err(|error| refused(&error))?;
        let body = Body::from(self.prediction.render(view).into_pieces().concat());
        let request = self
            .client
            .post(url)
            .headers(self.headers.clone())
            .body(body);
        let response = request.send().await.map_err(|error| {
            // Another try would be refused too.
            if let Some(refusal) = refusal(&error) {
                return refused(refusal);
            }
            Failure::Temporary(crate::client::describe(&error.without_url()))
        })?;
        let status = response.status();
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Temporary(status.to_string())),
            _ => Err(Failure::Permanent(status.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_are_throttled() {
        let mut throttle = Throttle::new(Duration::from_millis(500));
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(throttle.lets_through(EventKind::Start, at(0)));
        assert!(!throttle.lets_through(EventKind::Logs, at(100)));
        assert!(throttle.lets_through(EventKind::Output, at(200)));
        assert!(throttle.lets_through(EventKind::Output, at(201)));
        assert!(!throttle.lets_through(EventKind::Logs, at(600)));
        assert!(throttle.lets_through(EventKind::Logs, at(701)));
        assert!(throttle.lets_through(EventKind::Completed, at(702)));
    }
}
