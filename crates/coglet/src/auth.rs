//! Who may ask: a bearer token, if the operator has set one.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};

use crate::{Error, env};

/// The token that requests have to carry.
#[derive(Clone)]
pub(crate) struct AuthToken(Box<[u8]>);

impl AuthToken {
    /// An empty token is a mistake that would leave the door open: it is not the same as none.
    pub(crate) fn from_variable(value: Option<&str>) -> Result<Option<Self>, Error> {
        // Tokens often come from files, which end in a newline.
        let Some(token) = value.map(str::trim) else {
            return Ok(None);
        };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::InvalidAuthToken {
                variable: env::AUTH_TOKEN,
            });
        }
        Ok(Some(Self(token.as_bytes().into())))
    }

    /// Whether a request carries it, as `Authorization: Bearer …`.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return false;
        };
        let value = value.as_bytes();
        let Some((scheme, token)) = value.split_at_checked(b"bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.is(token.trim_ascii())
    }

    /// Compares in a time that depends on the lengths only.
    fn is(&self, other: &[u8]) -> bool {
        let differences = self
            .0
            .iter()
            .zip(other)
            .fold(0, |seen, (ours, theirs)| black_box(seen | (ours ^ theirs)));
        self.0.len() == other.len() && black_box(differences) == 0
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthToken(…)")
    }
}

/// Whether a request comes from a program on this machine (or in this pod): not through a proxy that
/// runs here, and not from a page that a browser shows here.
pub(crate) fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    const FROM_ELSEWHERE: [HeaderName; 5] = [
        header::FORWARDED,
        header::VIA,
        header::ORIGIN,
        HeaderName::from_static("x-forwarded-for"),
        HeaderName::from_static("x-real-ip"),
    ];
    peer.to_canonical().is_loopback()
        && !FROM_ELSEWHERE.iter().any(|name| headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            HeaderName::from_static(name),
            http::HeaderValue::from_static(value),
        )])
    }

    #[test]
    fn only_the_whole_token_opens() {
        let token = AuthToken::from_variable(Some("secret\n")).unwrap().unwrap();
        for value in ["Bearer secret", "bearer secret", "BEARER  secret "] {
            assert!(token.is_in(&headers("authorization", value)), "{value}");
        }
        for value in [
            "Bearer secre",
            "Bearer secrets",
            "Bearer Secret",
            "Bearer ",
            "Bearer",
            "Basic secret",
            "secret",
            "",
        ] {
            assert!(!token.is_in(&headers("authorization", value)), "{value}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
    }

    #[test]
    fn a_token_is_there_or_not() {
        assert!(AuthToken::from_variable(None).unwrap().is_none());
        for value in ["", " \n", "two words", "naïve"] {
            assert!(AuthToken::from_variable(Some(value)).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_proxy_is_not_local() {
        let peer = |text: &str| text.parse().unwrap();
        assert!(is_local(peer("127.0.0.1"), &HeaderMap::new()));
        assert!(is_local(peer("::1"), &HeaderMap::new()));
        assert!(is_local(peer("::ffff:127.0.0.1"), &HeaderMap::new()));
        assert!(!is_local(peer("10.0.0.1"), &HeaderMap::new()));
        for name in ["x-forwarded-for", "forwarded", "via", "origin"] {
            assert!(!is_local(peer("127.0.0.1"), &headers(name, "x")), "{name}");
        }
    }
}
