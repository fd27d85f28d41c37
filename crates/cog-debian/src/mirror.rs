//! Where the Debian archive is fetched from.

mod apt;

use std::fmt::Write as _;
use std::path::Path;

use reqwest::Url;

use super::error::{DebianError, Result};
use super::suite::{Archive, Suite};

/// Address of the Debian archive to use, such as `http://mirror.example/debian`. Security updates are looked for
/// beside it, in `debian-security`. Default: what the host's `apt` uses, if the host is a Debian system, else the
/// public archive.
pub const COG_DEBIAN_MIRROR: &str = "COG_DEBIAN_MIRROR";

/// The names under which everybody finds the public archive.
const PUBLIC_MAIN: &str = "http://deb.debian.org/debian";
const PUBLIC_SECURITY: &str = "http://deb.debian.org/debian-security";

/// A copy of the Debian archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Without slash at the end, like the other.
    main: String,
    security: Option<String>,
    age: Age,
}

/// How old a mirror's release files may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// As old as they say themselves.
    Limited,
    /// The host's `apt` is configured to ignore their dates, for instance for a frozen mirror.
    Any,
}

impl Mirror {
    /// The mirror that [`COG_DEBIAN_MIRROR`] names, else the one of the host's `apt`, else the public archive.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(COG_DEBIAN_MIRROR) {
            Ok(address) if !address.trim().is_empty() => Self::at(address.trim()),
            _ => Ok(Self::of_host(Path::new("/")).unwrap_or_else(Self::public)),
        }
    }

    /// The archive at `address`.
    pub fn at(address: &str) -> Result<Self> {
        let url = Url::parse(address).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none_or(|url| url.query().is_some()) {
            let address = address.to_owned();
            return Err(DebianError::BadMirror { address });
        }
        let main = address.trim_end_matches('/').to_owned();
        let security = main
            .strip_suffix("/debian")
            .map(|parent| format!("{parent}/debian-security"));
        let age = Age::Limited;
        Ok(Self {
            main,
            security,
            age,
        })
    }

    /// The public archive.
    pub fn public() -> Self {
        Self {
            main: PUBLIC_MAIN.to_owned(),
            security: Some(PUBLIC_SECURITY.to_owned()),
            age: Age::Limited,
        }
    }

    /// The mirror that `apt` uses in the file system `root`, if that is a Debian system.
    pub fn of_host(root: &Path) -> Option<Self> {
        let sources = apt::sources(root);
        let main = apt::best(&sources, apt::Role::Main)?;
        let security = apt::best(&sources, apt::Role::Security);
        let ignored = !apt::checks_valid_until(root) || main.is_any_age;
        Some(Self {
            main: main.uri.clone(),
            security: security.map(|source| source.uri.clone()),
            age: if ignored { Age::Any } else { Age::Limited },
        })
    }

    /// Where `archive` is, if the mirror can have it.
    pub(super) fn address(&self, archive: Archive) -> Option<&str> {
        match archive {
            Archive::Main | Archive::Updates => Some(&self.main),
            Archive::Security => self.security.as_deref(),
        }
    }

    pub(super) fn age(&self) -> Age {
        self.age
    }
}

/// Where the base's `apt` looks for its sources.
pub const APT_SOURCES_PATH: &str = "/etc/apt/sources.list.d/debian.sources";

/// What to show to containers at [`APT_SOURCES_PATH`] while `apt` works in them, so that it uses `mirror`. `archives`
/// are those that the mirror has. Not for layers: they would depend on the mirror.
pub fn apt_sources(mirror: &Mirror, suite: Suite, archives: &[Archive]) -> String {
    let mut text = String::new();
    let mut add = |address: &str, suites: &[String]| {
        let suites = suites.join(" ");
        let _ = write!(
            text,
            "Types: deb\nURIs: {address}\nSuites: {suites}\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        );
        if mirror.age == Age::Any {
            text.push_str("Check-Valid-Until: no\nCheck-Date: no\n");
        }
        text.push('\n');
    };
    let suites = |wanted: &[Archive]| -> Vec<String> {
        wanted
            .iter()
            .filter(|archive| archives.contains(archive))
            .map(|archive| archive.suite(suite))
            .collect()
    };
    add(&mirror.main, &suites(&[Archive::Main, Archive::Updates]));
    if let (Some(address), true) = (&mirror.security, archives.contains(&Archive::Security)) {
        add(address, &suites(&[Archive::Security]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let mirror = Mirror::at("https://mirror.example/path/debian/").unwrap();
        assert_eq!(
            mirror.address(Archive::Main),
            Some("https://mirror.example/path/debian")
        );
        assert_eq!(
            mirror.address(Archive::Security),
            Some("https://mirror.example/path/debian-security")
        );
        let other = Mirror::at("http://mirror.example/other").unwrap();
        assert_eq!(other.address(Archive::Security), None);
        for wrong in [
            "",
            "mirror.example/debian",
            "ftp://a/debian",
            "http://",
            "http://a/?b",
        ] {
            let error = Mirror::at(wrong).unwrap_err();
            assert!(matches!(error, DebianError::BadMirror { .. }), "{wrong}");
        }
    }

    #[test]
    fn sources_name_what_the_mirror_has() {
        let mirror = Mirror::public();
        let all = apt_sources(&mirror, Suite::Bookworm, &Archive::ALL);
        assert!(all.contains("Suites: bookworm bookworm-updates\n"));
        assert!(all.contains("Suites: bookworm-security\n"));
        assert!(!all.contains("Check-Valid-Until"));
        let main = apt_sources(&mirror, Suite::Trixie, &[Archive::Main]);
        assert_eq!(main.matches("Types: deb\n").count(), 1);
        assert!(main.contains("Suites: trixie\n"));
        let frozen = Mirror {
            age: Age::Any,
            ..mirror
        };
        assert!(
            apt_sources(&frozen, Suite::Trixie, &[Archive::Main]).contains("Check-Valid-Until: no")
        );
    }
}
