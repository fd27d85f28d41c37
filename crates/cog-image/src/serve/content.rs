//! What is served: an image's documents, and its layers in a form that the reader understands.

use std::collections::HashSet;
use std::io::Write;

use super::plain::plain_size;
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::layout::{
    ArchiveImage, LayoutImage, copy_plain, manifest_bytes, write_archive_to, write_layout_to,
};
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST, to_json};
use crate::store::{Store, StoredImage, copy_verified};

/// How media types of such layers end, Docker's and OCI's.
const ZSTD_SUFFIX: &str = "zstd";

/// Bytes of layers that are sent without a thought.
const FIRST_PORTION: u64 = 1 << 20;
/// How many times more the next ones may be.
const PORTION_GROWTH: u64 = 10;

/// Whether the reader understands layers that are compressed with Zstandard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zstd {
    /// All layers go as they are in the store.
    Understood,
    /// Such layers go without compression: over a loopback that is quicker than any other, and nothing has
    /// to be compressed again.
    Refused,
}

/// An image as it is served.
#[derive(Clone, Debug)]
pub struct Content {
    pub(super) manifest: Document,
    pub(super) config: Document,
    pub(super) layers: Vec<ServedLayer>,
}

/// A small document.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

/// A layer, and what it is served as.
#[derive(Clone, Debug)]
pub(super) struct ServedLayer {
    pub(super) blob: Descriptor,
    pub(super) layer: Layer,
}

impl Document {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(&bytes),
            bytes,
        }
    }
}

impl Content {
    /// An image of the store. Layers that are still in a registry stay there until they are asked for.
    pub fn of_image(store: &Store, image: &StoredImage, zstd: Zstd) -> Result<Self> {
        let _lease = store.lease()?;
        let config = store.read_document(&image.config_blob)?;
        let layers = served(store, &image.layers, zstd)?;
        let blobs: Vec<Descriptor> = layers.iter().map(|layer| layer.blob.clone()).collect();
        let is_as_stored = layers.iter().all(|one| one.blob == one.layer.blob);
        let manifest = if is_as_stored {
            let bytes = store.read_document(&image.manifest)?;
            Document::new(&image.manifest.media_type, bytes)
        } else {
            Document::new(OCI_MANIFEST, manifest_bytes(store, image, &blobs)?)
        };
        Ok(Self {
            manifest,
            config: Document::new(&image.config_blob.media_type, config),
            layers,
        })
    }

    /// An image of `layers` and `config` that has no name in the store.
    pub fn of_layers(
        store: &Store,
        config: &ImageConfig,
        layers: &[Layer],
        zstd: Zstd,
    ) -> Result<Self> {
        let _lease = store.lease()?;
        let config = Document::new(OCI_CONFIG, config.to_document(layers));
        let layers = served(store, layers, zstd)?;
        let described = Descriptor::new(OCI_CONFIG, config.digest, config.bytes.len() as u64);
        let blobs = layers.iter().map(|layer| layer.blob.clone()).collect();
        let manifest = Manifest::new(described, blobs);
        Ok(Self {
            manifest: Document::new(OCI_MANIFEST, to_json(&manifest)),
            config,
            layers,
        })
    }

    /// What a daemon may call the image that it makes of this: older ones by the config, newer ones by the
    /// manifest.
    pub fn ids(&self) -> [Digest; 2] {
        [self.config.digest, self.manifest.digest]
    }

    /// Writes the image as a Docker archive, for a daemon that cannot pull; all layers are in it.
    pub fn write_archive(&self, store: &Store, name: &str, out: &mut dyn Write) -> Result<()> {
        let _lease = store.lease()?;
        let layers = self.layers.iter().map(|served| &served.layer);
        store.fetch(layers.clone().map(|layer| &layer.blob))?;
        let sized = layers
            .map(|layer| Ok((layer, plain_size(store, layer)?)))
            .collect::<Result<Vec<_>>>()?;
        let image = ArchiveImage {
            config: (self.config.digest, &self.config.bytes),
            layers: &sized,
            name,
        };
        write_archive_to(store, &image, out)
    }

    /// All layers, by the addresses under which they are served.
    pub fn addresses(&self) -> HashSet<Digest> {
        self.layers
            .iter()
            .map(|served| served.blob.digest)
            .collect()
    }

    /// The layers that are not `there`, in portions, from those of small ones to those of large ones: for a daemon that does
    /// not say which it lacks. Each portion is at most about ten times what went before.
    pub fn portions(&self, there: &HashSet<Digest>) -> Vec<HashSet<Digest>> {
        let blobs = self.layers.iter().map(|served| &served.blob);
        let mut left: Vec<&Descriptor> =
            blobs.filter(|blob| !there.contains(&blob.digest)).collect();
        left.sort_by_key(|blob| blob.size);
        let mut portions: Vec<HashSet<Digest>> = Vec::new();
        let (mut before, mut most) = (0, FIRST_PORTION);
        for blob in left {
            if portions.is_empty() || before + blob.size > most {
                portions.push(HashSet::new());
                most = most.max((before + blob.size).saturating_mul(PORTION_GROWTH));
            }
            before += blob.size;
            portions
                .last_mut()
                .expect("one is there")
                .insert(blob.digest);
        }
        portions
    }

    /// Writes the image `name` as a tar file of an OCI layout, for a daemon that keeps images as registries have them; of its
    /// layers only those that are `wanted`.
    pub fn write_layout(
        &self,
        store: &Store,
        name: &str,
        wanted: &HashSet<Digest>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let _lease = store.lease()?;
        let layers = self.layers.iter();
        let layers: Vec<&ServedLayer> = layers
            .filter(|served| wanted.contains(&served.blob.digest))
            .collect();
        store.fetch(layers.iter().map(|served| &served.layer.blob))?;
        let blobs: Vec<&Descriptor> = layers.iter().map(|served| &served.blob).collect();
        let document = &self.manifest;
        let size = document.bytes.len() as u64;
        let image = LayoutImage {
            manifest: Descriptor::new(&document.media_type, document.digest, size),
            documents: [document, &self.config].map(|one| (one.digest, one.bytes.as_slice())),
            layers: &blobs,
            name,
        };
        write_layout_to(&image, out, |blob, mut target| {
            let served = self.layer(&blob.digest);
            let served = served.expect("it is one of these layers");
            served.write(store, &mut target)
        })
    }

    /// The layer that is served under `digest`.
    pub(super) fn layer(&self, digest: &Digest) -> Option<&ServedLayer> {
        self.layers.iter().find(|one| one.blob.digest == *digest)
    }
}

impl ServedLayer {
    /// Writes what is served and verifies it; a damaged blob is discarded, so that the next build heals it.
    pub(super) fn write(&self, store: &Store, target: &mut impl Write) -> Result<()> {
        let written = if self.blob == self.layer.blob {
            store
                .open_blob(&self.blob)
                .and_then(|file| copy_verified(file, target, &self.blob))
        } else {
            copy_plain(store, &self.layer, target)
        };
        if let Err(Error::CorruptBlob { expected, .. }) = &written {
            // If that fails, the error stays what it is.
            let _ = store.discard_blob(expected);
        }
        written
    }
}

fn served(store: &Store, layers: &[Layer], zstd: Zstd) -> Result<Vec<ServedLayer>> {
    let is_refused =
        |layer: &Layer| zstd == Zstd::Refused && layer.blob.media_type.ends_with(ZSTD_SUFFIX);
    // What has to be looked at is fetched; all at once is quicker than one after the other.
    let refused = layers.iter().filter(|layer| is_refused(layer));
    store.fetch(refused.map(|layer| &layer.blob))?;
    layers
        .iter()
        .map(|layer| {
            let blob = if is_refused(layer) {
                let size = plain_size(store, layer)?;
                Descriptor::new(OCI_LAYER_TAR, layer.diff_id.digest(), size)
            } else {
                layer.blob.clone()
            };
            Ok(ServedLayer {
                blob,
                layer: layer.clone(),
            })
        })
        .collect()
}
