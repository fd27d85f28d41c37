//! What `--publish` says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use cog_engine::Port;

/// A port that has the same number inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishArg(pub(crate) Port);

/// Why it makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid port \"{value}\": {reason}")]
pub(crate) struct PortError {
    value: String,
    reason: String,
}

impl FromStr for PublishArg {
    type Err = PortError;

    fn from_str(value: &str) -> Result<Self, PortError> {
        let invalid = |reason: &str| PortError {
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        if value.is_empty() {
            return Err(invalid("value cannot be empty"));
        }
        let (host, port) = if let Some(rest) = value.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| invalid("missing closing bracket for IPv6 address"))?;
            if rest.is_empty() {
                return Err(invalid("port is required after IPv6 address"));
            }
            let port = rest
                .strip_prefix(':')
                .ok_or_else(|| invalid("expected ':' after ']'"))?;
            (Some(host), port)
        } else {
            match value.rsplit_once(':') {
                Some((host, port)) => (Some(host), port),
                None => (None, value),
            }
        };
        let Ok(port @ 1..) = port.parse::<u16>() else {
            return Err(invalid("port must be between 1 and 65535"));
        };
        let host = match host {
            None | Some("localhost") => IpAddr::from(Ipv4Addr::LOCALHOST),
            Some("") => return Err(invalid("host cannot be empty")),
            Some(host) => host
                .parse()
                .map_err(|_| invalid("host must be an IP address"))?,
        };
        Ok(Self(Port {
            inside: port,
            outside: SocketAddr::new(host, port),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_or_an_address_and_a_port() {
        for (text, expected) in [
            ("8000", "127.0.0.1:8000"),
            ("0.0.0.0:8000", "0.0.0.0:8000"),
            ("localhost:80", "127.0.0.1:80"),
            ("::1:8000", "[::1]:8000"),
            ("[::1]:8000", "[::1]:8000"),
        ] {
            let PublishArg(port) = text.parse().unwrap();
            assert_eq!(port.outside, expected.parse().unwrap(), "{text}");
            assert_eq!(port.inside, port.outside.port());
        }
    }

    #[test]
    fn anything_else_is_refused_in_the_words_users_know() {
        for (text, reason) in [
            ("", "value cannot be empty"),
            (":80", "host cannot be empty"),
            ("0", "port must be between 1 and 65535"),
            ("x", "port must be between 1 and 65535"),
            ("1.2.3.4:65536", "port must be between 1 and 65535"),
            ("[::1:80", "missing closing bracket for IPv6 address"),
            ("[::1]", "port is required after IPv6 address"),
            ("[::1]80", "expected ':' after ']'"),
            ("example.com:80", "host must be an IP address"),
        ] {
            let error = text.parse::<PublishArg>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid port \"{text}\": {reason}")
            );
        }
    }
}
