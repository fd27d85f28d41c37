//! The server that a request is meant for, which each request names for itself.

use reqwest::Url;

/// An absolute http or https URL of a host, without credentials and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target(Url);

impl Target {
    /// Nothing if it is not such a URL. The parser takes what browsers take, which is more than that: relative forms
    /// (`http:host`), backslashes, blanks.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = &rest[..end];
        let odd = |character: char| character == '\\' || character.is_whitespace();
        if authority.is_empty() || authority.contains('@') || text.contains(odd) {
            return None;
        }
        let url = Url::parse(text).ok()?;
        (url.has_host() && url.fragment().is_none()).then_some(Self(url))
    }

    /// What is at `path` below it; `path` is nothing or begins with a slash.
    pub(super) fn join(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }

    /// Whether it is this machine, to which no proxy leads.
    pub(super) fn is_local(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_reached_over_http_are_targets() {
        for text in [
            "http://localhost:8393",
            "HTTPS://models.example.com/base/",
            "http://[::1]:5000",
            "http://127.0.0.1:1/a?b=c",
        ] {
            assert!(Target::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "garbage",
            "localhost:8393",
            "ftp://localhost",
            "file:///etc/passwd",
            "//localhost",
            "http:localhost",
            "http://",
            "http:///path",
            "http:///@localhost",
            "http://user@localhost",
            "http://user:password@localhost/",
            "http://@localhost/",
            "http://localhost/#here",
            "http://localhost/#",
            "http://local\\host/",
            " http://localhost",
            "http://local host",
            "http://localhost:99999",
        ] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }

    #[test]
    fn paths_stay_as_they_are_below_the_targets_own() {
        let join = |target: &str, path, query| {
            Target::parse(target).unwrap().join(path, query).to_string()
        };
        for (target, path, query, url) in [
            (
                "http://h:1",
                "/openapi.json",
                Some("foo=bar"),
                "http://h:1/openapi.json?foo=bar",
            ),
            ("http://h", "", None, "http://h/"),
            (
                "http://h/base/",
                "/predictions/a%2Fb/cancel",
                None,
                "http://h/base/predictions/a%2Fb/cancel",
            ),
            (
                "http://h/base?own=1",
                "/x",
                Some("a=%26&b"),
                "http://h/base/x?a=%26&b",
            ),
        ] {
            assert_eq!(join(target, path, query), url);
        }
    }

    #[test]
    fn this_machine_is_known() {
        for (target, is_local) in [
            ("http://LOCALHOST:1", true),
            ("http://127.0.0.2", true),
            ("https://[::1]:3", true),
            ("http://host.docker.internal:8393", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(
                Target::parse(target).unwrap().is_local(),
                is_local,
                "{target}"
            );
        }
    }
}
