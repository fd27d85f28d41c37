//! Fetches what a registry has that says something about an image: bills of materials, provenance, signatures.
//!
//! Anybody who may push to the repository can add such things, and few who pull want them: how many and how large
//! they are is bounded, and what is wrong with one is no fault of the others.

use std::collections::HashSet;

use reqwest::header::ACCEPT;

use super::answer::invalid;
use super::transport::Request;
use super::{Client, RegistryError, manifest_request};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Index, MAX_DOCUMENT, Manifest, OCI_INDEX, is_manifest};
use crate::reference::ImageRef;
use crate::store::Store;

/// So many are taken, what is said about them included.
const MAX_REFERRERS: usize = 100;
/// Bytes of all their content.
const MAX_CONTENT: u64 = 256 * 1024 * 1024;

/// What became of the things that a registry lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PulledReferrers {
    /// Those that are in the store now.
    pub taken: usize,
    /// Those that are not what they should be, or too many or too large.
    pub left_out: usize,
}

impl Client {
    /// Stores what the registry of `reference` says about the manifest `subject`, what is said about that, and so
    /// on.
    pub async fn pull_referrers(
        &self,
        store: &Store,
        reference: &ImageRef,
        subject: Digest,
    ) -> Result<PulledReferrers> {
        let mut result = PulledReferrers::default();
        let mut content = MAX_CONTENT;
        let mut seen = HashSet::from([subject]);
        let mut subjects = vec![subject];
        while let Some(subject) = subjects.pop() {
            for entry in self.listed(reference, &subject).await?.manifests {
                if !seen.insert(entry.digest) {
                    continue;
                }
                let has_room = result.taken < MAX_REFERRERS;
                let taken = has_room
                    && self
                        .take(store, reference, &entry, &subject, &mut content)
                        .await?;
                if taken {
                    result.taken += 1;
                    subjects.push(entry.digest);
                } else {
                    result.left_out += 1;
                }
            }
        }
        Ok(result)
    }

    /// What the registry lists by itself, else under the tag that stands for that.
    async fn listed(&self, reference: &ImageRef, subject: &Digest) -> Result<Index> {
        let what = format!("{}@{subject}", reference.repository());
        let (registry, repository) = (reference.registry(), reference.repository());
        let tag = format!("manifests/sha256-{}", subject.hex());
        for path in [format!("referrers/{subject}"), tag] {
            let request = Request::get(registry, repository, path, what.clone());
            match self.index(&request.with(ACCEPT, OCI_INDEX)).await {
                // It knows no such thing.
                Err(Error::Registry(
                    RegistryError::NotFound { .. }
                    | RegistryError::Status {
                        status: 400..=499, ..
                    },
                )) => {}
                result => return result,
            }
        }
        Ok(Index::default())
    }

    async fn index(&self, request: &Request<'_>) -> Result<Index> {
        let limit = usize::try_from(MAX_DOCUMENT).expect("a few megabytes");
        let (_, bytes) = self.transport.read(request, limit).await?;
        let bytes = bytes.ok_or_else(|| invalid(request, "its list of referrers is too long"))?;
        Index::parse(
            &bytes,
            &format!("the list of referrers of `{}`", request.what),
        )
    }

    /// Whether it is what it should be, and is in the store now. `room` is left for content.
    async fn take(
        &self,
        store: &Store,
        reference: &ImageRef,
        entry: &Descriptor,
        subject: &Digest,
        room: &mut u64,
    ) -> Result<bool> {
        let version = entry.digest.to_string();
        let stored = match self.manifest(store, reference, &version).await {
            Ok(stored) if is_manifest(&stored.media_type) => stored,
            Ok(_) => return Ok(false),
            Err(error) => return skipped(error),
        };
        let bytes = store.read_document(&stored)?;
        let what = manifest_request(reference, &version).what;
        let Ok(content) = Manifest::parse(&bytes, &what) else {
            return Ok(false);
        };
        let is_about = content
            .subject
            .as_ref()
            .is_some_and(|about| about.digest == *subject);
        if !is_about || content.kind().is_none() {
            return Ok(false);
        }
        let mut blobs: Vec<Descriptor> = content.blobs().cloned().collect();
        let mut seen = HashSet::new();
        blobs.retain(|blob| seen.insert(blob.digest) && !store.has_blob(blob));
        let sum = blobs
            .iter()
            .fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        let Some(left) = room.checked_sub(sum) else {
            return Ok(false);
        };
        for blob in &blobs {
            store.record_origin(&blob.digest, reference.registry(), reference.repository())?;
        }
        if let Err(error) = self.fetch_blobs(store, &blobs, &|_| ()).await {
            return skipped(error);
        }
        *room = left;
        store.put_artifact_manifest(None, &bytes)?;
        Ok(true)
    }
}

/// What is wrong at the registry leaves one thing out; what is wrong here is an error.
fn skipped(error: Error) -> Result<bool> {
    match error {
        Error::Registry(error) if !error.is_unreachable() => Ok(false),
        error => Err(error),
    }
}
