//! What is in a repository without anybody having to ask for each blob: the parts of the image that was pushed there
//! before. A registry keeps what its manifests name, and refuses a manifest that names what it has not.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::ACCEPT;
use tokio::sync::OnceCell;

use super::repository::Repository;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Descriptor, Manifest};
use crate::reference::ImageRef;
use crate::registry::error::RegistryError;
use crate::store::Store;

/// How long a registry may take to say that it has an image, before it is asked for each blob.
const PATIENCE: Duration = Duration::from_secs(10);

/// The image that the store has pushed to a repository last.
pub(crate) struct Known {
    manifest: Descriptor,
    blobs: HashSet<Digest>,
    /// Whether the repository still has it: asked once.
    is_there: OnceCell<bool>,
}

impl Known {
    /// Nothing is asked yet.
    pub(crate) fn of(store: &Store, target: &ImageRef) -> Option<Self> {
        let manifest = store.last_pushed(target.registry(), target.repository())?;
        let bytes = store.read_document(&manifest).ok()?;
        let content = Manifest::parse(&bytes, target.repository()).ok()?;
        Some(Self {
            manifest,
            blobs: content.blobs().map(|blob| blob.digest).collect(),
            is_there: OnceCell::new(),
        })
    }

    /// Whether it is the image with that manifest. If somebody pushes the same again, something may be missing.
    pub(super) fn is(&self, manifest: &Digest) -> bool {
        self.manifest.digest == *manifest
    }

    /// Whether the blob is a part of it.
    pub(super) fn has(&self, blob: &Descriptor) -> bool {
        self.blobs.contains(&blob.digest)
    }

    /// Asks the repository whether it still has it.
    pub(super) async fn is_there(&self, repository: &Repository<'_>) -> bool {
        let ask = async || {
            let digest = self.manifest.digest;
            let what = format!("{}@{digest}", repository.name);
            let request = repository
                .request(Method::HEAD, format!("manifests/{digest}"), what)
                .with(ACCEPT, &self.manifest.media_type);
            let transport = repository.transport.trying_once();
            let repository = Repository {
                transport: &transport,
                ..*repository
            };
            // Whatever is wrong shows when blobs are asked for.
            let asking = tokio::time::timeout(PATIENCE, repository.send(&request));
            asking.await.is_ok_and(|answer| answer.is_ok())
        };
        *self.is_there.get_or_init(ask).await
    }

    /// Whether it turned out that the repository still has it.
    pub(super) fn was_there(&self) -> bool {
        self.is_there.get() == Some(&true)
    }
}

/// Whether a registry may have refused a document because it has not what that names. Some say so in their own way.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Registry(
            RegistryError::PartsMissing { .. }
                | RegistryError::NotFound { .. }
                | RegistryError::NoRepository { .. }
                | RegistryError::Unauthorized { .. }
                | RegistryError::Status { .. }
        )
    )
}
