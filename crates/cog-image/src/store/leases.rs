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
//! holder ends, so whoever can lock the file may remove it: pruning does, and whoever takes a lease.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Store;
use super::scratch::{create_held, lock_of_nobody};
use crate::error::Result;
use crate::layer::Layer;
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
    /// under way that has not seen it. What killed processes left behind goes at this occasion.
    pub(super) fn hold(&self, held: &Held) -> Result<Lease> {
        let leases = self.path("leases");
        let take = || {
            for entry in fs_err::read_dir(&leases)? {
                remove_if_nobody_holds(&entry?.path());
            }
            let (path, mut file) = create_held(&leases, "")?;
            let lease = |lock| Lease { path, _lock: lock };
            match file.write_all(&to_json(held)) {
                Ok(()) => Ok(lease(file)),
                // It is removed.
                Err(error) => {
                    drop(lease(file));
                    Err(error.into())
                }
            }
        };
        take().map_err(|error: crate::Error| error.at(self.root()))
    }

    /// What all leases name. To be called while no new ones can come.
    pub(super) fn held(&self) -> Result<Held> {
        let mut all = Held::default();
        for entry in fs_err::read_dir(self.path("leases"))? {
            let path = entry?.path();
            if !remove_if_nobody_holds(&path)
                && let Ok(bytes) = fs_err::read(&path)
                && let Ok(held) = serde_json::from_slice(&bytes)
            {
                all.extend(held);
            }
        }
        Ok(all)
    }
}

/// Removes the lease at `path` if its holder is gone, and says whether he is.
fn remove_if_nobody_holds(path: &Path) -> bool {
    let lock = lock_of_nobody(path);
    if lock.is_some() {
        // If it cannot be removed now, the next one tries again.
        let _ = fs_err::remove_file(path);
    }
    lock.is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn count(store: &Store) -> usize {
        fs_err::read_dir(store.path("leases")).unwrap().count()
    }

    #[test]
    fn leases_of_the_dead_go_when_one_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let living = store.hold(&Held::default()).unwrap();
        for number in 0..60 {
            fs_err::write(store.path("leases").join(format!("1-dead-{number}")), "{}").unwrap();
        }
        let other = store.hold(&Held::default()).unwrap();
        assert!(living.path.exists() && other.path.exists());
        assert_eq!(count(&store), 2);
        drop((living, other));
        assert_eq!(count(&store), 0);
    }

    /// Whoever clears up looks at files that their makers have not locked yet.
    #[test]
    fn no_lease_is_taken_for_one_of_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let entries = fs_err::read_dir(store.path("leases")).unwrap();
                    entries.flatten().for_each(|entry| {
                        remove_if_nobody_holds(&entry.path());
                    });
                }
            });
            let taken: Vec<Result<Lease>> =
                (0..300).map(|_| store.hold(&Held::default())).collect();
            done.store(true, Ordering::Relaxed);
            for lease in &taken {
                assert!(lease.as_ref().unwrap().path.exists());
            }
        });
    }
}
