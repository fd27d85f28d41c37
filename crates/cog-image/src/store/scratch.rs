//! Scratch directories that outlive nobody.
//!
//! Next to each directory `tmp/<name>` lies `tmp/<name>.lock`, which its owner holds locked. The kernel
//! releases the lock however the owner ends, so whoever can take it may clean up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;

use crate::error::Result;
use crate::layer::system;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A directory on the store's file system, removed on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: fs_err::File,
}

impl Scratch {
    /// Creates a directory in `parent`, after removing what dead processes left there.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        remove_orphans(parent)?;
        loop {
            let name = unique_name();
            let lock_path = parent.join(format!("{name}.lock"));
            let mut lock = match fs_err::File::create_new(&lock_path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                result => result?,
            };
            // Somebody cleaning up may have been quicker: then the file is gone, or about to go.
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
                || !lock_path.exists()
            {
                continue;
            }
            // For people who wonder; the lock is what counts.
            writeln!(lock, "{}", std::process::id())?;
            let path = parent.join(name);
            fs_err::create_dir(&path)?;
            return Ok(Self {
                path,
                lock_path,
                _lock: lock,
            });
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now, somebody's next scratch directory removes.
        if system::remove_tree(&self.path).is_ok() {
            let _ = fs_err::remove_file(&self.lock_path);
        }
    }
}

/// A name that no other process or thread uses: container processes often share small process ids, so
/// the time is part of it.
pub(crate) fn unique_name() -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{nanos:x}-{count}", std::process::id())
}

/// Removes the directories in `parent` whose owners are gone.
pub(super) fn remove_orphans(parent: &Path) -> Result<()> {
    for entry in fs_err::read_dir(parent)? {
        let lock_path = entry?.path();
        if lock_path
            .extension()
            .is_none_or(|extension| extension != "lock")
        {
            continue;
        }
        let Ok(lock) = fs_err::File::open(&lock_path) else {
            continue;
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        // The directory first: while the lock file is there, a failure can be made up for.
        if system::remove_tree(&lock_path.with_extension("")).is_ok() {
            let _ = fs_err::remove_file(&lock_path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_on_drop_and_kept_while_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let first = Scratch::create(dir.path()).unwrap();
        fs_err::write(first.path().join("file"), "x").unwrap();
        let second = Scratch::create(dir.path()).unwrap();
        assert!(first.path().join("file").exists());
        drop((first, second));
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn orphans_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("1-dead-0/closed/inner")).unwrap();
        system::set_mode(&dir.path().join("1-dead-0/closed"), 0).unwrap();
        fs_err::write(dir.path().join("1-dead-0.lock"), "1").unwrap();
        let scratch = Scratch::create(dir.path()).unwrap();
        assert!(!dir.path().join("1-dead-0").exists());
        assert!(!dir.path().join("1-dead-0.lock").exists());
        drop(scratch);
    }
}
