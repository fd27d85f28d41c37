//! Directories of our own that go away: by themselves at the end, or when the next of their kind is made if this process
//! is killed. Some are in memory, where what is left behind costs most, or hold what nobody else may see.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use tempfile::TempDir;

/// A directory that only its owner may enter, locked as long as it is used.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    /// A lock on the directory itself. The kernel releases it however the process ends.
    _lock: OwnedFd,
}

impl Scratch {
    /// Makes a directory in `parent` with a name that begins with `prefix`.
    pub fn new_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        loop {
            let directory = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)?;
            // A umask can take the owner's own permissions away.
            fs_err::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
            let lock = open_directory(directory.path())?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Another process may have swept it between the two steps.
            if is_same(&lock, directory.path()) {
                return Ok(Self {
                    directory,
                    _lock: lock,
                });
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes the directories in `parent` whose names begin with `prefix`, which are this user's and which no process
    /// holds.
    pub fn sweep(parent: &Path, prefix: &str) {
        let Ok(entries) = fs_err::read_dir(parent) else {
            return;
        };
        let named_so =
            |entry: &fs_err::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
        for entry in entries.flatten().filter(named_so) {
            let Ok(directory) = open_directory(&entry.path()) else {
                continue;
            };
            let is_mine = fstat(&directory)
                .is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
            if is_mine && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // What cannot be removed now may be the next time.
                let _ = fs_err::remove_dir_all(entry.path());
            }
        }
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

fn is_same(directory: &OwnedFd, path: &Path) -> bool {
    match (fstat(directory), stat(path)) {
        (Ok(open), Ok(named)) => (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_left_behind_is_swept() {
        const PREFIX: &str = "cog-test-";
        let parent = tempfile::tempdir().unwrap();
        let alive = Scratch::new_in(parent.path(), PREFIX).unwrap();
        let orphan = parent.path().join(format!("{PREFIX}orphan"));
        fs_err::create_dir_all(orphan.join("deep")).unwrap();
        let stranger = parent.path().join("other");
        fs_err::create_dir_all(&stranger).unwrap();
        Scratch::sweep(parent.path(), PREFIX);
        assert!(alive.path().exists() && stranger.exists());
        assert!(!orphan.exists());
        let mode = fs_err::metadata(alive.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
    }
}
