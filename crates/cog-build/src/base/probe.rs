//! Finds out quickly whether a registry is there at all.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cog_image::{ImageRef, StepKey, StepRecord};
use serde_json::json;

use crate::error::Result;
use crate::plan::key;
use crate::workshop::Workshop;

/// A registry that takes longer to accept a connection counts as not there.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a registry that was not there is not asked again, so that builds without a network do
/// not wait each time.
const MEMORY: Duration = Duration::from_mins(10);

/// Where Docker's registry really is.
const DOCKER_REGISTRY: &str = "registry-1.docker.io";

/// Whether the registry of `reference` accepts connections.
pub(super) fn is_reachable(workshop: &Workshop<'_>, reference: &ImageRef) -> Result<bool> {
    if uses_proxy() {
        // The proxy resolves names and connects; only a real request can tell.
        return Ok(true);
    }
    let (host, port) = address(reference.registry());
    let key = key("unreachable registry", 1)
        .field("host", format!("{host}:{port}"))
        .finish();
    if failed_lately(workshop, &key)? {
        return Ok(false);
    }
    let reachable = connects(host, port);
    if !reachable {
        let facts = json!({ "at": now().as_secs() });
        workshop.store.record_step(
            &key,
            &StepRecord {
                layers: Vec::new(),
                facts,
            },
        )?;
    }
    Ok(reachable)
}

fn failed_lately(workshop: &Workshop<'_>, key: &StepKey) -> Result<bool> {
    let record = workshop.recorded(key)?;
    let at = record.and_then(|record| record.facts["at"].as_u64());
    Ok(at.is_some_and(|at| now().saturating_sub(Duration::from_secs(at)) < MEMORY))
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Resolving a name cannot be given a time limit, so it happens in a thread that may be left behind.
fn connects(host: &str, port: u16) -> bool {
    let (sender, receiver) = mpsc::channel();
    let host = host.to_owned();
    std::thread::spawn(move || {
        let connected = (host.as_str(), port)
            .to_socket_addrs()
            .is_ok_and(|mut addresses| {
                addresses.any(|address| TcpStream::connect_timeout(&address, TIMEOUT).is_ok())
            });
        let _ = sender.send(connected);
    });
    receiver.recv_timeout(TIMEOUT).unwrap_or(false)
}

fn uses_proxy() -> bool {
    [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ]
    .iter()
    .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Host and port of `registry`. Registries on this machine are spoken to without TLS.
fn address(registry: &str) -> (&str, u16) {
    if registry == "docker.io" {
        return (DOCKER_REGISTRY, 443);
    }
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (bare(host), port.parse().unwrap_or(443)),
        _ if bare(registry) == "localhost" || bare(registry).starts_with("127.") => {
            (bare(registry), 80)
        }
        _ => (bare(registry), 443),
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_derived() {
        let table = [
            ("docker.io", ("registry-1.docker.io", 443)),
            ("ghcr.io", ("ghcr.io", 443)),
            ("localhost:5000", ("localhost", 5000)),
            ("localhost", ("localhost", 80)),
            ("[::1]:5000", ("::1", 5000)),
            ("[::1]", ("::1", 443)),
        ];
        for (registry, expected) in table {
            assert_eq!(address(registry), expected);
        }
    }

    #[test]
    fn connections_are_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        assert!(connects("127.0.0.1", port));
        drop(listener);
        assert!(!connects("127.0.0.1", port));
        assert!(!connects("registry.invalid", 443));
    }
}
