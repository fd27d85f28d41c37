//! Webhooks: a prediction's events, sent to where its client wants them.
//!
//! Every prediction with a webhook has a task ([`sender`]) that sends its events in order, so nothing arrives
//! after `completed`. What waits to be sent is in its [`mailbox`]: places in the output while the prediction
//! runs, the finished text afterwards. Only `completed` is repeated until it gets through; nothing here can
//! slow down or fail a prediction, or keep it in memory.

mod events;
mod mailbox;
mod sender;
mod undelivered;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Url};
use tokio::sync::{Semaphore, mpsc};

pub(crate) use events::{Event, EventKind, EventKinds};

use crate::destinations::{Destinations, host_is_among};
use crate::sync::lock;
use crate::traces::WebhookSpan;
use mailbox::Mailbox;
use sender::Sender;
use undelivered::Undelivered;

/// Where a request wants its events.
#[derive(Debug)]
pub(crate) struct WebhookOrder {
    pub(crate) url: String,
    pub(crate) events: EventKinds,
    /// `traceparent` and `tracestate` of the request.
    pub(crate) trace: HeaderMap,
    /// If the request is traced by this server too.
    pub(crate) span: Option<WebhookSpan>,
}

/// What is told of: a prediction.
pub(crate) trait Subject: fmt::Debug + Send + Sync {
    /// As it was when it ran and had so many items, as JSON.
    fn with_items(&self, items: usize) -> Bytes;
}

/// How webhooks are called.
#[derive(Debug)]
pub(crate) struct WebhookRules {
    pub(crate) token: Option<String>,
    /// Who gets the token; everybody if nothing is said.
    pub(crate) token_hosts: Option<Vec<String>>,
    pub(crate) throttle_interval: Duration,
    /// At the same time.
    pub(crate) max_calls: usize,
    /// Bytes of results that are not delivered yet.
    pub(crate) memory: u64,
    pub(crate) destinations: Destinations,
}

/// A prediction's end of its webhook.
#[derive(Debug)]
pub(crate) struct Webhook {
    mailbox: Arc<Mailbox>,
    filter: EventKinds,
    throttle: Throttle,
    undelivered: Arc<Undelivered>,
}

/// Opens webhooks, and knows when all of them are done.
#[derive(Debug)]
pub(crate) struct Webhooks {
    client: OnceLock<Client>,
    /// Calls at the same time: each takes a descriptor, and receivers may never answer.
    calls: Arc<Semaphore>,
    /// Memory for the bodies of calls while their predictions run.
    interim: Arc<Semaphore>,
    token: Option<HeaderValue>,
    token_hosts: Option<Vec<String>>,
    throttle_interval: Duration,
    destinations: Destinations,
    undelivered: Arc<Undelivered>,
    /// Every task holds a clone; when all are gone, nothing is left to send.
    running: Mutex<Option<mpsc::Sender<()>>>,
    all_done: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Webhooks {
    pub(crate) fn new(rules: WebhookRules) -> Self {
        let (running, all_done) = mpsc::channel(1);
        let token = rules
            .token
            .and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let interim = usize::try_from(rules.memory / 2).unwrap_or(usize::MAX);
        Self {
            client: OnceLock::new(),
            calls: Arc::new(Semaphore::new(rules.max_calls)),
            interim: Arc::new(Semaphore::new(interim.min(Semaphore::MAX_PERMITS))),
            token: token.map(|mut token| {
                token.set_sensitive(true);
                token
            }),
            token_hosts: rules.token_hosts,
            throttle_interval: rules.throttle_interval,
            destinations: rules.destinations,
            undelivered: Arc::new(Undelivered::new(rules.memory)),
            running: Mutex::new(Some(running)),
            all_done: tokio::sync::Mutex::new(all_done),
        }
    }

    /// Starts the task that sends a prediction's events.
    pub(crate) fn open(&self, prediction: Weak<dyn Subject>, order: WebhookOrder) -> Webhook {
        const TIMEOUT: Duration = Duration::from_secs(30);
        let url = order.url.parse().ok();
        let mailbox = Arc::new(Mailbox::new(prediction));
        let sender = Sender {
            client: self
                .client
                .get_or_init(|| crate::client::for_calls(TIMEOUT, &self.destinations))
                .clone(),
            calls: Arc::clone(&self.calls),
            interim: Arc::clone(&self.interim),
            headers: self.headers(url.as_ref(), order.trace, order.span.as_ref()),
            url,
            span: order.span,
            destinations: self.destinations.clone(),
            undelivered: Arc::clone(&self.undelivered),
            mailbox: Arc::clone(&mailbox),
        };
        let running = lock(&self.running).clone();
        tokio::spawn(async move {
            sender.run().await;
            drop(running);
        });
        Webhook {
            mailbox,
            filter: order.events,
            throttle: Throttle::new(self.throttle_interval),
            undelivered: Arc::clone(&self.undelivered),
        }
    }

    fn headers(
        &self,
        url: Option<&Url>,
        trace: HeaderMap,
        span: Option<&WebhookSpan>,
    ) -> HeaderMap {
        let mut headers = trace;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(token) = self.token.as_ref().filter(|_| self.trusts(url)) {
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        if let Some(span) = span {
            headers.insert("traceparent", span.header());
        }
        headers
    }

    /// Whether the token is for whoever answers at this URL. Redirects to another host lose it.
    fn trusts(&self, url: Option<&Url>) -> bool {
        let host = url.and_then(Url::host_str);
        match &self.token_hosts {
            None => true,
            Some(hosts) => host.is_some_and(|host| host_is_among(host, hosts)),
        }
    }

    /// Waits until everything has been sent or given up. No webhook may be opened any more.
    pub(crate) async fn finished(&self) {
        drop(lock(&self.running).take());
        let _ = self.all_done.lock().await.recv().await;
    }

    /// Says in the log what is lost by not waiting any longer.
    pub(crate) fn report_undelivered(&self) {
        self.undelivered.report();
    }
}

impl Webhook {
    /// Something happened to a prediction that has not ended.
    pub(crate) fn announce(&mut self, event: Event) {
        if self.filter.contains(event.kind)
            && self.throttle.lets_through(event.kind, Instant::now())
        {
            self.mailbox.add(event.items);
        }
    }

    /// The prediction has ended. `text` makes what is told of it, if the client wants to know.
    pub(crate) fn complete(self, id: &str, text: impl FnOnce() -> Vec<u8>) {
        if !self.filter.contains(EventKind::Completed) {
            self.mailbox.end(None);
            return;
        }
        let text = bytes::Bytes::from(text());
        self.undelivered.add(id, text.len(), &self.mailbox);
        self.mailbox.end(Some(text));
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
        if kind == EventKind::Logs && self.last.is_some_and(is_soon) {
            return false;
        }
        self.last = Some(now);
        true
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
    }

    fn trusted(hosts: Option<&[&str]>, url: &str) -> bool {
        let webhooks = Webhooks::new(WebhookRules {
            token: Some("t".into()),
            token_hosts: hosts.map(|hosts| hosts.iter().map(ToString::to_string).collect()),
            throttle_interval: Duration::ZERO,
            max_calls: 1,
            memory: 0,
            destinations: Destinations::default(),
        });
        let url: Url = url.parse().unwrap();
        let headers = webhooks.headers(Some(&url), HeaderMap::new(), None);
        headers.contains_key(header::AUTHORIZATION)
    }

    #[test]
    fn the_token_goes_to_whom_the_operator_named() {
        assert!(trusted(None, "http://anybody.example/"));
        let named = Some(&["hooks.example", ".inner.example"][..]);
        assert!(trusted(named, "https://hooks.example:8443/x"));
        assert!(trusted(named, "https://HOOKS.example./x"));
        assert!(trusted(named, "https://a.b.inner.example/x"));
        for stranger in [
            "https://hooks.example.evil/",
            "https://xhooks.example/",
            "https://inner.example/",
            "https://hooks.example@evil.example/",
        ] {
            assert!(!trusted(named, stranger), "{stranger}");
        }
    }
}
