//! Collects what goes into a layer: from a directory, an overlayfs upper directory, or single files.
//!
//! The result is sorted by path, byte by byte, which puts parents before children and does not depend
//! on the file system's order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::content::Content;
use super::overlay::{self, Mark};
use super::system;
use super::{Entry, EntryKind, LayerOptions, Modes, Owner};
use crate::error::{Error, Result};

/// An entry to be written.
#[derive(Debug)]
pub(crate) struct Node {
    /// Path in the image, without leading or trailing slash.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: NodeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    Directory,
    /// A file on the host, with its size in bytes when it was looked at.
    File {
        source: Content,
        size: u64,
    },
    Bytes(Vec<u8>),
    Symlink(Vec<u8>),
    /// Another name for the file at this path in the layer.
    HardLink(Vec<u8>),
    Fifo,
}

/// How a directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Files as they are.
    Plain,
    /// Overlayfs's marks become deletions.
    Upper,
}

/// Lists `root` for a layer, and makes the files on disk agree with the list: what is excluded is
/// removed, permissions, owners and times are set. The directory is about to become the snapshot.
pub(crate) fn take_directory(
    root: &Path,
    reading: Reading,
    options: &LayerOptions,
) -> Result<Vec<Node>> {
    let mut scan = Scan {
        reading,
        options,
        excluded: options
            .exclude
            .iter()
            .map(|path| image_path(path))
            .collect::<Result<_>>()?,
        found: Vec::new(),
    };
    scan.directory(root, &[])?;
    let mut found = scan.found;
    found.sort_unstable_by(|a, b| a.node.path.cmp(&b.node.path));
    link_equal_inodes(&mut found);
    settle(&found, options)?;
    Ok(found.into_iter().map(|found| found.node).collect())
}

/// A node together with where it is on disk. Deletion markers have no file of their own in that form.
struct Found {
    node: Node,
    on_disk: Option<OnDisk>,
}

struct OnDisk {
    path: PathBuf,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Device and inode, for files with several names.
    inode: Option<(u64, u64)>,
}

struct Scan<'a> {
    reading: Reading,
    options: &'a LayerOptions,
    excluded: HashSet<Vec<u8>>,
    found: Vec<Found>,
}

impl Scan<'_> {
    fn directory(&mut self, dir: &Path, prefix: &[u8]) -> Result<()> {
        let entries = match fs_err::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                // `settle` gives it back the mode that the list has.
                system::set_mode(dir, 0o700)?;
                fs_err::read_dir(dir)?
            }
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = join(prefix, entry.file_name().as_bytes());
            if self.excluded.contains(&path) {
                remove(&entry.path())?;
            } else {
                self.entry(&entry.path(), &path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, source: &Path, path: &[u8]) -> Result<()> {
        let metadata = fs_err::symlink_metadata(source)?;
        let mark = match self.reading {
            Reading::Plain => Mark::None,
            Reading::Upper => overlay::mark(source, &metadata)?,
        };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.starts_with(overlay::WHITEOUT) {
            return refuse(
                source,
                "names that begin with `.wh.` mean deletions in layers",
            );
        }
        match mark {
            Mark::Whiteout => {
                let at = path.len() - name.len();
                let marker = [&path[..at], overlay::WHITEOUT, name].concat();
                self.found.push(marker_node(marker));
                return Ok(());
            }
            Mark::Opaque => {
                // The mount that made it knew one of the two namespaces; later ones may read the other.
                overlay::make_opaque(source)?;
                self.found.push(marker_node(join(path, overlay::OPAQUE)));
            }
            Mark::Elsewhere => {
                return refuse(
                    source,
                    "its content is not in the upper directory; mount the overlay with `redirect_dir=off,metacopy=off`",
                );
            }
            Mark::None => {}
        }
        let Some(kind) = kind_of(source, &metadata)? else {
            return Ok(());
        };
        let is_directory = matches!(kind, NodeKind::Directory);
        self.found
            .push(self.found_node(source.to_owned(), path.to_vec(), kind, &metadata));
        if is_directory {
            self.directory(source, path)
        } else {
            Ok(())
        }
    }

    fn found_node(
        &self,
        source: PathBuf,
        path: Vec<u8>,
        kind: NodeKind,
        metadata: &std::fs::Metadata,
    ) -> Found {
        let on_disk = OnDisk {
            path: source,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            inode: (metadata.nlink() > 1 && metadata.is_file())
                .then(|| (metadata.dev(), metadata.ino())),
        };
        let mode = match (self.options.modes, &kind) {
            (_, NodeKind::Symlink(_)) => 0o777,
            (Modes::Keep, _) => on_disk.mode,
            (Modes::Normalise, NodeKind::Directory) => 0o755,
            (Modes::Normalise, _) if on_disk.mode & 0o111 != 0 => 0o755,
            (Modes::Normalise, _) => 0o644,
        };
        let (uid, gid) = match self.options.owner {
            Owner::Root => (0, 0),
            Owner::Ids { uid, gid } => (uid, gid),
            Owner::Keep => (on_disk.uid, on_disk.gid),
        };
        Found {
            node: Node {
                path,
                kind,
                mode,
                uid,
                gid,
            },
            on_disk: Some(on_disk),
        }
    }
}

/// `None` for sockets: an archive cannot hold them, and they mean nothing once their process is gone.
fn kind_of(source: &Path, metadata: &std::fs::Metadata) -> Result<Option<NodeKind>> {
    let kind = metadata.file_type();
    Ok(Some(if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_file() {
        NodeKind::File {
            source: Content::At(source.to_owned()),
            size: metadata.len(),
        }
    } else if kind.is_symlink() {
        NodeKind::Symlink(fs_err::read_link(source)?.into_os_string().into_vec())
    } else if kind.is_fifo() {
        NodeKind::Fifo
    } else if kind.is_socket() {
        return Ok(None);
    } else {
        return refuse(source, "it is a device");
    }))
}

fn refuse<T>(path: &Path, reason: &str) -> Result<T> {
    Err(Error::Unpackable {
        path: path.to_owned(),
        reason: reason.to_owned(),
    })
}

fn marker_node(path: Vec<u8>) -> Found {
    let node = Node {
        path,
        kind: NodeKind::Bytes(Vec::new()),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    Found {
        node,
        on_disk: None,
    }
}

fn remove(path: &Path) -> Result<()> {
    Ok(system::remove_tree(path)?)
}

fn join(prefix: &[u8], name: &[u8]) -> Vec<u8> {
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// Of several names of one file, the first in order holds the content. Names outside the directory do
/// not count: package managers link files from their caches.
fn link_equal_inodes(found: &mut [Found]) {
    let mut first = HashMap::new();
    for found in found {
        let Some(inode) = found.on_disk.as_ref().and_then(|on_disk| on_disk.inode) else {
            continue;
        };
        let original = first
            .entry(inode)
            .or_insert_with(|| found.node.path.clone());
        if *original != found.node.path {
            found.node.kind = NodeKind::HardLink(original.clone());
        }
    }
}

/// Makes the files agree with the list. Children first: a directory may lose its write permission.
fn settle(found: &[Found], options: &LayerOptions) -> Result<()> {
    let change_owners = system::can_change_owners();
    for Found { node, on_disk } in found.iter().rev() {
        let Some(on_disk) = on_disk else { continue };
        if change_owners && (node.uid, node.gid) != (on_disk.uid, on_disk.gid) {
            system::set_owner(&on_disk.path, node.uid, node.gid)?;
        }
        // Changing the owner clears the set-user-id bit, and `directory` may have opened one.
        if !matches!(node.kind, NodeKind::Symlink(_))
            && (node.mode != on_disk.mode || node.mode & 0o6000 != 0 || node.mode & 0o500 != 0o500)
        {
            system::set_mode(&on_disk.path, node.mode)?;
        }
        system::set_time(&on_disk.path, options.timestamp)?;
    }
    Ok(())
}

/// The nodes of a layer made from `entries`, with missing parents added.
pub(crate) fn from_entries(entries: Vec<Entry>, owner: Owner) -> Result<Vec<Node>> {
    let (uid, gid) = match owner {
        Owner::Ids { uid, gid } => (uid, gid),
        Owner::Root | Owner::Keep => (0, 0),
    };
    let mut nodes = BTreeMap::new();
    for entry in entries {
        let path = image_path(&entry.path)?;
        if path
            .split(|b| *b == b'/')
            .any(|name| name.starts_with(overlay::WHITEOUT))
        {
            return refuse(
                &entry.path,
                "names that begin with `.wh.` mean deletions in layers",
            );
        }
        let (kind, mode) = match entry.kind {
            EntryKind::File(path) => (file(Content::At(path))?, entry.mode),
            EntryKind::FileIn { folder, path } => (file(Content::In { folder, path })?, entry.mode),
            EntryKind::Bytes(bytes) => (NodeKind::Bytes(bytes), entry.mode),
            EntryKind::Symlink(target) => (NodeKind::Symlink(target.into_bytes()), 0o777),
            EntryKind::Directory => (NodeKind::Directory, entry.mode),
        };
        let node = Node {
            path: path.clone(),
            kind,
            mode: mode & 0o7777,
            uid,
            gid,
        };
        if nodes.insert(path, node).is_some() {
            return refuse(&entry.path, "it is listed twice");
        }
    }
    let missing: HashSet<Vec<u8>> = nodes
        .keys()
        .flat_map(|path| parents(path))
        .filter(|parent| !nodes.contains_key(*parent))
        .map(<[u8]>::to_vec)
        .collect();
    for path in missing {
        // Written out, because readers differ in what they make of a parent that is not listed.
        let node = Node {
            path: path.clone(),
            kind: NodeKind::Directory,
            mode: 0o755,
            uid,
            gid,
        };
        nodes.insert(path, node);
    }
    for path in nodes.keys() {
        let blocked = |parent: &&[u8]| !matches!(nodes[*parent].kind, NodeKind::Directory);
        if let Some(parent) = parents(path).find(blocked) {
            return refuse(
                Path::new(OsStr::from_bytes(parent)),
                "an entry below it makes it a directory",
            );
        }
    }
    Ok(nodes.into_values().collect())
}

fn file(source: Content) -> Result<NodeKind> {
    let size = source.size()?;
    Ok(NodeKind::File { source, size })
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| &path[..at])
}

/// `path` as an archive has it; only plain relative paths are accepted.
fn image_path(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.as_os_str().len());
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return refuse(path, "paths in the image are relative and without `..`"),
        };
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend(name.as_bytes());
    }
    if bytes.is_empty() {
        refuse(path, "its path in the image is empty")
    } else {
        Ok(bytes)
    }
}
