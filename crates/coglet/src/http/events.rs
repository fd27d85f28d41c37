//! Server-sent events: predictions watched while they run.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use super::answer::{self, Refusal};
use crate::app::App;
use crate::predictions::{AfterGap, Prediction, WatchError, WatcherId, Watching};

/// Silence after which a comment shows intermediaries that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Watches a prediction that runs for its watchers: it is canceled when the last of them leaves.
pub(super) fn run_for(
    app: &Arc<App>,
    prediction: &Arc<Prediction>,
    watching: Watching,
) -> Result<Response, Refusal> {
    let response = observe(app, prediction, watching)?;
    prediction.runs_for_watchers();
    Ok(response)
}

/// Watches a prediction: what has happened so far, then what happens.
pub(super) fn observe(
    app: &Arc<App>,
    prediction: &Arc<Prediction>,
    watching: Watching,
) -> Result<Response, Refusal> {
    let after_gap = match watching {
        Watching::AsDeclared => AfterGap::End,
        Watching::Always => AfterGap::GoOn,
    };
    let watcher = prediction.watch(after_gap).map_err(|error| {
        Refusal::from(match error {
            WatchError::TooMany => {
                answer::error(StatusCode::TOO_MANY_REQUESTS, "Too many stream subscribers")
            }
            WatchError::NotKept => answer::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Prediction stream unavailable",
            ),
        })
    })?;
    let mut response = Response::new(Body::new(EventStream {
        app: Arc::clone(app),
        prediction: Arc::clone(prediction),
        watcher,
        pieces: VecDeque::new(),
        silence: Box::pin(sleep(KEEP_ALIVE)),
    }));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// The body of an answer that lasts as long as its prediction. Dropping it ends the watching.
struct EventStream {
    app: Arc<App>,
    prediction: Arc<Prediction>,
    watcher: WatcherId,
    /// Read from the prediction and not sent yet.
    pieces: VecDeque<Bytes>,
    silence: Pin<Box<Sleep>>,
}

impl EventStream {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(piece));
        }
        match self.prediction.poll_events(self.watcher, context) {
            Poll::Ready(Some(pieces)) => {
                self.pieces = pieces.into();
                self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                Poll::Ready(self.pieces.pop_front())
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                std::task::ready!(self.silence.as_mut().poll(context));
                self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                Poll::Ready(Some(Bytes::from_static(b": keep-alive\n\n")))
            }
        }
    }
}

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_piece(context)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if self.prediction.unwatch(self.watcher) {
            // Without effect on one that has ended.
            self.app.cancel(&self.prediction);
        }
    }
}
