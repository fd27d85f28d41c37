//! Images for several platforms under one name: an OCI index that lists them.

use super::images::canonical;
use super::{Store, StoredImage};
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Index, OCI_INDEX, Platform, is_index, is_manifest, to_json};

/// A named index in the store.
#[derive(Clone, Debug)]
pub struct StoredIndex {
    /// Its name, as in [`StoredImage::name`].
    pub name: String,
    /// The index itself; its digest identifies all of it.
    pub descriptor: Descriptor,
    /// The images, in its order.
    pub images: Vec<StoredImage>,
    /// What it says. It may list what is no image, such as what BuildKit says about them.
    pub document: Index,
}

impl Store {
    /// Stores `images`, which are in the store and for different platforms, under `name` in place of what had it. The
    /// order in which they are given decides nothing.
    pub fn put_index(&self, name: &str, mut images: Vec<StoredImage>) -> Result<StoredIndex> {
        let name = canonical(name)?;
        images.sort_by_key(|image| image.platform().to_string());
        for image in &mut images {
            image.name.clone_from(&name);
        }
        let document = Index {
            manifests: images.iter().map(StoredImage::listed).collect(),
            ..Index::default()
        };
        let descriptor = self.put_document(OCI_INDEX, &to_json(&document))?;
        self.put_name(&name, descriptor.clone())?;
        Ok(StoredIndex {
            name,
            descriptor,
            images,
            document,
        })
    }

    /// The index called `name`; `None` if there is none, or if it is a single image.
    pub fn image_index(&self, name: &str) -> Result<Option<StoredIndex>> {
        let name = canonical(name)?;
        let entry = self.entry(&name)?;
        let Some(entry) = entry.filter(|entry| is_index(&entry.media_type)) else {
            return Ok(None);
        };
        let images = self.load_images(&name, &entry)?;
        let document = self.listed_in(&entry)?;
        Ok(Some(StoredIndex {
            name,
            descriptor: Descriptor::new(&entry.media_type, entry.digest, entry.size),
            images,
            document,
        }))
    }

    /// The images of an index, or the one image that `entry` is.
    pub(super) fn load_images(&self, name: &str, entry: &Descriptor) -> Result<Vec<StoredImage>> {
        let mut manifests = self.manifests(entry)?;
        if is_index(&entry.media_type) {
            manifests.retain(Descriptor::lists_image);
        }
        let load = |manifest: &Descriptor| self.load_image(name.to_owned(), manifest);
        manifests.iter().map(load).collect()
    }

    /// The manifests that an index lists, or the one that `entry` is.
    pub(crate) fn manifests(&self, entry: &Descriptor) -> Result<Vec<Descriptor>> {
        if !is_index(&entry.media_type) {
            return Ok(vec![entry.clone()]);
        }
        let mut manifests = self.listed_in(entry)?.manifests;
        manifests.retain(|manifest| is_manifest(&manifest.media_type));
        Ok(manifests)
    }

    /// The manifest for this machine of the index `entry`, else the first that it lists; `entry` if it is no index.
    pub(super) fn manifest_here(&self, name: &str, entry: &Descriptor) -> Result<Descriptor> {
        if !is_index(&entry.media_type) {
            return Ok(entry.clone());
        }
        let index = self.listed_in(entry)?;
        let mut images = index.manifests.iter().filter(|one| one.lists_image());
        let here = index.for_platform(&Platform::host());
        let found = here.or_else(|| images.next()).cloned();
        found.ok_or_else(|| Error::Unsupported {
            what: format!("`{name}`"),
            reason: "it is an index that lists no image".to_owned(),
        })
    }

    fn listed_in(&self, entry: &Descriptor) -> Result<Index> {
        Index::parse(
            &self.read_document(entry)?,
            &format!("the index {}", entry.digest),
        )
    }
}

impl StoredIndex {
    /// The image for `platform`.
    pub fn for_platform(&self, platform: &Platform) -> Option<&StoredImage> {
        let mut images = self.images.iter();
        images.find(|image| image.platform().matches(platform))
    }

    /// What it lists that is no image.
    pub(crate) fn besides(&self) -> impl Iterator<Item = &Descriptor> {
        let is_image = |entry: &Descriptor| {
            let mut images = self.images.iter();
            images.any(|image| image.manifest.digest == entry.digest)
        };
        let listed = self.document.manifests.iter();
        listed.filter(move |entry| !is_image(entry))
    }
}
