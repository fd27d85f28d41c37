//! Reads an image from an OCI layout into the store.

use std::path::Path;

use super::{ImportSource, LayoutSource};
use crate::config::ParsedConfig;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Index, Manifest, Platform, REF_NAME, is_index, is_manifest};
use crate::reference::ImageRef;
use crate::store::{Store, StoredImage, read_verified};

/// Indexes may point to indexes; real ones do so once.
const MAX_NESTING: usize = 4;

/// Reads an image from `path` into the store under `name`. If the layout holds several, the one whose
/// name or tag is that of `name` is taken; within an index, the one for `linux/amd64`.
///
/// Every blob is verified. Layers are verified against their diff ids when they are unpacked.
pub fn import(store: &Store, source: ImportSource, path: &Path, name: &str) -> Result<StoredImage> {
    let reference: ImageRef = name.parse()?;
    let _lease = store.lease()?;
    let layout = match source {
        ImportSource::OciDir => LayoutSource::dir(path),
        ImportSource::OciArchive => LayoutSource::archive(path)?,
    };
    let index = layout
        .index()?
        .ok_or_else(|| none_fits(&layout, &reference.familiar()))?;
    let entry =
        pick(&index, &reference).ok_or_else(|| none_fits(&layout, &reference.familiar()))?;
    let entry = resolve_index(&layout, entry)?;
    let what = |part: &str| format!("the {part} of the image in `{}`", path.display());
    let manifest_bytes = read_verified(layout.open_blob(&entry)?, &entry)?;
    let manifest = Manifest::parse(&manifest_bytes, &what("manifest"))?;
    let config_bytes = read_verified(layout.open_blob(&manifest.config)?, &manifest.config)?;
    let config = ParsedConfig::parse(&config_bytes, &what("config"))?;
    config.layers(
        &manifest.layers,
        &format!("the image in `{}`", path.display()),
    )?;
    for blob in &manifest.layers {
        if !store.has_blob(blob) {
            store.copy_blob_in(layout.open_blob(blob)?, blob)?;
        }
    }
    store.put_document(&manifest.config.media_type, &config_bytes)?;
    let mut stored = store.put_document(&entry.media_type, &manifest_bytes)?;
    stored.platform = Some(Platform::new(config.config.os, config.config.architecture));
    let name = reference.familiar();
    store.put_name(&name, stored.clone())?;
    import_referrers(store, &layout, &index, &stored.digest)?;
    store.load_image(name, &stored)
}

/// Reads what the layout says about `subject`, and what it says about that.
fn import_referrers(
    store: &Store,
    layout: &LayoutSource,
    index: &Index,
    subject: &Digest,
) -> Result<()> {
    let mut candidates = Vec::new();
    for entry in &index.manifests {
        if is_manifest(&entry.media_type) && entry.digest != *subject {
            let bytes = read_verified(layout.open_blob(entry)?, entry)?;
            let what = format!("manifest {} in `{}`", entry.digest, layout.path().display());
            let manifest = Manifest::parse(&bytes, &what)?;
            candidates.push((manifest, bytes));
        }
    }
    let mut subjects = vec![*subject];
    while let Some(subject) = subjects.pop() {
        let (found, rest) = candidates.into_iter().partition(|(manifest, _)| {
            let about = manifest.subject.as_ref();
            about.is_some_and(|about| about.digest == subject)
        });
        candidates = rest;
        let found: Vec<(Manifest, Vec<u8>)> = found;
        for (manifest, bytes) in found {
            for blob in manifest.blobs() {
                if !store.has_blob(blob) {
                    store.copy_blob_in(layout.open_blob(blob)?, blob)?;
                }
            }
            subjects.push(store.put_artifact_manifest(None, &bytes)?.manifest.digest);
        }
    }
    Ok(())
}

fn none_fits(layout: &LayoutSource, wanted: &str) -> Error {
    Error::NoFittingImage {
        path: layout.path().to_owned(),
        wanted: format!("`{wanted}`"),
    }
}

fn pick<'a>(index: &'a Index, wanted: &ImageRef) -> Option<&'a Descriptor> {
    let names = [
        wanted.familiar(),
        wanted.to_string(),
        wanted.tag().unwrap_or_default().to_owned(),
    ];
    let fits = |entry: &&Descriptor| {
        entry
            .annotations
            .get(REF_NAME)
            .is_some_and(|name| names.contains(name))
    };
    // What is said about an image, and other artifacts, are no images.
    let is_image = |entry: &&Descriptor| entry.artifact_type.is_none();
    let mut images = index.manifests.iter().filter(is_image);
    match (images.next(), images.next()) {
        (Some(only), None) => Some(only),
        _ => index
            .manifests
            .iter()
            .filter(is_image)
            .find(fits)
            .or_else(|| index.for_platform(&Platform::linux_amd64())),
    }
}

fn resolve_index(layout: &LayoutSource, entry: &Descriptor) -> Result<Descriptor> {
    let platform = Platform::linux_amd64();
    let mut entry = entry.clone();
    for _ in 0..MAX_NESTING {
        if !is_index(&entry.media_type) {
            return Ok(entry);
        }
        let bytes = read_verified(layout.open_blob(&entry)?, &entry)?;
        let index = Index::parse(
            &bytes,
            &format!("an index in `{}`", layout.path().display()),
        )?;
        entry = index
            .for_platform(&platform)
            .cloned()
            .ok_or_else(|| Error::NoFittingImage {
                path: layout.path().to_owned(),
                wanted: format!("platform {platform}"),
            })?;
    }
    Err(Error::Unsupported {
        what: format!("`{}`", layout.path().display()),
        reason: "indexes nested too deeply".into(),
    })
}
