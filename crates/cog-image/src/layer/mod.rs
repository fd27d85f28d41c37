//! Layers: what goes into one, and how it is written and read.
//!
//! `tree` collects entries, `tar_writer` and `tar_reader` handle the archive format,
//! `compress` makes blobs, `unpack` makes snapshots. Nothing here knows the store's layout.

mod behind;
pub(crate) mod compare;
pub(crate) mod compress;
mod content;
pub(crate) mod decompress;
mod gzip;
mod inside;
pub(crate) mod limits;
mod merge;
pub(crate) mod overlay;
pub(crate) mod system;
pub(crate) mod tar_reader;
pub(crate) mod tar_writer;
pub(crate) mod tree;
pub(crate) mod unpack;
pub(crate) mod write;

use std::path::PathBuf;

pub use merge::merge_upper;
use serde::{Deserialize, Serialize};

use crate::digest::DiffId;
use crate::manifest::Descriptor;

/// A layer: its content's address, the blob that holds it, and its history line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of the uncompressed tar stream; names the snapshot.
    pub diff_id: DiffId,
    /// The compressed blob.
    pub blob: Descriptor,
    /// The line in the image's history.
    pub created_by: String,
}

/// How to make a layer. Everything but `threads` is part of what decides the digest.
#[derive(Clone, Debug, Default)]
pub struct LayerOptions {
    /// The line in the image's history.
    pub created_by: String,
    /// How the blob is compressed.
    pub compression: Compression,
    /// Modification time of every entry, in seconds since the epoch.
    ///
    /// All entries get it, also older ones: when a file was unpacked or checked out differs from host
    /// to host.
    pub timestamp: i64,
    /// Owner of every entry.
    pub owner: Owner,
    /// What happens to permissions.
    pub modes: Modes,
    /// Paths in the image, without leading slash, that are left out with everything below them. They
    /// are removed from the directory, because that becomes the snapshot.
    pub exclude: Vec<PathBuf>,
    /// Threads that compress; 0 means one per core. The result is the same for every number.
    pub threads: usize,
}

/// How a layer's blob is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard: smaller and several times faster than gzip.
    #[default]
    Zstd,
    /// Gzip, for targets that cannot read Zstandard.
    Gzip,
    /// Not compressed.
    None,
}

/// Who owns the entries of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Root, whoever owns the files on the host: builds by root and by an ordinary user are equal.
    #[default]
    Root,
    /// The given numbers.
    Ids {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// As found on disk.
    Keep,
}

/// What happens to the permissions of a directory's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Modes {
    /// `0755` for directories and executable files, `0644` for others: independent of the host's umask.
    #[default]
    Normalise,
    /// As found on disk, including set-user-id and sticky bits.
    Keep,
}

/// One entry of a layer made from single files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path in the image, without leading slash.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, such as `0o644`. Ignored for symbolic links.
    pub mode: u32,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A copy of this file on the host; symbolic links are followed.
    File(PathBuf),
    /// A copy of the file at `path`, which is relative, in `folder`, where others can write: a link that is there, or on
    /// the way, is refused.
    FileIn {
        /// It is trusted.
        folder: PathBuf,
        /// From there.
        path: PathBuf,
    },
    /// A file with this content.
    Bytes(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(String),
    /// A directory. Missing parents of other entries are added by themselves, with mode `0755`.
    Directory,
}
