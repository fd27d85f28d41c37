//! Unpacks packages into a tree, as `dpkg` would, without running anything.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::deb::{Control, Deb, DebError};
use super::tree::{Claim, Tree, entry_path};

/// No package has a tenth of that.
const MAX_ENTRIES: usize = 2_000_000;
/// Of a path's permissions.
const MODE: u32 = 0o7777;

/// A package that was unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) control: Control,
    /// All its paths below the root, in the archive's order.
    pub(super) paths: Vec<PathBuf>,
    /// Files that another package had unpacked before, with that package's number.
    pub(super) overlaps: Vec<(PathBuf, usize)>,
}

/// Which paths of a package are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    /// All that belong in a base.
    Everything,
    /// These.
    Only(&'a HashSet<PathBuf>),
}

/// Unpacks the package number `owner`. Its files become root's.
///
/// Times are not kept: layers set them.
pub(super) fn unpack(
    file: &Path,
    owner: usize,
    tree: &Tree,
    part: Part<'_>,
) -> Result<Unpacked, DebError> {
    let deb = Deb::open(file)?;
    let mut unpacking = Unpacking {
        tree,
        owner,
        part,
        configuration: deb
            .control
            .configuration_files()
            .map(PathBuf::from)
            .collect(),
        paths: Vec::new(),
        overlaps: Vec::new(),
    };
    let mut archive = tar::Archive::new(deb.data()?);
    for (number, entry) in archive.entries()?.enumerate() {
        if number >= MAX_ENTRIES {
            return Err(DebError::TooLarge {
                limit: format!("{MAX_ENTRIES} entries"),
            });
        }
        unpacking.entry(entry?)?;
    }
    let Unpacking {
        paths, overlaps, ..
    } = unpacking;
    Ok(Unpacked {
        control: deb.control,
        paths,
        overlaps,
    })
}

struct Unpacking<'a> {
    tree: &'a Tree,
    owner: usize,
    part: Part<'a>,
    configuration: HashSet<PathBuf>,
    paths: Vec<PathBuf>,
    overlaps: Vec<(PathBuf, usize)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, mut entry: tar::Entry<'_, impl std::io::Read>) -> Result<(), DebError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = entry_path(&entry.path_bytes())?;
        let mode = entry.header().mode()? & MODE;
        if kind == EntryType::Directory {
            self.paths.push(path.clone());
            if matches!(self.part, Part::Everything) && !is_left_out(&path) {
                self.tree.make_directory(&path, mode, self.owner)?;
            }
            return Ok(());
        }
        if !matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::Symlink | EntryType::Link
        ) {
            return Err(DebError::Special { path });
        }
        self.paths.push(path.clone());
        let is_wanted = match self.part {
            Part::Everything => !is_left_out(&path),
            Part::Only(paths) => paths.contains(&path),
        };
        if !is_wanted {
            return Ok(());
        }
        let place = match self.tree.claim(&self.written_path(&path), self.owner)? {
            Claim::Granted(place) => place,
            Claim::Taken(other) => {
                self.overlaps.push((path, other));
                return Ok(());
            }
        };
        match kind {
            EntryType::Symlink => self.tree.write_link(&place, &link_target(&entry, &path)?),
            EntryType::Link => {
                let target = entry_path(link_target(&entry, &path)?.as_os_str().as_bytes())?;
                let target = self.written_path(&target);
                self.tree.write_hard_link(&place, &target, self.owner)
            }
            _ => self.tree.write_file(&place, &mut entry, mode),
        }
    }

    /// Configuration files wait under another name until `dpkg` configures their package and puts them in place.
    fn written_path(&self, path: &Path) -> PathBuf {
        if !self.configuration.contains(path) {
            return path.to_owned();
        }
        let mut name = OsString::from(path);
        name.push(".dpkg-new");
        name.into()
    }
}

fn link_target(
    entry: &tar::Entry<'_, impl std::io::Read>,
    path: &Path,
) -> Result<PathBuf, DebError> {
    let target = entry.link_name()?;
    target
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| DebError::Escape {
            path: path.to_owned(),
            target: PathBuf::new(),
        })
}

/// Documentation and translations, which the official slim images leave out as well. Licences stay.
pub(super) fn is_left_out(path: &Path) -> bool {
    let Ok(shared) = path.strip_prefix("usr/share") else {
        return false;
    };
    let mut parts = shared.components().map(|part| part.as_os_str().as_bytes());
    let Some(kind) = parts.next() else {
        return false;
    };
    let inner: Vec<&[u8]> = parts.collect();
    match (kind, inner.as_slice()) {
        // Only the directory itself, since programs expect it.
        (_, []) | (b"doc", [_] | [.., b"copyright"]) | (b"locale", [b"locale.alias"]) => false,
        (b"doc" | b"man" | b"info" | b"groff" | b"lintian" | b"linda" | b"locale", _) => true,
        _ => false,
    }
}

/// The same for packages that are installed later, in `dpkg`'s words.
pub(super) const LEFT_OUT_CONFIGURATION: &str = "\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/groff/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/linda/*
path-exclude /usr/share/locale/*
path-include /usr/share/locale/locale.alias
";

#[cfg(test)]
mod tests;
