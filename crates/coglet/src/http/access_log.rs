//! The access log: a line for each request, when the last byte of its answer is out.
//!
//! It names the route, never the path or the query, and no header and no input: those can hold secrets.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Response};
use hyper::body::{Frame, SizeHint};

use crate::route::Route;

/// Where the prediction's id is noted once it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct IdNote(Arc<OnceLock<String>>);

/// A line before it is written.
#[derive(Debug)]
pub(super) struct Entry {
    method: Method,
    route: Route,
    prediction: IdNote,
    begun: Instant,
    bytes: u64,
}

impl IdNote {
    /// With the id from the path, as it is written there, if the route has one.
    pub(super) fn of(route: Route, path: &str) -> Self {
        let note = Self::default();
        let has_id = matches!(
            route,
            Route::Prediction | Route::PredictionCancel | Route::Training | Route::TrainingCancel
        );
        if has_id && let Some(id) = path.split('/').nth(2) {
            // As it is in the URL, so at most three bytes for one; longer ones are refused.
            note.set(&id[..id.floor_char_boundary(3 << 10)]);
        }
        note
    }

    /// The first id stays.
    pub(super) fn set(&self, id: &str) {
        self.0.get_or_init(|| id.to_owned());
    }
}

impl Entry {
    pub(super) fn new(method: Method, route: Route, prediction: IdNote) -> Self {
        Self {
            method,
            route,
            prediction,
            begun: Instant::now(),
            bytes: 0,
        }
    }

    /// Writes the line when the answer has left, or its client.
    pub(super) fn follow(self, response: Response<Body>) -> Response<Body> {
        let status = response.status().as_u16();
        response.map(|body| {
            Body::new(Followed {
                body,
                status,
                entry: Some(self),
            })
        })
    }

    pub(super) fn write(&self, status: u16) {
        let duration_ms = self.begun.elapsed().as_secs_f64() * 1000.0;
        tracing::info!(
            target: "access",
            method = self.method.as_str(),
            route = self.route.pattern(),
            status,
            duration_ms,
            bytes = self.bytes,
            prediction_id = self.prediction.0.get().map(String::as_str),
            "request"
        );
    }
}

/// A body whose bytes are counted.
struct Followed {
    body: Body,
    status: u16,
    entry: Option<Entry>,
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            Some(Err(_)) | None => None,
        };
        let length = data.map_or(0, Bytes::len);
        if let Some(entry) = &mut self.entry {
            entry.bytes += u64::try_from(length).unwrap_or(0);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            entry.write(self.status);
        }
    }
}
