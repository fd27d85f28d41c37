//! Where the server may connect to on behalf of a client: the URLs of inputs and webhooks.
//!
//! A client that may name any URL can make the server ask its own neighbours: the machine itself, the
//! private network, the metadata service of a cloud. With `COG_DENY_PRIVATE_URLS` only public addresses
//! are used. They are checked where they are used: after the resolution of names (the connection goes
//! to the addresses that were checked, not to what a second look-up might give), and again for every
//! redirect. What the operator has chosen (upload targets, telemetry) is not restricted.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{ClientBuilder, Url};

/// Redirects that are followed if nothing else is said: as many as the clients of Python follow.
const MAX_REDIRECTS: usize = 30;

/// What clients may make the server connect to.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
    /// `None` allows everything.
    public_only: Option<Arc<PublicOnly>>,
    pub(crate) max_redirects: usize,
}

/// Public addresses, and hosts that are an exception.
#[derive(Debug)]
struct PublicOnly {
    except: Vec<String>,
}

/// A destination that is not allowed. It says no address: what a private name resolves to is not for
/// clients.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{host}` has no public address, and this server connects to public addresses only")]
pub(crate) struct Refused {
    host: String,
}

#[derive(Debug, thiserror::Error)]
#[error("more than {0} redirects")]
struct TooManyRedirects(usize);

impl Default for Destinations {
    fn default() -> Self {
        Self {
            public_only: None,
            max_redirects: MAX_REDIRECTS,
        }
    }
}

impl Destinations {
    /// Public addresses, and these hosts whatever their address is.
    pub(crate) fn public_only(except: &[String]) -> Self {
        let except = except.iter().map(|host| bare(host)).collect();
        Self {
            public_only: Some(Arc::new(PublicOnly { except })),
            ..Self::default()
        }
    }

    pub(crate) fn are_restricted(&self) -> bool {
        self.public_only.is_some()
    }

    /// Refuses a URL that names a private address. Names are resolved, and checked, when the connection
    /// is made.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refused> {
        let (Some(rule), Some(host)) = (&self.public_only, url.host_str()) else {
            return Ok(());
        };
        let host = bare(host);
        match host.parse() {
            Ok(address) if !is_public(address) && !rule.excepts(&host) => Err(Refused { host }),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes a client obey; the resolver of a client that does not have to stays what it is.
    pub(crate) fn bind(&self, builder: ClientBuilder) -> ClientBuilder {
        let destinations = self.clone();
        let builder = builder.redirect(Policy::custom(move |attempt| destinations.follow(attempt)));
        match &self.public_only {
            // A proxy would resolve names itself, and nobody would have checked the result.
            Some(rule) => builder
                .no_proxy()
                .dns_resolver(CheckedResolver(Arc::clone(rule))),
            None => builder,
        }
    }

    fn follow(&self, attempt: Attempt<'_>) -> Action {
        if attempt.previous().len() > self.max_redirects {
            return attempt.error(TooManyRedirects(self.max_redirects));
        }
        match self.check(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(refused) => attempt.error(refused),
        }
    }
}

impl PublicOnly {
    fn excepts(&self, host: &str) -> bool {
        host_is_among(host, &self.except)
    }
}

/// A host as it is compared: no brackets, no final dot, lower case.
fn bare(host: &str) -> String {
    let host = host.trim_matches(['[', ']']);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether a host is one of these, or below one of them that begins with a dot.
pub(crate) fn host_is_among(host: &str, known: &[String]) -> bool {
    let host = bare(host);
    known.iter().any(|known| match known.strip_prefix('.') {
        Some(_) => host.len() > known.len() && host.ends_with(known.as_str()),
        None => host == bare(known),
    })
}

/// Whether an error comes from a refusal.
pub(crate) fn refusal(error: &reqwest::Error) -> Option<&Refused> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// Resolves names and lets only public addresses through.
struct CheckedResolver(Arc<PublicOnly>);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = bare(name.as_str());
        let excepted = self.0.excepts(&host);
        Box::pin(async move {
            let found = crate::resolver::look_up(name.as_str()).await?;
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| excepted || is_public(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(Box::new(Refused { host }) as Box<dyn StdError + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet. Addresses that wrap others are as public as what
/// they wrap, but for those that a socket of this machine unwraps by itself.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Addresses that look public, and at which a cloud answers its own machines: what it knows of them, their
/// credentials included.
const CLOUD_METADATA: [Ipv4Addr; 1] = [
    // Azure
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The special-purpose registry of IANA, multicast, and what clouds have put elsewhere.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special && !CLOUD_METADATA.contains(&address)
}

/// Global unicast is 2000::/3, less its own special blocks. All else (loopback, mapped, unique local,
/// link-local, multicast) is outside of it, but for the prefix of NAT64.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        // NAT64, 6to4
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(v4(high, low))
        }
        // Teredo and other protocols; documentation, twice.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public_only(except: &str) -> Destinations {
        let hosts = except.split(',').filter(|host| !host.is_empty());
        Destinations::public_only(&hosts.map(str::to_owned).collect::<Vec<_>>())
    }

    fn check(except: &str, url: &str) -> bool {
        public_only(except).check(&url.parse().unwrap()).is_ok()
    }

    #[test]
    fn public_addresses() {
        for address in [
            "1.1.1.1",
            "168.63.129.17",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_that_are_not() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "64:ff9b::a83f:8110",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_in_urls_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://[::1]:80/",
            "http://[::ffff:7f00:1]/",
            "http://user:password@10.0.0.1:8080/x",
            "https://169.254.169.254/latest/meta-data",
        ] {
            assert!(!check("", url), "{url}");
        }
        assert!(check("", "http://1.1.1.1/"));
        assert!(check("", "http://named.example/"), "checked when resolved");
    }

    #[test]
    fn exceptions_are_whole_hosts() {
        assert!(check("10.0.0.1,::1", "http://10.0.0.1:9000/x"));
        assert!(check("10.0.0.1,[::1]", "http://[::1]/"));
        assert!(!check("10.0.0.1", "http://10.0.0.10/"));
        let rule = public_only(".inner.example").public_only.unwrap();
        assert!(rule.excepts("a.inner.example") && !rule.excepts("inner.example"));
        assert!(!check("", "http://10.0.0.1/"));
    }

    #[tokio::test]
    async fn names_are_resolved_before_they_are_trusted() {
        let resolve = async |except: &str, name: &str| {
            let rule = public_only(except).public_only.unwrap();
            let resolver = CheckedResolver(rule);
            resolver.resolve(name.parse().unwrap()).await.map(drop)
        };
        let error = resolve("", "localhost").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`localhost` has no public address, and this server connects to public addresses only"
        );
        assert!(resolve("", "LOCALHOST.").await.is_err());
        assert!(resolve("localhost", "localhost").await.is_ok());
    }
}
