//! Who may use the page and the proxy: a browser on this machine, and no other site in it.
//!
//! The proxy reaches whatever this machine reaches, so it must not be a tool of others: of other machines, of names
//! that were made to lead here (DNS rebinding: the `Host` is theirs), of other sites in the same browser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::HeaderMap;
use hyper::header::{AsHeaderName, HOST, ORIGIN};

pub(super) const REFUSAL: &str = "playground UI and proxy are only available from this browser";

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a request of `peer` with these headers comes from the page, or from this machine's user.
pub(super) fn is_allowed(peer: IpAddr, headers: &HeaderMap) -> bool {
    let Some(host) = only(headers, HOST) else {
        return false;
    };
    peer.to_canonical().is_loopback()
        && is_loopback(host)
        && all(headers, SEC_FETCH_SITE, |site| {
            !site.trim().eq_ignore_ascii_case("cross-site")
        })
        && all(headers, ORIGIN, |origin| is_origin_of(origin, host))
}

/// The value of a header that is there once, and is text.
fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether every value of a header is as it should be; without one there is nothing to say against it.
fn all(headers: &HeaderMap, name: impl AsHeaderName, check: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name);
    values.iter().all(|value| value.to_str().is_ok_and(&check))
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        let named = origin.get(scheme.len()..);
        origin
            .get(..scheme.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(scheme))
            && named.is_some_and(|named| named.eq_ignore_ascii_case(host))
    })
}

/// Whether a `Host` names this machine in a way that no resolver has a say in.
fn is_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(ip, port)| {
            ip.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()) && is_port(port)
        });
    }
    let (name, port) = host.find(':').map_or((host, ""), |at| host.split_at(at));
    let is_local = name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    is_local && is_port(port)
}

/// Nothing, or a colon with a number.
fn is_port(text: &str) -> bool {
    let number = text.strip_prefix(':');
    text.is_empty() || number.is_some_and(|number| number.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn allowed(peer: &str, headers: &[(&str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        is_allowed(peer.parse().unwrap(), &map)
    }

    #[test]
    fn only_this_machine_may_ask() {
        let local = [("host", "localhost:9000")];
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(allowed(peer, &local), "{peer}");
        }
        for peer in ["192.0.2.10", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1"] {
            assert!(!allowed(peer, &local), "{peer}");
        }
    }

    #[test]
    fn the_host_has_to_be_this_machine() {
        for host in [
            "localhost",
            "LocalHost:9000",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:9000",
        ] {
            assert!(allowed("127.0.0.1", &[("host", host)]), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com:9000",
            "localhost:",
            "localhost:x",
            "localhost:80:80",
            "10.0.0.1",
            "0.0.0.0:9000",
            "::1",
            "[::2]:9000",
            "[::1",
            "[::1]x",
        ] {
            assert!(!allowed("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(!allowed("127.0.0.1", &[]));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert!(!allowed("127.0.0.1", &twice));
    }

    #[test]
    fn other_sites_may_not_ask() {
        let with = |name, value| allowed("::1", &[("host", "localhost:9000"), (name, value)]);
        for site in ["same-origin", "same-site", "none"] {
            assert!(with("sec-fetch-site", site), "{site}");
        }
        assert!(!with("sec-fetch-site", "cross-site"));
        assert!(!with("sec-fetch-site", "Cross-Site"));
        for origin in ["http://localhost:9000", "https://LOCALHOST:9000"] {
            assert!(with("origin", origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:9001",
            "http://127.0.0.1:9000",
            "ftp://localhost:9000",
            "http://localhost:9000/",
            "http://evil.example",
            "é",
        ] {
            assert!(!with("origin", origin), "{origin}");
        }
        let both = [
            ("host", "localhost:9000"),
            ("origin", "http://localhost:9000"),
            ("origin", "http://evil.example"),
        ];
        assert!(!allowed("::1", &both));
    }
}
