//! Images for other tools, and theirs for us: OCI layouts and Docker archives.
//!
//! [`export`] writes, [`import()`] reads, both verify every digest on the way; [`SavedImage`] is what a daemon hands out.
//! Registries are elsewhere
//! ([`crate::registry`]).

mod convert;
mod docker;
mod import;
mod oci;
mod output;
mod saved;
mod source;

use std::path::Path;

use self::oci::Contents;
use crate::error::{Error, Result};
use crate::layer::Compression;
use crate::store::{Store, StoredImage, StoredIndex};

pub(crate) use convert::copy_plain;
pub(crate) use docker::{ArchiveImage, write_archive_to};
pub use import::import;
pub(crate) use oci::{LayoutImage, manifest_bytes, write_layout_to};
pub use saved::SavedImage;
pub(crate) use source::LayoutSource;

/// What [`export`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportTarget {
    /// An OCI layout directory; an existing one gets the image added.
    OciDir,
    /// A tar file of an OCI layout.
    OciArchive,
    /// A tar file for `docker load`. Its layers are not compressed: every version reads that.
    DockerArchive,
}

/// How [`export`] writes.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// Converts the layers of an OCI layout to this compression, once: the store keeps the result.
    /// `None` leaves them as they are.
    pub compression: Option<Compression>,
}

/// What [`import()`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportSource {
    /// An OCI layout directory.
    OciDir,
    /// A tar file of an OCI layout, not compressed.
    OciArchive,
}

/// Writes `image` to `path`. Layers that are still in a registry are fetched. A file appears at `path`
/// only when it is complete, and in a directory the index is written last.
pub fn export(
    store: &Store,
    image: &StoredImage,
    target: ExportTarget,
    path: &Path,
    options: &ExportOptions,
) -> Result<()> {
    let _lease = store.lease()?;
    let contents = || Contents::of_image(store, image, options);
    let write = || {
        if options.compression.is_none() || target == ExportTarget::DockerArchive {
            // All at once is quicker than one after the other. Converted layers may be here already.
            store.fetch(image.layers.iter().map(|layer| &layer.blob))?;
        }
        match target {
            ExportTarget::OciDir => oci::write_dir(store, contents()?, path),
            ExportTarget::OciArchive => oci::write_archive(store, contents()?, path),
            ExportTarget::DockerArchive => docker::write_archive(store, image, path),
        }
    };
    placed(store, path, write())
}

/// Writes the images of `index`, for several platforms, to `path` as [`export`] does. An archive for Docker holds one
/// image, so it cannot be one.
pub fn export_index(
    store: &Store,
    index: &StoredIndex,
    target: ExportTarget,
    path: &Path,
    options: &ExportOptions,
) -> Result<()> {
    let _lease = store.lease()?;
    let contents = || Contents::of_index(store, index, options);
    let write = || {
        if options.compression.is_none() {
            let layers = index.images.iter().flat_map(|image| &image.layers);
            store.fetch(layers.map(|layer| &layer.blob))?;
        }
        match target {
            ExportTarget::OciDir => oci::write_dir(store, contents()?, path),
            ExportTarget::OciArchive => oci::write_archive(store, contents()?, path),
            ExportTarget::DockerArchive => Err(Error::Unsupported {
                what: format!("`{}` as an archive for Docker", index.name),
                reason: "it has images for several platforms, and such an archive holds one".into(),
            }),
        }
    };
    placed(store, path, write())
}

/// What writing to `path` came to, with errors that say what to do about it.
fn placed(store: &Store, path: &Path, written: Result<()>) -> Result<()> {
    written.map_err(|error: Error| {
        if let Error::CorruptBlob { expected, .. } = &error {
            // So that the next build makes it anew. If that fails, the error stays what it is.
            let _ = store.discard_blob(expected);
        }
        error.at_output(path)
    })
}
