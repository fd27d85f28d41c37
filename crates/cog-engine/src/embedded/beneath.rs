//! Paths inside the container, looked up so that nothing which an image or a mounted project planted leads elsewhere.
//!
//! Links are followed as the container's own programs would follow them, within its root. The links of `/proc` that
//! stand for open files are not: they could lead to whatever a descriptor of ours refers to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, unlinkat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The container's root directory.
pub(super) struct Inside(OwnedFd);

/// How far a path may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Into mounts too.
    Mounts,
    /// Only to what the container has for itself, never to a file of the host.
    Overlay,
}

impl Reach {
    fn flags(self) -> ResolveFlags {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match self {
            Self::Mounts => inside,
            Self::Overlay => inside | ResolveFlags::NO_XDEV,
        }
    }
}

impl Inside {
    /// The present root.
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new("/"))
    }

    /// As if `path` were the root.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, DIRECTORY, Mode::empty())?))
    }

    /// Opens a directory, which is made where it is not there yet. A link that leads nowhere is replaced by it.
    pub(super) fn directory(&self, path: &Path, reach: Reach) -> io::Result<OwnedFd> {
        let path = plain(path);
        let Some(name) = path.file_name() else {
            return self.0.try_clone();
        };
        match openat2(&self.0, &path, DIRECTORY, Mode::empty(), reach.flags()) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let parent = self.directory(path.parent().unwrap_or(Path::new("")), reach)?;
        let mode = Mode::from_raw_mode(0o755);
        match mkdirat(&parent, name, mode) {
            Err(Errno::EXIST) => {
                unlinkat(&parent, name, AtFlags::empty())?;
                mkdirat(&parent, name, mode)?;
            }
            other => other?,
        }
        let own = DIRECTORY | OFlags::NOFOLLOW;
        Ok(openat2(&parent, name, own, Mode::empty(), reach.flags())?)
    }

    /// Refers to a file, which is made empty where it is not there yet. A link that leads nowhere is replaced by it.
    pub(super) fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = plain(path);
        let reach = Reach::Mounts.flags();
        let refer = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(&self.0, &path, refer, Mode::empty(), reach) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        let parent = self.directory(parent, Reach::Mounts)?;
        let _ = unlinkat(&parent, name, AtFlags::empty());
        let make = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat2(&parent, name, make, Mode::from_raw_mode(0o644), reach)?;
        Ok(openat2(
            &parent,
            name,
            refer | OFlags::NOFOLLOW,
            Mode::empty(),
            reach,
        )?)
    }
}

/// Relative to the root, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_planted_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let place = tempfile::tempdir().unwrap();
        let inside = Inside::at(place.path()).unwrap();
        let at = |name: &str| place.path().join(name);
        symlink(outside.path(), at("absolute")).unwrap();
        symlink("../../../../..", at("up")).unwrap();
        symlink("/proc/self/cwd", at("magic")).unwrap();
        symlink("nowhere/at/all", at("dangling")).unwrap();
        for name in ["/absolute/a", "/up/b", "/dangling/c", "/../../d"] {
            inside.directory(Path::new(name), Reach::Mounts).unwrap();
            inside.file(&Path::new(name).join("file")).unwrap();
        }
        assert!(
            at("b/file").is_file() && at("d/file").is_file() && at("dangling/c/file").is_file()
        );
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
        // The link is not ours to follow, so what it was to be is made.
        fs_err::create_dir(at("proc")).unwrap();
        symlink("/", at("proc/link")).unwrap();
        inside
            .directory(Path::new("/proc/link/e"), Reach::Overlay)
            .unwrap();
        assert!(at("e").is_dir());
    }

    #[test]
    fn open_files_of_ours_are_no_way_out() {
        let inside = Inside::at(Path::new("/")).unwrap();
        let error = inside
            .directory(Path::new("/proc/self/cwd/made-by-a-test"), Reach::Mounts)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }
}
