//! A directory that becomes a root file system. Whatever paths and links packages contain, nothing outside of it is
//! read or written.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::deb::DebError;

/// Links on the way to a file, after which they count as a circle; Linux follows as many.
const MAX_LINKS: usize = 40;

/// The tree. Packages are unpacked into it by several threads at once.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Directories by the path that names them and the path without links.
    directories: HashMap<PathBuf, PathBuf>,
    /// Which package each file is from, by its path without links.
    owners: HashMap<PathBuf, usize>,
    /// Who said so, and the permissions that each directory will have.
    modes: HashMap<PathBuf, (usize, u32)>,
}

/// Whether a package may write a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Yes; the path below the root, without links.
    Granted(PathBuf),
    /// It is the file of this other package.
    Taken(usize),
}

impl Tree {
    /// A tree in the directory `root`, which exists and is empty.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            shared: Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Claims the place of a file for the package number `owner`.
    pub(super) fn claim(&self, path: &Path, owner: usize) -> Result<Claim, DebError> {
        let (parent, name) = split(path)?;
        let place = self.directory(parent)?.join(name);
        let mut shared = self.shared();
        match shared.owners.get(&place) {
            Some(other) if *other != owner => Ok(Claim::Taken(*other)),
            _ => {
                shared.owners.insert(place.clone(), owner);
                Ok(Claim::Granted(place))
            }
        }
    }

    /// Gives a file to another package, which will write it anew.
    pub(super) fn hand_over(&self, path: &Path, owner: usize) -> Result<(), DebError> {
        let (parent, name) = split(path)?;
        let place = self.directory(parent)?.join(name);
        self.remove(&place)?;
        self.shared().owners.insert(place, owner);
        Ok(())
    }

    /// Writes the file `place`, which was claimed.
    pub(super) fn write_file(
        &self,
        place: &Path,
        content: &mut impl io::Read,
        mode: u32,
    ) -> Result<(), DebError> {
        let path = self.root.join(place);
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(place)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        io::copy(content, &mut file)?;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        Ok(())
    }

    /// Makes the link `place`, which was claimed, unless it would lead out of the tree.
    pub(super) fn write_link(&self, place: &Path, target: &Path) -> Result<(), DebError> {
        let parent = place.parent().unwrap_or(Path::new(""));
        let is_inside = !target.as_os_str().is_empty() && climbs_no_higher(parent, target);
        if !is_inside {
            let (path, target) = (place.to_owned(), target.to_owned());
            return Err(DebError::Escape { path, target });
        }
        self.remove(place)?;
        Ok(symlink(target, self.root.join(place)).map_err(at(place))?)
    }

    /// Makes `place`, which was claimed, another name of the file `target` of the same package.
    pub(super) fn write_hard_link(
        &self,
        place: &Path,
        target: &Path,
        owner: usize,
    ) -> Result<(), DebError> {
        let missing = || DebError::HardLink {
            path: place.to_owned(),
            target: target.to_owned(),
        };
        let (parent, name) = split(target)?;
        let source = self.directory(parent)?.join(name);
        if self.shared().owners.get(&source) != Some(&owner) {
            return Err(missing());
        }
        let source = self.root.join(source);
        if !fs_err::symlink_metadata(&source).is_ok_and(|found| found.is_file()) {
            return Err(missing());
        }
        self.remove(place)?;
        Ok(fs_err::hard_link(source, self.root.join(place))?)
    }

    /// Makes the directory if it is not there. Where packages disagree about its permissions, the package with the
    /// lowest number is right.
    pub(super) fn make_directory(
        &self,
        path: &Path,
        mode: u32,
        owner: usize,
    ) -> Result<(), DebError> {
        let directory = self.directory(path)?;
        let mut shared = self.shared();
        let known = shared.modes.entry(directory).or_insert((owner, mode));
        if owner < known.0 {
            *known = (owner, mode);
        }
        Ok(())
    }

    /// Gives directories their permissions. Until then, all can be written to.
    pub(super) fn finish(&self) -> Result<(), DebError> {
        let modes = std::mem::take(&mut self.shared().modes);
        for (directory, (_, mode)) in modes {
            let permissions = PermissionsExt::from_mode(mode);
            fs_err::set_permissions(self.root.join(directory), permissions)?;
        }
        Ok(())
    }

    /// Follows links in `path` and makes directories that are missing. The result is below the root and has no links.
    fn directory(&self, path: &Path) -> Result<PathBuf, DebError> {
        if let Some(known) = self.shared().directories.get(path) {
            return Ok(known.clone());
        }
        let refused = || DebError::Path {
            path: path.to_owned(),
        };
        let mut rest: Vec<PathBuf> = components(path).ok_or_else(refused)?;
        rest.reverse();
        let mut real = PathBuf::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == Path::new("..") {
                // Of a link's target; that it stays inside was checked when the link was made.
                if !real.pop() {
                    return Err(refused());
                }
                continue;
            }
            let next = real.join(&part);
            let Some(target) = self.enter(&next)? else {
                real = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(refused());
            }
            if target.is_absolute() {
                real = PathBuf::new();
            }
            rest.extend(link_components(&target).into_iter().rev());
        }
        self.shared()
            .directories
            .insert(path.to_owned(), real.clone());
        Ok(real)
    }

    /// Makes sure that `place` is a directory; if it is a link, gives its target.
    fn enter(&self, place: &Path) -> Result<Option<PathBuf>, DebError> {
        let path = self.root.join(place);
        loop {
            match fs_err::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => return Ok(None),
                Ok(found) if found.is_symlink() => return Ok(Some(fs_err::read_link(&path)?)),
                Ok(_) => {
                    return Err(DebError::NotADirectory {
                        path: place.to_owned(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            match fs_err::create_dir(&path) {
                Ok(()) => fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755))?,
                // Another thread was faster; look at what it made.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes the file or link `place`, if it is there. A directory is never replaced.
    fn remove(&self, place: &Path) -> Result<(), DebError> {
        let path = self.root.join(place);
        match fs_err::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
            Ok(found) if found.is_dir() => Err(DebError::Obstructed {
                path: place.to_owned(),
            }),
            Ok(_) => Ok(fs_err::remove_file(path)?),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path of an archive's entry below the root; empty for the root itself.
pub(super) fn entry_path(bytes: &[u8]) -> Result<PathBuf, DebError> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let refused = || DebError::Path { path: path.into() };
    // The package database has one path per line.
    if bytes.len() >= 4096 || bytes.iter().any(u8::is_ascii_control) {
        return Err(refused());
    }
    Ok(components(path).ok_or_else(refused)?.iter().collect())
}

/// The names in a path, or nothing if it is absolute or has `..` in it.
fn components(path: &Path) -> Option<Vec<PathBuf>> {
    path.components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Some(PathBuf::from(name)),
            _ => None,
        })
        .collect()
}

/// The names and `..` in a link's target.
fn link_components(target: &Path) -> Vec<PathBuf> {
    target
        .components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect()
}

fn split(path: &Path) -> Result<(&Path, &OsStr), DebError> {
    let parts = path.parent().zip(path.file_name());
    parts.ok_or_else(|| DebError::Path {
        path: path.to_owned(),
    })
}

/// Whether `target`, seen from `directory`, never climbs above the root. Absolute targets start at the tree's root.
fn climbs_no_higher(directory: &Path, target: &Path) -> bool {
    let start = if target.is_absolute() {
        0
    } else {
        directory.components().count()
    };
    let depth = link_components(target)
        .into_iter()
        .try_fold(start, |depth, part| {
            if part == Path::new("..") {
                depth.checked_sub(1)
            } else {
                Some(depth + 1)
            }
        });
    depth.is_some()
}

fn at(place: &Path) -> impl FnOnce(io::Error) -> io::Error {
    |error| {
        io::Error::new(
            error.kind(),
            format!("make link `{}`: {error}", place.display()),
        )
    }
}
