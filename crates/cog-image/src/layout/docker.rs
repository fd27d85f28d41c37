//! Docker archives: what `docker load` has read since version 1.10.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::convert::copy_plain;
use super::output::Archive;
use crate::error::Result;
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
    let names: Vec<String> = image
        .layers
        .iter()
        .map(|layer| format!("{}.tar", layer.diff_id.hex()))
        .collect();
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
