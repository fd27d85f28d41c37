//! Images for several platforms, as an index in a registry lists them.

use std::collections::HashSet;

use super::answer::invalid;
use super::{Client, RegistryError, RemoteImage, manifest_request};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Index, Manifest, Platform, is_index, is_manifest, to_json};
use crate::reference::ImageRef;
use crate::store::Store;

/// No index lists more: one for each platform that there is, and what is said about each.
const MAX_LISTED: usize = 200;

/// Which of the images that an index lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All, with all else that it lists.
    All,
    /// Those for these platforms, with what it says about them.
    These(Vec<Platform>),
}

/// What a name in a registry stands for, as far as it is wanted. Its documents are in the store.
#[derive(Clone, Debug)]
pub(crate) struct Several {
    /// The index, or the one image that it is.
    pub(crate) entry: Descriptor,
    /// The images.
    pub(crate) images: Vec<RemoteImage>,
    /// Content of what an index lists besides.
    pub(crate) besides: Vec<Descriptor>,
}

impl Several {
    /// All that is missing until it is fetched.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let layers = self.images.iter().flat_map(|image| &image.layers);
        layers.map(|layer| &layer.blob).chain(&self.besides)
    }
}

impl Client {
    /// Fetches the documents of what is `wanted` of `reference` into the store, and remembers where the rest is, as
    /// [`Client::resolve`] does for one image. If that is all of an index, it is the index that the registry has, byte for
    /// byte; if it is less, one that lists no more than is there.
    pub(crate) async fn resolve_several(
        &self,
        store: &Store,
        reference: &ImageRef,
        wanted: &Wanted,
    ) -> Result<Several> {
        let entry = self
            .manifest(store, reference, &reference.version())
            .await?;
        if !is_index(&entry.media_type) {
            return self.single(store, reference, entry, wanted).await;
        }
        let what = format!("the index of `{reference}`");
        let index = Index::parse(&store.read_document(&entry)?, &what)?;
        let chosen = chosen(reference, &index, wanted)?;
        if chosen.len() > MAX_LISTED {
            let reason = format!("its index lists {} manifests", chosen.len());
            return Err(invalid(&manifest_request(reference, &reference.version()), reason).into());
        }
        let mut several = Several {
            entry,
            images: Vec::new(),
            besides: Vec::new(),
        };
        for one in &chosen {
            self.add(store, reference, one, &mut several).await?;
        }
        several.entry = match (wanted, chosen.as_slice()) {
            _ if chosen.len() == index.manifests.len() => several.entry,
            // As with an image that was pulled for the one platform.
            (Wanted::These(_), [only]) => only.clone(),
            _ => {
                let part = Index {
                    manifests: chosen,
                    ..index
                };
                store.put_document(&part.media_type, &to_json(&part))?
            }
        };
        Ok(several)
    }

    /// What is no index.
    async fn single(
        &self,
        store: &Store,
        reference: &ImageRef,
        entry: Descriptor,
        wanted: &Wanted,
    ) -> Result<Several> {
        let reference = &reference.clone().with_digest(entry.digest);
        // Which platform is named decides nothing of what has one.
        let image = self.resolve(store, reference, &Platform::host()).await?;
        let config = &image.config;
        let platform = Platform::new(&config.os, &config.architecture);
        if let Wanted::These(all) = wanted
            && let Some(missing) = all.iter().find(|one| !platform.matches(one))
        {
            return Err(RegistryError::NoFittingPlatform {
                reference: reference.clone().without_digest().familiar(),
                wanted: missing.to_string(),
                available: platform.shown(),
            }
            .into());
        }
        Ok(Several {
            entry: Descriptor {
                platform: Some(platform),
                ..entry
            },
            images: vec![image],
            besides: Vec::new(),
        })
    }

    /// Adds what the entry of an index lists.
    async fn add(
        &self,
        store: &Store,
        reference: &ImageRef,
        entry: &Descriptor,
        several: &mut Several,
    ) -> Result<()> {
        let version = entry.digest.to_string();
        if !is_manifest(&entry.media_type) {
            let reason = format!("it lists a `{}`", entry.media_type);
            return Err(invalid(&manifest_request(reference, &version), reason).into());
        }
        let pinned = reference.clone().with_digest(entry.digest);
        if entry.lists_image() {
            let image = self.resolve(store, &pinned, &Platform::host()).await;
            several
                .images
                .push(image.map_err(|error| gone(error, reference, entry))?);
            return Ok(());
        }
        let manifest = self.manifest(store, reference, &version).await;
        let manifest = manifest.map_err(|error| gone(error, reference, entry))?;
        let what = format!("the manifest of `{pinned}`");
        let manifest = Manifest::parse(&store.read_document(&manifest)?, &what)?;
        for blob in manifest.blobs() {
            store.record_origin(&blob.digest, reference.registry(), reference.repository())?;
            several.besides.push(blob.clone());
        }
        Ok(())
    }
}

/// The entries of `index` that are `wanted`, in its order.
fn chosen(reference: &ImageRef, index: &Index, wanted: &Wanted) -> Result<Vec<Descriptor>> {
    let Wanted::These(platforms) = wanted else {
        return Ok(index.manifests.clone());
    };
    let found = platforms.iter().map(|platform| {
        let entry = index.for_platform(platform);
        let entry = entry.filter(|entry| entry.lists_image());
        entry.map(|entry| entry.digest).ok_or(platform)
    });
    let (found, missing): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
    let missing: Vec<String> = missing
        .into_iter()
        .filter_map(Result::err)
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        return Err(RegistryError::NoFittingPlatform {
            reference: reference.familiar(),
            wanted: missing.join(" and "),
            available: index.platforms(),
        }
        .into());
    }
    let images: HashSet<Digest> = found.into_iter().flatten().collect();
    let is_wanted = |entry: &&Descriptor| {
        images.contains(&entry.digest) || entry.about().is_some_and(|about| images.contains(&about))
    };
    Ok(index.manifests.iter().filter(is_wanted).cloned().collect())
}

/// Says of something that is listed and not there for which platform it is.
pub(super) fn gone(error: Error, reference: &ImageRef, entry: &Descriptor) -> Error {
    let Error::Registry(RegistryError::NotFound { registry, .. }) = error else {
        return error;
    };
    let platform = entry.platform.as_ref();
    RegistryError::ListedGone {
        reference: reference.familiar(),
        platform: platform.map_or_else(|| "no known platform".to_owned(), Platform::shown),
        registry,
    }
    .into()
}
