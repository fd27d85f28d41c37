//! Directories of our own that go away: by themselves at the end, or with the next server's start if
//! this one is killed. Some are in memory, where what is left behind costs most.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use tempfile::TempDir;

const PREFIX: &str = "cog-scratch-";

/// A directory, locked as long as its owner lives.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
    /// A lock on the directory itself. The kernel releases it however the process ends.
    _lock: OwnedFd,
}

impl Scratch {
    /// Makes a directory in `parent`, and removes those that dead servers have left there.
    pub(crate) fn new_in(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        loop {
            let directory = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)?;
            let lock = open_directory(directory.path())?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Another server may have swept it between the two steps.
            if is_same(&lock, directory.path()) {
                return Ok(Self {
                    directory,
                    _lock: lock,
                });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Makes a file for what clients send. Nobody else reads it, whatever the umask.
pub(crate) fn create_private(path: &Path) -> io::Result<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Removes the directories in `parent` that are ours and nobody's.
fn sweep(parent: &Path) {
    let Ok(entries) = fs_err::read_dir(parent) else {
        return;
    };
    let named_so =
        |entry: &fs_err::DirEntry| entry.file_name().to_string_lossy().starts_with(PREFIX);
    for entry in entries.flatten().filter(named_so) {
        let Ok(directory) = open_directory(&entry.path()) else {
            continue;
        };
        let is_mine =
            fstat(&directory).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
        if is_mine && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // What cannot be removed now may be the next time.
            let _ = fs_err::remove_dir_all(entry.path());
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
        let parent = tempfile::tempdir().unwrap();
        let alive = Scratch::new_in(parent.path()).unwrap();
        let orphan = parent.path().join(format!("{PREFIX}orphan"));
        fs_err::create_dir_all(orphan.join("deep")).unwrap();
        let stranger = parent.path().join("other");
        fs_err::create_dir_all(&stranger).unwrap();
        let second = Scratch::new_in(parent.path()).unwrap();
        assert!(alive.path().exists() && second.path().exists() && stranger.exists());
        assert!(!orphan.exists());
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(alive.path()), 0o700);
        let file = alive.path().join("file");
        create_private(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
    }
}
