//! HTTP clients for what the server fetches and calls.
//!
//! Made at first use: loading certificates takes milliseconds and megabytes, and most models never
//! need it.

use std::error::Error;
use std::io;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use crate::destinations::Destinations;
use crate::resolver::Resolver;

/// Clients for requests that may be sent twice.
///
/// A connection is kept for the next request, and the other side may close it just when that comes. What
/// was cut off before there was an answer is sent once more, on a connection of its own.
#[derive(Debug)]
pub(crate) struct Clients {
    purpose: Purpose,
    keeping: OnceLock<Client>,
    fresh: OnceLock<Client>,
}

#[derive(Debug)]
enum Purpose {
    Downloads {
        user_agent: Option<String>,
        destinations: Destinations,
    },
    Uploads,
}

impl Clients {
    /// Without a limit on the whole request: for downloads of any size. A server that says nothing for
    /// ten seconds is given up.
    pub(crate) fn for_downloads(user_agent: Option<String>, destinations: Destinations) -> Self {
        Self::new(Purpose::Downloads {
            user_agent,
            destinations,
        })
    }

    /// They follow no redirects: the body has to be read again for each.
    pub(crate) fn for_uploads() -> Self {
        Self::new(Purpose::Uploads)
    }

    fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            keeping: OnceLock::new(),
            fresh: OnceLock::new(),
        }
    }

    /// The one to send with.
    pub(crate) fn keeping(&self) -> &Client {
        self.keeping
            .get_or_init(|| build(|builder| self.configure(builder)))
    }

    /// The one to send with again what [was cut off](is_cut_off): it has no connections yet.
    pub(crate) fn fresh(&self) -> &Client {
        self.fresh
            .get_or_init(|| build(|builder| self.configure(builder).pool_max_idle_per_host(0)))
    }

    fn configure(&self, builder: ClientBuilder) -> ClientBuilder {
        const TIMEOUT: Duration = Duration::from_secs(10);
        match &self.purpose {
            Purpose::Downloads {
                user_agent,
                destinations,
            } => {
                let builder = builder.connect_timeout(TIMEOUT).read_timeout(TIMEOUT);
                destinations.bind(match user_agent {
                    Some(user_agent) => builder.user_agent(user_agent),
                    None => builder,
                })
            }
            Purpose::Uploads => builder
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("coglet/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

/// Whether a connection ended before there was an answer. Not what was slow, not what could not be
/// reached, and nothing that was wrong on our side.
pub(crate) fn is_cut_off(error: &reqwest::Error) -> bool {
    if !error.is_request() || error.is_timeout() || error.is_connect() {
        return false;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return is_end_of_connection(error);
        }
        cause = error.source();
    }
    false
}

fn is_end_of_connection(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled() || {
        let source = error.source().filter(|_| !error.is_user());
        let kind = source.and_then(<dyn Error>::downcast_ref::<io::Error>);
        // The last is what TLS makes of it.
        matches!(
            kind.map(io::Error::kind),
            Some(
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        )
    }
}

/// A client for short calls that have to be answered within `timeout`.
pub(crate) fn for_calls(timeout: Duration, destinations: &Destinations) -> Client {
    build(|builder| {
        destinations
            .bind(builder)
            .timeout(timeout)
            // After a burst, few calls follow to the same place.
            .pool_max_idle_per_host(16)
            .user_agent(concat!("coglet/", env!("CARGO_PKG_VERSION")))
    })
}

fn build(configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Client {
    static CRYPTO: Once = Once::new();
    // An error would mean that somebody else has chosen a provider: any will do.
    CRYPTO.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = || configure(Client::builder().dns_resolver(Resolver));
    builder().build().unwrap_or_else(|error| {
        // An image without certificates: plain HTTP has to work all the same.
        tracing::warn!("No CA certificates found, https will be refused: {error}");
        builder()
            .tls_certs_only([])
            .build()
            .expect("nothing left that could be missing")
    })
}

/// An error and its causes on one line: `reqwest` hides the reason behind "error sending request".
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
