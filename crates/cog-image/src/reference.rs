//! Image references: `registry/repository:tag@digest`, with Docker's defaults.
//!
//! The grammar is that of the distribution project; a name without a registry is on `docker.io`, and
//! one without a namespace there is in `library/`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const OFFICIAL: &str = "library/";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// A parsed, complete image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// Host and optional port, such as `docker.io` or `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path within the registry, such as `library/python`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` if the reference has neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some(DEFAULT_TAG),
            (None, Some(_)) => None,
        }
    }

    /// The digest, if the reference is pinned.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What identifies the manifest within its repository: the digest if there is one, else the tag.
    pub fn version(&self) -> String {
        self.digest.map_or_else(
            || self.tag().unwrap_or(DEFAULT_TAG).to_owned(),
            |digest| digest.to_string(),
        )
    }

    /// The same reference, pinned to `digest`.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// The same reference by its tag alone.
    #[must_use]
    pub fn without_digest(mut self) -> Self {
        self.digest = None;
        self
    }

    /// The registry that is meant by a name such as `localhost:5000`, which by Docker's rule is the tag `5000` of an image
    /// on `docker.io`; none if the name can be meant as it is.
    pub fn mistaken_registry(&self) -> Option<String> {
        let name = self.repository.strip_prefix(OFFICIAL)?;
        let is_host = name == "localhost" || name.contains('.');
        if self.registry != DEFAULT_REGISTRY || name.contains('/') || !is_host {
            return None;
        }
        let port = self.tag.as_deref().filter(|tag| tag.parse::<u16>().is_ok());
        Some(match port {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        })
    }

    /// The form people write: without Docker's default registry and namespace, always with a tag or
    /// digest.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(short) = full.strip_prefix("docker.io/") else {
            return full;
        };
        short.strip_prefix(OFFICIAL).unwrap_or(short).to_owned()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|reason| Error::InvalidReference {
            text: text.chars().take(300).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<ImageRef, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.contains("://") {
        return Err("it is a URL: leave out what is before the registry");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(
                digest
                    .parse()
                    .map_err(|_| "the part after `@` is not a sha256 digest")?,
            ),
        ),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        // A colon before the last slash belongs to a port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (registry, path) = split_registry(name);
    check_registry(registry)?;
    let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    };
    check_repository(&repository)?;
    Ok(ImageRef {
        registry: registry.to_owned(),
        repository,
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// The first component is a registry only if it looks like a host: Docker's rule.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("the registry's port is not a number");
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address
            .strip_suffix(']')
            .ok_or("the registry's address has no closing `]`")?;
        return match address.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err("the registry's address is not a valid IPv6 address"),
        };
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.len() <= 253 && host.split('.').all(label_ok) {
        Ok(())
    } else {
        Err("the registry is not a host name")
    }
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.len() > MAX_REPOSITORY {
        return Err("the name is longer than 255 characters");
    }
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("names are lower-case");
    }
    if repository.split('/').all(component_ok) {
        Ok(())
    } else {
        Err("a name consists of `a-z`, `0-9` and single `.`, `_` or `-` between them")
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component_ok(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|separator| !separator.is_empty())
        .all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if tag.is_empty() {
        Err("the tag is empty")
    } else if tag.len() > MAX_TAG {
        Err("the tag is longer than 128 characters")
    } else if !tag.bytes().all(ok) || tag.starts_with(['.', '-']) {
        Err(
            "a tag consists of letters, digits, `_`, `.` and `-`, and starts with none of the last two",
        )
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<ImageRef>().unwrap().to_string()
    }

    #[test]
    fn defaults_are_dockers() {
        for (text, expected) in [
            ("python", "docker.io/library/python:latest"),
            ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
            ("nvidia/cuda:12.4.1", "docker.io/nvidia/cuda:12.4.1"),
            (
                "index.docker.io/library/python",
                "docker.io/library/python:latest",
            ),
            ("r8.im/cog-base:python3.12", "r8.im/cog-base:python3.12"),
            ("localhost/a/b", "localhost/a/b:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            (
                "127.0.0.1:5000/a__b/c--d:T_1",
                "127.0.0.1:5000/a__b/c--d:T_1",
            ),
            ("[::1]:5000/a:b", "[::1]:5000/a:b"),
        ] {
            assert_eq!(full(text), expected, "{text}");
        }
    }

    #[test]
    fn digest_pins_and_replaces_the_default_tag() {
        let digest = Digest::of(b"");
        let pinned: ImageRef = format!("a/b@{digest}").parse().unwrap();
        assert_eq!(pinned.tag(), None);
        assert_eq!(pinned.version(), digest.to_string());
        let both: ImageRef = format!("a/b:c@{digest}").parse().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/a/b:c@{digest}"));
    }

    #[test]
    fn registries_without_a_repository_are_recognised() {
        for (text, expected) in [
            ("localhost:5000", Some("localhost:5000")),
            ("localhost", Some("localhost")),
            ("registry.example.com:443", Some("registry.example.com:443")),
            ("registry.example.com", Some("registry.example.com")),
            ("localhost:5000/a", None),
            ("hello", None),
            ("hello:5000", None),
            ("team/local.host:5000", None),
        ] {
            let reference: ImageRef = text.parse().unwrap();
            assert_eq!(reference.mistaken_registry().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn familiar_form_is_what_people_write() {
        for text in ["python:latest", "nvidia/cuda:1", "r8.im/a/b:c"] {
            assert_eq!(text.parse::<ImageRef>().unwrap().familiar(), text);
        }
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            ":tag",
            "a:",
            "a//b",
            "/a",
            "a/",
            "A/b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a:b c",
            "a:.b",
            "a@sha256:00",
            "host.example:port/a",
            "-bad.example/a",
            "../etc",
            "a\nb",
            "[::1/a",
            "a b",
            "https://host.example/a",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "`{text}` was accepted");
        }
        assert!(
            format!("a:{}", "t".repeat(129))
                .parse::<ImageRef>()
                .is_err()
        );
        assert!("a/".repeat(200).parse::<ImageRef>().is_err());
    }
}
