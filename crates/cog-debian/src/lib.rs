//! A minimal Debian system with Python, assembled from the packages of the Debian archive.
//!
//! [`resolve`] finds the packages: it fetches the archive's signed index and chooses. The result is a [`Lock`], whose
//! key says whether an earlier tree will do. [`assemble`] fetches and unpacks the packages into a directory and runs
//! their scripts once, in a container that the caller provides ([`RunInRoot`]). Neither needs root, Debian's tools on
//! the host, or a registry of images. The same lock always makes the same tree.
//!
//! Trust: only the shipped keys of the archive ([`keyring`]) vouch for release files, these for the package indices,
//! and these for packages. Package files are unpacked with the care that unknown archives need all the same
//! ([`tree`]). Mirrors are not trusted; they may use plain HTTP.
//!
//! Everything blocks the calling thread and must not be called from asynchronous code.

mod assemble;
mod cleanup;
mod closest;
mod configure;
mod database;
mod deb;
mod downloads;
mod error;
mod fetch;
mod index;
mod installed;
mod keyring;
mod lock;
mod mirror;
mod relation;
mod release;
mod releases;
mod resolve;
mod resolver;
mod stanza;
mod suite;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;
mod version;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use assemble::assemble;
pub use cleanup::clean_layer;
pub use closest::closest_name;
pub use configure::{REPRODUCIBLE, RunInRoot};
pub use deb::DebError;
pub use downloads::{Downloads, PackageFile};
pub use error::{DebianError, Result};
pub use installed::{InstalledPackage, installed};
pub use lock::{ListedPackage, Lock, LockedPackage};
pub use mirror::{APT_SOURCES_PATH, COG_DEBIAN_MIRROR, Mirror, apt_sources};
pub use resolve::resolve;
pub use suite::{Architecture, Archive, Suite};

/// What to make, and with what.
#[derive(Clone)]
pub struct Request<'a> {
    /// The Debian release, which decides about the Python.
    pub suite: Suite,
    /// The processor; its packages' scripts are run, so it is the host's.
    pub architecture: Architecture,
    /// Packages besides those that every base has.
    pub extra_packages: &'a [String],
    /// Where downloads and indices are kept. May be shared by several processes.
    pub cache_dir: &'a Path,
    /// Where packages come from.
    pub mirror: Mirror,
    /// For how long an index that was fetched is not asked for again. Without a connection, an older one will do.
    pub freshness: Duration,
    /// Threads that unpack; 0 means one per core, at most four.
    pub threads: usize,
    /// Learns what happens, from several threads at once.
    pub progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The archive's index is on its way.
    Indexing {
        /// Bytes that have arrived.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Packages are on their way, or were found in the cache.
    Downloading {
        /// Bytes that have arrived.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Packages are being unpacked, while others may still be on their way.
    Unpacking {
        /// Packages that are unpacked.
        done: usize,
        /// Packages in all.
        total: usize,
    },
    /// The packages' scripts run.
    Configuring,
    /// Something that the user should know.
    Warning {
        /// Lower case, without a full stop.
        message: &'a str,
    },
}

/// A tree that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// The directory with the root file system.
    pub root: PathBuf,
    /// Path of the Python interpreter in it.
    pub python: String,
}

/// Runs asynchronous work to its end.
fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}
