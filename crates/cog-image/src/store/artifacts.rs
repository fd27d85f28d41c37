//! Artifacts that are no images: weights, bills of materials, provenance.
//!
//! An artifact has a name, or a `subject`, which it says something about (it is a *referrer* then), or
//! both. It is kept as long as it has a name or its subject is kept. Its manifest stays the bytes it was.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use super::Store;
use super::images::{canonical, name_of};
use crate::digest::{Digest, HashingReader};
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Manifest, OCI_EMPTY, OCI_MANIFEST, REF_NAME, is_index, to_json};

/// An artifact to be stored.
#[derive(Clone, Debug, Default)]
pub struct Artifact {
    /// What it is, as a media type.
    pub artifact_type: String,
    /// Its config, if it has one: media type and content.
    pub config: Option<(String, Vec<u8>)>,
    /// Its content, which is in the store: see [`Store::add_blob`].
    pub blobs: Vec<Descriptor>,
    /// The manifest that it says something about.
    pub subject: Option<Descriptor>,
    /// Free-form key and value pairs.
    pub annotations: BTreeMap<String, String>,
}

/// An artifact in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredArtifact {
    /// Its name, if it has one, always with a tag or digest.
    pub name: Option<String>,
    /// Its manifest's descriptor, as an index lists it: with type and annotations.
    pub manifest: Descriptor,
    /// The parsed manifest.
    pub content: Manifest,
}

impl Store {
    /// Stores `source` as a blob, however long it is.
    pub fn add_blob(&self, media_type: &str, source: impl Read) -> Result<Descriptor> {
        let copy = || {
            let mut writer = self.blob_writer()?;
            let mut source = HashingReader::new(source);
            std::io::copy(&mut source, &mut writer)?;
            let (digest, size) = source.finish();
            writer.commit_as(digest)?;
            Ok(Descriptor::new(media_type, digest, size))
        };
        copy().map_err(|error: Error| error.at(self.root()))
    }

    /// Opens a blob, fetching it if it is in a registry. Whoever reads it must compare the digest.
    pub fn blob(&self, blob: &Descriptor) -> Result<impl Read + use<>> {
        self.open_blob(blob)
    }

    /// Stores `artifact`, under `name` if it has one; another one of this name is replaced.
    pub fn put_artifact(&self, name: Option<&str>, artifact: &Artifact) -> Result<StoredArtifact> {
        let config = match &artifact.config {
            Some((media_type, content)) => self.put_document(media_type, content)?,
            None => self.put_document(OCI_EMPTY, b"{}")?,
        };
        let manifest = Manifest {
            artifact_type: Some(artifact.artifact_type.clone()),
            subject: artifact.subject.clone(),
            annotations: artifact.annotations.clone(),
            ..Manifest::new(config, artifact.blobs.clone())
        };
        self.put_artifact_manifest(name, &to_json(&manifest))
    }

    /// Stores an artifact by its manifest, which stays the bytes it is. What it refers to is in the store,
    /// or in a registry that is known to have it.
    pub fn put_artifact_manifest(
        &self,
        name: Option<&str>,
        manifest: &[u8],
    ) -> Result<StoredArtifact> {
        let name = name.map(canonical).transpose()?;
        let content = Manifest::parse(manifest, "the manifest of an artifact")?;
        let unsupported = |reason: &str| Error::Unsupported {
            what: "the artifact".to_owned(),
            reason: reason.to_owned(),
        };
        if name.is_none() && content.subject.is_none() {
            return Err(unsupported(
                "it has neither a name nor a subject to be kept for",
            ));
        }
        let Some(kind) = content.kind() else {
            return Err(unsupported("it is an image"));
        };
        for blob in content.blobs() {
            if !self.has_blob(blob) && !self.is_remote(&blob.digest) {
                return Err(Error::MissingBlob {
                    digest: blob.digest,
                });
            }
        }
        let mut entry = self.put_document(OCI_MANIFEST, manifest)?;
        entry.artifact_type = Some(kind.to_owned());
        entry.annotations.clone_from(&content.annotations);
        entry.annotations.remove(REF_NAME);
        match &name {
            Some(name) => self.put_name(name, entry.clone())?,
            None => self.put_entry(&entry, |known| {
                known.digest == entry.digest && name_of(known).is_none()
            })?,
        }
        Ok(StoredArtifact {
            name,
            manifest: entry,
            content,
        })
    }

    /// The artifact called `name`; `None` if there is none. Its manifest is verified.
    pub fn artifact(&self, name: &str) -> Result<Option<StoredArtifact>> {
        let name = canonical(name)?;
        let Some(mut manifest) = self.entry(&name)? else {
            return Ok(None);
        };
        let is_image = || Error::Unsupported {
            what: format!("`{name}`"),
            reason: "it is an image, not another artifact".to_owned(),
        };
        if is_index(&manifest.media_type) {
            return Err(is_image());
        }
        let content = self.manifest_of(&manifest)?;
        if content.kind().is_none() {
            return Err(is_image());
        }
        manifest.annotations.remove(REF_NAME);
        Ok(Some(StoredArtifact {
            name: Some(name),
            manifest,
            content,
        }))
    }

    /// The artifact that an entry of [`Store::referrers`] names; `None` if its manifest is that of an image.
    pub fn artifact_of(&self, entry: &Descriptor) -> Result<Option<StoredArtifact>> {
        let content = self.manifest_of(entry)?;
        Ok(content.kind().is_some().then(|| StoredArtifact {
            name: None,
            manifest: entry.clone(),
            content,
        }))
    }

    /// Descriptors of the artifacts that say something about `subject`, with their types and annotations.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        for mut entry in self.index()?.manifests {
            // Images have subjects only in theory.
            if entry.artifact_type.is_none() {
                continue;
            }
            let about = self.manifest_of(&entry)?.subject;
            if about.is_some_and(|about| about.digest == *subject) {
                entry.annotations.remove(REF_NAME);
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// The same, with what is said about these, and so on.
    pub(crate) fn all_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut all: Vec<Descriptor> = Vec::new();
        let mut subjects = vec![*subject];
        while let Some(subject) = subjects.pop() {
            for entry in self.referrers(&subject)? {
                if !all.iter().any(|known| known.digest == entry.digest) {
                    subjects.push(entry.digest);
                    all.push(entry);
                }
            }
        }
        Ok(all)
    }

    /// Removes artifacts without a name whose subject is gone from the index.
    pub(super) fn forget_orphans(&self) -> Result<()> {
        let entries = self.index()?.manifests;
        let is_named = |entry: &&Descriptor| name_of(entry).is_some();
        let mut kept: HashSet<Digest> = HashSet::new();
        for entry in entries.iter().filter(is_named) {
            kept.insert(entry.digest);
            // What is said about images of an index is said about these. One that cannot be read says nothing.
            let listed = self.manifests(entry).unwrap_or_default();
            kept.extend(listed.iter().map(|listed| listed.digest));
        }
        let mut orphans: Vec<Descriptor> = entries
            .into_iter()
            .filter(|entry| name_of(entry).is_none())
            .collect();
        loop {
            let before = orphans.len();
            orphans.retain(|entry| {
                // One that cannot be read says nothing about anything.
                let about = self.manifest_of(entry).ok().and_then(|one| one.subject);
                let has_subject = about.is_some_and(|about| kept.contains(&about.digest));
                if has_subject {
                    kept.insert(entry.digest);
                }
                !has_subject
            });
            if orphans.len() == before {
                break;
            }
        }
        self.change_index(
            |index| {
                index
                    .manifests
                    .retain(|entry| name_of(entry).is_some() || kept.contains(&entry.digest));
            },
            || Ok(()),
        )
    }

    fn manifest_of(&self, entry: &Descriptor) -> Result<Manifest> {
        let bytes = self.read_document(entry)?;
        Manifest::parse(&bytes, &format!("manifest {}", entry.digest))
    }
}
