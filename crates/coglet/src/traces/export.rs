//! Sends spans to the collector, many at a time, beside everything else.

use std::time::Duration;

use http::StatusCode;
use reqwest::Client;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::settings::TraceSettings;
use super::{Message, Span, otlp};
use crate::destinations::Destinations;

/// Spans that are sent together.
const BATCH: usize = 512;
/// What the first of them may wait for others.
const GATHERING: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRIES: u32 = 3;

/// The other end of a tracer's queue.
pub(crate) struct Exporter {
    messages: mpsc::Receiver<Message>,
    settings: TraceSettings,
    /// The last batch did not get through, and that was logged.
    is_failing: bool,
}

enum Failure {
    /// Worth another try.
    Temporary(String),
    Permanent(String),
}

impl Exporter {
    pub(super) fn new(messages: mpsc::Receiver<Message>, settings: TraceSettings) -> Self {
        Self {
            messages,
            settings,
            is_failing: false,
        }
    }

    /// Until the tracer has gone.
    pub(crate) async fn run(mut self) {
        // Made at the first span: loading certificates takes a while.
        let mut client = None;
        while let Some(first) = self.messages.recv().await {
            let mut batch = Vec::new();
            let mut flushed = Vec::new();
            let deadline = Instant::now() + GATHERING;
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Span(span) => batch.push(*span),
                    Message::Flush(done) => flushed.push(done),
                }
                if batch.len() >= BATCH || !flushed.is_empty() {
                    break;
                }
                let later = timeout_at(deadline, self.messages.recv()).await;
                next = later.ok().flatten();
            }
            if !batch.is_empty() {
                let client = client.get_or_insert_with(|| {
                    crate::client::for_calls(TIMEOUT, &Destinations::default())
                });
                self.export(client, &batch).await;
            }
            for done in flushed {
                // Whoever waited may have lost patience.
                let _ = done.send(());
            }
        }
    }

    async fn export(&mut self, client: &Client, batch: &[Span]) {
        let body = otlp::encode(&self.settings.resource, batch);
        let mut attempt = 0;
        let reason = loop {
            match self.send(client, body.clone()).await {
                Ok(()) => {
                    self.is_failing = false;
                    return;
                }
                // A collector that is away is not waited for again with each batch.
                Err(Failure::Temporary(_)) if attempt < RETRIES && !self.is_failing => {
                    attempt += 1;
                    sleep(Duration::from_millis(250) * 2_u32.pow(attempt)).await;
                }
                Err(Failure::Temporary(reason) | Failure::Permanent(reason)) => break reason,
            }
        };
        // Once, not for each batch while the collector is away.
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!("Traces are lost: {reason}");
        }
    }

    async fn send(&self, client: &Client, body: Vec<u8>) -> Result<(), Failure> {
        let request = client
            .post(self.settings.endpoint.clone())
            .headers(self.settings.headers.clone())
            .body(body);
        let response = request
            .send()
            .await
            .map_err(|error| Failure::Temporary(crate::client::describe(&error.without_url())))?;
        let status = response.status();
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Temporary(status.to_string())),
            _ => Err(Failure::Permanent(status.to_string())),
        }
    }
}
