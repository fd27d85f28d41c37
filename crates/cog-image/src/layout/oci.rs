//! Writes OCI layouts, as a directory or a tar file.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use super::convert::convert;
use super::output::{Archive, META, Output, write_member};
use super::{ExportOptions, LayoutSource};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::tar_writer::TarWriter;
use crate::manifest::{
    CONTAINERD_NAME, Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, REF_NAME,
    to_json,
};
use crate::reference::ImageRef;
use crate::store::{OCI_LAYOUT, Store, StoredImage, StoredIndex, copy_verified};

/// What goes into a layout: documents that exist in memory, blobs that are copied from the store.
#[derive(Default)]
pub(super) struct Contents {
    /// The line of the image, or of the index of several, then those of referrers.
    entries: Vec<Descriptor>,
    documents: Vec<(Digest, Vec<u8>)>,
    blobs: Vec<Descriptor>,
}

impl Contents {
    /// A single image.
    pub(super) fn of_image(
        store: &Store,
        image: &StoredImage,
        options: &ExportOptions,
    ) -> Result<Self> {
        let mut contents = Self::default();
        let entry = contents.add_image(store, image, options)?;
        contents.name(&image.name, entry);
        Ok(contents)
    }

    /// Images for several platforms, and the index that lists them.
    pub(super) fn of_index(
        store: &Store,
        index: &StoredIndex,
        options: &ExportOptions,
    ) -> Result<Self> {
        let mut contents = Self::default();
        let mut manifests = Vec::with_capacity(index.images.len());
        for image in &index.images {
            let entry = contents.add_image(store, image, options)?;
            let listed = index.document.manifests.iter();
            let listed = listed.filter(|listed| listed.digest == image.manifest.digest);
            let listed = listed.map(|listed| Descriptor {
                media_type: entry.media_type.clone(),
                digest: entry.digest,
                size: entry.size,
                ..listed.clone()
            });
            manifests.extend(listed.take(1));
        }
        let is_same = manifests.iter().all(|entry| {
            let mut listed = index.document.manifests.iter();
            listed.any(|listed| listed == entry)
        });
        if is_same && index.descriptor.media_type == OCI_INDEX {
            contents.add_list(store, index)?;
        } else {
            // Converted images have other manifests, about which nothing is said.
            let listed = to_json(&Index {
                manifests,
                ..Index::default()
            });
            let digest = Digest::of(&listed);
            let entry = Descriptor::new(OCI_INDEX, digest, listed.len() as u64);
            contents.documents.push((digest, listed));
            contents.name(&index.name, entry);
        }
        Ok(contents)
    }

    /// Adds the index as the store has it, with what it lists besides its images and what is said about it.
    fn add_list(&mut self, store: &Store, index: &StoredIndex) -> Result<()> {
        for entry in index.besides() {
            let bytes = store.read_document(entry)?;
            let manifest = Manifest::parse(&bytes, &format!("manifest {}", entry.digest))?;
            self.documents.push((entry.digest, bytes));
            self.blobs.extend(manifest.blobs().cloned());
        }
        let entry = &index.descriptor;
        self.documents
            .push((entry.digest, store.read_document(entry)?));
        self.add_referrers(store, &entry.digest)?;
        self.name(&index.name, entry.clone());
        Ok(())
    }

    /// Puts the line of what is called `name` first.
    fn name(&mut self, name: &str, mut entry: Descriptor) {
        entry.annotations = annotations(name);
        self.entries.insert(0, entry);
        let mut seen = HashSet::new();
        self.blobs.retain(|blob| seen.insert(blob.digest));
        let mut seen = HashSet::new();
        self.documents.retain(|(digest, _)| seen.insert(*digest));
    }

    /// Adds all of `image`; its manifest as an index lists it.
    fn add_image(
        &mut self,
        store: &Store,
        image: &StoredImage,
        options: &ExportOptions,
    ) -> Result<Descriptor> {
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            layers.push(match options.compression {
                Some(compression) => convert(store, layer, compression)?.blob,
                None => layer.blob.clone(),
            });
        }
        let config = store.read_document(&image.config_blob)?;
        let manifest = manifest_bytes(store, image, &layers)?;
        let digest = Digest::of(&manifest);
        let mut entry = Descriptor::new(OCI_MANIFEST, digest, manifest.len() as u64);
        entry.platform = Some(image.platform());
        self.documents.push((digest, manifest));
        self.documents.push((image.config_blob.digest, config));
        self.blobs.extend(layers);
        // What is said about the image is said about this manifest, not about a converted one.
        self.add_referrers(store, &digest)?;
        Ok(entry)
    }

    fn add_referrers(&mut self, store: &Store, subject: &Digest) -> Result<()> {
        for entry in store.all_referrers(subject)? {
            let bytes = store.read_document(&entry)?;
            let manifest = Manifest::parse(&bytes, &format!("manifest {}", entry.digest))?;
            self.documents.push((entry.digest, bytes));
            self.blobs.extend(manifest.blobs().cloned());
            self.entries.push(entry);
        }
        Ok(())
    }
}

/// The stored manifest, byte for byte, if it describes exactly these layers; else a new one.
pub(crate) fn manifest_bytes(
    store: &Store,
    image: &StoredImage,
    layers: &[Descriptor],
) -> Result<Vec<u8>> {
    let bytes = store.read_document(&image.manifest)?;
    let stored = Manifest::parse(&bytes, &format!("the manifest of image `{}`", image.name))?;
    if stored.media_type == OCI_MANIFEST && stored.layers == layers {
        return Ok(bytes);
    }
    let config = Descriptor {
        media_type: OCI_CONFIG.to_owned(),
        ..stored.config
    };
    let media_type = OCI_MANIFEST.to_owned();
    Ok(to_json(&Manifest {
        media_type,
        config,
        layers: layers.to_vec(),
        ..stored
    }))
}

/// The short name that the specification wants, and the long one that containerd and Docker want.
fn annotations(name: &str) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if let Ok(reference) = name.parse::<ImageRef>() {
        annotations.insert(CONTAINERD_NAME.to_owned(), reference.to_string());
        if let Some(tag) = reference.tag() {
            annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        }
    }
    annotations
}

pub(super) fn write_archive(store: &Store, contents: Contents, path: &Path) -> Result<()> {
    let mut archive = Archive::create(path)?;
    archive.bytes("oci-layout", OCI_LAYOUT.as_bytes())?;
    let index = Index {
        manifests: contents.entries,
        ..Index::default()
    };
    archive.bytes("index.json", &to_json(&index))?;
    archive.directory("blobs")?;
    archive.directory("blobs/sha256")?;
    for (digest, document) in &contents.documents {
        archive.bytes(&format!("blobs/sha256/{}", digest.hex()), document)?;
    }
    for blob in &contents.blobs {
        let mut source = store.open_blob(blob)?;
        archive.stream(
            &format!("blobs/sha256/{}", blob.digest.hex()),
            |mut target| copy_verified(&mut source, &mut target, blob),
        )?;
    }
    archive.commit()
}

/// An image for [`write_layout_to`].
pub(crate) struct LayoutImage<'a> {
    /// What describes its manifest.
    pub(crate) manifest: Descriptor,
    /// Its manifest and its config, with their addresses.
    pub(crate) documents: [(Digest, &'a [u8]); 2],
    /// Layers that are to be in it.
    pub(crate) layers: &'a [&'a Descriptor],
    /// What the image is called.
    pub(crate) name: &'a str,
}

/// A tar file of a layout for somebody who reads while it is written: nothing is gone back to. `write` writes a layer.
pub(crate) fn write_layout_to(
    image: &LayoutImage<'_>,
    mut out: &mut dyn Write,
    write: impl Fn(&Descriptor, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    let mut entry = image.manifest.clone();
    entry.annotations = annotations(image.name);
    let index = Index {
        manifests: vec![entry],
        ..Index::default()
    };
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let mut archive = TarWriter::new(&mut out);
    archive.bytes(b"oci-layout", META, OCI_LAYOUT.as_bytes())?;
    archive.bytes(b"index.json", META, &to_json(&index))?;
    for (digest, document) in &image.documents {
        archive.bytes(path(digest).as_bytes(), META, document)?;
    }
    let mut written = HashSet::new();
    for layer in image.layers {
        if written.insert(layer.digest) {
            write_member(out, &path(&layer.digest), layer.size, |target| {
                write(layer, target)
            })?;
        }
    }
    TarWriter::new(out).finish()?;
    Ok(())
}

pub(super) fn write_dir(store: &Store, contents: Contents, path: &Path) -> Result<()> {
    let is_new = !path.exists();
    let written = add_to_dir(store, contents, path);
    if written.is_err() && is_new {
        // What went wrong matters more than what could not be cleared away after it.
        let _ = fs_err::remove_dir_all(path);
    }
    written
}

fn add_to_dir(store: &Store, contents: Contents, path: &Path) -> Result<()> {
    let mut index = existing_index(path)?;
    let blobs = path.join("blobs/sha256");
    fs_err::create_dir_all(&blobs)?;
    write(&path.join("oci-layout"), OCI_LAYOUT.as_bytes())?;
    for blob in &contents.blobs {
        let target = blobs.join(blob.digest.hex());
        // There from an earlier export: layers are what images share.
        if fs_err::metadata(&target).is_ok_and(|found| found.len() == blob.size) {
            continue;
        }
        let mut output = Output::create(&target)?;
        copy_verified(store.open_blob(blob)?, &mut output, blob)?;
        output.commit()?;
    }
    for (digest, document) in &contents.documents {
        write(&blobs.join(digest.hex()), document)?;
    }
    let [image, referrers @ ..] = contents.entries.as_slice() else {
        unreachable!("the image's line is always there");
    };
    let tag = image.annotations.get(REF_NAME);
    index.manifests.retain(|entry| {
        let replaced = match entry.annotations.get(REF_NAME) {
            None if tag.is_some() => false,
            name => name == tag,
        };
        !replaced && !referrers.iter().any(|new| new.digest == entry.digest)
    });
    index.manifests.extend(contents.entries);
    write(&path.join("index.json"), &to_json(&index))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let mut output = Output::create(path)?;
    output.write_all(content)?;
    output.commit()
}

/// The index of the layout at `path`, which may also be empty or missing, but nothing else.
fn existing_index(path: &Path) -> Result<Index> {
    let reason = match fs_err::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => "it is not a directory",
        Err(error) => return Err(error.into()),
        Ok(entries) => {
            if entries.count() == 0 {
                return Ok(Index::default());
            }
            if path.join("oci-layout").exists() {
                return Ok(LayoutSource::dir(path).index()?.unwrap_or_default());
            }
            "it is not empty and not an OCI layout"
        }
    };
    Err(Error::BadTarget {
        path: path.to_owned(),
        reason,
    })
}
