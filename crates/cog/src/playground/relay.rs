//! Webhooks of a model on their way to the page: the page subscribes to a token, the model calls `/webhook/<token>`.
//!
//! The model's container may call from anywhere, so whoever knows the token may deliver; without a subscriber there is
//! nobody to deliver to. Everything that a stranger could make grow has a bound.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::answer::{self, Response};

const MAX_TOKEN: usize = 128;
const MAX_PAYLOAD: usize = 10 << 20;
/// Deliveries at once.
const MAX_DELIVERIES: usize = 16;
/// A page has one for each asynchronous prediction that it waits for.
const MAX_SUBSCRIBERS: usize = 64;
/// Deliveries that a page may be behind; then the model's server waits, and comes again.
const MAX_BEHIND: usize = 4;
/// For a payload to arrive, and for the page to take one.
const PATIENCE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) struct Relay {
    deliveries: Semaphore,
    subscribers: Arc<Mutex<Subscribers>>,
}

#[derive(Default)]
struct Subscribers {
    by_token: HashMap<String, (u64, mpsc::Sender<Bytes>)>,
    latest: u64,
    is_closed: bool,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            deliveries: Semaphore::new(MAX_DELIVERIES),
            subscribers: Arc::default(),
        }
    }
}

impl Relay {
    /// Delivers what a model's server has sent to `/webhook/<token>`.
    pub(super) async fn webhook(&self, token: &str, request: Request<Incoming>) -> Response {
        if request.method() != Method::POST {
            return answer::only(&[Method::POST]);
        }
        if !is_token(token) {
            return answer::error(StatusCode::NOT_FOUND, "no such webhook");
        }
        let known = subscribers(&self.subscribers).by_token.get(token).cloned();
        let Some((_, subscriber)) = known else {
            return nobody();
        };
        let Ok(_turn) = self.deliveries.try_acquire() else {
            return answer::error(StatusCode::TOO_MANY_REQUESTS, "too many webhooks at once");
        };
        let body = Limited::new(request.into_body(), MAX_PAYLOAD).collect();
        let payload = match timeout(PATIENCE, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return answer::error(StatusCode::PAYLOAD_TOO_LARGE, "webhook payload too large");
            }
            Ok(Err(_)) => return answer::error(StatusCode::BAD_REQUEST, "the payload broke off"),
            Err(_) => {
                let message = "the payload took too long to arrive";
                return answer::error(StatusCode::REQUEST_TIMEOUT, message);
            }
        };
        match subscriber.send_timeout(event(&payload), PATIENCE).await {
            Ok(()) => answer::json(StatusCode::OK, "{}"),
            Err(_) => nobody(),
        }
    }

    /// Deliveries for the token in the query, as they come.
    pub(super) fn events(&self, query: Option<&str>) -> Response {
        let mut parts = query.unwrap_or_default().split('&');
        let token = parts.find_map(|part| part.strip_prefix("token="));
        let Some(token) = token.filter(|token| is_token(token)) else {
            return answer::error(StatusCode::BAD_REQUEST, "missing token");
        };
        let Some(events) = self.subscribe(token) else {
            let message = "too many pages wait for webhooks";
            return answer::error(StatusCode::SERVICE_UNAVAILABLE, message);
        };
        let body = events.map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, answer::NO_STORE);
        response
    }

    /// A later subscriber to the same token is the same page, which has lost its connection.
    fn subscribe(&self, token: &str) -> Option<Events> {
        let mut subscribers = subscribers(&self.subscribers);
        let is_known = subscribers.by_token.contains_key(token);
        let is_full = subscribers.by_token.len() >= MAX_SUBSCRIBERS && !is_known;
        if subscribers.is_closed || is_full {
            return None;
        }
        let (sender, receiver) = mpsc::channel(MAX_BEHIND);
        subscribers.latest += 1;
        let id = subscribers.latest;
        subscribers.by_token.insert(token.to_owned(), (id, sender));
        let mut ticks = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Events {
            receiver,
            ticks,
            subscribers: Arc::clone(&self.subscribers),
            token: token.to_owned(),
            id,
        })
    }

    /// Ends what is subscribed, and begins nothing more.
    pub(super) fn close(&self) {
        let mut subscribers = subscribers(&self.subscribers);
        subscribers.is_closed = true;
        subscribers.by_token.clear();
    }
}

fn subscribers(subscribers: &Mutex<Subscribers>) -> MutexGuard<'_, Subscribers> {
    subscribers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tokens are the page's own, and need no escapes.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len()) && !text.contains(['/', '%', '+'])
}

fn nobody() -> Response {
    answer::error(
        StatusCode::SERVICE_UNAVAILABLE,
        "nobody waits for this webhook",
    )
}

/// A payload as one event. Each of its lines is marked as data, whatever ends it: it can say nothing else.
fn event(payload: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(payload);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut event = String::with_capacity(text.len() + 16);
    for line in text.split('\n') {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// What is delivered to one subscriber; dropping it unsubscribes.
struct Events {
    receiver: mpsc::Receiver<Bytes>,
    ticks: Interval,
    subscribers: Arc<Mutex<Subscribers>>,
    token: String,
    id: u64,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Poll::Ready(event) = self.receiver.poll_recv(context) {
            return Poll::Ready(event.map(|event| Ok(Frame::data(event))));
        }
        self.ticks.poll_tick(context).map(|_| {
            let comment = Bytes::from_static(b": keep-alive\n\n");
            Some(Ok(Frame::data(comment)))
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut subscribers = subscribers(&self.subscribers);
        let ours = subscribers.by_token.get(&self.token);
        if ours.is_some_and(|(id, _)| *id == self.id) {
            subscribers.by_token.remove(&self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_cannot_say_more_than_data() {
        for (payload, expected) in [
            (&b"{}"[..], "data: {}\n\n"),
            (
                b"a\nevent: x\r\ndata: y\rid: 1",
                "data: a\ndata: event: x\ndata: data: y\ndata: id: 1\n\n",
            ),
            (b"", "data: \n\n"),
            (b"x\n", "data: x\ndata: \n\n"),
            (b"\xff", "data: \u{fffd}\n\n"),
        ] {
            assert_eq!(event(payload), expected.as_bytes());
        }
    }

    #[test]
    fn tokens_are_plain_and_short() {
        for token in ["a", "0f-_.~", &"x".repeat(128)] {
            assert!(is_token(token), "{token}");
        }
        for token in ["", "a/b", "a%2Fb", "a+b", &"x".repeat(129)] {
            assert!(!is_token(token), "{token}");
        }
    }

    #[tokio::test]
    async fn silence_is_filled() {
        let relay = Relay::default();
        let mut events = relay.subscribe("t").unwrap();
        events.ticks.reset_immediately();
        let frame = events.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), ": keep-alive\n\n");
    }

    #[tokio::test]
    async fn subscribers_come_and_go() {
        let relay = Relay::default();
        let held: Vec<_> = (0..MAX_SUBSCRIBERS)
            .map(|number| relay.subscribe(&number.to_string()).unwrap())
            .collect();
        assert!(relay.subscribe("one more").is_none());
        let again = relay.subscribe("0").unwrap();
        drop(held);
        let known = |relay: &Relay| subscribers(&relay.subscribers).by_token.len();
        assert_eq!(known(&relay), 1, "the later one stays");
        drop(again);
        assert_eq!(known(&relay), 0);
        let mut last = relay.subscribe("last").unwrap();
        relay.close();
        assert!(last.frame().await.is_none());
        assert!(relay.subscribe("late").is_none());
    }
}
