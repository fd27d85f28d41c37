//! Pushes images, what is said about them, and indexes of them.
//!
//! Blobs come first, several at a time, each only if it is not there; then what is said about the image, and
//! last the image's manifest, so that a name never leads to something incomplete. `upload` brings one blob
//! over, `manifest` the documents. Layers that are still in another registry need not be in the store.

mod event;
mod manifest;
mod options;
mod repository;
mod sending;
mod session;
mod source;
mod upload;

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt};

use self::manifest::Subject;
use self::repository::Repository;
use self::upload::Upload;
use super::Client;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Index, Manifest, Platform, to_json};
use crate::reference::ImageRef;
use crate::store::{Store, StoredImage};

pub use event::{Arrival, PushEvent, PushFn};
pub use options::{
    COG_PUSH_CONCURRENCY, COG_PUSH_DEFAULT_CHUNK_SIZE, COG_PUSH_MULTIPART_THRESHOLD, UploadOptions,
};

/// What goes into a repository.
struct Package {
    blobs: Vec<Descriptor>,
    referrers: Vec<Referrer>,
}

/// A manifest that says something about another one.
struct Referrer {
    entry: Descriptor,
    bytes: Vec<u8>,
    subject: Digest,
}

impl Client {
    /// Pushes `image`, with what is said about it, to `target`: under its tag, or without one if it is the
    /// image's digest. The manifest's descriptor, as an index lists it.
    pub async fn push(
        &self,
        store: &Store,
        image: &StoredImage,
        target: &ImageRef,
        options: &UploadOptions,
        tell: PushFn<'_>,
    ) -> Result<Descriptor> {
        let digest = image.manifest.digest;
        if target.digest().is_some_and(|pinned| pinned != digest) {
            return Err(Error::Unsupported {
                what: format!("`{}`", target.familiar()),
                reason: format!("it is pinned to another image than {digest}"),
            });
        }
        let bytes = store.read_document(&image.manifest)?;
        let package = Package::collect(store, image, &bytes)?;
        let transport = self.transport.with_back_off(options.back_off);
        let repository = Repository {
            transport: &transport,
            registry: target.registry(),
            name: target.repository(),
        };
        let way = Way {
            store,
            repository,
            options,
            tell,
        };
        package.push_blobs(&way).await?;
        package.push_referrers(repository).await?;
        let (media_type, what) = (&image.manifest.media_type, target.familiar());
        repository
            .put_manifest(&target.version(), media_type, bytes, what)
            .await?;
        let platform = Platform::new(&image.config.os, &image.config.architecture);
        Ok(Descriptor {
            platform: Some(platform),
            ..image.manifest.clone()
        })
    }

    /// Pushes an index of manifests that are in `target`'s repository; its descriptor.
    pub async fn push_index(
        &self,
        target: &ImageRef,
        index: &Index,
        options: &UploadOptions,
    ) -> Result<Descriptor> {
        let transport = self.transport.with_back_off(options.back_off);
        let repository = Repository {
            transport: &transport,
            registry: target.registry(),
            name: target.repository(),
        };
        let bytes = to_json(index);
        let descriptor = Descriptor::new(&index.media_type, Digest::of(&bytes), bytes.len() as u64);
        repository
            .put_manifest(
                &target.version(),
                &index.media_type,
                bytes,
                target.familiar(),
            )
            .await?;
        Ok(descriptor)
    }
}

/// From the store into a repository.
struct Way<'a> {
    store: &'a Store,
    repository: Repository<'a>,
    options: &'a UploadOptions,
    tell: PushFn<'a>,
}

impl Way<'_> {
    async fn bring(&self, blob: &Descriptor) -> Result<()> {
        let upload = Upload {
            repository: self.repository,
            store: self.store,
            blob,
            options: self.options,
            tell: self.tell,
        };
        let arrival = upload.run().await.inspect_err(|error| {
            if let Error::CorruptBlob { expected, .. } = error {
                // So that the next build makes it anew. If that fails, the error stays what it is.
                let _ = self.store.discard_blob(expected);
            }
        })?;
        let (digest, size) = (blob.digest, blob.size);
        // Other repositories mount it from there. That this cannot be noted is no reason to fail.
        let _ = self
            .store
            .record_origin(&digest, self.repository.registry, self.repository.name);
        (self.tell)(PushEvent::Arrived {
            digest,
            size,
            arrival,
        });
        Ok(())
    }
}

impl Package {
    fn collect(store: &Store, image: &StoredImage, manifest: &[u8]) -> Result<Self> {
        let manifest = Manifest::parse(manifest, &format!("the manifest of `{}`", image.name))?;
        let mut blobs: Vec<Descriptor> = manifest.blobs().cloned().collect();
        let mut referrers = Vec::new();
        for entry in store.all_referrers(&image.manifest.digest)? {
            let bytes = store.read_document(&entry)?;
            let content = Manifest::parse(&bytes, &format!("manifest {}", entry.digest))?;
            blobs.extend(content.blobs().cloned());
            if let Some(subject) = content.subject {
                let subject = subject.digest;
                referrers.push(Referrer {
                    entry,
                    bytes,
                    subject,
                });
            }
        }
        let mut seen = HashSet::new();
        blobs.retain(|blob| seen.insert(blob.digest));
        // What takes longest begins first.
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        Ok(Self { blobs, referrers })
    }

    async fn push_blobs(&self, way: &Way<'_>) -> Result<()> {
        (way.tell)(PushEvent::Started {
            blobs: self.blobs.len(),
            bytes: self.blobs.iter().map(|blob| blob.size).sum(),
        });
        let result = futures_util::stream::iter(&self.blobs)
            .map(|blob| way.bring(blob))
            .buffer_unordered(way.options.concurrency.max(1))
            .try_collect()
            .await;
        (way.tell)(PushEvent::Ended);
        result
    }

    async fn push_referrers(&self, repository: Repository<'_>) -> Result<()> {
        let mut unlisted: Vec<(Digest, Vec<Descriptor>)> = Vec::new();
        for referrer in &self.referrers {
            let entry = &referrer.entry;
            let digest = entry.digest.to_string();
            let what = format!("{}@{digest}", repository.name);
            let bytes = referrer.bytes.clone();
            let subject = repository
                .put_manifest(&digest, &entry.media_type, bytes, what)
                .await?;
            if subject == Subject::Noted {
                continue;
            }
            let known = unlisted
                .iter_mut()
                .find(|(about, _)| *about == referrer.subject);
            match known {
                Some((_, entries)) => entries.push(entry.clone()),
                None => unlisted.push((referrer.subject, vec![entry.clone()])),
            }
        }
        for (subject, entries) in &unlisted {
            repository.list_referrers(subject, entries).await?;
        }
        Ok(())
    }
}
