//! What is below the store's root: kinds of things, their size and last use.
//!
//! Other crates put downloads, tools and environments here too. Everything below the root is of one of
//! these kinds, so that pruning sees all of it. A folder that is not listed is somebody else's, and left
//! alone.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Store;
use super::leases::{Held, Lease};
use crate::error::Result;
use crate::layer::system;

/// Beside the tools in `uv`: what it downloaded, and what it built in containers.
const UV_CACHES: [&str; 2] = ["cache", "builds"];

/// A kind of things that a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Compressed layers and documents, and unfinished downloads of them.
    Blobs,
    /// Unpacked layers.
    Snapshots,
    /// Records of build steps.
    Steps,
    /// Python environments on the host.
    Environments,
    /// What projects that cannot be written to would have in their folder.
    Projects,
    /// Downloads of the distribution's package manager.
    Packages,
    /// Indexes and packages of the Debian archive.
    Debian,
    /// What uv keeps of the packages that it downloaded, and of those that it built; one thing each, since uv alone
    /// knows its parts.
    Wheels,
    /// Tools that were installed for want of one on the host.
    Tools,
}

/// How much of a kind there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The kind.
    pub kind: Kind,
    /// How many there are.
    pub count: usize,
    /// Bytes of their files; one with several names counts for each.
    pub bytes: u64,
    /// When one of them was last made or used, as far as that is known.
    pub last_used: Option<SystemTime>,
}

/// One thing of a kind.
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) last_used: SystemTime,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Blobs,
        Self::Snapshots,
        Self::Steps,
        Self::Environments,
        Self::Projects,
        Self::Packages,
        Self::Debian,
        Self::Wheels,
        Self::Tools,
    ];

    /// Kinds whose things stand for themselves: nothing in the store refers to them, and what was removed
    /// is made or fetched again. Only their last use says whether they are worth keeping.
    pub(super) const CACHES: [Self; 6] = [
        Self::Environments,
        Self::Projects,
        Self::Packages,
        Self::Debian,
        Self::Wheels,
        Self::Tools,
    ];

    /// The folders below the root that hold it.
    pub(super) fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Blobs => &["blobs/sha256", "partial"],
            Self::Snapshots => &["snapshots"],
            Self::Steps => &["steps"],
            Self::Environments => &["environments"],
            Self::Projects => &["projects"],
            Self::Packages => &["packages"],
            Self::Debian => &["debian"],
            Self::Wheels | Self::Tools => &["uv"],
        }
    }

    /// Whether the entry `name` of its folders is of this kind.
    fn has(self, name: &OsStr) -> bool {
        match self {
            Self::Wheels => is_uv_cache(name),
            Self::Tools => !is_uv_cache(name),
            _ => true,
        }
    }

    /// Whether each file below its folders is a thing, as opposed to each entry of them.
    fn is_files(self) -> bool {
        matches!(self, Self::Packages | Self::Debian)
    }

    /// What so many of it are called.
    pub fn name(self, count: usize) -> &'static str {
        let (one, many) = match self {
            Self::Blobs => ("blob", "blobs"),
            Self::Snapshots => ("unpacked layer", "unpacked layers"),
            Self::Steps => ("cached step", "cached steps"),
            Self::Environments => ("host environment", "host environments"),
            Self::Projects => ("read-only project", "read-only projects"),
            Self::Packages => ("downloaded package file", "downloaded package files"),
            Self::Debian => ("Debian archive file", "Debian archive files"),
            Self::Wheels => ("cache of Python packages", "caches of Python packages"),
            Self::Tools => ("tool", "tools"),
        };
        if count == 1 { one } else { many }
    }
}

fn is_uv_cache(name: &OsStr) -> bool {
    UV_CACHES.iter().any(|cache| name == *cache)
}

impl Store {
    /// How much of each kind there is. Looks at every file, which takes a moment.
    pub fn usage(&self) -> Result<Vec<Usage>> {
        let usage = |kind| {
            let items = self.items(kind)?;
            Ok(Usage {
                kind,
                count: items.len(),
                bytes: items.iter().map(|item| size(&item.path)).sum(),
                last_used: items.iter().map(|item| item.last_used).max(),
            })
        };
        Kind::ALL.into_iter().map(usage).collect()
    }

    /// Takes a lease on `environment`, a folder in `environments` below the root, and notes that it is
    /// used. `None` if it is not there.
    pub fn use_environment(&self, environment: &Path) -> Result<Option<Lease>> {
        let _working = self.lease()?;
        let Ok(path) = environment.strip_prefix(self.root()) else {
            return Ok(None);
        };
        if !environment.is_dir() {
            return Ok(None);
        }
        Self::touch(environment);
        let held = Held {
            folders: [path.to_string_lossy().into_owned()].into(),
            ..Held::default()
        };
        self.hold(&held).map(Some)
    }

    pub(super) fn items(&self, kind: Kind) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for folder in kind.folders() {
            collect(kind, &self.path(folder), &mut items)?;
        }
        Ok(items)
    }

    /// Notes that `path` is used. Failing costs no more than an early pruning.
    pub(super) fn touch(path: &Path) {
        let now = SystemTime::now();
        let old = fs_err::metadata(path)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|used| {
                now.duration_since(used)
                    .is_ok_and(|age| age > super::steps::TOUCH_AFTER)
            });
        if let (true, Ok(elapsed)) = (old, now.duration_since(SystemTime::UNIX_EPOCH)) {
            let _ = system::set_time(path, i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX));
        }
    }
}

fn collect(kind: Kind, folder: &Path, items: &mut Vec<Item>) -> Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    for entry in entries {
        let entry = entry?;
        if !kind.has(&entry.file_name()) {
            continue;
        }
        if kind.is_files() && entry.file_type()?.is_dir() {
            collect(kind, &entry.path(), items)?;
            continue;
        }
        items.push(Item {
            last_used: last_used(kind, &entry.path()),
            path: entry.path(),
        });
    }
    Ok(())
}

/// When `path` was last used: what we use is touched, what other programs read shows it by its time of
/// access. Directories do not, since looking at them counts.
fn last_used(kind: Kind, path: &Path) -> SystemTime {
    let newest = fs_err::symlink_metadata(path).ok().and_then(|metadata| {
        let accessed = metadata.accessed().ok().filter(|_| metadata.is_file());
        metadata.modified().ok().max(accessed)
    });
    let inside = match kind {
        Kind::Tools | Kind::Wheels | Kind::Projects if path.is_dir() => fs_err::read_dir(path).ok(),
        _ => None,
    };
    inside
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| last_used(kind, &entry.path()))
        .chain(newest)
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Bytes of the regular files at or below `path`; what cannot be looked at counts as nothing.
pub(super) fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs_err::symlink_metadata(path) else {
        return 0;
    };
    if metadata.is_file() {
        return metadata.len();
    }
    if !metadata.is_dir() {
        return 0;
    }
    let Ok(entries) = fs_err::read_dir(path) else {
        return 0;
    };
    entries
        .filter_map(|entry| Some(size(&entry.ok()?.path())))
        .sum()
}
