//! HTTP clients for what the server fetches and calls.
//!
//! Made at first use: loading certificates takes milliseconds and megabytes, and most models never
//! need it.

use std::sync::Once;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use crate::destinations::Destinations;
use crate::resolver::Resolver;

/// A client without a limit on the whole request: for downloads of any size. A server that says
/// nothing for ten seconds is given up.
pub(crate) fn for_downloads(user_agent: Option<&str>, destinations: &Destinations) -> Client {
    const TIMEOUT: Duration = Duration::from_secs(10);
    build(|builder| {
        let builder = builder.connect_timeout(TIMEOUT).read_timeout(TIMEOUT);
        destinations.bind(match user_agent {
            Some(user_agent) => builder.user_agent(user_agent),
            None => builder,
        })
    })
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

/// A client that follows no redirects, for requests whose body can be sent only once.
pub(crate) fn for_uploads() -> Client {
    build(|builder| {
        builder
            .redirect(reqwest::redirect::Policy::none())
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
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
