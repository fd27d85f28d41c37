//! What answers and failures mean: whether to try again, and what to tell the user.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};

use super::error::RegistryError;
use super::transport::Request;
use crate::trust::NothingTrusted;

/// Somebody without a network should not have to wait for many tries.
const MAX_CONNECT_ATTEMPTS: u32 = 3;
/// Of an error's body, as far as it is read, in bytes.
const MAX_MESSAGE: usize = 16 * 1024;
/// A refusal is one without its reasons, if these take longer.
const MESSAGE_LIMIT: Duration = Duration::from_secs(5);
/// How registries call it that a manifest or an index lists what is not there.
const PARTS_UNKNOWN: [&str; 3] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];

pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 522
    )
}

/// Redirect loops and the like do not get better.
pub(super) fn worth_retrying(error: &reqwest::Error, attempt: u32) -> bool {
    if is_untrusted(error) || holds(error, &is_no_tls) || holds(error, &trusts_nothing) {
        return false;
    }
    if error.is_connect() {
        return attempt < MAX_CONNECT_ATTEMPTS;
    }
    !error.is_builder() && !error.is_redirect()
}

/// Seconds; the form with a date is not used by registries.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

pub(super) fn unreachable(registry: &str, error: reqwest::Error) -> RegistryError {
    let registry = registry.to_owned();
    let source = error.without_url();
    if holds(&source, &is_no_tls) {
        RegistryError::NoTls { registry, source }
    } else if holds(&source, &trusts_nothing) {
        RegistryError::Tls {
            source: source.into(),
        }
    } else if is_untrusted(&source) {
        RegistryError::Untrusted { registry, source }
    } else {
        RegistryError::Unreachable { registry, source }
    }
}

/// Whether there was a connection, but the certificate was not trusted.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    holds(error, &|error| {
        matches!(error, rustls::Error::InvalidCertificate(_))
    })
}

/// Whether a server's certificate is one of an authority. Servers must not have such, even if we trust it; those that
/// people sign themselves mostly are.
pub(super) fn is_of_authority(error: &(dyn std::error::Error + 'static)) -> bool {
    holds(error, &|error| match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(reason)) => {
            format!("{reason:?}").contains("CaUsedAsEndEntity")
        }
        _ => false,
    })
}

/// Whether what came was nothing that TLS knows, such as an answer of plain HTTP.
fn is_no_tls(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidMessage(_))
}

/// Whether there was nothing that a certificate could be compared with.
fn trusts_nothing(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::Other(why) if why.0.is::<NothingTrusted>())
}

/// Whether an error of TLS that is `wanted` is the cause of `error`.
fn holds(
    error: &(dyn std::error::Error + 'static),
    wanted: &dyn Fn(&rustls::Error) -> bool,
) -> bool {
    if error.downcast_ref().is_some_and(wanted) {
        return true;
    }
    // Such an error does not call what it holds its source, but its source's source.
    if let Some(held) = error
        .downcast_ref::<std::io::Error>()
        .and_then(|error| error.get_ref())
        && holds(held, wanted)
    {
        return true;
    }
    error.source().is_some_and(|source| holds(source, wanted))
}

pub(super) fn invalid(request: &Request<'_>, reason: impl Into<String>) -> RegistryError {
    RegistryError::InvalidAnswer {
        what: request.what.clone(),
        registry: request.registry.to_owned(),
        reason: reason.into(),
    }
}

pub(super) async fn refusal(request: &Request<'_>, response: Response) -> RegistryError {
    let (what, registry) = (request.what.clone(), request.registry.to_owned());
    let status = response.status();
    let words = words(response).await;
    if PARTS_UNKNOWN.contains(&words.code.as_str()) && request.method == Method::PUT {
        let message = words.into_text();
        return RegistryError::PartsMissing {
            what,
            registry,
            message,
        };
    }
    let message = words.into_text();
    match status {
        // What is to be stored cannot be what is not there.
        StatusCode::NOT_FOUND if matches!(request.method, Method::POST | Method::PUT) => {
            RegistryError::NoRepository {
                repository: request.repository.to_owned(),
                registry,
                message,
            }
        }
        StatusCode::NOT_FOUND => RegistryError::NotFound { what, registry },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let reason = if message.is_empty() {
                status.to_string()
            } else {
                message
            };
            RegistryError::Unauthorized {
                what,
                registry,
                reason,
            }
        }
        status => RegistryError::Status {
            what,
            registry,
            status: status.as_u16(),
            message,
        },
    }
}

/// Of a blob that a manifest consists of, what is not there is an image's part.
pub(super) fn part_missing(request: &Request<'_>, error: RegistryError) -> RegistryError {
    match error {
        RegistryError::NotFound { what, registry } => RegistryError::PartGone {
            repository: request.repository.to_owned(),
            registry,
            what,
        },
        error => error,
    }
}

/// What a registry says of a refusal, on one line and shortened.
#[derive(Debug, Default)]
pub(super) struct Words {
    code: String,
    message: String,
}

impl Words {
    /// What is to be shown; may be empty.
    pub(super) fn text(&self) -> &str {
        if self.message.is_empty() {
            &self.code
        } else {
            &self.message
        }
    }

    pub(super) fn into_text(self) -> String {
        if self.message.is_empty() {
            self.code
        } else {
            self.message
        }
    }
}

/// The registry's own words, if it used the specified form or plain text.
pub(super) async fn words(response: Response) -> Words {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let is_text = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let reading = tokio::time::timeout(MESSAGE_LIMIT, read_limited(response, MAX_MESSAGE));
    let Ok(Ok(Some(body))) = reading.await else {
        return Words::default();
    };
    let first = serde_json::from_slice(&body)
        .ok()
        .and_then(|Errors { errors }| errors.into_iter().next());
    match first {
        Some(one) => Words {
            code: one_line(&one.code),
            message: one_line(&one.message),
        },
        None if is_text => Words {
            message: one_line(&String::from_utf8_lossy(&body)),
            ..Words::default()
        },
        None => Words::default(),
    }
}

fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

/// The body, or `None` if it is longer than `limit` bytes.
pub(super) async fn read_limited(
    mut response: Response,
    limit: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
