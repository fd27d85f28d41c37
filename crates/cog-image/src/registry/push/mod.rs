//! Pushes images, what is said about them, and indexes of them.
//!
//! Blobs come first, several at a time, each only if it is not there; then what is said about the image, and
//! last the image's manifest, so that a name never leads to something incomplete. `known` finds out what need not
//! be asked for, `upload` brings one blob over, `manifest` the documents. Layers that are still in another
//! registry need not be in the store.

mod event;
mod known;
mod manifest;
mod options;
mod repository;
mod sending;
mod session;
mod source;
mod upload;

use std::collections::HashSet;
use std::io;

use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

pub(crate) use self::known::Known;
use self::known::is_refusal;
use self::manifest::Subject;
use self::repository::Repository;
use self::upload::Upload;
use super::Client;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Index, Manifest, is_index, oci_layer_type, to_json};
use crate::reference::ImageRef;
use crate::store::{Store, StoredImage};

pub use event::{Arrival, PushEvent, PushFn};
pub use options::{
    COG_PUSH_CONCURRENCY, COG_PUSH_DEFAULT_CHUNK_SIZE, COG_PUSH_MULTIPART_THRESHOLD, UploadOptions,
};

/// Whether a blob is there is asked for so many times as many as are sent at once: of a hundred layers most are.
const LOOKUPS: usize = 4;
/// Blobs of so many bytes are sent in about the time that it takes to ask for them.
const SMALL: u64 = 64 * 1024;

/// What goes into a repository.
struct Package {
    blobs: Vec<Descriptor>,
    referrers: Vec<Referrer>,
    /// The image's manifest.
    media_type: String,
    manifest: Vec<u8>,
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
        let known = Known::of(store, target);
        self.push_manifest(
            store,
            &image.manifest,
            target,
            known.as_ref(),
            options,
            tell,
        )
        .await?;
        Ok(image.listed())
    }

    /// Asks whether `target`'s repository still has the image that is `known` to have been pushed there. The answer is
    /// kept in it, and the way to the registry open.
    pub(crate) async fn recall(&self, known: &Known, target: &ImageRef, options: &UploadOptions) {
        let transport = self.transport.with_back_off(options.back_off);
        known
            .is_there(&Repository::of(target, &transport, &|_| ()))
            .await;
    }

    /// The same as [`Self::push`] for a `manifest` that is in the store, or for an index, whose manifests are in the
    /// repository; of which is `known` what was pushed there last.
    pub(crate) async fn push_manifest(
        &self,
        store: &Store,
        manifest: &Descriptor,
        target: &ImageRef,
        known: Option<&Known>,
        options: &UploadOptions,
        tell: PushFn<'_>,
    ) -> Result<()> {
        let digest = manifest.digest;
        if target.digest().is_some_and(|pinned| pinned != digest) {
            return Err(Error::Unsupported {
                what: format!("`{}`", target.familiar()),
                reason: format!("it is pinned to another image than {digest}"),
            });
        }
        let package = Package::collect(store, manifest, &target.familiar())?;
        let transport = self.transport.with_back_off(options.back_off);
        let way = Way {
            store,
            repository: Repository::of(target, &transport, tell),
            options,
        };
        tell(PushEvent::Started {
            blobs: package.blobs.len(),
            bytes: package.blobs.iter().map(|blob| blob.size).sum(),
        });
        let is_image = !package.blobs.is_empty();
        // If somebody pushes the same image again, something may be missing.
        let known = known.filter(|known| !known.is(&digest));
        let result = way.push(package, target, known).await;
        tell(PushEvent::Ended);
        // That this cannot be noted is no reason to fail.
        match &result {
            Ok(()) if is_image => {
                let _ = store.record_pushed(target.registry(), target.repository(), manifest);
            }
            Ok(()) => {}
            Err(_) => {
                let _ = store.forget_pushed(target.registry(), target.repository());
            }
        }
        result
    }

    /// Pushes an index of manifests that are in `target`'s repository; its descriptor.
    pub async fn push_index(
        &self,
        target: &ImageRef,
        index: &Index,
        options: &UploadOptions,
        tell: PushFn<'_>,
    ) -> Result<Descriptor> {
        let transport = self.transport.with_back_off(options.back_off);
        let repository = Repository::of(target, &transport, tell);
        let bytes = to_json(index);
        let descriptor = Descriptor::new(&index.media_type, Digest::of(&bytes), bytes.len() as u64);
        tell(PushEvent::Started { blobs: 0, bytes: 0 });
        let (version, what) = (target.version(), target.familiar());
        let result = repository
            .put_manifest(&version, &index.media_type, bytes, what)
            .await;
        tell(PushEvent::Ended);
        result.map(|_| descriptor)
    }
}

/// From the store into a repository.
struct Way<'a> {
    store: &'a Store,
    repository: Repository<'a>,
    options: &'a UploadOptions,
}

impl Way<'_> {
    async fn push(&self, package: Package, target: &ImageRef, known: Option<&Known>) -> Result<()> {
        self.provide(&package.blobs, known).await?;
        let pushed = self.push_documents(&package, target).await;
        let mut believed = package.blobs.clone();
        believed.retain(|blob| known.is_some_and(|known| known.was_there() && known.has(blob)));
        match pushed {
            Err(error) if !believed.is_empty() && is_refusal(&error) => {
                // It may have lost what it should have kept.
                self.provide(&believed, None).await?;
                self.push_documents(&package, target).await
            }
            Err(error) => Err(error),
            Ok(()) => {
                for blob in &believed {
                    self.arrived(blob, Arrival::Present);
                }
                Ok(())
            }
        }
    }

    /// Brings over what is not there. No part of an image that is `known` to be there is asked for.
    async fn provide(&self, blobs: &[Descriptor], known: Option<&Known>) -> Result<()> {
        let concurrency = self.options.concurrency.max(1);
        let places = Semaphore::new(concurrency);
        futures_util::stream::iter(blobs)
            .map(|blob| self.provide_one(blob, known, &places))
            .buffer_unordered(concurrency.saturating_mul(LOOKUPS))
            .try_collect()
            .await
    }

    /// Brings the blob over if it is not there, as soon as one of `places` is free.
    async fn provide_one(
        &self,
        blob: &Descriptor,
        known: Option<&Known>,
        places: &Semaphore,
    ) -> Result<()> {
        let is_there = match known {
            // The image before this one was without it: it is new, and small, and would be sent anyway.
            Some(known) if !known.has(blob) && blob.size <= SMALL => false,
            // It is told that it is there when the registry has taken what names it.
            Some(known) if known.has(blob) && known.is_there(&self.repository).await => {
                return Ok(());
            }
            _ => self.repository.has(blob).await?,
        };
        if is_there {
            self.arrived(blob, Arrival::Present);
            return Ok(());
        }
        let _place = places.acquire().await.map_err(io::Error::other)?;
        self.bring(blob).await
    }

    async fn push_documents(&self, package: &Package, target: &ImageRef) -> Result<()> {
        self.push_referrers(&package.referrers).await?;
        let (media_type, what) = (&package.media_type, target.familiar());
        let manifest = package.manifest.clone();
        self.repository
            .put_manifest(&target.version(), media_type, manifest, what)
            .await?;
        Ok(())
    }

    async fn bring(&self, blob: &Descriptor) -> Result<()> {
        let upload = Upload {
            repository: self.repository,
            store: self.store,
            blob,
            options: self.options,
        };
        let arrival = upload.run().await.inspect_err(|error| {
            if let Error::CorruptBlob { expected, .. } = error {
                // So that the next build makes it anew. If that fails, the error stays what it is.
                let _ = self.store.discard_blob(expected);
            }
        })?;
        self.arrived(blob, arrival);
        Ok(())
    }

    fn arrived(&self, blob: &Descriptor, arrival: Arrival) {
        let (digest, size) = (blob.digest, blob.size);
        if oci_layer_type(&blob.media_type).is_some() {
            // Other repositories mount it from there. That this cannot be noted is no reason to fail.
            let (registry, name) = (self.repository.registry, self.repository.name);
            let _ = self.store.record_origin(&digest, registry, name);
        }
        (self.repository.tell)(PushEvent::Arrived {
            digest,
            size,
            arrival,
        });
    }

    async fn push_referrers(&self, referrers: &[Referrer]) -> Result<()> {
        let concurrency = self.options.concurrency.max(1);
        let taken: Vec<_> = futures_util::stream::iter(referrers)
            .map(|referrer| self.push_referrer(referrer))
            .buffered(concurrency)
            .try_collect()
            .await?;
        let mut unlisted: Vec<(Digest, Vec<Descriptor>)> = Vec::new();
        for (subject, entry) in taken.into_iter().flatten() {
            match unlisted.iter_mut().find(|(about, _)| *about == subject) {
                Some((_, entries)) => entries.push(entry),
                None => unlisted.push((subject, vec![entry])),
            }
        }
        for (subject, entries) in &unlisted {
            self.repository.list_referrers(subject, entries).await?;
        }
        Ok(())
    }

    /// What it says something about, and how that lists it, if the registry does not list it by itself.
    async fn push_referrer(&self, referrer: &Referrer) -> Result<Option<(Digest, Descriptor)>> {
        let entry = referrer.entry.clone();
        let digest = entry.digest.to_string();
        let what = format!("{}@{digest}", self.repository.name);
        let taken = self
            .repository
            .put_manifest(&digest, &entry.media_type, referrer.bytes.clone(), what)
            .await?;
        Ok((taken == Subject::NotNoted).then_some((referrer.subject, entry)))
    }
}

impl Package {
    /// What belongs to `manifest`, which is for `name`; what an index lists does not.
    fn collect(store: &Store, manifest: &Descriptor, name: &str) -> Result<Self> {
        let bytes = store.read_document(manifest)?;
        let mut blobs: Vec<Descriptor> = if is_index(&manifest.media_type) {
            Vec::new()
        } else {
            let content = Manifest::parse(&bytes, &format!("the manifest of `{name}`"))?;
            content.blobs().cloned().collect()
        };
        let mut referrers = Vec::new();
        for entry in store.all_referrers(&manifest.digest)? {
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
        // Small ones take trips and no time: they are there before the rest. Of that, what takes longest begins first.
        blobs.sort_by_key(|blob| (blob.size > SMALL, std::cmp::Reverse(blob.size)));
        Ok(Self {
            blobs,
            referrers,
            media_type: manifest.media_type.clone(),
            manifest: bytes,
        })
    }
}
