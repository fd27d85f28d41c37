//! Answers as registries give them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use crate::digest::Digest;

const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
    Pieces {
        pieces: mpsc::Receiver<Bytes>,
        /// Bytes that have yet to come.
        left: u64,
    },
}

/// The server leaves the body out where only the head was asked for.
pub(crate) fn whole(status: StatusCode, media_type: &str, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Some(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
    if let Ok(value) = HeaderValue::from_str(media_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    response
}

/// Something is not as it should be, for the reason `code` of the distribution specification.
pub(crate) fn failure(status: StatusCode, code: &str) -> Response<AnswerBody> {
    let body = serde_json::json!({ "errors": [{ "code": code }] });
    whole(status, "application/json", body.to_string().into())
}

/// What is asked for in `repository`: a kind of thing, and its name.
pub(crate) fn within<'p>(path: &'p str, repository: &str) -> Option<(&'p str, &'p str)> {
    path.strip_prefix("/v2/")?
        .strip_prefix(repository)?
        .strip_prefix('/')?
        .split_once('/')
}

/// Asked for something outside of the one repository: whether this is a registry, or for what is not there.
pub(crate) fn elsewhere(path: &str) -> Response<AnswerBody> {
    if path == "/v2/" || path == "/v2" {
        let body = Bytes::from_static(b"{}");
        return whole(StatusCode::OK, "application/json", body);
    }
    failure(StatusCode::NOT_FOUND, "NAME_UNKNOWN")
}

/// Something is done, and to be found at `path`.
pub(crate) fn located(status: StatusCode, path: &str) -> Response<AnswerBody> {
    let mut response = whole(status, "application/json", Bytes::new());
    if let Ok(value) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

pub(crate) fn with_digest(response: &mut Response<AnswerBody>, digest: &Digest) {
    if let Ok(value) = HeaderValue::from_str(&digest.to_string()) {
        response.headers_mut().insert(CONTENT_DIGEST, value);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(body) => {
                let body = body.take().filter(|body| !body.is_empty());
                Poll::Ready(body.map(|body| Ok(Frame::data(body))))
            }
            Self::Pieces { pieces, left } => match pieces.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(piece)) => {
                    *left = left.saturating_sub(piece.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
                Poll::Ready(None) if *left == 0 => Poll::Ready(None),
                Poll::Ready(None) => {
                    let why = io::Error::other("the blob could not be read to its end");
                    Poll::Ready(Some(Err(why)))
                }
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Self::Pieces { left, .. } => SizeHint::with_exact(*left),
        }
    }
}
