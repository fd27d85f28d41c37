//! Request bodies, read up to a limit, from clients that send them in reasonable time, as long as there is
//! memory for them.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Refusal};
use crate::app::App;
use crate::env;
use crate::memory::{SMALL, Share};

/// A client that sends less than these bytes a second, after the time it may be silent, holds its
/// connection rather than using it.
const MIN_RATE: u64 = 1 << 10;

/// A body, and the right to keep it.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    pub(super) share: Share,
}

/// The whole body, or the answer that refuses it. Before a large one is read, `objection` is asked.
pub(super) async fn read(
    app: &App,
    head: &Parts,
    mut body: Body,
    objection: impl Fn() -> Option<Refusal>,
) -> Result<Received, Refusal> {
    let patience = app.settings.client_timeout;
    let limit = app.settings.max_body;
    let announced = announced_length(&head.headers);
    let mut share = Share::default();
    reserve(app, &mut share, announced.unwrap_or(0), &objection).await?;
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
        let length = first.len().max(rest.len()) + data.len();
        if length > limit {
            return Err(too_large(limit));
        }
        // Of no effect where the length was announced.
        reserve(app, &mut share, length, &objection).await?;
        // Small bodies come in one piece, which then need not be gathered.
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(announced.unwrap_or(length));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    let bytes = if !rest.is_empty() {
        rest.freeze()
    } else if first.len() <= SMALL {
        // Else it would keep the buffer of its connection, which may be far larger.
        Bytes::copy_from_slice(&first)
    } else {
        first
    };
    Ok(Received { bytes, share })
}

/// Makes the share large enough, or says why that is not done.
async fn reserve(
    app: &App,
    share: &mut Share,
    length: usize,
    objection: &impl Fn() -> Option<Refusal>,
) -> Result<(), Refusal> {
    if length > app.settings.max_body {
        return Err(too_large(app.settings.max_body));
    }
    if share.covers(length) {
        return Ok(());
    }
    if length > SMALL
        && let Some(refusal) = objection()
    {
        return Err(refusal);
    }
    let patience = app.settings.client_timeout;
    if app.body_memory.grow(share, length, patience).await {
        return Ok(());
    }
    Err(no_memory())
}

/// What the client says of the length of its body. One that it does not tell is none.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers
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

fn too_large(limit: usize) -> Refusal {
    let variable = env::MAX_BODY_SIZE;
    let message = format!(
        "Request body exceeds the limit of {limit} bytes, which the server's operator sets with `{variable}`"
    );
    Refusal::from(answer::text(StatusCode::PAYLOAD_TOO_LARGE, message))
}

fn no_memory() -> Refusal {
    let message = "The server has no memory left for large requests: try again later";
    let mut response = answer::failed(StatusCode::SERVICE_UNAVAILABLE, message);
    response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    Refusal::from(response)
}
