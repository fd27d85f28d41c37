//! The calls of one webhook.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Url};
use tokio::sync::Semaphore;

use super::Subject;
use super::mailbox::{Mailbox, Next};
use super::undelivered::Undelivered;
use crate::destinations::{Destinations, Refused, refusal};
use crate::traces::WebhookSpan;

/// Sends the events of one prediction.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) calls: Arc<Semaphore>,
    pub(super) interim: Arc<Semaphore>,
    /// None if it is not valid.
    pub(super) url: Option<Url>,
    pub(super) headers: HeaderMap,
    pub(super) span: Option<WebhookSpan>,
    pub(super) destinations: Destinations,
    pub(super) undelivered: Arc<Undelivered>,
    pub(super) mailbox: Arc<Mailbox>,
}

enum Failure {
    /// Worth another try.
    Temporary(String),
    Permanent(String),
}

impl Sender {
    const RETRIES: u32 = 12;

    pub(super) async fn run(&self) {
        loop {
            match self.mailbox.next().await {
                Next::Interim(prediction, items) => {
                    let call = self.tell(prediction, items);
                    self.mailbox.judge(call).await;
                }
                Next::Completed => {
                    self.send_completed().await;
                    break;
                }
                Next::Nothing => break,
            }
        }
        self.undelivered.remove(&self.mailbox);
    }

    /// One call while the prediction runs: there is no second try.
    async fn tell(&self, prediction: Arc<dyn Subject>, items: usize) {
        let body = prediction.with_items(items);
        // Whether the prediction stays in memory is not for this call to decide.
        drop(prediction);
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let Ok(_room) = self.interim.try_acquire_many(length) else {
            tracing::debug!("A webhook call is left out: others take up its memory");
            return;
        };
        if let Err(Failure::Temporary(reason) | Failure::Permanent(reason)) = self.send(body).await
        {
            tracing::debug!("A webhook call was not delivered: {reason}");
        }
    }

    async fn send_completed(&self) {
        let begun = Instant::now();
        let mut tries = 0;
        let delivering = async {
            loop {
                let text = self.mailbox.text()?;
                tries += 1;
                match self.send(text).await {
                    Ok(()) => return Some(Ok(())),
                    Err(Failure::Temporary(_)) if tries <= Self::RETRIES => {
                        let pause = Duration::from_millis(100) * 2_u32.pow(tries.min(10));
                        tokio::time::sleep(pause).await;
                    }
                    Err(Failure::Temporary(reason) | Failure::Permanent(reason)) => {
                        return Some(Err(reason));
                    }
                }
            }
        };
        let outcome = tokio::select! {
            outcome = delivering => outcome,
            // Said in the log where it was decided.
            () = self.mailbox.given_up() => None,
        };
        if let Some(Err(reason)) = &outcome {
            tracing::warn!("The terminal webhook was not delivered: {reason}");
        }
        if let Some(span) = &self.span {
            span.end(begun, tries, matches!(outcome, Some(Ok(()))));
        }
    }

    async fn send(&self, body: Bytes) -> Result<(), Failure> {
        // Never closed, so it cannot fail.
        let _turn = self.calls.acquire().await;
        let Some(url) = &self.url else {
            return Err(Failure::Permanent("its URL is not valid".into()));
        };
        let refused = |refused: &Refused| Failure::Permanent(refused.to_string());
        self.destinations
            .check(url)
            .map_err(|error| refused(&error))?;
        let request = self
            .client
            .post(url.clone())
            .headers(self.headers.clone())
            .body(body);
        let response = request.send().await.map_err(|error| {
            // Another try would be refused too.
            if let Some(refusal) = refusal(&error) {
                return refused(refusal);
            }
            Failure::Temporary(crate::client::describe(&error.without_url()))
        })?;
        let status = response.status();
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Temporary(status.to_string())),
            _ => Err(Failure::Permanent(status.to_string())),
        }
    }
}
