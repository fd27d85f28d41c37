//! Scratch directories that outlive nobody.
//!
//! Next to each directory `tmp/<name>` lies `tmp/<name>.lock`, which its owner holds locked. The kernel
//! releases the lock however the owner ends, so whoever can take it may clean up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

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
        let (lock_path, mut lock) = create_held(parent, ".lock")?;
        // For people who wonder; the lock is what counts.
        writeln!(lock, "{}", std::process::id())?;
        let path = lock_path.with_extension("");
        fs_err::create_dir(&path)?;
        Ok(Self {
            path,
            lock_path,
            _lock: lock,
        })
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

/// Makes a file in `parent` under a new name that ends with `suffix`, and locks it for as long as it is open.
///
/// Between the two, somebody who looks for files of the dead may take it for one of those: then it is in his hands, or gone
/// already, and another one is made.
pub(super) fn create_held(parent: &Path, suffix: &str) -> Result<(PathBuf, fs_err::File)> {
    loop {
        let path = parent.join(unique_name() + suffix);
        let file = match fs_err::File::create_new(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            result => result?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => continue,
            result => result.map_err(|errno| system::failed("lock", &path, errno))?,
        }
        let links = rustix::fs::fstat(&file).map(|found| found.st_nlink);
        if links.map_err(|errno| system::failed("look at", &path, errno))? > 0 {
            return Ok((path, file));
        }
    }
}

/// The lock of the file at `path`, if its holder is gone. Whoever has it may remove the file, and nobody else does.
pub(super) fn lock_of_nobody(path: &Path) -> Option<fs_err::File> {
    let file = fs_err::File::open(path).ok()?;
    let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.is_ok().then_some(file)
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
        let Some(_lock) = lock_of_nobody(&lock_path) else {
            continue;
        };
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
