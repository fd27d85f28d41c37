//! The secrets of a build command as files, for as long as the command runs.
//!
//! They are in memory where the host has such a place, for nobody else to read, whatever the umask. What a build leaves
//! that is killed outright goes with the next build, or with `cog prune`.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use tempfile::TempDir;

use crate::container::Mount;
use crate::error::Result;

const PREFIX: &str = "cog-secrets-";

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// Files that hold secrets, outside of every layer; gone when dropped.
pub(crate) struct SecretFiles {
    folder: Option<Folder>,
    targets: Vec<String>,
}

impl SecretFiles {
    /// Writes each of `secrets`, values by the paths that a container sees them at.
    pub(crate) fn write(secrets: &BTreeMap<String, &[u8]>) -> Result<Self> {
        if secrets.is_empty() {
            return Ok(Self {
                folder: None,
                targets: Vec::new(),
            });
        }
        let folder = Folder::new()?;
        for (number, value) in secrets.values().enumerate() {
            folder.write(number, value)?;
        }
        Ok(Self {
            folder: Some(folder),
            targets: secrets.keys().cloned().collect(),
        })
    }

    pub(crate) fn mounts(&self) -> Vec<Mount> {
        let Some(folder) = &self.folder else {
            return Vec::new();
        };
        let mount = |(number, target): (usize, &String)| {
            Mount::read_only(folder.file(number), target.clone())
        };
        self.targets.iter().enumerate().map(mount).collect()
    }
}

/// Removes the secrets that builds have left which were killed. Those of running builds stay, and those of other users.
pub fn remove_stale_secrets() {
    remove_stale_secrets_in_memory();
    sweep(&std::env::temp_dir());
}

/// The same where they are as a rule. Every command looks: there are few names, while a folder for temporary files may
/// have many.
pub(crate) fn remove_stale_secrets_in_memory() {
    sweep(Path::new(MEMORY));
}

/// A folder that only its owner may enter, locked as long as it is used.
struct Folder {
    directory: TempDir,
    /// A lock on the directory itself. The kernel releases it however the process ends.
    _lock: OwnedFd,
}

impl Folder {
    fn new() -> io::Result<Self> {
        Self::new_in(Path::new(MEMORY)).or_else(|_| Self::new_in(&std::env::temp_dir()))
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        loop {
            let directory = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)?;
            // A umask can take the owner's own permissions away.
            fs_err::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
            let lock = open_directory(directory.path())?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Another build may have swept it between the two steps.
            if is_same(&lock, directory.path()) {
                return Ok(Self {
                    directory,
                    _lock: lock,
                });
            }
        }
    }

    fn file(&self, number: usize) -> PathBuf {
        self.directory.path().join(number.to_string())
    }

    fn write(&self, number: usize, value: &[u8]) -> io::Result<()> {
        let path = self.file(number);
        let mut options = fs_err::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        fs_err::set_permissions(&path, Permissions::from_mode(0o600))?;
        file.write_all(value)
    }
}

/// Removes the folders in `parent` that are this user's and that no process holds.
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

    fn mode(path: &Path) -> u32 {
        let metadata = fs_err::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    }

    #[test]
    fn secrets_are_files_of_their_owner_for_as_long_as_they_are_needed() {
        let secrets = BTreeMap::from([
            ("/a".to_owned(), b"one".as_slice()),
            ("/b".to_owned(), b"two".as_slice()),
        ]);
        let files = SecretFiles::write(&secrets).expect("written");
        let mounts = files.mounts();
        assert_eq!(mounts[0].target, "/a");
        assert_eq!(mounts[1].target, "/b");
        let source = mounts[1].source.clone();
        assert_eq!(fs_err::read(&source).expect("readable"), b"two");
        assert_eq!(mode(&source), 0o600);
        assert_eq!(mode(source.parent().expect("it has one")), 0o700);
        // Used as they are, they are nobody's to remove.
        remove_stale_secrets();
        assert!(source.exists());
        drop(files);
        assert!(!source.exists());
    }

    #[test]
    fn only_what_a_dead_build_left_is_removed() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let alive = Folder::new_in(parent.path()).expect("made");
        alive.write(0, b"one").expect("written");
        let orphan = parent.path().join(format!("{PREFIX}orphan"));
        fs_err::create_dir(&orphan).expect("made");
        fs_err::write(orphan.join("0"), "two").expect("written");
        let stranger = parent.path().join("other");
        fs_err::create_dir(&stranger).expect("made");
        let link = parent.path().join(format!("{PREFIX}link"));
        fs_err::os::unix::fs::symlink(&stranger, link).expect("linked");
        sweep(parent.path());
        assert!(alive.file(0).exists() && stranger.exists());
        assert!(!orphan.exists());
    }
}
