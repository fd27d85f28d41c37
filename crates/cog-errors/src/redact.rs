//! Secrets in what is shown.

/// The URL with user name, password and query replaced by `***`: all three may hold credentials.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((_, host)) => ("***@", host),
        None => ("", authority),
    };
    format!("{scheme}://{user}{host}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::redact_url;

    #[test]
    fn credentials_do_not_show() {
        for (url, shown) in [
            ("https://user:pass@host/path", "https://***@host/path"),
            ("https://host/path?X-Signature=abc", "https://host/path?***"),
            ("http://host", "http://host"),
            ("not a url", "not a url"),
            ("https://host/a@b", "https://host/a@b"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }
}
