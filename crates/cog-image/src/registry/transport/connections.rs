//! HTTP clients: whom they trust, how long they wait, which redirects they follow.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::registry::error::RegistryError;
use crate::trust::Verifier;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
const MAX_REDIRECTS: usize = 10;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Answers come soon, and without long pauses between their pieces.
    Asking,
    /// A body is sent, for however long it takes: whoever does that watches that it is taken.
    Sending,
    /// A body is a secret: it does not follow redirects.
    Telling,
}

/// One client for each combination of place and purpose.
pub(super) struct Connections {
    trust: Arc<Verifier>,
    remote: [OnceLock<reqwest::Client>; 3],
    /// For registries of this machine, to which no proxy leads.
    local: [OnceLock<reqwest::Client>; 3],
}

impl Connections {
    /// Trusts the certificates of `pem` besides the system's.
    pub(super) fn new(pem: &[u8]) -> Result<Self, RegistryError> {
        Ok(Self {
            trust: Verifier::new(pem).map_err(no_tls)?,
            remote: Default::default(),
            local: Default::default(),
        })
    }

    pub(super) fn remote(&self, purpose: Purpose) -> Result<&reqwest::Client, RegistryError> {
        self.client(&self.remote, purpose, reqwest::Client::builder)
    }

    pub(super) fn local(&self, purpose: Purpose) -> Result<&reqwest::Client, RegistryError> {
        self.client(&self.local, purpose, || {
            reqwest::Client::builder().no_proxy()
        })
    }

    fn client<'a>(
        &self,
        cells: &'a [OnceLock<reqwest::Client>; 3],
        purpose: Purpose,
        builder: impl FnOnce() -> reqwest::ClientBuilder,
    ) -> Result<&'a reqwest::Client, RegistryError> {
        let [asking, sending, telling] = cells;
        let cell = match purpose {
            Purpose::Asking => asking,
            Purpose::Sending => sending,
            Purpose::Telling => telling,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build(builder(), purpose)?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(
        &self,
        builder: reqwest::ClientBuilder,
        purpose: Purpose,
    ) -> Result<reqwest::Client, RegistryError> {
        let mut builder = builder
            .user_agent(concat!("cog/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(match purpose {
                Purpose::Asking | Purpose::Sending => redirects(),
                Purpose::Telling => reqwest::redirect::Policy::none(),
            });
        // It counts from when a request begins, long bodies included.
        if purpose != Purpose::Sending {
            builder = builder.read_timeout(READ_TIMEOUT);
        }
        trusting(builder, &self.trust)?.build().map_err(no_tls)
    }
}

/// A client that trusts the certificates of `pem` besides the system's.
pub(in crate::registry) fn http_client(
    pem: &[u8],
) -> Result<reqwest::ClientBuilder, RegistryError> {
    let trust = Verifier::new(pem).map_err(no_tls)?;
    trusting(reqwest::Client::builder(), &trust)
}

fn trusting(
    builder: reqwest::ClientBuilder,
    trust: &Arc<Verifier>,
) -> Result<reqwest::ClientBuilder, RegistryError> {
    // An error means that the program has chosen a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = trust.config().map_err(no_tls)?;
    Ok(builder.tls_backend_preconfigured(config))
}

fn no_tls(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    let source = source.into();
    RegistryError::Tls { source }
}

/// Follows redirects, but not out of TLS.
fn redirects() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let was_protected = attempt
            .previous()
            .last()
            .is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if was_protected && attempt.url().scheme() != "https" {
            attempt.error("a redirect leads out of TLS")
        } else {
            attempt.follow()
        }
    })
}
