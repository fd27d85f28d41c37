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
const PUBLIC_MAIN: &str = "https://deb.debian.org/debian";
const PUBLIC_SECURITY: &str = "https://deb.debian.org/debian-security";
/// The same for the `apt` of images, as in the official ones: it checks signatures, trusts other certificates than we
/// do, and people put caches in between.
const PUBLIC_MAIN_IN_IMAGES: &str = "http://deb.debian.org/debian";
const PUBLIC_SECURITY_IN_IMAGES: &str = "http://deb.debian.org/debian-security";

/// What addresses of the archive's snapshots have before their date.
const SNAPSHOT: &str = "/archive/debian/";
const SNAPSHOT_OF_SECURITY: &str = "/archive/debian-security/";

/// Hosts of the public archive that are known to offer HTTPS. Debian's own sources name them without it.
const WITH_HTTPS: [&str; 3] = [
    "deb.debian.org",
    "security.debian.org",
    "snapshot.debian.org",
];

/// A copy of the Debian archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Without slash at the end, like the other.
    main: String,
    security: Option<String>,
    /// What it surely has besides the release itself. Whoever sits between us and the mirror could pretend that there
    /// is none.
    expected: Vec<Archive>,
    age: Age,
    /// In PEM form, to trust besides those of the system.
    certificates: Vec<u8>,
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

    /// The same, spoken to by who trusts `certificates` (in PEM form) too, besides those of the system.
    #[must_use]
    pub fn trusting(self, certificates: Vec<u8>) -> Self {
        Self {
            certificates,
            ..self
        }
    }

    pub(super) fn certificates(&self) -> &[u8] {
        &self.certificates
    }

    /// The archive at `address`. Whether it has updates is seen when it is asked.
    pub fn at(address: &str) -> Result<Self> {
        let url = Url::parse(address).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none_or(|url| url.query().is_some()) {
            let address = address.to_owned();
            return Err(DebianError::BadMirror { address });
        }
        let main = address.trim_end_matches('/').to_owned();
        let beside = main
            .strip_suffix("/debian")
            .map(|parent| format!("{parent}/debian-security"));
        let snapshot = main
            .split_once(SNAPSHOT)
            .map(|(host, date)| format!("{host}{SNAPSHOT_OF_SECURITY}{date}"));
        Ok(Self {
            main,
            expected: Vec::new(),
            // A snapshot is as old as it was asked for.
            age: if snapshot.is_some() {
                Age::Any
            } else {
                Age::Limited
            },
            security: beside.or(snapshot),
            certificates: Vec::new(),
        })
    }

    /// The public archive.
    pub fn public() -> Self {
        Self {
            main: PUBLIC_MAIN.to_owned(),
            security: Some(PUBLIC_SECURITY.to_owned()),
            expected: vec![Archive::Updates, Archive::Security],
            age: Age::Limited,
            certificates: Vec::new(),
        }
    }

    /// What the `apt` of images is told.
    pub(super) fn of_images() -> Self {
        Self {
            main: PUBLIC_MAIN_IN_IMAGES.to_owned(),
            security: Some(PUBLIC_SECURITY_IN_IMAGES.to_owned()),
            ..Self::public()
        }
    }

    /// The mirror that `apt` uses in the file system `root`, if that is a Debian system.
    pub fn of_host(root: &Path) -> Option<Self> {
        let sources = apt::sources(root);
        let main = apt::best(&sources, apt::Role::Main)?;
        let security = apt::best(&sources, apt::Role::Security);
        let mut expected = Vec::new();
        if sources
            .iter()
            .any(|source| source.uri == main.uri && source.has_updates)
        {
            expected.push(Archive::Updates);
        }
        if security.is_some() {
            expected.push(Archive::Security);
        }
        let ignored = !apt::checks_valid_until(root) || main.is_any_age;
        Some(Self {
            main: with_https(&main.uri),
            security: security.map(|source| with_https(&source.uri)),
            expected,
            age: if ignored { Age::Any } else { Age::Limited },
            certificates: Vec::new(),
        })
    }

    /// Where `archive` is, if the mirror can have it.
    pub(super) fn address(&self, archive: Archive) -> Option<&str> {
        match archive {
            Archive::Main | Archive::Updates => Some(&self.main),
            Archive::Security => self.security.as_deref(),
        }
    }

    /// Whether the mirror may be without `archive`.
    pub(super) fn is_optional(&self, archive: Archive) -> bool {
        archive.is_optional() && !self.expected.contains(&archive)
    }

    pub(super) fn age(&self) -> Age {
        self.age
    }
}

/// The address with HTTPS where the host is known to offer it.
fn with_https(address: &str) -> String {
    let offers = |rest: &&str| {
        let host = rest.split_once('/').map_or(*rest, |(host, _)| host);
        WITH_HTTPS.contains(&host)
    };
    match address.strip_prefix("http://").filter(offers) {
        Some(rest) => format!("https://{rest}"),
        None => address.to_owned(),
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
        let old = "https://mirror.example/archive/debian/20260711T101637Z";
        let snapshot = Mirror::at(old).unwrap();
        assert_eq!(
            snapshot.address(Archive::Security),
            Some("https://mirror.example/archive/debian-security/20260711T101637Z")
        );
        assert_eq!(snapshot.age(), Age::Any);
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
    fn what_the_public_archive_has_is_expected() {
        for archive in [Archive::Updates, Archive::Security] {
            assert!(!Mirror::public().is_optional(archive));
            let other = Mirror::at("http://mirror.example/debian").unwrap();
            assert!(other.is_optional(archive));
            assert!(!other.is_optional(Archive::Main));
        }
    }

    #[test]
    fn hosts_that_offer_it_are_asked_over_https() {
        for (given, expected) in [
            (
                "http://deb.debian.org/debian",
                "https://deb.debian.org/debian",
            ),
            ("http://security.debian.org", "https://security.debian.org"),
            (
                "http://deb.debian.org.example/a",
                "http://deb.debian.org.example/a",
            ),
            (
                "http://mirror.example/debian",
                "http://mirror.example/debian",
            ),
            (
                "https://deb.debian.org/debian",
                "https://deb.debian.org/debian",
            ),
        ] {
            assert_eq!(with_https(given), expected);
        }
        assert!(Mirror::public().main.starts_with("https:"));
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
