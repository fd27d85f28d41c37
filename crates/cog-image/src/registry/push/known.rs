//! What is in a repository without anybody having to ask for each blob: the parts of the image that was pushed there
//! before. A registry keeps what its manifests name, and refuses a manifest that names what it has not.

use std::collections::HashSet;

use reqwest::Method;
use reqwest::header::ACCEPT;

use super::repository::Repository;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::registry::error::RegistryError;
use crate::store::Store;

impl Repository<'_> {
    /// The blobs of the image that the store has pushed here last, where its manifest is still here.
    pub(super) async fn known(&self, store: &Store) -> Option<HashSet<Digest>> {
        let document = store.last_pushed(self.registry, self.name)?;
        let bytes = store.read_document(&document).ok()?;
        let what = format!("{}@{}", self.name, document.digest);
        let manifest = Manifest::parse(&bytes, &what).ok()?;
        let path = format!("manifests/{}", document.digest);
        let request = self
            .request(Method::HEAD, path, what)
            .with(ACCEPT, &document.media_type);
        // Whatever is wrong shows when blobs are asked for.
        self.send(&request).await.ok()?;
        Some(manifest.blobs().map(|blob| blob.digest).collect())
    }
}

/// Whether a registry may have refused a document because it has not what that names.
pub(super) fn is_refusal(result: &Result<()>) -> bool {
    matches!(
        result,
        Err(Error::Registry(
            RegistryError::PartsMissing { .. }
                | RegistryError::NotFound { .. }
                | RegistryError::Status {
                    status: 400..=499,
                    ..
                }
        ))
    )
}
