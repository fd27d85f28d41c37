//! Images on their way out of the store, into registries.

use std::sync::Arc;

use super::workers::Workers;
use super::{Store, StoredImage, StoredIndex, Transfer};
use crate::error::Result;
use crate::manifest::{Descriptor, Index};
use crate::reference::ImageRef;
use crate::registry::{Client, Known, PushEvent, UploadOptions};

/// A way out of the store into a repository.
///
/// It is opened as soon as it is known where something will go, maybe long before there is an image: the registry is
/// connected with, and asked what it still has, while others work. If that goes wrong, nobody is told: it shows when
/// something is pushed.
pub struct Pushing {
    store: Store,
    client: Client,
    options: UploadOptions,
    /// What was pushed there last.
    known: Option<Arc<Known>>,
    workers: Workers,
}

impl Store {
    /// Opens a way into `target`'s repository.
    pub fn pushing_to(&self, target: &ImageRef) -> Result<Pushing> {
        let options = match self.remote().uploads() {
            Some(options) => options.clone(),
            None => UploadOptions::from_environment()?,
        };
        let pushing = Pushing {
            store: self.clone(),
            client: self.remote().client()?.clone(),
            options,
            known: Known::of(self, target).map(Arc::new),
            workers: Workers::start()?,
        };
        pushing.recall(target);
        Ok(pushing)
    }
}

impl Pushing {
    /// Pushes `image`, with what is said about it, to `target`, a name in the repository. Layers that are still in
    /// another registry go from there without becoming files here. The manifest's descriptor, as an index lists it.
    pub fn image(&self, image: &StoredImage, target: &ImageRef) -> Result<Descriptor> {
        let _lease = self.store.lease()?;
        self.manifest(&image.manifest, target)?;
        Ok(image.listed())
    }

    /// Pushes all that `index` lists, with what is said about each, and the index itself, byte for byte, to `target`, a
    /// name in the repository; its descriptor.
    pub fn images(&self, index: &StoredIndex, target: &ImageRef) -> Result<Descriptor> {
        let _lease = self.store.lease()?;
        let images = index.images.iter().map(|image| &image.manifest);
        for part in images.chain(index.besides()) {
            self.manifest(part, &target.clone().with_digest(part.digest))?;
        }
        self.manifest(&index.descriptor, target)?;
        Ok(index.descriptor.clone())
    }

    /// Pushes an index of manifests that are in the repository to `target`, a name in it; its descriptor.
    pub fn index(&self, index: &Index, target: &ImageRef) -> Result<Descriptor> {
        let (client, options) = (&self.client, &self.options);
        let tell = |event| self.store.tell_of_push(event);
        self.workers
            .block_on(|| client.push_index(target, index, options, &tell))
    }

    /// The caller has a lease.
    fn manifest(&self, manifest: &Descriptor, target: &ImageRef) -> Result<()> {
        let (store, client, options) = (&self.store, &self.client, &self.options);
        let known = self.known.as_deref();
        let tell = |event| store.tell_of_push(event);
        self.workers
            .block_on(|| client.push_manifest(store, manifest, target, known, options, &tell))
    }

    /// Begins to ask what the repository still has.
    fn recall(&self, target: &ImageRef) {
        let Some(known) = self.known.clone() else {
            return;
        };
        let (client, options) = (self.client.clone(), self.options.clone());
        let target = target.clone();
        self.workers.spawn(async move {
            client.recall(&known, &target, &options).await;
        });
    }
}

impl Store {
    fn tell_of_push(&self, event: PushEvent) {
        if let Some(observer) = self.remote().observer() {
            observer(Transfer::Push(event));
        }
    }
}
