//! Names: an OCI index that maps them to manifests.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::Store;
use crate::config::{ImageConfig, ParsedConfig};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::{Layer, system};
use crate::manifest::{
    Descriptor, Index, Manifest, OCI_CONFIG, OCI_MANIFEST, Platform, REF_NAME, is_index, to_json,
};
use crate::reference::ImageRef;
use crate::registry::RemoteImage;

/// A named image in the store.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// Its name in the form people write, always with a tag or digest: `hello:latest`. Images for several platforms
    /// may share one.
    pub name: String,
    /// The manifest; its digest identifies the image.
    pub manifest: Descriptor,
    /// The config blob.
    pub config_blob: Descriptor,
    /// The parsed config.
    pub config: ImageConfig,
    /// The layers, lowest first. Those of a base that is used by reference may not be in the store.
    pub layers: Vec<Layer>,
}

/// A line of the list of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// Name with tag, as in [`StoredImage::name`].
    pub name: String,
    /// Digest of the manifest, or of the index of images for several platforms.
    pub digest: Digest,
    /// What it is for.
    pub platforms: Vec<Platform>,
    /// When it was made, by its own account, in seconds since the epoch.
    pub created: i64,
    /// Bytes of all its blobs, whether they are in the store or not.
    pub size: u64,
}

impl Store {
    /// Stores the image of `layers` and `config` under `name`, an image reference, replacing the one that
    /// had the name.
    pub fn put_image(
        &self,
        name: &str,
        config: &ImageConfig,
        layers: &[Layer],
    ) -> Result<StoredImage> {
        let image = self.write_image(name, config, layers)?;
        self.name_image(&image)?;
        Ok(image)
    }

    /// The same without giving it the name, which [`Store::name_image`] or [`Store::put_index`] does. Until then, a lease
    /// on the store keeps it.
    pub fn write_image(
        &self,
        name: &str,
        config: &ImageConfig,
        layers: &[Layer],
    ) -> Result<StoredImage> {
        let name = canonical(name)?;
        let config_blob = self.put_document(OCI_CONFIG, &config.to_document(layers))?;
        let blobs = layers.iter().map(|layer| layer.blob.clone()).collect();
        let manifest = Manifest::new(config_blob.clone(), blobs);
        let manifest = self.put_document(OCI_MANIFEST, &to_json(&manifest))?;
        Ok(StoredImage {
            name,
            manifest,
            config_blob,
            config: config.clone(),
            layers: layers.to_vec(),
        })
    }

    /// Gives an image that is in the store its name, replacing the one that had it.
    pub fn name_image(&self, image: &StoredImage) -> Result<()> {
        self.put_name(&image.name, image.listed())
    }

    /// Gives a manifest that is in the store a name.
    pub(crate) fn put_name(&self, name: &str, mut manifest: Descriptor) -> Result<()> {
        manifest
            .annotations
            .insert(REF_NAME.into(), name.to_owned());
        let replaced = |entry: &Descriptor| name_of(entry) == Some(name);
        self.put_entry(&manifest, replaced)
    }

    /// Adds a line to the index in place of those that are `replaced`.
    pub(super) fn put_entry(
        &self,
        entry: &Descriptor,
        replaced: impl Fn(&Descriptor) -> bool,
    ) -> Result<()> {
        let change = |index: &mut Index| {
            index.manifests.retain(|known| !replaced(known));
            index.manifests.push(entry.clone());
            index.manifests.sort_by(|a, b| name_of(a).cmp(&name_of(b)));
        };
        self.change_index(change, || self.sync_documents(entry))
    }

    /// Gives an image whose documents are here its familiar name.
    pub(crate) fn name_remote(
        &self,
        reference: &ImageRef,
        platform: &Platform,
        image: &RemoteImage,
    ) -> Result<StoredImage> {
        let name = reference.familiar();
        let entry = Descriptor {
            platform: Some(platform.clone()),
            ..image.manifest.clone()
        };
        self.put_name(&name, entry.clone())?;
        self.load_image(name, &entry)
    }

    /// The image called `name`; `None` if there is none. Its manifest and config are verified. Where the name has
    /// images for several platforms, it is the one for this machine, else the first.
    pub fn image(&self, name: &str) -> Result<Option<StoredImage>> {
        let name = canonical(name)?;
        let Some(entry) = self.entry(&name)? else {
            return Ok(None);
        };
        if let Some(kind) = &entry.artifact_type {
            return Err(Error::Unsupported {
                what: format!("`{name}`"),
                reason: format!("it is no image but a `{kind}`"),
            });
        }
        self.load_image(name, &entry).map(Some)
    }

    /// All images, by name. One whose documents are damaged is listed without its size and time.
    pub fn images(&self) -> Result<Vec<ImageSummary>> {
        let summary = |entry: &Descriptor| {
            let name = name_of(entry).filter(|_| entry.artifact_type.is_none())?;
            let name = name.to_owned();
            let images = self.load_images(&name, entry).unwrap_or_default();
            let created = images.iter().map(|image| image.config.created).max();
            let documents = if is_index(&entry.media_type) {
                entry.size
            } else {
                0
            };
            Some(ImageSummary {
                name,
                digest: entry.digest,
                platforms: images.iter().map(StoredImage::platform).collect(),
                created: created.unwrap_or(0),
                size: match images.as_slice() {
                    [] => 0,
                    images => documents + size(images),
                },
            })
        };
        Ok(self.index()?.manifests.iter().filter_map(summary).collect())
    }

    /// Gives the image or artifact called `known` a further name, which is returned in its familiar form; `None` if
    /// there is none of that name.
    pub fn tag(&self, known: &str, name: &str) -> Result<Option<String>> {
        let (known, name) = (canonical(known)?, canonical(name)?);
        let Some(entry) = self.entry(&known)? else {
            return Ok(None);
        };
        self.put_name(&name, entry)?;
        Ok(Some(name))
    }

    /// Whether something is called `name`, be it damaged.
    pub fn has_name(&self, name: &str) -> Result<bool> {
        Ok(self.entry(&canonical(name)?)?.is_some())
    }

    /// Forgets the name; [`Store::prune`] then removes what only that image used. Returns whether the name
    /// was there.
    pub fn remove_image(&self, name: &str) -> Result<bool> {
        let name = canonical(name)?;
        let mut removed = false;
        let change = |index: &mut Index| {
            let before = index.manifests.len();
            index
                .manifests
                .retain(|entry| name_of(entry) != Some(&name));
            removed = index.manifests.len() < before;
        };
        self.change_index(change, || Ok(()))?;
        Ok(removed)
    }

    /// Forces a manifest and its config to disk: a name must not outlive what it names.
    fn sync_documents(&self, manifest: &Descriptor) -> Result<()> {
        let sync = |blob: &Descriptor| -> Result<()> { Ok(self.open_blob(blob)?.sync_data()?) };
        let mut documents = Vec::new();
        for manifest in self.manifests(manifest)? {
            let bytes = self.read_document(&manifest)?;
            documents.push(Manifest::parse(&bytes, "manifest")?.config);
            documents.push(manifest);
        }
        if is_index(&manifest.media_type) {
            documents.push(manifest.clone());
        }
        for document in &documents {
            sync(document)?;
        }
        Ok(system::sync_directory(&self.path("blobs/sha256"))?)
    }

    /// Forgets all names.
    pub(super) fn forget_names(&self) -> Result<()> {
        self.change_index(|index| index.manifests.clear(), || Ok(()))
    }

    /// The index's line for a name in its canonical form.
    pub(crate) fn entry(&self, name: &str) -> Result<Option<Descriptor>> {
        Ok(self
            .index()?
            .manifests
            .into_iter()
            .find(|entry| name_of(entry) == Some(name)))
    }

    /// Of an index, the image for this machine, else the first.
    pub(crate) fn load_image(&self, name: String, entry: &Descriptor) -> Result<StoredImage> {
        let entry = &self.manifest_here(&name, entry)?;
        let what = |part: &str| format!("the {part} of image `{name}`");
        let manifest = Manifest::parse(&self.read_document(entry)?, &what("manifest"))?;
        let config = ParsedConfig::parse(&self.read_document(&manifest.config)?, &what("config"))?;
        let layers = config.layers(&manifest.layers, &format!("image `{name}`"))?;
        let entry = Descriptor::new(entry.media_type.clone(), entry.digest, entry.size);
        Ok(StoredImage {
            name,
            manifest: entry,
            config_blob: manifest.config,
            config: config.config,
            layers,
        })
    }

    pub(super) fn index(&self) -> Result<Index> {
        match fs_err::read(self.path("index.json")) {
            Ok(bytes) => Index::parse(&bytes, &format!("`{}`", self.path("index.json").display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the changed index; `ready` waits until what it names is on disk.
    pub(super) fn change_index(
        &self,
        change: impl FnOnce(&mut Index),
        ready: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let write = || {
            let _lock = self.lock("index")?;
            let mut index = self.index()?;
            let before = index.clone();
            change(&mut index);
            if index == before {
                return ready();
            }
            let mut temporary = self.temporary_file()?;
            temporary.file.write_all(&to_json(&index))?;
            // Before the rename: afterwards a crash could leave an empty index, and all names be lost.
            temporary.file.sync_data()?;
            ready()?;
            temporary.rename(&self.path("index.json"))?;
            Ok(system::sync_directory(self.root())?)
        };
        write().map_err(|error: Error| error.at(self.root()))
    }
}

impl StoredImage {
    /// Bytes of all blobs. One that occurs twice counts once.
    pub fn size(&self) -> u64 {
        size(std::slice::from_ref(self))
    }

    /// What it is for, by its own account.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.config.os, &self.config.architecture)
    }

    /// Its manifest as an index lists it.
    pub(crate) fn listed(&self) -> Descriptor {
        Descriptor {
            platform: Some(self.platform()),
            ..self.manifest.clone()
        }
    }
}

/// Bytes of all blobs of `images`, each once.
pub(super) fn size(images: &[StoredImage]) -> u64 {
    let layers = images.iter().flat_map(|image| &image.layers);
    let documents = images
        .iter()
        .flat_map(|image| [&image.manifest, &image.config_blob]);
    let blobs: BTreeSet<(Digest, u64)> = layers
        .map(|layer| &layer.blob)
        .chain(documents)
        .map(|blob| (blob.digest, blob.size))
        .collect();
    blobs.iter().map(|(_, size)| size).sum()
}

pub(super) fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REF_NAME).map(String::as_str)
}

pub(super) fn canonical(name: &str) -> Result<String> {
    Ok(name.parse::<ImageRef>()?.familiar())
}
