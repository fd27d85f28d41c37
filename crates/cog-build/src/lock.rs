//! What the outside world answered: the second value on the way from cog.yaml to an image.
//!
//! A [`Lock`] is all that a build needs to know besides the configuration and the project's files. It names things by
//! their content, never by where they are on this machine, so that it can be printed, compared and kept.

use cog_debian::ListedPackage;
use cog_python::requirements::Requirements;
use cog_python::resolution::Resolution;
use serde::{Deserialize, Serialize};

use crate::base::LockedBase;
use crate::certificate::Certificates;

/// The answers that decide an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The base, with its platform and Python.
    pub base: LockedBase,
    /// Certificates from `COG_CA_CERT`.
    pub certificates: Option<Certificates>,
    /// Packages of the distribution, where a lock file names their versions.
    #[serde(default)]
    pub system: LockedSystem,
    /// The Python packages.
    pub python: LockedPython,
    /// SDK and server.
    pub runtime: LockedRuntime,
}

/// What the outside world answered: a [`Lock`] but for what comes with `cog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) base: LockedBase,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) system: LockedSystem,
    pub(crate) python: LockedPython,
}

impl Answers {
    /// The lock of an image that gets `runtime`.
    pub(crate) fn with(self, runtime: LockedRuntime) -> Lock {
        let Self {
            base,
            certificates,
            system,
            python,
        } = self;
        Lock {
            base,
            certificates,
            system,
            python,
            runtime,
        }
    }
}

/// Packages of the distribution. Without a lock file, nobody knows their versions before they are installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedSystem {
    /// Of the packages that the project implies, and of all that they need.
    pub implied: Versions,
    /// Of the packages that the project names, and of all that they need.
    pub named: Versions,
}

/// In which versions packages of the distribution are installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Versions {
    /// The newest that there are.
    #[default]
    Any,
    /// These where there are such packages to install and the archive has them, the newest of all others.
    Preferred(Vec<ListedPackage>),
    /// These and no others.
    Exactly(Vec<ListedPackage>),
}

impl Versions {
    /// Whether nothing is known of them.
    pub fn are_open(&self) -> bool {
        *self == Self::Any
    }

    /// The packages that are named.
    pub fn packages(&self) -> &[ListedPackage] {
        match self {
            Self::Any => &[],
            Self::Preferred(packages) | Self::Exactly(packages) => packages,
        }
    }
}

/// Python packages: what was asked for, and what that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPython {
    /// The requirements as they were resolved.
    pub requirements: Requirements,
    /// The exact packages.
    pub resolution: Resolution,
    /// Where they can be installed.
    pub source: PackageSource,
}

/// Whether anything has to be built before it can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageSource {
    /// All packages are wheels: nothing is run.
    Wheels,
    /// Some are source distributions, which are built in a container.
    SourceDistributions,
}

/// The programs that every image gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedRuntime {
    /// The version of both.
    pub version: String,
    /// Hash over the SDK's files, as hexadecimal digits.
    pub sdk: String,
    /// Digest of the server's program.
    pub server: String,
}
