//! Advisory locks, released by the kernel when their holder ends in whatever way.

use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::Store;
use crate::digest::Digest;
use crate::error::Result;
use crate::layer::system;

/// Held shared by whoever relies on content that no name refers to yet, exclusively by pruning.
const LEASE: &str = "lease";

/// A held advisory lock; dropping it releases it.
#[derive(Debug)]
pub struct LockGuard {
    _file: fs_err::File,
}

impl Store {
    /// Takes the lock called `what`, waiting for whoever holds it.
    pub fn lock(&self, what: &str) -> Result<LockGuard> {
        self.lock_or_report(what, || ())
    }

    /// Like [`Store::lock`], but calls `waiting` before it waits, to tell the user.
    pub fn lock_or_report(&self, what: &str, waiting: impl FnOnce()) -> Result<LockGuard> {
        self.acquire(what, Mode::Exclusive, waiting)
    }

    /// Keeps [`Store::prune`] away while held. Builds and running containers hold one, because they use
    /// layers that no name refers to.
    pub fn lease(&self) -> Result<LockGuard> {
        self.acquire(LEASE, Mode::Shared, || ())
    }

    pub(super) fn exclusive_lease(&self, waiting: impl FnOnce()) -> Result<LockGuard> {
        self.acquire(LEASE, Mode::Exclusive, waiting)
    }

    fn acquire(&self, what: &str, mode: Mode, waiting: impl FnOnce()) -> Result<LockGuard> {
        let path = self.lock_path(what);
        let file = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        let (try_now, wait) = match mode {
            Mode::Shared => (
                FlockOperation::NonBlockingLockShared,
                FlockOperation::LockShared,
            ),
            Mode::Exclusive => (
                FlockOperation::NonBlockingLockExclusive,
                FlockOperation::LockExclusive,
            ),
        };
        let mut result = rustix::fs::flock(&file, try_now);
        if result == Err(Errno::WOULDBLOCK) {
            waiting();
            result = rustix::io::retry_on_intr(|| rustix::fs::flock(&file, wait));
        }
        result.map_err(|errno| system::failed("lock", &path, errno))?;
        Ok(LockGuard { _file: file })
    }

    /// Lock files stay: removing one would let two processes hold "the same" lock.
    fn lock_path(&self, what: &str) -> PathBuf {
        let plain = what.len() <= 100
            && !what.is_empty()
            && what
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let name = if plain {
            what.to_owned()
        } else {
            Digest::of(what.as_bytes()).hex()
        };
        self.path("locks").join(name)
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Shared,
    Exclusive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_reported_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let held = store
            .lock_or_report("a name/with \0 anything", || panic!("nobody holds it"))
            .unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = store.clone();
        let waiter = std::thread::spawn(move || {
            let report = || sender.send(()).unwrap();
            drop(
                other
                    .lock_or_report("a name/with \0 anything", report)
                    .unwrap(),
            );
        });
        receiver.recv().unwrap();
        drop(held);
        waiter.join().unwrap();
    }

    #[test]
    fn leases_are_shared() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let leases = (store.lease().unwrap(), store.lease().unwrap());
        drop(leases);
        drop(
            store
                .exclusive_lease(|| panic!("nobody holds one"))
                .unwrap(),
        );
    }
}
