//! `.cog` in the project: its lock and the files that builds leave there.
//!
//! A container that had the project mounted may have left links in there. The folder is opened once, without following
//! one, and all else happens in what was opened. A project that cannot be written to has its folder in the store.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use cog_image::Digest;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, fstat,
    mkdirat, open, openat, renameat, unlinkat,
};
use rustix::io::Errno;

/// How often a waiting build looks whether the lock is free.
const POLL: Duration = Duration::from_millis(100);

const NAME: &str = ".cog";
const LOCK: &str = "cog.lock";
/// Where the store keeps the folders of projects that cannot be written to.
const IN_STORE: &str = "projects";

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// A pipe that was left in the place of a file must not hold us up.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The folder `.cog` of a project, locked as long as the value lives.
#[derive(Debug)]
pub(crate) struct ProjectLock {
    folder: OwnedFd,
    _file: OwnedFd,
}

impl ProjectLock {
    /// Takes the lock. If it is held by another build, `waiting` is called once, then waits. `store` is for what a project
    /// on a read-only file system cannot hold.
    pub(crate) fn take(
        project_dir: &Path,
        store: &Path,
        waiting: impl FnOnce(),
    ) -> io::Result<Self> {
        let (folder, file) = match open_parts(project_dir) {
            Err(Errno::ROFS | Errno::ACCESS) => {
                let folder = in_store(project_dir, store)?;
                let parts = open_parts(&folder).map_err(|error| explained(error, &folder))?;
                // Pruning goes by the time of the last use. Failing costs no more than an early one.
                let now = Timestamps {
                    last_access: NOW,
                    last_modification: NOW,
                };
                let _ = rustix::fs::futimens(&parts.1, &now);
                parts
            }
            other => other.map_err(|error| explained(error, project_dir))?,
        };
        let mut waiting = Some(waiting);
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        folder,
                        _file: file,
                    });
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    std::thread::sleep(POLL);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes `name` in the folder, so that a reader sees the old content or the new one, never a
    /// part. Unchanged content is not written again.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        if self
            .read(name, content.len())
            .is_ok_and(|old| old == content)
        {
            return Ok(());
        }
        // The lock is held, so nobody else uses the name.
        let temporary = format!(".tmp-{name}");
        let _ = unlinkat(&self.folder, &temporary, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FILE;
        let file = openat(&self.folder, &temporary, flags, Mode::from_raw_mode(0o644))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        std::fs::File::from(file).write_all(content)?;
        renameat(&self.folder, &temporary, &self.folder, name)?;
        Ok(())
    }

    /// Removes `name` from the folder, if it is there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// The file's beginning, one byte more than is expected at most.
    fn read(&self, name: &str, expected: usize) -> io::Result<Vec<u8>> {
        let file = openat(&self.folder, name, OFlags::RDONLY | FILE, Mode::empty())?;
        let mut content = Vec::new();
        if is_file(&file)? {
            let most = u64::try_from(expected)
                .unwrap_or(u64::MAX)
                .saturating_add(1);
            std::fs::File::from(file)
                .take(most)
                .read_to_end(&mut content)?;
        }
        Ok(content)
    }
}

/// The folder in `parent`, and the file to lock, both made where they are not there yet.
fn open_parts(parent: &Path) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let parent = open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    match mkdirat(&parent, NAME, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => {}
        other => other?,
    }
    let folder = openat(&parent, NAME, FOLDER, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | FILE;
    let file = openat(&folder, LOCK, flags, Mode::from_raw_mode(0o644))?;
    if is_file(&file)? {
        Ok((folder, file))
    } else {
        Err(Errno::INVAL)
    }
}

fn is_file(file: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::RegularFile)
}

/// A folder of the store for one project.
fn in_store(project_dir: &Path, store: &Path) -> io::Result<std::path::PathBuf> {
    let path = fs_err::canonicalize(project_dir)?;
    let digest = Digest::of(path.as_os_str().as_bytes());
    let mut name = String::new();
    let _ = write!(name, "{digest}");
    let folder = store.join(IN_STORE).join(name.replace(':', "-"));
    fs_err::create_dir_all(&folder)?;
    Ok(folder)
}

fn explained(error: Errno, parent: &Path) -> io::Error {
    let place = parent.join(NAME);
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::INVAL | Errno::NXIO => io::Error::other(format!(
            "`{}` is not a plain folder with plain files, which a model may have changed; remove it and try again",
            place.display()
        )),
        error => io::Error::other(format!("could not use `{}`: {error}", place.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_build_waits() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = ProjectLock::take(folder.path(), folder.path(), || panic!("nobody holds it"))
            .expect("taken");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                ProjectLock::take(folder.path(), folder.path(), || {
                    sender.send(()).expect("received");
                })
            });
            receiver.recv().expect("the second one waits");
            drop(first);
            second.join().expect("no panic").expect("taken");
        });
    }

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lock = ProjectLock::take(folder.path(), folder.path(), || {}).expect("taken");
        for content in ["one", "two"] {
            lock.write("openapi_schema.json", content.as_bytes())
                .expect("written");
            let path = folder.path().join(".cog/openapi_schema.json");
            assert_eq!(fs_err::read_to_string(path).expect("readable"), content);
        }
        let names = fs_err::read_dir(folder.path().join(".cog"))
            .expect("readable")
            .count();
        assert_eq!(names, 2, "the lock and the file, nothing else");
    }

    #[test]
    fn links_that_a_model_left_are_not_followed() {
        let outside = tempfile::tempdir().expect("a temporary folder");
        let victim = outside.path().join("victim");
        fs_err::write(&victim, "kept").expect("written");
        let link = |from: &Path, to: &Path| std::os::unix::fs::symlink(to, from).expect("linked");
        let project = || tempfile::tempdir().expect("a temporary folder");
        let take = |project: &Path| ProjectLock::take(project, outside.path(), || {});
        // The folder.
        let folder = project();
        link(&folder.path().join(".cog"), outside.path());
        let error = take(folder.path()).expect_err("it is refused").to_string();
        assert!(error.contains("not a plain folder"), "{error}");
        // The lock.
        let folder = project();
        fs_err::create_dir(folder.path().join(".cog")).expect("created");
        link(&folder.path().join(".cog/cog.lock"), &victim);
        assert!(take(folder.path()).is_err());
        // The files.
        let folder = project();
        let lock = take(folder.path()).expect("taken");
        for name in ["openapi_schema.json", ".tmp-openapi_schema.json"] {
            link(&folder.path().join(".cog").join(name), &victim);
        }
        lock.write("openapi_schema.json", b"new").expect("written");
        let written = fs_err::read_to_string(folder.path().join(".cog/openapi_schema.json"));
        assert_eq!(written.expect("readable"), "new");
        assert_eq!(fs_err::read_to_string(&victim).expect("readable"), "kept");
        let left = fs_err::read_dir(outside.path()).expect("readable").count();
        assert_eq!(left, 1);
    }
}
