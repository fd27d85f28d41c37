//! Manifests on their way into a repository, and what says something about another one.

use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode};

use super::repository::{Repository, header};
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::{Descriptor, Index, MAX_DOCUMENT, OCI_INDEX, to_json};
use crate::registry::answer::invalid;
use crate::registry::error::RegistryError;

/// A registry that answers with this lists a manifest's subject by itself.
const OCI_SUBJECT: &str = "oci-subject";

/// Whether a registry took note of what a manifest says something about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Noted,
    NotNoted,
}

impl Repository<'_> {
    /// Stores the document under `version`, a tag or its digest, and makes sure that it is the same there.
    pub(super) async fn put_manifest(
        &self,
        version: &str,
        media_type: &str,
        bytes: Vec<u8>,
        what: String,
    ) -> Result<Subject> {
        let digest = Digest::of(&bytes);
        let bytes: bytes::Bytes = bytes.into();
        let mut request = self
            .request(Method::PUT, format!("manifests/{version}"), what)
            .with(CONTENT_TYPE, media_type);
        request.body = Some(Arc::new(move || bytes.clone().into()));
        let response = self.send(&request).await?;
        if response.status() != StatusCode::CREATED && response.status() != StatusCode::OK {
            let status = response.status();
            return Err(invalid(&request, format!("it answered {status}")).into());
        }
        let subject = match header(response.headers(), OCI_SUBJECT) {
            Some(_) => Subject::Noted,
            None => Subject::NotNoted,
        };
        if !self.check_digest("a manifest", &response, digest)? {
            self.check_stored(digest, media_type, request.what).await?;
        }
        Ok(subject)
    }

    /// Asks for the document that was stored, of which the answer did not name the digest.
    async fn check_stored(&self, digest: Digest, media_type: &str, what: String) -> Result<()> {
        let path = format!("manifests/{digest}");
        let mut again = self
            .request(Method::HEAD, path, what)
            .with(ACCEPT, media_type);
        match self.send(&again).await {
            Ok(response) => {
                self.check_digest("a manifest", &response, digest)?;
                return Ok(());
            }
            // Some answer it for blobs alone.
            Err(RegistryError::NotFound { .. } | RegistryError::Status { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        again.method = Method::GET;
        let (_, bytes) = self.transport.read(&again, document_limit()).await?;
        let bytes = bytes.ok_or_else(|| invalid(&again, "its manifest is longer than was sent"))?;
        let actual = Digest::of(&bytes);
        if actual == digest {
            return Ok(());
        }
        Err(RegistryError::StoredDifferently {
            what: "a manifest",
            registry: self.registry.to_owned(),
            expected: digest,
            actual,
        }
        .into())
    }

    /// Lists `referrers` under the tag that stands for what refers to `subject`, where registries do not list
    /// them by themselves. What somebody else has listed there stays.
    pub(super) async fn list_referrers(
        &self,
        subject: &Digest,
        referrers: &[Descriptor],
    ) -> Result<()> {
        let tag = format!("sha256-{}", subject.hex());
        let mut index = self.referrers_tag(&tag).await?;
        let before = index.manifests.len();
        for referrer in referrers {
            let is_listed = |known: &Descriptor| known.digest == referrer.digest;
            if !index.manifests.iter().any(is_listed) {
                index.manifests.push(referrer.clone());
            }
        }
        if index.manifests.len() == before {
            return Ok(());
        }
        let what = format!("{}:{tag}", self.name);
        self.put_manifest(&tag, OCI_INDEX, to_json(&index), what)
            .await?;
        Ok(())
    }

    async fn referrers_tag(&self, tag: &str) -> Result<Index> {
        let what = format!("{}:{tag}", self.name);
        let request = self
            .request(Method::GET, format!("manifests/{tag}"), what)
            .with(ACCEPT, OCI_INDEX);
        let bytes = match self.transport.read(&request, document_limit()).await {
            Err(RegistryError::NotFound { .. }) => return Ok(Index::default()),
            result => result?.1,
        };
        let bytes = bytes.ok_or_else(|| invalid(&request, "its list of referrers is too long"))?;
        Index::parse(&bytes, &format!("the list of referrers `{}`", request.what))
    }
}

fn document_limit() -> usize {
    usize::try_from(MAX_DOCUMENT).expect("a few megabytes")
}
