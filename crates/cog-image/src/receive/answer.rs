//! What is answered to a request: the little of the distribution specification that pushing needs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, RANGE};
use hyper::{Request, Response, StatusCode};

use super::upload::Upload;
use super::{Shared, unreadable};
use crate::digest::Digest;
use crate::error::Result;
use crate::loopback::{AnswerBody, elsewhere, failure, located, whole, with_digest, within};
use crate::manifest::MAX_DOCUMENT;

/// Some clients know an upload by this.
const UPLOAD_NAME: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Images have fewer layers.
const MAX_UPLOADS: usize = 1_000;
/// An image for one platform, and what is said of it.
const MAX_DOCUMENTS: usize = 16;
/// The size of a blob that is said to be here. It gets into the manifest, where nobody reads it.
const SOME_SIZE: u64 = 1;

type Answer = Response<AnswerBody>;

/// Answers a request.
pub(super) async fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    let path = request.uri().path().to_owned();
    let Some((kind, name)) = within(&path, &shared.repository) else {
        return elsewhere(&path);
    };
    shared.was_reached.store(true, Ordering::Relaxed);
    let upload = name.strip_prefix("uploads/");
    match (request.method().as_str(), kind, upload) {
        ("HEAD", "blobs", None) => about_blob(name, shared),
        ("POST", "blobs", Some("")) => begin(shared),
        ("PATCH", "blobs", Some(upload)) => go_on(upload, request, shared).await,
        ("PUT", "blobs", Some(upload)) => end(upload, request, shared).await,
        ("PUT", "manifests", _) => manifest(name, request, shared).await,
        ("HEAD" | "GET", "manifests", _) => failure(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        ("GET", "blobs", _) => failure(StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
    }
}

/// Whether a blob is here, or is said to be.
fn about_blob(name: &str, shared: &Shared) -> Answer {
    let Ok(digest) = name.parse::<Digest>() else {
        return failure(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
    };
    let size = match shared.state().blobs.get(&digest) {
        Some(blob) => blob.size,
        None if shared.expected.lacking.contains(&digest) => {
            return failure(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
        }
        None => SOME_SIZE,
    };
    let mut answer = whole(StatusCode::OK, "application/octet-stream", Bytes::new());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    with_digest(&mut answer, &digest);
    answer
}

fn begin(shared: &Shared) -> Answer {
    let mut state = shared.state();
    if state.begun == MAX_UPLOADS {
        drop(state);
        return refuse(shared, unreadable(format!("more than {MAX_UPLOADS} blobs")));
    }
    let name = state.begun.to_string();
    state.begun += 1;
    match Upload::create(&shared.scratch, &name) {
        Ok(upload) => {
            let answer = accepted(&name, upload.size(), shared);
            state.open.insert(name, upload);
            answer
        }
        Err(error) => {
            drop(state);
            refuse(shared, error)
        }
    }
}

async fn go_on(name: &str, request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    // Whoever else goes on with it at the same time has no such upload.
    let Some(mut upload) = shared.state().open.remove(name) else {
        return failure(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN");
    };
    match receive(request.into_body(), &mut upload, shared).await {
        Ok(End::Whole) => {
            let answer = accepted(name, upload.size(), shared);
            shared.state().open.insert(name.to_owned(), upload);
            answer
        }
        Ok(End::Broken) => failure(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
        Err(error) => refuse(shared, error),
    }
}

async fn end(name: &str, request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    let Some(expected) = wanted(request.uri().query().unwrap_or_default()) else {
        return failure(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    };
    let Some(mut upload) = shared.state().open.remove(name) else {
        return failure(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN");
    };
    match receive(request.into_body(), &mut upload, shared).await {
        Ok(End::Whole) => {}
        Ok(End::Broken) => return failure(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
        Err(error) => return refuse(shared, error),
    }
    let Ok(blob) = upload.finish(expected) else {
        return failure(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    };
    shared.state().blobs.insert(expected, blob);
    created(&format!("blobs/{expected}"), &expected, shared)
}

async fn manifest(name: &str, request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    let Some(bytes) = document(request.into_body()).await else {
        return failure(StatusCode::BAD_REQUEST, "MANIFEST_INVALID");
    };
    let digest = Digest::of(&bytes);
    let is_digest = name.parse::<Digest>().ok();
    if name != shared.tag && is_digest != Some(digest) {
        return failure(StatusCode::BAD_REQUEST, "MANIFEST_INVALID");
    }
    let mut state = shared.state();
    if state.documents.len() == MAX_DOCUMENTS {
        return failure(StatusCode::FORBIDDEN, "DENIED");
    }
    state.documents.insert(digest, bytes);
    if is_digest.is_none() {
        state.tagged = Some(digest);
    }
    created(&format!("manifests/{digest}"), &digest, shared)
}

/// How a body ended.
enum End {
    Whole,
    /// Whoever sent it is gone.
    Broken,
}

async fn receive(mut body: Incoming, upload: &mut Upload, shared: &Shared) -> Result<End> {
    while let Some(frame) = next(&mut body).await {
        let Ok(bytes) = frame else {
            return Ok(End::Broken);
        };
        let length = bytes.len() as u64;
        let received = shared.received.fetch_add(length, Ordering::Relaxed) + length;
        let most = shared.expected.most;
        if received > most {
            return Err(unreadable(format!("more than {most} bytes")));
        }
        upload.write(&bytes)?;
        (shared.observer)(received);
    }
    Ok(End::Whole)
}

/// A body that is small.
async fn document(mut body: Incoming) -> Option<Vec<u8>> {
    let mut document = Vec::new();
    while let Some(frame) = next(&mut body).await {
        document.extend_from_slice(&frame.ok()?);
        if document.len() as u64 > MAX_DOCUMENT {
            return None;
        }
    }
    Some(document)
}

/// The next bytes of a body, until its end.
async fn next(body: &mut Incoming) -> Option<hyper::Result<Bytes>> {
    loop {
        let frame =
            std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            // Trailers, say.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The digest that a blob has, as the query of its last request says it.
fn wanted(query: &str) -> Option<Digest> {
    let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, digest) = values.find(|(name, _)| *name == "digest")?;
    let digest = digest.replace("%3A", ":").replace("%3a", ":");
    digest.parse().ok()
}

/// Ends the whole thing: whoever pushes does not try that again.
fn refuse(shared: &Shared, error: crate::Error) -> Answer {
    shared.fail(error);
    failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED")
}

fn accepted(upload: &str, size: u64, shared: &Shared) -> Answer {
    let path = format!("/v2/{}/blobs/uploads/{upload}", shared.repository);
    let mut answer = located(StatusCode::ACCEPTED, &path);
    let headers = answer.headers_mut();
    // Of nothing, too, the first byte is named.
    let range = format!("0-{}", size.saturating_sub(1));
    for (header, value) in [(RANGE, range.as_str()), (UPLOAD_NAME, upload)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(header, value);
        }
    }
    answer
}

fn created(place: &str, digest: &Digest, shared: &Shared) -> Answer {
    let path = format!("/v2/{}/{place}", shared.repository);
    let mut answer = located(StatusCode::CREATED, &path);
    with_digest(&mut answer, digest);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_in_a_query() {
        let digest = Digest::of(b"it");
        let encoded = digest.to_string().replace(':', "%3A");
        for query in [
            format!("digest={digest}"),
            format!("_state=x&digest={encoded}"),
            format!("digest={}&x", encoded.replace("%3A", "%3a")),
        ] {
            assert_eq!(wanted(&query), Some(digest), "{query}");
        }
        for query in ["", "digest", "digest=", "digest=sha256:0", "x=1"] {
            assert_eq!(wanted(query), None, "{query}");
        }
    }
}
