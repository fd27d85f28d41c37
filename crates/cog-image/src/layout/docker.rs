//! Docker archives: what `docker load` has read since version 1.10.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::convert::copy_plain;
use super::output::{Archive, META, write_member};
use crate::digest::Digest;
use crate::error::Result;
use crate::layer::Layer;
use crate::layer::tar_writer::TarWriter;
use crate::manifest::to_json;
use crate::reference::ImageRef;
use crate::store::{Store, StoredImage};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

pub(super) fn write_archive(store: &Store, image: &StoredImage, path: &Path) -> Result<()> {
    let config = store.read_document(&image.config_blob)?;
    let config_name = format!("{}.json", image.config_blob.digest.hex());
    let names: Vec<String> = image.layers.iter().map(file_name).collect();
    let tag = image
        .name
        .parse::<ImageRef>()
        .ok()
        .filter(|name| name.tag().is_some());
    let manifest = [ManifestEntry {
        config: config_name.clone(),
        repo_tags: tag.map(|_| image.name.clone()).into_iter().collect(),
        layers: names.clone(),
    }];
    let mut archive = Archive::create(path)?;
    archive.bytes("manifest.json", &to_json(&manifest))?;
    archive.bytes(&config_name, &config)?;
    let mut written = HashSet::new();
    for (layer, name) in image.layers.iter().zip(&names) {
        if written.insert(name) {
            archive.stream(name, |target| copy_plain(store, layer, target))?;
        }
    }
    archive.commit()
}

/// An image for [`write_archive_to`].
pub(crate) struct ArchiveImage<'a> {
    /// The config document and its address.
    pub(crate) config: (Digest, &'a [u8]),
    /// The layers, lowest first, with the sizes of their tar streams.
    pub(crate) layers: &'a [(&'a Layer, u64)],
    /// What the image is called.
    pub(crate) name: &'a str,
}

/// The same for somebody who reads while it is written: nothing is gone back to.
pub(crate) fn write_archive_to(
    store: &Store,
    image: &ArchiveImage<'_>,
    mut out: &mut dyn Write,
) -> Result<()> {
    let (digest, config) = image.config;
    let config_name = format!("{}.json", digest.hex());
    let layers = image.layers.iter();
    let manifest = [ManifestEntry {
        config: config_name.clone(),
        repo_tags: vec![image.name.to_owned()],
        layers: layers.clone().map(|(layer, _)| file_name(layer)).collect(),
    }];
    let mut archive = TarWriter::new(&mut out);
    archive.bytes(b"manifest.json", META, &to_json(&manifest))?;
    archive.bytes(config_name.as_bytes(), META, config)?;
    let mut written = HashSet::new();
    for (layer, size) in layers {
        if written.insert(layer.diff_id) {
            write_member(out, &file_name(layer), *size, |target| {
                copy_plain(store, layer, target)
            })?;
        }
    }
    TarWriter::new(out).finish()?;
    Ok(())
}

fn file_name(layer: &Layer) -> String {
    format!("{}.tar", layer.diff_id.hex())
}
