//! Request bodies, read up to a limit, from clients that send them in reasonable time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Refusal};

/// 100 MiB.
const MAX_BODY: usize = 100 << 20;

/// A client that sends less than these bytes a second, after the time it may be silent, holds its
/// connection rather than using it.
const MIN_RATE: u64 = 1 << 10;

/// The whole body, or the answer that refuses it. The client may be silent for `patience`.
pub(super) async fn read(
    head: &Parts,
    mut body: Body,
    patience: Duration,
) -> Result<Bytes, Refusal> {
    let announced = announced_length(head);
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Err(refuse(head, body).await);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let start = Instant::now();
    loop {
        let received = u64::try_from(first.len().max(rest.len())).unwrap_or(u64::MAX);
        let slowest = start + patience + Duration::from_secs(received / MIN_RATE);
        let deadline = slowest.min(Instant::now() + patience);
        let Ok(frame) = timeout_at(deadline, body.frame()).await else {
            return Err(too_slow());
        };
        let Some(frame) = frame else {
            break;
        };
        let frame = frame.map_err(|error| {
            let message = format!("Failed to read the request body: {error}");
            Refusal::from(answer::text(StatusCode::BAD_REQUEST, message))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if rest.len() + data.len() > MAX_BODY {
            return Err(refuse(head, body).await);
        }
        // Small bodies come in one piece, which then need not be copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(announced.unwrap_or(first.len() + data.len()));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

fn announced_length(head: &Parts) -> Option<usize> {
    head.headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn too_slow() -> Refusal {
    let message = "The request body did not arrive in time".to_owned();
    Refusal::from(answer::text(StatusCode::REQUEST_TIMEOUT, message))
}

/// Answers 413, after taking what the client is still sending: a client that is cut off while it
/// writes sees a broken connection instead of the answer.
async fn refuse(head: &Parts, mut body: Body) -> Refusal {
    const PATIENCE: Duration = Duration::from_secs(30);
    const MAX_DISCARDED: usize = 1 << 30;
    // Such a client waits for our word before it sends anything.
    if !head.headers.contains_key(header::EXPECT) {
        let discard = async {
            let mut discarded = 0;
            while let Some(Ok(frame)) = body.frame().await {
                discarded += frame.data_ref().map_or(0, Bytes::len);
                if discarded > MAX_DISCARDED {
                    return;
                }
            }
        };
        // Whether it ended or not, the answer is the same.
        let _ = tokio::time::timeout(PATIENCE, discard).await;
    }
    let message = format!("Request body exceeds the limit of {MAX_BODY} bytes");
    Refusal::from(answer::text(StatusCode::PAYLOAD_TOO_LARGE, message))
}
