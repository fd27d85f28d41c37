//! Images on their way out of the store, into registries.

use super::fetch::block_on;
use super::{Store, StoredImage, StoredIndex, Transfer};
use crate::error::Result;
use crate::manifest::{Descriptor, Index};
use crate::reference::ImageRef;
use crate::registry::{PushEvent, UploadOptions};

impl Store {
    /// Pushes `image`, with what is said about it, to `target`. Layers that are still in another registry go
    /// from there without becoming files here. The manifest's descriptor, as an index lists it.
    pub fn push(&self, image: &StoredImage, target: &ImageRef) -> Result<Descriptor> {
        let options = self.upload_options()?;
        let _lease = self.lease()?;
        let client = self.remote().client()?;
        let tell = |event| self.tell(event);
        block_on(|| client.push(self, image, target, &options, &tell))?
    }

    /// Pushes all that `index` lists, with what is said about each, and the index itself, byte for byte, to `target`; its
    /// descriptor.
    pub fn push_images(&self, index: &StoredIndex, target: &ImageRef) -> Result<Descriptor> {
        let _lease = self.lease()?;
        let options = self.upload_options()?;
        let client = self.remote().client()?;
        let tell = |event| self.tell(event);
        let images = index.images.iter().map(|image| &image.manifest);
        for part in images.chain(index.besides()) {
            let target = target.clone().with_digest(part.digest);
            block_on(|| client.push_manifest(self, part, &target, &options, &tell))??;
        }
        block_on(|| client.push_manifest(self, &index.descriptor, target, &options, &tell))??;
        Ok(index.descriptor.clone())
    }

    /// Pushes an index of manifests that are in `target`'s repository; its descriptor.
    pub fn push_index(&self, target: &ImageRef, index: &Index) -> Result<Descriptor> {
        let options = self.upload_options()?;
        let client = self.remote().client()?;
        let tell = |event| self.tell(event);
        block_on(|| client.push_index(target, index, &options, &tell))?
    }

    fn tell(&self, event: PushEvent) {
        if let Some(observer) = self.remote().observer() {
            observer(Transfer::Push(event));
        }
    }

    fn upload_options(&self) -> Result<UploadOptions> {
        match self.remote().uploads() {
            Some(options) => Ok(options.clone()),
            None => Ok(UploadOptions::from_environment()?),
        }
    }
}
