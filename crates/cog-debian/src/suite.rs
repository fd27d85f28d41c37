//! The Debian releases that bases are made of, and what is in such a base.

use serde::{Deserialize, Serialize};

/// A Debian release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// Debian 12, with Python 3.11.
    Bookworm,
    /// Debian 13, with Python 3.13.
    Trixie,
}

/// Packages of every base besides the essential ones and `apt`, as in the official slim Python images: the network
/// services' names, time zones, and whom to trust over TLS.
const COMMON: &[&str] = &["apt", "ca-certificates", "netbase", "tzdata"];

/// `python3` brings the whole standard library but what needs a screen (tkinter), and the tools with which Debian's
/// packages of Python modules install themselves. What Debian keeps apart and `import` should find follows.
const BOOKWORM: &[&str] = &[
    "python3",
    // Python 3.11 still has distutils, and setup scripts import it.
    "python3-distutils",
];

/// Python 3.13 has no distutils any more.
const TRIXIE: &[&str] = &["python3"];

impl Suite {
    /// All of them, oldest first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// The release that has the Python `minor` version, such as `3.11`.
    pub fn with_python(minor: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.python_version() == minor)
    }

    /// Name of the release, as in the archive.
    pub fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// Its Python, such as `3.11`.
    pub fn python_version(self) -> &'static str {
        match self {
            Self::Bookworm => "3.11",
            Self::Trixie => "3.13",
        }
    }

    /// Path of the interpreter in the base.
    pub fn python(self) -> &'static str {
        match self {
            Self::Bookworm => "/usr/bin/python3.11",
            Self::Trixie => "/usr/bin/python3.13",
        }
    }

    /// Version of the GNU C library, which decides about the wheels that run.
    pub fn glibc(self) -> (u32, u32) {
        match self {
            Self::Bookworm => (2, 36),
            Self::Trixie => (2, 41),
        }
    }

    /// What is installed besides the essential packages.
    pub(super) fn packages(self) -> impl Iterator<Item = &'static str> + use<> {
        let own = match self {
            Self::Bookworm => BOOKWORM,
            Self::Trixie => TRIXIE,
        };
        COMMON.iter().chain(own).copied()
    }
}

/// A processor architecture by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// The architecture of this machine, which runs the packages' scripts. Nothing if Debian bases cannot be made
    /// on it.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Debian's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Directories of `/` that are links to those in `/usr`. Only the first three are on all architectures.
    pub(super) fn merged_directories(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["bin", "sbin", "lib", "lib64"],
            Self::Arm64 => &["bin", "sbin", "lib"],
        }
    }
}

/// A part of the archive: the release itself, or what came after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Archive {
    /// The release, with its point releases.
    Main,
    /// Updates that do not wait for a point release.
    Updates,
    /// Security updates.
    Security,
}

impl Archive {
    pub(super) const ALL: [Self; 3] = [Self::Main, Self::Updates, Self::Security];

    /// What we call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Updates => "updates",
            Self::Security => "security",
        }
    }

    /// The suite's name in the archive, which is also the code name that its release file must have.
    pub(super) fn suite(self, suite: Suite) -> String {
        let codename = suite.codename();
        match self {
            Self::Main => codename.to_owned(),
            Self::Updates => format!("{codename}-updates"),
            Self::Security => format!("{codename}-security"),
        }
    }

    /// Whether a mirror may be without it.
    pub(super) fn is_optional(self) -> bool {
        self != Self::Main
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_their_python() {
        assert_eq!(Suite::with_python("3.11"), Some(Suite::Bookworm));
        assert_eq!(Suite::with_python("3.13"), Some(Suite::Trixie));
        assert_eq!(Suite::with_python("3.12"), None);
        for suite in Suite::ALL {
            assert!(suite.python().ends_with(suite.python_version()));
        }
    }
}
