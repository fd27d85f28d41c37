//! `cog.lock`: what was chosen for a project, as a file beside its configuration.
//!
//! A [`LockFile`] is a pure value; `write` makes its text, which is the same for the same value, and `read` checks what
//! somebody may have changed in it. It says what the project asked for (`inputs`), why it was decided so, and for each
//! platform which base, packages of the distribution and Python packages were found. It holds no credentials, no paths of
//! a machine and no addresses of mirrors: all packages are known by name, version and checksum. Whether it still fits a
//! project is judged in [`crate::locking`].

mod checked;
mod error;
mod inputs;
mod read;
mod write;

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use cog_debian::ListedPackage;
use cog_files::{Folder, read_project_file};
use cog_python::requirements::Requirements;
use cog_python::resolution::{Pinned, Resolution};

pub use self::error::LockFileError;
pub(crate) use self::inputs::{Difference, Inputs, Part, chooses_base, differences};
use crate::architecture::Architecture;
use crate::base::PinnedBase;
use crate::lock::{LockedPython, PackageSource};

/// The format that we write, and the only one that we read.
const VERSION: u32 = 1;

/// What a lock file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockFile {
    /// The version of the program that made it.
    pub(crate) cog: String,
    /// What was asked for.
    pub(crate) inputs: Inputs,
    /// What was decided for all platforms and why, for people.
    pub(crate) decisions: Vec<Decided>,
    /// What was found, in the order of the platforms' names.
    pub(crate) platforms: Vec<PlatformLock>,
}

/// A decision, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) subject: String,
    pub(crate) value: String,
    pub(crate) reason: String,
}

/// What images for one platform are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlatformLock {
    pub(crate) architecture: Architecture,
    /// What followed from what was found, for people.
    pub(crate) decisions: Vec<Decided>,
    pub(crate) base: PinnedBase,
    /// Packages of the distribution that the project implies.
    pub(crate) implied: SystemPins,
    /// Packages of the distribution that the project names.
    pub(crate) named: SystemPins,
    pub(crate) python: PythonPins,
}

/// Packages of the distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SystemPins {
    /// What is asked for.
    pub(crate) names: Vec<String>,
    /// What is installed for it, sorted.
    pub(crate) packages: Vec<ListedPackage>,
}

/// Python packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PythonPins {
    pub(crate) source: PackageSource,
    /// Sorted by name.
    pub(crate) distributions: Vec<Pinned>,
}

impl PythonPins {
    /// The answer to `requirements` that it is.
    pub(crate) fn answer(&self, requirements: &Requirements) -> LockedPython {
        LockedPython {
            requirements: requirements.clone(),
            resolution: Resolution::of(self.distributions.clone(), &requirements.options),
            source: self.source,
        }
    }
}

/// The name of the lock file that belongs to the configuration file `config`.
pub(crate) fn name_for(config: &str) -> String {
    match config {
        "cog.yaml" => "cog.lock".to_owned(),
        other => format!("{other}.lock"),
    }
}

impl LockFile {
    /// The lock file `name` of the project in `folder`; nothing if there is none.
    pub(crate) fn load(folder: &Path, name: &str) -> Result<Option<Self>, LockFileError> {
        let text = match read_project_file(folder, Path::new(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(LockFileError::Unreadable {
                    name: name.to_owned(),
                    source,
                });
            }
        };
        Self::parse(&text, name).map(Some)
    }

    /// Writes it as the file `name` of the project in `folder`, all of it or nothing. Says whether that changed anything.
    /// Where `name` is a link to another file of the project, it stays one. The ends of lines stay what they are.
    pub(crate) fn save(&self, folder: &Path, name: &str) -> Result<bool, LockFileError> {
        let mut text = self.text();
        let mut write = || {
            let old = read_project_file(folder, Path::new(name));
            if old.as_ref().is_ok_and(|old| old.contains("\r\n")) {
                text = text.replace('\n', "\r\n");
            }
            if old.is_ok_and(|old| old == text) {
                return Ok(false);
            }
            let (folder, name) = &place(folder, name)?;
            // The project is locked meanwhile, so nobody else uses the name.
            let temporary = format!(".{name}.tmp");
            let mut file = folder.create_file(&temporary)?;
            let written = file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| folder.rename(&temporary, name));
            if written.is_err() {
                folder.remove(&temporary)?;
            }
            written.map(|()| true)
        };
        write().map_err(|source| LockFileError::Unwritable {
            name: name.to_owned(),
            source,
        })
    }

    /// What it says for `architecture`.
    pub(crate) fn platform(&self, architecture: Architecture) -> Option<&PlatformLock> {
        let mut platforms = self.platforms.iter();
        platforms.find(|one| one.architecture == architecture)
    }

    /// The platforms that it says something for.
    pub(crate) fn architectures(&self) -> Vec<Architecture> {
        self.platforms.iter().map(|one| one.architecture).collect()
    }
}

/// The folder in which the file `name` of the project in `folder` is, and its name there: that of what a link leads to.
fn place(folder: &Path, name: &str) -> io::Result<(Folder, String)> {
    let path = folder.join(name);
    if !path.is_symlink() {
        return Ok((Folder::open(folder)?, name.to_owned()));
    }
    let (root, real) = (folder.canonicalize()?, path.canonicalize()?);
    let inside = real.strip_prefix(&root).ok().and_then(Path::to_str);
    let Some(inside) = inside else {
        return Err(io::Error::other(
            "it is a link that leads out of the project",
        ));
    };
    let root = Folder::open(&root)?;
    let Some((parent, name)) = inside.rsplit_once('/') else {
        return Ok((root, inside.to_owned()));
    };
    // Without links: one that is put there now would not be what was looked at.
    let parent = root.enter(parent)?;
    let gone = || io::Error::other("it is a link to a folder that is gone");
    let parent = parent.ok_or_else(gone)?;
    Ok((parent, name.to_owned()))
}

#[cfg(test)]
mod tests;
