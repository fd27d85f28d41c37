//! Recomputes everything that can be recomputed about an image.
//!
//! Finds what went wrong and says so; repairs nothing. [`Store::discard_blob`] and
//! [`Store::discard_snapshot`] remove what was found damaged, to be made again.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use crate::config::ParsedConfig;
use crate::digest::{DiffId, HashingReader};
use crate::error::{Error, Result};
use crate::layer::compare::difference;
use crate::layer::decompress::Decompressor;
use crate::layer::limits::Limits;
use crate::layer::unpack::unpack;
use crate::layer::{Layer, system};
use crate::layout::{ImportSource, LayoutSource};
use crate::manifest::{Descriptor, Index, Manifest, is_index, is_manifest};
use crate::store::{SnapshotState, Store, copy_verified, read_verified};

/// What [`validate`] found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong; empty if the image is sound.
    pub problems: Vec<Problem>,
    /// Blobs that were read.
    pub blobs: usize,
    /// Bytes of these blobs.
    pub bytes: u64,
    /// Layers that are not here but in a registry, and so could not be read.
    pub absent: usize,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// One finding, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is damaged, such as `layer sha256:…`.
    pub subject: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// Validates the image or artifact called `name` in `store`, and what is said about it: digest and size
/// of every blob, diff id of every layer, and every byte of the snapshots.
pub fn validate(store: &Store, name: &str) -> Result<Report> {
    let name = name.parse::<crate::ImageRef>()?.familiar();
    let Some(entry) = store.entry(&name)? else {
        return Err(Error::NoSuchImage { name });
    };
    let mut validator = Validator {
        source: Source::Store(store),
        report: Report::default(),
    };
    if is_index(&entry.media_type) {
        validator.index(&entry)?;
    } else {
        validator.image(&entry)?;
    }
    let mut subjects = vec![entry.digest];
    subjects.extend(store.manifests(&entry)?.iter().map(|one| one.digest));
    subjects.dedup();
    for subject in subjects {
        for referrer in store.all_referrers(&subject)? {
            validator.image(&referrer)?;
        }
    }
    Ok(validator.report)
}

/// Validates all images of the layout at `path`.
pub fn validate_layout(source: ImportSource, path: &Path) -> Result<Report> {
    let layout = match source {
        ImportSource::OciDir => LayoutSource::dir(path),
        ImportSource::OciArchive => LayoutSource::archive(path)?,
    };
    let index = layout.index()?.ok_or_else(|| Error::NoFittingImage {
        path: path.to_owned(),
        wanted: "validation".into(),
    })?;
    let mut validator = Validator {
        source: Source::Layout(&layout),
        report: Report::default(),
    };
    for entry in &index.manifests {
        if is_manifest(&entry.media_type) {
            validator.image(entry)?;
        } else if is_index(&entry.media_type) {
            validator.index(entry)?;
        }
    }
    Ok(validator.report)
}

enum Source<'a> {
    Store(&'a Store),
    Layout(&'a LayoutSource),
}

struct Validator<'a> {
    source: Source<'a>,
    report: Report,
}

impl Validator<'_> {
    /// Images for several platforms.
    fn index(&mut self, entry: &Descriptor) -> Result<()> {
        let subject = format!("index {}", entry.digest);
        let bytes = self.document(entry);
        let Some(bytes) = self.note(&subject, bytes)? else {
            return Ok(());
        };
        let index = Index::parse(&bytes, "it");
        let Some(index) = self.note(&subject, index)? else {
            return Ok(());
        };
        let mut manifests = index.manifests.iter();
        manifests.try_for_each(|manifest| self.image(manifest))
    }

    /// An image, or something that is said about one.
    fn image(&mut self, entry: &Descriptor) -> Result<()> {
        let subject = format!("manifest {}", entry.digest);
        let bytes = self.document(entry);
        let Some(bytes) = self.note(&subject, bytes)? else {
            return Ok(());
        };
        let manifest = Manifest::parse(&bytes, "it");
        let Some(manifest) = self.note(&subject, manifest)? else {
            return Ok(());
        };
        if manifest.kind().is_some() || !entry.lists_image() {
            return self.artifact(&manifest);
        }
        let subject = format!("config {}", manifest.config.digest);
        let bytes = self.document(&manifest.config);
        let Some(bytes) = self.note(&subject, bytes)? else {
            return Ok(());
        };
        let layers = ParsedConfig::parse(&bytes, "it")
            .and_then(|config| config.layers(&manifest.layers, "the image"));
        let Some(layers) = self.note(&subject, layers)? else {
            return Ok(());
        };
        for layer in &layers {
            self.layer(layer)?;
        }
        Ok(())
    }

    /// Nothing is known about the content but its digests.
    fn artifact(&mut self, manifest: &Manifest) -> Result<()> {
        for blob in manifest.blobs() {
            if self.is_absent(blob) {
                continue;
            }
            let subject = format!("blob {}", blob.digest);
            let sound = self
                .open(blob)
                .and_then(|source| copy_verified(source, &mut io::sink(), blob));
            self.read(blob);
            self.note(&subject, sound)?;
        }
        Ok(())
    }

    /// Whether a blob is not here but in a registry; counted if so.
    fn is_absent(&mut self, blob: &Descriptor) -> bool {
        let Source::Store(store) = self.source else {
            return false;
        };
        let absent = !store.blob_path(&blob.digest).exists() && store.is_remote(&blob.digest);
        self.report.absent += usize::from(absent);
        absent
    }

    fn layer(&mut self, layer: &Layer) -> Result<()> {
        let subject = format!("layer {}", layer.blob.digest);
        if self.is_absent(&layer.blob) {
            return Ok(());
        }
        let sound = self.blob(layer);
        if self.note(&subject, sound)?.is_none() {
            return Ok(());
        }
        if let Source::Store(store) = self.source
            && let SnapshotState::Present(snapshot) = store.snapshot_state(&layer.diff_id)?
        {
            self.snapshot(store, layer, &snapshot)?;
        }
        Ok(())
    }

    /// Digest, size and diff id.
    fn blob(&mut self, layer: &Layer) -> Result<()> {
        copy_verified(self.open(&layer.blob)?, &mut io::sink(), &layer.blob)?;
        self.read(&layer.blob);
        let digest = layer.blob.digest;
        let unreadable = |error: io::Error| Error::BadArchive {
            layer: digest,
            reason: error.to_string(),
        };
        let plain = Decompressor::new(self.open(&layer.blob)?).map_err(unreadable)?;
        let mut plain = HashingReader::new(plain);
        let limit = Limits::for_blob(layer.blob.size).bytes;
        io::copy(&mut (&mut plain).take(limit), &mut io::sink()).map_err(unreadable)?;
        let actual = DiffId::new(plain.finish().0);
        if actual != layer.diff_id {
            return Err(Error::WrongDiffId {
                layer: digest,
                expected: layer.diff_id,
                actual,
            });
        }
        Ok(())
    }

    /// Unpacks the layer again and compares.
    fn snapshot(&mut self, store: &Store, layer: &Layer, snapshot: &Path) -> Result<()> {
        let scratch = store.scratch()?;
        let fresh = scratch.path().join("fresh");
        fs_err::create_dir(&fresh)?;
        system::set_mode(&fresh, 0o755)?;
        let blob = self.open(&layer.blob)?;
        let limits = Limits::for_blob(layer.blob.size);
        let unpacked = unpack(blob, &fresh, layer.blob.digest, limits);
        let subject = format!("snapshot {}", layer.diff_id);
        if self.note(&subject, unpacked)?.is_some()
            && let Some((path, what)) = difference(&fresh, snapshot)?
        {
            let message = format!("`{}` {what}", path.display());
            self.report.problems.push(Problem { subject, message });
        }
        Ok(())
    }

    fn document(&mut self, blob: &Descriptor) -> Result<Vec<u8>> {
        let bytes = read_verified(self.open(blob)?, blob)?;
        self.read(blob);
        Ok(bytes)
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>> {
        match self.source {
            // What is damaged must be found, not fetched again.
            Source::Store(store) => Ok(Box::new(store.open_blob_here(blob)?)),
            Source::Layout(layout) => layout.open_blob(blob),
        }
    }

    fn read(&mut self, blob: &Descriptor) {
        self.report.blobs += 1;
        self.report.bytes += blob.size;
    }

    /// Findings are noted; failures of the examination itself are errors.
    fn note<T>(&mut self, subject: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ (Error::Io(_) | Error::DiskFull { .. })) => Err(error),
            Err(error) => {
                let message = match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                };
                self.report.problems.push(Problem {
                    subject: subject.to_owned(),
                    message,
                });
                Ok(None)
            }
        }
    }
}
