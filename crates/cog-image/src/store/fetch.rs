//! Content that is not here but in a registry.
//!
//! **Invariant:** whoever asks the store for a blob that a registry is known to have gets it: `open_blob`
//! fetches. [`Store::fetch`] for many blobs at once only makes that quicker.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::images::size;
use super::workers::block_on;
use super::{Store, StoredImage};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Platform, is_index};
use crate::reference::ImageRef;
use crate::registry::{
    Client, ClientOptions, Lookup, Memory, Progress, PulledReferrers, PushEvent, UploadOptions,
    Wait, Wanted,
};

/// What a store does when it needs a registry.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// How to reach registries; `None`: as the environment says
    /// ([`ClientOptions::from_environment`]), which is read when the first one is needed.
    pub registries: Option<ClientOptions>,
    /// How blobs are sent; `None`: as the environment says ([`UploadOptions::from_environment`]).
    pub uploads: Option<UploadOptions>,
    /// Learns of transfers into the store and out of it.
    pub observer: Option<Observer>,
}

/// Receives [`Transfer`]s, possibly from several threads.
pub type Observer = Arc<dyn Fn(Transfer) + Send + Sync>;

/// What happens while a registry is asked and blobs are fetched, one by one and in sum; and what a push tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transfer {
    /// It begins.
    Started {
        /// How many blobs are missing.
        blobs: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// One of the blobs begins, advances or is complete.
    Blob(Progress),
    /// Bytes have come, of all blobs together.
    Advanced {
        /// How many are here; fewer than before if a blob had to start over.
        done: u64,
        /// How many there will be.
        total: u64,
    },
    /// It has ended, whether well or not.
    Ended,
    /// A registry is asked for what it knows.
    Asking {
        /// Host and port.
        registry: String,
        /// What it is asked for.
        what: String,
    },
    /// It has answered that, or will not.
    Asked,
    /// Something went wrong, and is tried again after a pause.
    Waiting(Wait),
    /// An image is pushed.
    Push(PushEvent),
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("registries", &self.registries)
            .finish_non_exhaustive()
    }
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What its name stands for: an image, or an index of images.
    pub entry: Descriptor,
    /// The images.
    pub images: Vec<StoredImage>,
}

impl Pulled {
    /// Whether its name stands for an index.
    pub fn is_index(&self) -> bool {
        is_index(&self.entry.media_type)
    }

    /// Bytes of all blobs of its images, each once.
    pub fn size(&self) -> u64 {
        size(&self.images)
    }
}

impl From<StoredImage> for Pulled {
    fn from(image: StoredImage) -> Self {
        Self {
            entry: image.manifest.clone(),
            images: vec![image],
        }
    }
}

/// The store's way to registries.
#[derive(Debug)]
pub(super) struct Remote {
    options: StoreOptions,
    client: OnceLock<Client>,
}

impl Remote {
    pub(super) fn new(options: StoreOptions) -> Self {
        Self {
            options,
            client: OnceLock::new(),
        }
    }

    pub(super) fn observer(&self) -> Option<&Observer> {
        self.options.observer.as_ref()
    }

    pub(super) fn uploads(&self) -> Option<&UploadOptions> {
        self.options.uploads.as_ref()
    }

    pub(super) fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let options = match &self.options.registries {
            Some(options) => options.clone(),
            None => ClientOptions::from_environment()?,
        };
        let mut client = Client::new(options)?;
        if let Some(observer) = self.options.observer.clone() {
            client = client.telling(Arc::new(move |wait| observer(Transfer::Waiting(wait))));
        }
        Ok(self.client.get_or_init(|| client))
    }
}

impl Store {
    /// Fetches those of `blobs` that are not here, several at a time, from registries that are known to
    /// have them.
    pub fn fetch<'a>(&self, blobs: impl IntoIterator<Item = &'a Descriptor>) -> Result<()> {
        let missing = self.missing(blobs);
        self.fetch_missing(&missing).map_err(|error| match error {
            // Whoever asks for them need not have known that they are not here.
            Error::Registry(source) => Error::NotFetched {
                blobs: missing.iter().map(|blob| blob.digest).collect(),
                source: Box::new(source),
            },
            other => other,
        })
    }

    fn missing<'a>(&self, blobs: impl IntoIterator<Item = &'a Descriptor>) -> Vec<Descriptor> {
        let mut seen = HashSet::new();
        blobs
            .into_iter()
            .filter(|blob| seen.insert(blob.digest) && !self.has_blob(blob))
            .cloned()
            .collect()
    }

    fn fetch_missing(&self, missing: &[Descriptor]) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(blob) = missing.iter().find(|blob| !self.is_remote(&blob.digest)) {
            return Err(Error::MissingBlob {
                digest: blob.digest,
            });
        }
        let client = self.remote().client()?;
        let sum = Sum::begin(self.remote().options.observer.as_ref(), missing);
        let progress = |progress| sum.advance(progress);
        block_on(|| client.fetch_blobs(self, missing, &progress))?
    }

    /// Whether a registry is known that has the blob.
    pub(crate) fn is_remote(&self, digest: &Digest) -> bool {
        self.origins(digest)
            .is_ok_and(|origins| !origins.is_empty())
    }

    /// Looks for `reference` in its registry: see [`Client::lookup`].
    pub fn lookup(
        &self,
        reference: &ImageRef,
        platform: &Platform,
        memory: Memory,
    ) -> Result<Lookup> {
        let _lease = self.lease()?;
        let client = self.remote().client()?;
        let _asking = self.asking(reference, reference.familiar());
        block_on(|| client.lookup(self, reference, platform, memory))?
    }

    /// Pulls the image `reference` with all its layers and stores it under its familiar name.
    pub fn pull(&self, reference: &ImageRef, platform: &Platform) -> Result<StoredImage> {
        let _lease = self.lease()?;
        let client = self.remote().client()?;
        let asking = self.asking(reference, reference.familiar());
        let image = block_on(|| client.resolve(self, reference, platform))??;
        drop(asking);
        self.fetch_missing(&self.missing(image.layers.iter().map(|layer| &layer.blob)))?;
        self.name_remote(reference, platform, &image)
    }

    /// Pulls what is `wanted` of the index `reference`, with all layers, and stores it under its familiar name; or the one
    /// image that is wanted, or that it is.
    pub fn pull_several(&self, reference: &ImageRef, wanted: &Wanted) -> Result<Pulled> {
        let _lease = self.lease()?;
        let client = self.remote().client()?;
        let asking = self.asking(reference, reference.familiar());
        let several = block_on(|| client.resolve_several(self, reference, wanted))??;
        drop(asking);
        self.fetch_missing(&self.missing(several.blobs()))?;
        let name = reference.familiar();
        self.put_name(&name, several.entry.clone())?;
        Ok(Pulled {
            images: self.load_images(&name, &several.entry)?,
            entry: several.entry,
        })
    }

    /// Stores what the registry of `reference` says about `manifest`, which came from there: see
    /// [`Client::pull_referrers`].
    pub fn pull_referrers(
        &self,
        reference: &ImageRef,
        manifest: &Descriptor,
    ) -> Result<PulledReferrers> {
        let _lease = self.lease()?;
        let client = self.remote().client()?;
        let what = format!("what is said about {}", reference.familiar());
        let _asking = self.asking(reference, what);
        block_on(|| client.pull_referrers(self, reference, manifest.digest))?
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.inner.remote
    }

    /// Tells that the registry of `reference` is asked for `what`, until the value goes.
    fn asking(&self, reference: &ImageRef, what: String) -> Asking<'_> {
        let observer = self.remote().observer();
        if let Some(observer) = observer {
            let registry = reference.registry().to_owned();
            observer(Transfer::Asking { registry, what });
        }
        Asking { observer }
    }
}

struct Asking<'a> {
    observer: Option<&'a Observer>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer {
            observer(Transfer::Asked);
        }
    }
}

/// Sums up what many parallel downloads tell.
struct Sum<'a> {
    observer: Option<&'a Observer>,
    total: u64,
    /// Bytes that are here, for each blob.
    done: Mutex<HashMap<Digest, u64>>,
}

impl<'a> Sum<'a> {
    fn begin(observer: Option<&'a Observer>, blobs: &[Descriptor]) -> Self {
        let sum = Self {
            observer,
            total: blobs.iter().map(|blob| blob.size).sum(),
            done: Mutex::default(),
        };
        sum.tell(Transfer::Started {
            blobs: blobs.len(),
            bytes: sum.total,
        });
        sum
    }

    fn advance(&self, progress: Progress) {
        self.tell(Transfer::Blob(progress));
        let Progress::Advanced { digest, done } = progress else {
            return;
        };
        let done = {
            let mut parts = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            parts.insert(digest, done);
            parts.values().sum()
        };
        let total = self.total;
        self.tell(Transfer::Advanced { done, total });
    }

    fn tell(&self, transfer: Transfer) {
        if let Some(observer) = self.observer {
            observer(transfer);
        }
    }
}

impl Drop for Sum<'_> {
    fn drop(&mut self) {
        self.tell(Transfer::Ended);
    }
}
