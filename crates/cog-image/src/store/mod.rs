//! The content store: blobs, snapshots, steps and names under one directory.
//!
//! ```text
//! blobs/sha256/<hex>        content, by its digest
//! snapshots/<diff id>/      unpacked layers: `fs`, and `info.json` about it
//! steps/<key>               what a build step made
//! origins/<hex>             where a blob that is not here can be fetched
//! index.json, oci-layout    names; with `blobs` they make the store itself an OCI layout
//! environments/, projects/, packages/, debian/, uv/
//!                           what other crates download, install and make (see `usage`)
//! locks/, leases/           advisory locks; what is in use
//! serving/                  servers of projects that run now (looked after by the command line)
//! tmp/, partial/            scratch space, unfinished downloads
//! ```
//!
//! **Invariant:** everything outside `tmp` and `partial` appears by a rename of something complete, so
//! a process killed at any moment leaves a usable store, and any number of processes may use it at once.
//!
//! Only `index.json` and the documents that it names are forced to disk, in this order: documents, index,
//! and after each its directory. A lost layer, snapshot or step can be made again, a name cannot. After a
//! crash of the whole machine, truncated blobs are noticed by their size, and snapshots are checked before
//! their first use after a restart (see `snapshots`).

mod artifacts;
mod blobs;
mod digests;
mod fetch;
mod images;
mod indexes;
mod leases;
mod locks;
mod origins;
mod prune;
mod push;
mod rootfs;
mod scratch;
mod snapshots;
mod steps;
mod usage;
mod workers;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::digest::DiffId;
use crate::error::{Error, Result};
use crate::layer::tree::{self, Reading};
use crate::layer::write::{diff_id, write_layer};
use crate::layer::{Entry, Layer, LayerOptions, system};
use crate::manifest::Descriptor;

pub use artifacts::{Artifact, StoredArtifact};
pub(crate) use blobs::{copy_verified, open_blob_file, read_verified};
pub use fetch::{Observer, Pulled, StoreOptions, Transfer};
pub use images::{ImageSummary, StoredImage};
pub use indexes::StoredIndex;
pub use leases::Lease;
pub use locks::LockGuard;
pub use prune::{Names, PruneOptions, PruneReport, Removed};
pub use push::Pushing;
pub use rootfs::Rootfs;
pub use scratch::Scratch;
pub(crate) use scratch::unique_name;
pub(crate) use snapshots::SnapshotState;
pub use steps::{StepKey, StepKeyBuilder, StepRecord};
pub use usage::{Kind, Usage};

/// Names the directory of the store, before all else.
pub const COG_CACHE_DIR: &str = "COG_CACHE_DIR";

/// What `oci-layout` holds in every layout.
pub(crate) const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The content store. Cheap to clone; clones share scratch space.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Where blobs are written before they are renamed into place; made when first needed.
    staging: Mutex<Option<Arc<Scratch>>>,
    remote: fetch::Remote,
}

const DIRECTORIES: [&str; 9] = [
    "blobs",
    "blobs/sha256",
    "snapshots",
    "steps",
    "origins",
    "locks",
    "leases",
    "tmp",
    "partial",
];

impl Store {
    /// Opens the store at `root`, creating it if needed.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_with(root, StoreOptions::default())
    }

    /// Opens the store at `root`, which reaches registries as `options` say.
    pub fn open_with(root: &Path, options: StoreOptions) -> Result<Self> {
        let root = std::path::absolute(root)?;
        let store = Self {
            inner: Arc::new(Inner {
                root,
                staging: Mutex::default(),
                remote: fetch::Remote::new(options),
            }),
        };
        store
            .create_directories()
            .map_err(|error| error.at(store.root()))?;
        Ok(store)
    }

    /// `$COG_CACHE_DIR`, else `$XDG_CACHE_HOME/cog`, else `~/.cache/cog`. Empty variables count as unset.
    pub fn default_root() -> Result<PathBuf> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        variable(COG_CACHE_DIR)
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("cog")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/cog")))
            .ok_or(Error::NoStoreRoot)
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// A fresh directory on the store's file system, removed when the value is dropped. What killed
    /// processes left behind goes at the next occasion.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::create(&self.path("tmp")).map_err(|error| error.at(self.root()))
    }

    /// Makes a layer of the directory `dir`, which must lie inside a [`Scratch`] of this store.
    ///
    /// Nothing is copied: the directory moves and becomes the layer's snapshot. Before that, excluded
    /// paths are removed from it, and permissions, owners and times are set to what the layer says; files
    /// hard-linked from elsewhere change there, too. Sockets are left out, devices are an error.
    pub fn add_layer_from_dir(&self, dir: &Path, options: &LayerOptions) -> Result<Layer> {
        self.add_layer_from_tree(dir, Reading::Plain, options)
    }

    /// Makes a layer of what the directory `dir` is now. The directory stays; permissions and times in it change as they do
    /// for [`Store::add_layer_from_dir`].
    pub fn add_layer_like(&self, dir: &Path, options: &LayerOptions) -> Result<Layer> {
        let add = || {
            let nodes = tree::take_directory(dir, Reading::Plain, options)?;
            self.write_blob(&nodes, options)
        };
        add().map_err(|error: Error| error.at(self.root()))
    }

    /// Makes a layer of an overlayfs upper directory inside a [`Scratch`] of this store. It moves and
    /// becomes the snapshot; in the blob, overlayfs's marks are written as `.wh.` entries.
    ///
    /// The overlay must have been mounted with `redirect_dir=off,metacopy=off`, and be unmounted.
    pub fn add_layer_from_upper(&self, upper: &Path, options: &LayerOptions) -> Result<Layer> {
        self.add_layer_from_tree(upper, Reading::Upper, options)
    }

    /// Makes a layer of single files. Its snapshot is made from the blob when first asked for.
    pub fn add_layer_from_entries(
        &self,
        entries: Vec<Entry>,
        options: &LayerOptions,
    ) -> Result<Layer> {
        let nodes = tree::from_entries(entries, options.owner)?;
        self.write_blob(&nodes, options)
            .map_err(|error| error.at(self.root()))
    }

    /// What [`Self::add_layer_from_entries`] would call the layer. Nothing is compressed or written.
    pub fn diff_id_of_entries(
        &self,
        entries: Vec<Entry>,
        options: &LayerOptions,
    ) -> Result<DiffId> {
        diff_id(&tree::from_entries(entries, options.owner)?, options)
    }

    fn add_layer_from_tree(
        &self,
        dir: &Path,
        reading: Reading,
        options: &LayerOptions,
    ) -> Result<Layer> {
        let add = || {
            let nodes = tree::take_directory(dir, reading, options)?;
            let layer = self.write_blob(&nodes, options)?;
            self.adopt_snapshot(&layer.diff_id, dir, &nodes)?;
            Ok(layer)
        };
        add().map_err(|error: Error| error.at(self.root()))
    }

    fn write_blob(&self, nodes: &[tree::Node], options: &LayerOptions) -> Result<Layer> {
        let (writer, written) = write_layer(nodes, options, self.blob_writer()?)?;
        writer.commit_as(written.digest)?;
        Ok(Layer {
            diff_id: written.diff_id,
            blob: Descriptor::new(
                options.compression.media_type(),
                written.digest,
                written.size,
            ),
            created_by: options.created_by.clone(),
        })
    }

    /// Puts the finished directory `from`, which lies in a [`Scratch`] of this store, at `to` in one step:
    /// whenever somebody looks, the old one or the new one is there, and whole. The old one goes with the
    /// scratch directory.
    pub fn publish(&self, from: &Path, to: &Path) -> Result<()> {
        system::replace_directory(from, to).map_err(|error| Error::from(error).at(self.root()))
    }

    fn create_directories(&self) -> Result<()> {
        let is_new = create_private(self.root())?;
        self.secure_root()?;
        for name in DIRECTORIES {
            create_private(&self.path(name))?;
        }
        let marker = self.path("oci-layout");
        if fs_err::symlink_metadata(&marker).is_err() {
            self.write_file(&marker, OCI_LAYOUT.as_bytes())?;
            // Names that are forced to disk later are of no use in directories that are not.
            system::sync_directory(&self.path("blobs"))?;
            system::sync_directory(self.root())?;
        }
        if let (true, Some(parent)) = (is_new, self.root().parent()) {
            system::sync_directory(parent)?;
        }
        Ok(())
    }

    /// Others on the machine have no business in here: layers may hold set-user-id files, and whoever can
    /// write here decides what we run. The root may have been made by somebody else.
    fn secure_root(&self) -> Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs_err::metadata(self.root())?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user {
            return Err(Error::ForeignStore {
                path: self.root().to_owned(),
                owner: metadata.uid(),
                user,
            });
        }
        if metadata.mode() & 0o077 != 0 {
            // File systems without permissions, such as FAT, refuse.
            let _ = system::set_mode(self.root(), 0o700);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.root.join(name)
    }

    /// Writes a small file at once.
    fn write_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        use std::io::Write;
        let mut file = self.temporary_file()?;
        file.file.write_all(content)?;
        Ok(file.rename(path)?)
    }
}

/// Makes `path` and its parents for the owner alone, whatever the umask is; whether it was not there.
fn create_private(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::DirBuilderExt as _;
    if path.is_dir() {
        return Ok(false);
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            let text = format!("failed to create directory `{}`: {error}", path.display());
            std::io::Error::new(error.kind(), text)
        })?;
    system::set_mode(path, 0o700)?;
    Ok(true)
}
