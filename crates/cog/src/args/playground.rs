//! Flags of `cog playground`.

use clap::Args;
use reqwest::Url;

#[derive(Debug, Args)]
pub(crate) struct PlaygroundArgs {
    /// Port to listen on; 0 is any that is free
    #[arg(short, long, default_value_t = 0)]
    pub(crate) port: u16,

    /// URL of the model's server; the page can choose another
    #[arg(long, value_name = "URL", default_value = "http://localhost:8393")]
    pub(crate) target: String,

    /// Address to listen on; the page itself is for browsers on this machine, whatever the address
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Name by which the model's server reaches this machine
    #[arg(long, value_name = "HOST", default_value = "host.docker.internal", value_parser = host)]
    pub(crate) webhook_host: String,

    /// Leave the browser alone
    #[arg(long)]
    pub(crate) no_open: bool,
}

/// What can stand in a URL as its host.
fn host(text: &str) -> Result<String, String> {
    let odd = |character: char| character.is_whitespace() || character.is_control();
    let bracketed = match text {
        ipv6 if ipv6.contains(':') && !ipv6.starts_with('[') => format!("[{ipv6}]"),
        name => name.to_owned(),
    };
    let url = Url::parse(&format!("http://{bracketed}:1"));
    let is_host = |url: &Url| {
        let rest = (url.username(), url.password(), url.port(), url.path());
        rest == ("", None, Some(1), "/") && url.query().is_none() && url.fragment().is_none()
    };
    if text.contains(odd) || !url.is_ok_and(|url| is_host(&url)) {
        return Err("expected the name or the address of a host, without scheme and port".into());
    }
    Ok(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        for (text, url) in [
            ("host.docker.internal", "host.docker.internal"),
            ("192.168.1.2", "192.168.1.2"),
            ("fe80::1", "[fe80::1]"),
            ("[::1]", "[::1]"),
            ("models_1", "models_1"),
        ] {
            assert_eq!(host(text), Ok(url.to_owned()));
        }
        for wrong in [
            "", "a b", "a\tb", "http://a", "a:80", "a/b", "a?b", "a#b", "u@a", "[::1", "::1]:80",
            "a\\b", "%", "a%20b",
        ] {
            assert!(host(wrong).is_err(), "{wrong:?}: {:?}", host(wrong));
        }
    }
}
