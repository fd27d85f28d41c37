//! Answers: JSON, in one piece or several.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf as _, Bytes};
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;

use crate::json::Parts;

/// `{"error": …}`, and `"status": "failed"` where a prediction was asked for.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

/// An answer given early, because the request cannot be served.
///
/// Boxed: a response is large, and most requests have none of these.
pub(super) struct Refusal(Box<Response>);

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl Refusal {
    pub(super) fn into_response(self) -> Response {
        *self.0
    }
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("plain values always serialise");
    respond(status, "application/json", text.into())
}

pub(super) fn json_text(status: StatusCode, text: impl Into<Body>) -> Response {
    respond(status, "application/json", text.into())
}

/// JSON in pieces, which are sent without being copied together.
pub(super) fn json_parts(status: StatusCode, parts: Parts) -> Response {
    let mut pieces = VecDeque::from(parts.into_pieces());
    let body = match pieces.len() {
        1 => pieces.pop_front().map_or_else(Body::empty, Body::from),
        _ => Body::new(Pieces(pieces)),
    };
    respond(status, "application/json", body)
}

pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json(
        status,
        &ErrorBody {
            error: message,
            status: None,
        },
    )
}

/// An error in place of a prediction.
pub(super) fn failed(status: StatusCode, message: &str) -> Response {
    json(
        status,
        &ErrorBody {
            error: message,
            status: Some("failed"),
        },
    )
}

pub(super) fn text(status: StatusCode, message: String) -> Response {
    respond(status, "text/plain; charset=utf-8", message.into())
}

pub(super) fn typed_text(status: StatusCode, content_type: &'static str, text: String) -> Response {
    respond(status, content_type, text.into())
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A body of known length in several pieces.
struct Pieces(VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.remaining() as u64).sum())
    }
}
