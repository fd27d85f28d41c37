//! Unpacks a layer into a directory, trusting nothing in it.
//!
//! Every entry is created relative to a descriptor of its parent, which `inside`
//! resolves. Names with `..`, absolute names, links out of the directory and devices are refused.
//! Numbers of entries and bytes are limited.
//!
//! What is created is created in one step, and only what is in its way costs another look; what a new file has by
//! itself is not set again (`fresh`), and zeros become holes (`holes`). The way to the current entry stays open
//! (`entered`), and the blob is read, decompressed and hashed by other threads (`pipeline`).
//!
//! Deletions take overlayfs's form (see `overlay`). Attributes such as file capabilities are not
//! kept: nothing that runs here may use them.

mod entered;
mod fresh;
mod holes;
mod meta;
mod name;
mod pipeline;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::inside::{Directory, Missing, Refused, Root, c_string};
use super::limits::Limits;
use super::tar_reader::{TarEntry, TarReader};
use super::{overlay, system};
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use entered::Entered;
use fresh::Fresh;
use holes::Writer;
use meta::{Meta, give_away};
use name::{clean, join, shortened, split};
use pipeline::Plain;

const BUFFER: usize = 256 * 1024;
/// After so many bytes it is looked how many more the disk can take.
const LOOK: u64 = 4 << 20;
/// Of the disk, this part stays free for others, but no more than so many bytes.
const RESERVED_PART: u64 = 100;
const MOST_RESERVED: u64 = 256 << 20;
/// What the owner of a directory needs to look into it.
const OWNER_LOOKS: u32 = 0o500;

/// What unpacking found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked {
    pub(crate) diff_id: DiffId,
    /// Of the blob that was read.
    pub(crate) digest: Digest,
}

/// The regular files that unpacking made, by their names: empty ones do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Unpacks `blob`, compressed or not, into the existing empty directory `into`. `layer` names it in
/// errors. The files are counted, unless only a look at them can tell.
pub(crate) fn unpack(
    blob: impl Read + Send,
    into: &Path,
    layer: Digest,
    limits: Limits,
) -> Result<(Unpacked, Option<Count>)> {
    let bad = |error: io::Error| Error::BadArchive {
        layer,
        reason: error.to_string(),
    };
    let work = |plain: &mut Plain| {
        let count = unpack_plain(&mut *plain, into, layer, limits)?;
        // What follows the archive's end still belongs to the stream that was hashed.
        let rest = io::copy(&mut plain.take(limits.bytes), &mut io::sink()).map_err(bad)?;
        if rest == limits.bytes {
            return Err(too_large(layer, &format!("{} bytes", limits.bytes)));
        }
        Ok(count)
    };
    let (count, unpacked) = pipeline::read(blob, work, bad)?;
    Ok((unpacked, count))
}

fn unpack_plain(
    plain: &mut Plain,
    into: &Path,
    layer: Digest,
    limits: Limits,
) -> Result<Option<Count>> {
    let mut reader = TarReader::new(plain);
    let mut unpacker = Unpacker::new(into, layer)?;
    let (mut count, mut names) = (0, 0);
    while let Some(entry) = reader
        .next()
        .map_err(|reason| Error::BadArchive { layer, reason })?
    {
        count += 1;
        names += (entry.path.len() + entry.link.len()) as u64;
        let bytes = reader.input().size().saturating_add(entry.size);
        if let Some(limit) = limits.exceeded(count, names, bytes) {
            return Err(too_large(layer, &limit));
        }
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.finish()
}

fn too_large(layer: Digest, limit: &str) -> Error {
    Error::BadArchive {
        layer,
        reason: format!("it unpacks to more than {limit}"),
    }
}

struct Unpacker {
    entered: Entered,
    layer: Digest,
    fresh: Fresh,
    /// Permissions and times of directories, set when nothing will be created in them any more. The
    /// paths are on the host and hold no links.
    directories: Vec<(PathBuf, Meta)>,
    /// Paths in the layer.
    whiteouts: Vec<Vec<u8>>,
    opaque: Vec<Vec<u8>>,
    change_owners: bool,
    /// None if only a look at the files can tell.
    count: Option<Count>,
    buffer: Vec<u8>,
    /// Bytes since the last look at the disk.
    unlooked: u64,
}

/// What became of an entry.
#[derive(PartialEq, Eq)]
enum Made {
    Made,
    /// Something is in its place.
    Occupied,
}

/// An entry about to be created: its name within the current directory, and its path on the host.
struct Spot {
    name: std::ffi::CString,
    path: PathBuf,
}

impl Unpacker {
    fn new(root: &Path, layer: Digest) -> Result<Self> {
        Ok(Self {
            entered: Entered::new(Root::new(root)),
            layer,
            fresh: Fresh::of(root)?,
            directories: Vec::new(),
            whiteouts: Vec::new(),
            opaque: Vec::new(),
            change_owners: system::can_change_owners(),
            count: Some(Count::default()),
            buffer: vec![0; BUFFER],
            unlooked: 0,
        })
    }

    fn entry<R: Read>(&mut self, entry: &TarEntry, reader: &mut TarReader<R>) -> Result<()> {
        let path = clean(&entry.path).map_err(|refused| self.refused(entry, refused))?;
        // The root itself: its permissions are the mount's business.
        let Some((parent, name)) = split(&path) else {
            return Ok(());
        };
        let entered = self.entered.enter(parent);
        entered.map_err(|refused| self.refused(entry, refused))?;
        if name == overlay::OPAQUE {
            self.opaque.push(parent.to_vec());
        } else if let Some(deleted) = name.strip_prefix(overlay::WHITEOUT) {
            if matches!(deleted, b"" | b"." | b"..") {
                return Err(self.bad(entry, "deletes nothing"));
            }
            self.whiteouts.push(join(parent, deleted));
        } else {
            let name = c_string(name).map_err(|refused| self.refused(entry, refused))?;
            let path = self.parent().path.join(OsStr::from_bytes(name.as_bytes()));
            self.create(entry, &Spot { name, path }, reader)?;
        }
        Ok(())
    }

    fn create<R: Read>(
        &mut self,
        entry: &TarEntry,
        at: &Spot,
        reader: &mut TarReader<R>,
    ) -> Result<()> {
        if self.try_create(entry, at, reader)? == Made::Made {
            return Ok(());
        }
        self.make_room(at, entry.kind)?;
        let made = self.try_create(entry, at, reader)?;
        // The way may have led through what was in its place.
        self.entered.forget();
        if made == Made::Occupied {
            return Err(system::failed("create", &at.path, Errno::EXIST).into());
        }
        Ok(())
    }

    /// Creates nothing where something is, and then reads none of the content.
    fn try_create<R: Read>(
        &mut self,
        entry: &TarEntry,
        at: &Spot,
        reader: &mut TarReader<R>,
    ) -> Result<Made> {
        match entry.kind {
            EntryType::Directory => self.directory(entry, at),
            EntryType::Regular => self.file(entry, at, reader),
            EntryType::Symlink => self.symlink(entry, at),
            EntryType::Link => self.hard_link(entry, at),
            EntryType::Fifo => self.fifo(entry, at),
            EntryType::Char | EntryType::Block => Err(self.bad(entry, "is a device node")),
            EntryType::GNUSparse => {
                Err(self.bad(entry, "is a sparse file, which is not supported"))
            }
            kind => {
                let kind = char::from(kind.as_byte()).escape_default();
                Err(self.bad(entry, &format!("has the unknown type `{kind}`")))
            }
        }
    }

    /// Later entries replace earlier ones of the same name; a directory stays if it is one again.
    fn make_room(&mut self, at: &Spot, kind: EntryType) -> Result<()> {
        // Whatever goes may have been counted.
        self.count = None;
        let parent = self.parent().descriptor.as_fd();
        let existing = match rfs::statat(parent, &*at.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(system::failed("look at", &at.path, errno).into()),
        };
        if existing != FileType::Directory {
            rfs::unlinkat(parent, &*at.name, AtFlags::empty())
                .map_err(|errno| system::failed("replace", &at.path, errno))?;
        } else if kind != EntryType::Directory {
            system::remove_tree(&at.path)?;
            // Something else may take this place, such as a link: no permissions must be set through it.
            self.directories
                .retain(|(known, _)| !known.starts_with(&at.path));
        }
        Ok(())
    }

    fn directory(&mut self, entry: &TarEntry, at: &Spot) -> Result<Made> {
        let parent = &self.parent().descriptor;
        match rfs::mkdirat(parent, &*at.name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = rfs::statat(parent, &*at.name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| system::failed("look at", &at.path, errno))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Ok(Made::Occupied);
                }
            }
            Err(errno) => return Err(system::failed("create", &at.path, errno).into()),
        }
        let meta = Meta::of(entry);
        if !self.change_owners && meta.mode & OWNER_LOOKS != OWNER_LOOKS {
            // What is in it can be counted now, and not later.
            self.count = None;
        }
        self.directories.push((at.path.clone(), meta));
        Ok(Made::Made)
    }

    fn file<R: Read>(
        &mut self,
        entry: &TarEntry,
        at: &Spot,
        reader: &mut TarReader<R>,
    ) -> Result<Made> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let meta = Meta::of(entry);
        let (mode, has_mode) = self.fresh.creation(meta);
        let file = match rfs::openat(&self.parent().descriptor, &*at.name, flags, mode) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Ok(Made::Occupied),
            Err(errno) => return Err(system::failed("create", &at.path, errno).into()),
        };
        let mut content = reader.content();
        let mut writer = Writer::new(file.as_fd());
        let failed = |errno| system::failed("write", &at.path, errno);
        loop {
            let read = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Error::BadArchive {
                        layer: self.layer,
                        reason: error.to_string(),
                    });
                }
            };
            writer.write(&self.buffer[..read]).map_err(failed)?;
            self.unlooked += read as u64;
            if self.unlooked >= LOOK {
                self.unlooked = 0;
                leaves_room(file.as_fd()).map_err(failed)?;
            }
        }
        writer.finish().map_err(failed)?;
        if self.gives_away(meta) {
            give_away(file.as_fd(), meta, &at.path)?;
        }
        // After the owner, because changing that clears the set-user-id bit.
        let permitted = if has_mode {
            Ok(())
        } else {
            rfs::fchmod(&file, Mode::from_raw_mode(meta.mode))
        };
        permitted
            .and_then(|()| rfs::futimens(&file, &meta.times()))
            .map_err(|errno| system::failed("set the permissions of", &at.path, errno))?;
        self.counted(entry.size);
        Ok(Made::Made)
    }

    fn gives_away(&self, meta: Meta) -> bool {
        self.change_owners && !self.fresh.has_owner(meta)
    }

    fn counted(&mut self, size: u64) {
        if let Some(count) = &mut self.count {
            count.files += u64::from(size > 0);
            count.bytes = count.bytes.saturating_add(size);
        }
    }

    fn symlink(&mut self, entry: &TarEntry, at: &Spot) -> Result<Made> {
        if entry.link.is_empty() {
            return Err(self.bad(entry, "is a link to nothing"));
        }
        let target = c_string(&entry.link).map_err(|refused| self.refused(entry, refused))?;
        match rfs::symlinkat(&*target, &self.parent().descriptor, &*at.name) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Made::Occupied),
            Err(errno) => return Err(system::failed("create", &at.path, errno).into()),
        }
        self.settle(entry, at)?;
        Ok(Made::Made)
    }

    fn hard_link(&mut self, entry: &TarEntry, at: &Spot) -> Result<Made> {
        let target = clean(&entry.link).map_err(|refused| self.refused(entry, refused))?;
        let missing = || self.bad(entry, "is a hard link to a file that is not in the layer");
        let (parent, name) = split(&target).ok_or_else(missing)?;
        let parent = self
            .entered
            .root()
            .open(parent, Missing::Refuse)
            .map_err(|refused| self.refused(entry, refused))?
            .ok_or_else(missing)?;
        let name = c_string(name).map_err(|refused| self.refused(entry, refused))?;
        let here = &self.parent().descriptor;
        match rfs::linkat(
            &parent.descriptor,
            &*name,
            here,
            &*at.name,
            AtFlags::empty(),
        ) {
            Ok(()) => {
                let stat = rfs::statat(here, &*at.name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| system::failed("look at", &at.path, errno))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                    self.counted(u64::try_from(stat.st_size).unwrap_or_default());
                }
                Ok(Made::Made)
            }
            Err(Errno::EXIST) => Ok(Made::Occupied),
            Err(Errno::NOENT) => Err(missing()),
            Err(Errno::PERM) => Err(self.bad(entry, "is a hard link to a directory")),
            Err(errno) => Err(system::failed("create", &at.path, errno).into()),
        }
    }

    fn fifo(&mut self, entry: &TarEntry, at: &Spot) -> Result<Made> {
        let here = &self.parent().descriptor;
        let mode = Mode::from_raw_mode(entry.mode);
        match rfs::mknodat(here, &*at.name, FileType::Fifo, Mode::RUSR, 0) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Made::Occupied),
            Err(errno) => return Err(system::failed("create", &at.path, errno).into()),
        }
        self.settle(entry, at)?;
        // The umask took its part, and changing the owner clears the set-user-id bit. What was made here a
        // moment ago is no link.
        let here = &self.parent().descriptor;
        rfs::chmodat(here, &*at.name, mode, AtFlags::empty())
            .map_err(|errno| system::failed("set the permissions of", &at.path, errno))?;
        Ok(Made::Made)
    }

    /// Owner and time.
    fn settle(&self, entry: &TarEntry, at: &Spot) -> Result<()> {
        let meta = Meta::of(entry);
        if let Some((uid, gid)) = meta.owner().filter(|_| self.gives_away(meta)) {
            system::set_owner(&at.path, uid, gid)?;
        }
        Ok(system::set_time(&at.path, meta.mtime)?)
    }

    /// Deletions, then directories from the inside out.
    fn finish(mut self) -> Result<Option<Count>> {
        for path in std::mem::take(&mut self.whiteouts) {
            let (parent, name) = split(&path).expect("a whiteout names something");
            let parent = self.existing(parent)?;
            whiteout(&parent.path.join(OsStr::from_bytes(name)))?;
        }
        for path in std::mem::take(&mut self.opaque) {
            overlay::make_opaque(&self.existing(&path)?.path)?;
        }
        self.directories.sort_by(|a, b| b.0.cmp(&a.0));
        for (path, meta) in &self.directories {
            if let Some((uid, gid)) = meta.owner().filter(|_| self.gives_away(*meta)) {
                system::set_owner(path, uid, gid)?;
            }
            system::set_mode(path, meta.mode)?;
            system::set_time(path, meta.mtime)?;
        }
        Ok(self.count)
    }

    /// A directory that was entered before.
    fn existing(&self, path: &[u8]) -> Result<Directory> {
        let refused = |reason: &str| Error::BadEntry {
            layer: self.layer,
            entry: shortened(path),
            reason: reason.to_owned(),
        };
        match self.entered.root().open(path, Missing::Refuse) {
            Ok(Some(directory)) => Ok(directory),
            Ok(None) => Err(refused("was replaced within the layer")),
            Err(Refused::Because(reason)) => Err(refused(reason)),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    fn parent(&self) -> &Directory {
        self.entered.current()
    }

    fn refused(&self, entry: &TarEntry, refused: Refused) -> Error {
        match refused {
            Refused::Because(reason) => self.bad(entry, reason),
            Refused::Failed(error) => error,
        }
    }

    fn bad(&self, entry: &TarEntry, reason: &str) -> Error {
        Error::BadEntry {
            layer: self.layer,
            entry: shortened(&entry.path),
            reason: reason.to_owned(),
        }
    }
}

/// Refuses to fill the disk that the file is on to its end.
fn leaves_room(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let disk = rfs::fstatvfs(file)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let reserve = MOST_RESERVED.min(bytes(disk.f_blocks) / RESERVED_PART);
    if bytes(disk.f_bavail) < reserve {
        return Err(Errno::NOSPC);
    }
    Ok(())
}

/// A name that the layer also fills is not deleted; a directory then hides what was below it.
fn whiteout(path: &Path) -> Result<()> {
    match fs_err::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(overlay::make_whiteout(path)?),
        Err(error) => Err(error.into()),
        Ok(metadata) if metadata.is_dir() => Ok(overlay::make_opaque(path)?),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tar_writer::{Meta as TarMeta, TarWriter};

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        let meta = TarMeta {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        for name in names {
            writer.bytes(name.as_bytes(), meta, b"content").unwrap();
        }
        writer.finish().unwrap()
    }

    fn error_with(limits: Limits) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let archive = archive(&["first", "second", "third"]);
        let result = unpack(&archive[..], dir.path(), Digest::of(b""), limits);
        result.err().map(|error| error.to_string())
    }

    #[test]
    fn limits_are_exact() {
        // Three entries of a header and a block, and the end.
        let exact = Limits {
            entries: 3,
            names: 16,
            bytes: 3 * 1024 + 1024,
        };
        assert_eq!(error_with(exact), None);
        for (limits, expected) in [
            (
                Limits {
                    entries: 2,
                    ..exact
                },
                "it unpacks to more than 2 entries",
            ),
            (
                Limits { names: 15, ..exact },
                "it unpacks to more than 15 bytes of names",
            ),
            (
                Limits {
                    bytes: 2000,
                    ..exact
                },
                "it unpacks to more than 2000 bytes",
            ),
        ] {
            assert!(error_with(limits).unwrap().ends_with(expected));
        }
    }
}
