//! Resolves paths that an archive names, within one directory.
//!
//! Components are opened one at a time without following links; a link is read and resolved by hand,
//! and leading out of the directory is an error. Nobody else may write to the directory meanwhile.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::system::failed;
use crate::error::Result;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// As many as the kernel follows.
const MAX_LINKS: usize = 40;
/// Bounds the number of open descriptors. Deep source trees have some 30 levels.
pub(crate) const MAX_DEPTH: usize = 250;

/// Why a path was refused, in words for [`crate::Error::BadEntry`]; or a failed file operation.
#[derive(Debug)]
pub(crate) enum Refused {
    Because(&'static str),
    Failed(crate::error::Error),
}

const TOO_DEEP: Refused = Refused::Because("is nested too deeply");

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What to do about a directory that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// A directory inside, opened, and its path on the host with no links below the root.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) descriptor: OwnedFd,
    pub(crate) path: PathBuf,
    /// How far below the root it is.
    depth: usize,
}

/// The directory that nothing may leave.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

/// A path being resolved: what was opened so far, innermost last.
struct Walk<'a> {
    root: &'a Path,
    opened: Vec<(OwnedFd, Vec<u8>)>,
    /// Components still to go, the next one last.
    rest: Vec<Vec<u8>>,
    links: usize,
}

impl Root {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Opens the directory `path`, a relative path without `..`. `None` if it, or a parent, is missing
    /// and `missing` says not to create it.
    pub(crate) fn open(&self, path: &[u8], missing: Missing) -> Result<Option<Directory>, Refused> {
        let root = rfs::openat(CWD, &self.path, DIRECTORY, Mode::empty())
            .map_err(|errno| failed("open", &self.path, errno))?;
        let mut walk = Walk {
            root: &self.path,
            opened: vec![(root, Vec::new())],
            rest: Vec::new(),
            links: 0,
        };
        walk.push_components(path);
        while let Some(name) = walk.rest.pop() {
            if !walk.step(name, missing)? {
                return Ok(None);
            }
        }
        let (path, depth) = (walk.path(), walk.opened.len() - 1);
        Ok(walk.opened.pop().map(|(descriptor, _)| Directory {
            descriptor,
            path,
            depth,
        }))
    }
}

impl Directory {
    /// The directory `name` in it, created if nothing is there; none if something else is, such as a link.
    pub(crate) fn child(&self, name: &[u8]) -> Result<Option<Self>, Refused> {
        if self.depth >= MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        let path = self.path.join(OsStr::from_bytes(name));
        match open_or_create(&self.descriptor, &c_string(name)?, Missing::Create) {
            Ok(descriptor) => Ok(Some(Self {
                descriptor,
                path,
                depth: self.depth + 1,
            })),
            Err(Errno::LOOP | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(failed("open", &path, errno).into()),
        }
    }
}

impl Walk<'_> {
    fn push_components(&mut self, path: &[u8]) {
        let components = path
            .split(|b| *b == b'/')
            .filter(|name| !name.is_empty() && *name != b".");
        self.rest.extend(components.rev().map(<[u8]>::to_vec));
    }

    fn path(&self) -> PathBuf {
        let mut path = self.root.to_owned();
        path.extend(
            self.opened
                .iter()
                .skip(1)
                .map(|(_, name)| OsStr::from_bytes(name)),
        );
        path
    }

    /// Enters `name`. Returns whether it is there.
    fn step(&mut self, name: Vec<u8>, missing: Missing) -> Result<bool, Refused> {
        if name == b".." {
            if self.opened.len() == 1 {
                return Err(Refused::Because(
                    "goes through a link that leads out of the layer",
                ));
            }
            self.opened.pop();
            return Ok(true);
        }
        if self.opened.len() > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        let c_name = c_string(&name)?;
        let (current, _) = self.opened.last().expect("the root stays");
        match open_or_create(current, &c_name, missing) {
            Ok(descriptor) => self.opened.push((descriptor, name)),
            Err(Errno::NOENT) if missing == Missing::Refuse => return Ok(false),
            Err(Errno::LOOP | Errno::NOTDIR) => self.follow(&c_name)?,
            Err(errno) => {
                return Err(
                    failed("open", &self.path().join(OsStr::from_bytes(&name)), errno).into(),
                );
            }
        }
        Ok(true)
    }

    /// Puts the components of the link `name` in front of what is left to resolve.
    fn follow(&mut self, name: &CStr) -> Result<(), Refused> {
        let (current, _) = self.opened.last().expect("the root stays");
        let Ok(target) = rfs::readlinkat(current, name, Vec::new()) else {
            return Err(Refused::Because(
                "is below something that is not a directory",
            ));
        };
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Refused::Because("goes through too many links"));
        }
        if target.as_bytes().starts_with(b"/") {
            return Err(Refused::Because(
                "goes through a link that leads out of the layer",
            ));
        }
        self.push_components(target.as_bytes());
        Ok(())
    }
}

/// Opens the directory `name`. A link is an error, and so is what is no directory.
fn open_or_create(parent: &OwnedFd, name: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
    match rfs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) if missing == Missing::Create => create(parent, name),
        result => result,
    }
}

/// A directory with the permissions that unlisted parents get, whatever the umask is.
fn create(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(0o755);
    rfs::mkdirat(parent, name, mode)?;
    let descriptor = rfs::openat(parent, name, DIRECTORY, Mode::empty())?;
    rfs::fchmod(&descriptor, mode)?;
    Ok(descriptor)
}

/// `name` for the system.
pub(crate) fn c_string(name: &[u8]) -> Result<CString, Refused> {
    CString::new(name).map_err(|_| Refused::Because("has a name with a NUL byte"))
}
