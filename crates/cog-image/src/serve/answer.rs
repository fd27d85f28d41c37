//! What is answered to a request: the little of the distribution specification that pulling needs.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::Shared;
use super::content::{Document, ServedLayer};
use crate::digest::Digest;
use crate::error::Result;
use crate::loopback::{AnswerBody, elsewhere, failure, whole, with_digest, within};

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
    let Some((kind, name)) = within(path, &shared.repository) else {
        return elsewhere(path);
    };
    let content = &shared.content;
    match kind {
        "manifests" if name == shared.tag || is(name, &content.manifest.digest) => {
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

fn document(document: &Document) -> Response<AnswerBody> {
    let body = Bytes::from(document.bytes.clone());
    let mut response = whole(StatusCode::OK, &document.media_type, body);
    with_digest(&mut response, &document.digest);
    response
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
        match send(&layer, &shared, &mut target) {
            Ok(()) => {
                shared.given().insert(layer.blob.digest);
            }
            Err(error) if target.is_wanted => {
                shared.failure().get_or_insert(error);
            }
            // Whoever asked may ask again.
            Err(_) => {}
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
