//! Layers put together for a container.

use std::path::{Path, PathBuf};

use super::Store;
use super::leases::{Held, Lease};
use crate::error::Result;
use crate::layer::Layer;

/// The unpacked layers of one root file system, kept from pruning for as long as the value lives.
#[derive(Debug)]
pub struct Rootfs {
    layers: Vec<PathBuf>,
    _lease: Lease,
}

impl Rootfs {
    /// The directories, lowest first, none twice, as an overlay mount takes them. See
    /// [`Store::snapshot`] for what is in them.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// The file at `path` (relative, in the image) in the highest layer that has one. Links of
    /// directories are not followed.
    pub fn find(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        self.layers
            .iter()
            .rev()
            .map(|layer| layer.join(path.as_ref()))
            .find(|file| file.symlink_metadata().is_ok())
    }
}

impl Store {
    /// Puts `layers`, lowest first, together. What is in a registry is fetched, several blobs at a time;
    /// what is packed is unpacked.
    pub fn rootfs(&self, layers: &[Layer]) -> Result<Rootfs> {
        // Pruning between the lease and the look would take what is being looked at.
        let _working = self.lease()?;
        let layers = distinct(layers);
        let lease = self.hold(&Held::snapshots(&layers))?;
        let packed = layers
            .iter()
            .filter(|layer| !self.has_snapshot(&layer.diff_id));
        self.fetch(packed.map(|layer| &layer.blob))?;
        let paths = layers.iter().map(|layer| self.snapshot(layer));
        Ok(Rootfs {
            layers: paths.collect::<Result<_>>()?,
            _lease: lease,
        })
    }
}

/// `layers` without those that come again further up: an overlay takes no directory twice. The highest of
/// equal layers hides all of the lower ones, and also what lies between them, so it is the one to keep.
fn distinct<'a>(layers: &'a [Layer]) -> Vec<&'a Layer> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<&'a Layer> = layers
        .iter()
        .rev()
        .filter(|layer| seen.insert(layer.diff_id))
        .collect();
    kept.reverse();
    kept
}
