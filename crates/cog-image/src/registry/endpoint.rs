//! Where a registry is and whether it is spoken to without TLS. The only place that decides this.

use std::net::IpAddr;

/// Docker's registry has another name than its images.
const DOCKER_REGISTRY: &str = "registry-1.docker.io";

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS, with a certificate that is checked.
    Tls,
    /// Plain HTTP: loopback addresses, and where the user said so.
    Plain,
}

/// Where a registry answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address of its host; an IPv6 address without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// How it is spoken to.
    pub security: Security,
    /// Host and port as a URL has them.
    authority: String,
    /// Whether it is on this machine, where no proxy leads.
    pub(super) is_local: bool,
}

impl Endpoint {
    /// The endpoint of `registry`, a `host` or `host:port` as image references have it. Those in `insecure`
    /// (written in the same way) do without TLS, and so do all on loopback addresses.
    pub fn of(registry: &str, insecure: &[String]) -> Self {
        let (host, port) = split(registry);
        let is_local = is_loopback(host);
        let plain = is_local || insecure.iter().any(|known| known == registry);
        let (security, default_port) = if plain {
            (Security::Plain, 80)
        } else {
            (Security::Tls, 443)
        };
        let is_docker = registry == "docker.io";
        Self {
            host: if is_docker { DOCKER_REGISTRY } else { host }.to_owned(),
            port: port.unwrap_or(default_port),
            security,
            authority: if is_docker { DOCKER_REGISTRY } else { registry }.to_owned(),
            is_local,
        }
    }

    /// The beginning of all its URLs, without a slash at the end.
    pub(super) fn base_url(&self) -> String {
        let scheme = match self.security {
            Security::Tls => "https",
            Security::Plain => "http",
        };
        format!("{scheme}://{}", self.authority)
    }
}

/// Host without brackets, and port.
fn split(registry: &str) -> (&str, Option<u16>) {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (registry, None),
        },
        _ => (registry, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_registries_go_without_tls() {
        let insecure = ["10.0.0.1:5000".to_owned(), "plain.example".to_owned()];
        let table = [
            ("docker.io", "https://registry-1.docker.io", 443),
            ("ghcr.io", "https://ghcr.io", 443),
            ("localhost", "http://localhost", 80),
            ("localhost:5000", "http://localhost:5000", 5000),
            ("127.0.0.1:5000", "http://127.0.0.1:5000", 5000),
            ("127.8.0.1", "http://127.8.0.1", 80),
            ("[::1]", "http://[::1]", 80),
            ("[::1]:5000", "http://[::1]:5000", 5000),
            ("[fe80::1]:5000", "https://[fe80::1]:5000", 5000),
            ("localhost.example", "https://localhost.example", 443),
            (
                "127.0.0.1.example:5000",
                "https://127.0.0.1.example:5000",
                5000,
            ),
            ("127.evil", "https://127.evil", 443),
            ("10.0.0.1", "https://10.0.0.1", 443),
            ("10.0.0.1:5000", "http://10.0.0.1:5000", 5000),
            ("plain.example", "http://plain.example", 80),
            ("plain.example:443", "https://plain.example:443", 443),
        ];
        for (registry, url, port) in table {
            let endpoint = Endpoint::of(registry, &insecure);
            assert_eq!(
                (endpoint.base_url().as_str(), endpoint.port),
                (url, port),
                "{registry}"
            );
            assert!(!endpoint.host.contains(['[', ']']), "{registry}");
        }
    }
}
