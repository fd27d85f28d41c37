//! What the outside world answered: the second value on the way from cog.yaml to an image.
//!
//! A [`Lock`] is all that a build needs to know besides the configuration and the project's files. It names things by
//! their content, never by where they are on this machine, so that it can be printed, compared and kept.

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
    /// The Python packages.
    pub python: LockedPython,
    /// SDK and server.
    pub runtime: LockedRuntime,
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
