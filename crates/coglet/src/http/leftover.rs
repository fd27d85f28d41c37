//! What a client still sends when its answer is known already: a body that nobody has read.
//!
//! A client that is cut off while it writes sees a broken connection instead of the answer. So the rest is
//! taken, within limits, and thrown away.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use super::body::announced_length;
use crate::sync::lock;

/// As much as fits into the buffers on the way, so that the client has sent it anyway.
const BUFFERED: usize = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_DISCARDED: usize = 1 << 30;

/// Gets the body back when it is let go of unread.
#[derive(Clone, Default)]
pub(super) struct Leftover(Arc<Mutex<Option<Incoming>>>);

/// A body that goes back to where it came from.
struct Lent {
    body: Option<Incoming>,
    lender: Leftover,
}

impl Leftover {
    /// The request with a body that comes back, where that may be needed.
    pub(super) fn lend(request: Request<Incoming>) -> (Request<Body>, Option<Self>) {
        if !may_be_cut_off(request.headers()) {
            return (request.map(Body::new), None);
        }
        let leftover = Self::default();
        let lender = leftover.clone();
        let request = request.map(|body| {
            let body = Some(body);
            Body::new(Lent { body, lender })
        });
        (request, Some(leftover))
    }

    /// Takes what has come back and is still being sent, before it is answered with `status`.
    pub(super) async fn discard(self, status: StatusCode) {
        // One that sent too slowly is not waited for.
        let body = lock(&self.0)
            .take()
            .filter(|_| status != StatusCode::REQUEST_TIMEOUT);
        let Some(mut body) = body else {
            return;
        };
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
}

fn may_be_cut_off(headers: &HeaderMap) -> bool {
    let is_large = match announced_length(headers) {
        Some(length) => length > BUFFERED,
        None => headers.contains_key(header::TRANSFER_ENCODING),
    };
    // Who asks first waits for our word before it sends anything.
    is_large && !headers.contains_key(header::EXPECT)
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && !body.is_end_stream()
        {
            *lock(&self.lender.0) = Some(body);
        }
    }
}
