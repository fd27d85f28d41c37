//! The secrets of a build command as files, for as long as the command runs.
//!
//! They are in memory where the host has such a place, for nobody else to read, whatever the umask. What a build leaves
//! that is killed outright goes with the next build, or with `cog prune`.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cog_files::Scratch;
use fs_err::os::unix::fs::OpenOptionsExt as _;

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
        let mount =
            |(number, target): (usize, &String)| Mount::secret(folder.file(number), target.clone());
        self.targets.iter().enumerate().map(mount).collect()
    }
}

/// Removes the secrets that builds have left which were killed. Those of running builds stay, and those of other users.
pub fn remove_stale_secrets() {
    remove_stale_secrets_in_memory();
    Scratch::sweep(&std::env::temp_dir(), PREFIX);
}

/// The same where they are as a rule. Every command looks: there are few names, while a folder for temporary files may
/// have many.
pub(crate) fn remove_stale_secrets_in_memory() {
    Scratch::sweep(Path::new(MEMORY), PREFIX);
}

/// Where they are.
struct Folder(Scratch);

impl Folder {
    fn new() -> io::Result<Self> {
        let scratch = Scratch::new_in(Path::new(MEMORY), PREFIX)
            .or_else(|_| Scratch::new_in(&std::env::temp_dir(), PREFIX));
        scratch.map(Self)
    }

    fn file(&self, number: usize) -> PathBuf {
        self.0.path().join(number.to_string())
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
}
