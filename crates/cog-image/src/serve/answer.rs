//! What is answered to a request: the little of the distribution specification that pulling needs.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::content::{Document, ServedLayer};
use super::{Shared, TAG};
use crate::digest::Digest;
use crate::error::Result;

const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCTETS: &str = "application/octet-stream";
/// Pieces of a blob that wait for somebody who reads slowly; each has up to 256 KiB.
const PIECES: usize = 4;

/// Answers a request; what is not of this image is not there.
pub(super) fn answer<B>(request: &Request<B>, shared: &Arc<Shared>) -> Response<AnswerBody> {
    let is_head = request.method() == Method::HEAD;
    if !is_head && request.method() != Method::GET {
        return failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    }
    let path = request.uri().path();
    if path == "/v2/" || path == "/v2" {
        return whole(
            StatusCode::OK,
            "application/json",
            Bytes::from_static(b"{}"),
        );
    }
    let Some((kind, name)) = path
        .strip_prefix("/v2/")
        .and_then(|rest| rest.strip_prefix(shared.repository.as_str()))
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.split_once('/'))
    else {
        return failure(StatusCode::NOT_FOUND, "NAME_UNKNOWN");
    };
    let content = &shared.content;
    match kind {
        "manifests" if name == TAG || is(name, &content.manifest.digest) => {
            shared.was_read.store(true, Ordering::Relaxed);
            document(&content.manifest)
        }
        "manifests" => failure(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        "blobs" if is(name, &content.config.digest) => document(&content.config),
        "blobs" => match name.parse().ok().and_then(|digest| content.layer(&digest)) {
            Some(layer) => blob(layer, shared, is_head),
            None => failure(StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        },
        _ => failure(StatusCode::NOT_FOUND, "UNSUPPORTED"),
    }
}

fn is(name: &str, digest: &Digest) -> bool {
    name.parse::<Digest>().is_ok_and(|named| named == *digest)
}

fn failure(status: StatusCode, code: &str) -> Response<AnswerBody> {
    let body = serde_json::json!({ "errors": [{ "code": code }] });
    whole(status, "application/json", body.to_string().into())
}

fn document(document: &Document) -> Response<AnswerBody> {
    let body = Bytes::from(document.bytes.clone());
    let mut response = whole(StatusCode::OK, &document.media_type, body);
    with_digest(&mut response, &document.digest);
    response
}

/// The server leaves the body out where only the head was asked for.
fn whole(status: StatusCode, media_type: &str, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Some(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
    if let Ok(value) = HeaderValue::from_str(media_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    response
}

fn with_digest<T>(response: &mut Response<T>, digest: &Digest) {
    if let Ok(value) = HeaderValue::from_str(&digest.to_string()) {
        response.headers_mut().insert(CONTENT_DIGEST, value);
    }
}

/// The head goes out at once, whether the blob is here or has to be fetched.
fn blob(layer: &ServedLayer, shared: &Arc<Shared>, is_head: bool) -> Response<AnswerBody> {
    let size = layer.blob.size;
    let mut response = whole(StatusCode::OK, OCTETS, Bytes::new());
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(size));
    with_digest(&mut response, &layer.blob.digest);
    if is_head {
        return response;
    }
    let (sender, pieces) = mpsc::channel(PIECES);
    *response.body_mut() = AnswerBody::Pieces { pieces, left: size };
    let (layer, shared) = (layer.clone(), Arc::clone(shared));
    tokio::task::spawn_blocking(move || {
        let mut target = Pieces {
            sender,
            shared: &shared,
            is_wanted: true,
        };
        if let Err(error) = send(&layer, &shared, &mut target)
            && target.is_wanted
        {
            shared.failure().get_or_insert(error);
        }
    });
    response
}

fn send(layer: &ServedLayer, shared: &Shared, target: &mut Pieces<'_>) -> Result<()> {
    if !shared.store.has_blob(&layer.layer.blob) {
        let _one = shared.fetching.lock();
        shared.store.fetch([&layer.layer.blob])?;
    }
    layer.write(&shared.store, target)
}

/// Takes a blob's bytes to the connection.
struct Pieces<'a> {
    sender: mpsc::Sender<Bytes>,
    shared: &'a Shared,
    /// Not any more if whoever asked has hung up.
    is_wanted: bool,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        // Before whoever reads can have it, and look.
        let length = bytes.len() as u64;
        let sent = self.shared.sent.fetch_add(length, Ordering::Relaxed) + length;
        (self.shared.observer)(sent);
        if self.sender.blocking_send(piece).is_err() {
            self.is_wanted = false;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of an answer.
pub(super) enum AnswerBody {
    Whole(Option<Bytes>),
    Pieces {
        pieces: mpsc::Receiver<Bytes>,
        /// Bytes that have yet to come.
        left: u64,
    },
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
