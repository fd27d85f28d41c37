//! The crate's error type. Messages name what failed and on what; its [`Hint`] says what to do.

use std::io;
use std::path::PathBuf;

use cog_errors::{Hint, line};

use crate::digest::{DiffId, Digest};
use crate::registry::{CredentialsError, RegistryError};
use crate::trust::CertificateError;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with images on disk; [`RegistryError`] covers the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),

    /// The file system that holds the store, or an export, is full.
    #[error("no space left on the disk that holds `{}`", path.display())]
    DiskFull {
        /// What was being written to.
        path: PathBuf,
        /// Whose disk it is.
        disk: Disk,
        /// The failing file operation.
        #[source]
        source: io::Error,
    },

    /// Text that should be a digest is not one.
    #[error(
        "`{}` is not a digest of the form `sha256:<64 hex digits>`",
        line(text)
    )]
    InvalidDigest {
        /// The text, shortened.
        text: String,
    },

    /// Text that should be an image reference is not one.
    #[error("`{}` is not an image reference: {reason}", line(text))]
    InvalidReference {
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// No cache directory can be derived from the environment.
    #[error(
        "no place for the image store: neither `COG_CACHE_DIR`, `XDG_CACHE_HOME` nor `HOME` is set"
    )]
    NoStoreRoot,

    /// The store's directory belongs to another user, who could replace what is in it.
    #[error("the image store `{}` belongs to user {owner}, not to user {user}, who runs this", path.display())]
    ForeignStore {
        /// The store's directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        user: u32,
    },

    /// A JSON document in the store, a layout or a registry's answer does not have the expected form.
    #[error("{what} is not valid")]
    InvalidDocument {
        /// Which document.
        what: String,
        /// Where parsing stopped.
        #[source]
        source: serde_json::Error,
    },

    /// An image or layout asks for something this crate does not support.
    #[error("{what}: {}", line(reason))]
    Unsupported {
        /// The image, layout or layer.
        what: String,
        /// What is not supported.
        reason: String,
    },

    /// A name is not in the store.
    #[error("no image `{name}` in the local store")]
    NoSuchImage {
        /// The name that was looked for.
        name: String,
    },

    /// A layout holds no image that fits.
    #[error("`{}` holds no image for {wanted}", path.display())]
    NoFittingImage {
        /// The layout.
        path: PathBuf,
        /// Name or platform that was asked for.
        wanted: String,
    },

    /// A blob that an image needs is not in the store.
    #[error("blob {digest} is not in the store")]
    MissingBlob {
        /// Its address.
        digest: Digest,
    },

    /// Blobs that an image in the store needs, and that are in a registry alone, did not come from there.
    #[error("{}, and could not be fetched", absent(blobs))]
    NotFetched {
        /// Their addresses.
        blobs: Vec<Digest>,
        /// What the registry said to one of them.
        #[source]
        source: Box<RegistryError>,
    },

    /// A part of an image that is pushed is in other registries alone, and did not come from there.
    #[error(
        "layer {digest} is not in the store, and could not be fetched from {}",
        list(places)
    )]
    PartNotFetched {
        /// Its address.
        digest: Digest,
        /// Registries with the repositories that had it.
        places: Vec<String>,
        /// What the first of these said.
        #[source]
        source: Box<RegistryError>,
    },

    /// A blob's bytes do not hash to its address.
    #[error("blob {expected} is corrupt: its content hashes to {actual}")]
    CorruptBlob {
        /// The address.
        expected: Digest,
        /// What its bytes hash to.
        actual: Digest,
    },

    /// A blob has another size than its descriptor says.
    #[error("blob {digest} has {actual} bytes instead of {expected}")]
    WrongSize {
        /// Its address.
        digest: Digest,
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Size found, in bytes.
        actual: u64,
    },

    /// A layer unpacks to something else than its image config says.
    #[error("layer {layer} unpacks to {actual} instead of {expected}")]
    WrongDiffId {
        /// The layer's blob.
        layer: Digest,
        /// From the image config.
        expected: DiffId,
        /// Computed.
        actual: DiffId,
    },

    /// An entry of a layer is hostile, or cannot be represented here.
    #[error("layer {layer}: entry `{}` {}", line(entry), line(reason))]
    BadEntry {
        /// The layer's blob.
        layer: Digest,
        /// The entry's name as written in the archive, shortened and escaped.
        entry: String,
        /// Why it was refused.
        reason: String,
    },

    /// A layer is not a readable archive.
    #[error("layer {layer} cannot be read: {}", line(reason))]
    BadArchive {
        /// The layer's blob.
        layer: Digest,
        /// What is wrong with it.
        reason: String,
    },

    /// A file cannot become part of a layer.
    #[error("`{}` cannot go into a layer: {reason}", path.display())]
    Unpackable {
        /// The file or image path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },

    /// A file became another one while a layer was made of it.
    #[error("`{}` cannot go into a layer: it changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },

    /// The target of an export exists and is something else.
    #[error("cannot write an image to `{}`: {reason}", path.display())]
    BadTarget {
        /// The target.
        path: PathBuf,
        /// What is in the way.
        reason: &'static str,
    },

    /// An image cannot be served to a daemon.
    #[error("could not serve the image on this machine's loopback")]
    Serve {
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },

    /// `COG_CA_CERT` is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),

    /// Credentials could not be stored.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),

    /// Talking to a registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Which blobs are not there.
fn absent(blobs: &[Digest]) -> String {
    match blobs {
        [one] => format!("blob {one} is not in the store"),
        several => format!("{} blobs are not in the store", several.len()),
    }
}

/// What can be done about `error`, and what besides.
fn or_else(error: &RegistryError, again: &str) -> String {
    match error.hint() {
        Some(hint) => format!("{hint}; {again}"),
        None => again.into(),
    }
}

/// One of these.
fn list(places: &[String]) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    places.join(" or ")
}

/// What a full disk was to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// The store.
    Store,
    /// Something that is written for others.
    Output,
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Self::hint(self)
    }
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DiskFull {
                disk: Disk::Store, ..
            } => Some(
                "free some space with `cog prune`, or set `COG_CACHE_DIR` to a larger disk".into(),
            ),
            Self::DiskFull {
                disk: Disk::Output, ..
            } => Some("free some space there, or write to another disk".into()),
            Self::Changed { .. } => {
                Some("build again; if it changes all the time, leave it out in `.dockerignore`".into())
            }
            Self::NoStoreRoot => Some("set `COG_CACHE_DIR` to a directory".into()),
            Self::ForeignStore { .. } => Some(
                "set `COG_CACHE_DIR` to a directory of your own; one that is not there yet is made"
                    .into(),
            ),
            Self::NoSuchImage { .. } => Some("`cog images` lists the images that are there".into()),
            Self::CorruptBlob { .. } | Self::WrongSize { .. } | Self::WrongDiffId { .. } => {
                Some("the store was damaged from outside; build or pull the image again, which replaces what is broken".into())
            }
            Self::MissingBlob { .. } => Some("build or pull the image again".into()),
            Self::NotFetched { source, .. } => {
                Some(or_else(source, "what was made here, `cog build` makes again"))
            }
            Self::PartNotFetched { source, .. } => Some(or_else(
                source,
                "what was made here, `cog push` without `--no-build` makes again",
            )),
            Self::Registry(error) => error.hint(),
            _ => None,
        }
    }

    /// Turns "no space left" into [`Error::DiskFull`], which names the store's disk instead of a temporary file.
    pub(crate) fn at(self, path: impl Into<PathBuf>) -> Self {
        self.on(Disk::Store, path)
    }

    /// The same for what is written elsewhere.
    pub(crate) fn at_output(self, path: impl Into<PathBuf>) -> Self {
        self.on(Disk::Output, path)
    }

    fn on(self, disk: Disk, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::DiskFull {
                    path: path.into(),
                    disk,
                    source,
                }
            }
            other => other,
        }
    }
}
