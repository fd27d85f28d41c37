//! The content store: blobs, snapshots, steps and names under one directory.
//!
//! ```text
//! blobs/sha256/<hex>        content, by its digest
//! snapshots/<diff id>/      unpacked layers: `fs`, and `info.json` about it
//! steps/<key>               what a build step made
//! origins/<hex>             where a blob that is not here can be fetched
//! index.json, oci-layout    names; with `blobs` they make the store itself an OCI layout
//! environments/, packages/, debian/, uv/
//!                           what other crates download, install and make (see `usage`)
//! locks/, leases/           advisory locks; what is in use
//! tmp/, partial/            scratch space, unfinished downloads
//! ```
//!
//! **Invariant:** everything outside `tmp` and `partial` appears by a rename of something complete, so
//! a process killed at any moment leaves a usable store, and any number of processes may use it at once.
//!
//! Only `index.json` is forced to disk: a lost blob, snapshot or step can be made again, a name cannot.
//! After a crash of the whole machine, truncated blobs are noticed by their size, and snapshots are
//! checked before their first use in the next session (see `snapshots`).

mod blobs;
mod fetch;
mod images;
mod leases;
mod locks;
mod origins;
mod prune;
mod rootfs;
mod scratch;
mod snapshots;
mod steps;
mod usage;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::layer::tree::{self, Reading};
use crate::layer::write::write_layer;
use crate::layer::{Entry, Layer, LayerOptions};
use crate::manifest::Descriptor;

pub(crate) use blobs::{copy_verified, open_blob_file, read_verified};
pub use fetch::{Observer, StoreOptions, Transfer};
pub use images::{ImageSummary, StoredImage};
pub use leases::Lease;
pub use locks::LockGuard;
pub use prune::{Names, PruneOptions, PruneReport, Removed};
pub use rootfs::Rootfs;
pub use scratch::Scratch;
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

    fn create_directories(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        // Others on the machine have no business in here: layers may hold set-user-id files.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.root())
            .map_err(|error| {
                let text = format!(
                    "failed to create directory `{}`: {error}",
                    self.root().display()
                );
                std::io::Error::new(error.kind(), text)
            })?;
        for name in [
            "blobs/sha256",
            "snapshots",
            "steps",
            "origins",
            "locks",
            "leases",
            "tmp",
            "partial",
        ] {
            fs_err::create_dir_all(self.path(name))?;
        }
        let marker = self.path("oci-layout");
        if fs_err::symlink_metadata(&marker).is_err() {
            self.write_file(&marker, OCI_LAYOUT.as_bytes())?;
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
