//! Leases: what somebody uses now, and pruning must leave alone.
//!
//! Two kinds, because they are held for different times:
//!
//! - [`Store::lease`] keeps pruning away altogether. Whoever makes things that nothing refers to yet (a
//!   build, a pull, an export) holds it, and pruning waits: that takes minutes at most.
//! - [`Lease`] names things that are there. A container holds one as long as it runs, which may be for
//!   ever; pruning goes on around them.
//!
//! A lease is a file in `leases` that its holder keeps locked. The kernel releases the lock however the
//! holder ends, so whoever can lock the file may remove it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::Store;
use super::scratch::unique_name;
use crate::error::Result;
use crate::layer::Layer;
use crate::layer::system;
use crate::manifest::to_json;

/// Keeps what it names from pruning; dropping it gives that up.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    _lock: fs_err::File,
}

/// What a lease names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Held {
    /// Names in `snapshots`.
    pub(super) snapshots: BTreeSet<String>,
    /// Paths below the store's root.
    pub(super) folders: BTreeSet<String>,
}

impl Held {
    pub(super) fn snapshots(layers: &[&Layer]) -> Self {
        let names = layers.iter().map(|layer| layer.diff_id.hex());
        Self {
            snapshots: names.collect(),
            ..Self::default()
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.snapshots.extend(other.snapshots);
        self.folders.extend(other.folders);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // If it cannot be removed now, the next pruning does.
        let _ = fs_err::remove_file(&self.path);
    }
}

impl Store {
    /// Takes a lease on what `held` names. To be called under [`Store::lease`], so that no pruning is
    /// under way that has not seen it.
    pub(super) fn hold(&self, held: &Held) -> Result<Lease> {
        let path = self.path("leases").join(unique_name());
        let take = || {
            let mut file = fs_err::File::create_new(&path)?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|errno| system::failed("lock", &path, errno))?;
            file.write_all(&to_json(held))?;
            Ok(file)
        };
        let lock = take().map_err(|error: crate::Error| error.at(self.root()))?;
        Ok(Lease { path, _lock: lock })
    }

    /// What all leases name. To be called while no new ones can come.
    pub(super) fn held(&self) -> Result<Held> {
        let mut all = Held::default();
        for entry in fs_err::read_dir(self.path("leases"))? {
            if let Some(held) = read(&entry?.path()) {
                all.extend(held);
            }
        }
        Ok(all)
    }
}

/// What the lease at `path` names; one whose holder is gone is removed.
fn read(path: &Path) -> Option<Held> {
    let file = fs_err::File::open(path).ok()?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = fs_err::remove_file(path);
        return None;
    }
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}
