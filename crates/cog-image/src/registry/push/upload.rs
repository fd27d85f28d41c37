//! One blob on its way into a repository: mounted from another one, or sent (`sending`).

use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, StatusCode};

use super::event::{Arrival, PushEvent};
use super::options::UploadOptions;
use super::repository::Repository;
use super::sending::Sending;
use super::session::Session;
use crate::error::Result;
use crate::manifest::Descriptor;
use crate::registry::answer::invalid;
use crate::registry::error::RegistryError;
use crate::registry::transport::{Length, Request};
use crate::store::Store;

/// Repositories that are tried to mount from; one that had it may have lost it.
const MAX_MOUNTS: usize = 3;
/// How long it may take to tell the registry that an upload is not wanted any more.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// One blob on its way into a repository.
pub(super) struct Upload<'a> {
    pub(super) repository: Repository<'a>,
    pub(super) store: &'a Store,
    pub(super) blob: &'a Descriptor,
    pub(super) options: &'a UploadOptions,
}

/// What became of a request to begin.
pub(super) enum Begun {
    Mounted,
    Session(Session),
}

impl Upload<'_> {
    /// Brings the blob over, which is not there.
    pub(super) async fn run(&self) -> Result<Arrival> {
        match self.mount_or_begin().await? {
            Begun::Mounted => Ok(Arrival::Mounted),
            Begun::Session(session) => {
                let (digest, size) = (self.blob.digest, self.blob.size);
                (self.repository.tell)(PushEvent::Sending { digest, size });
                Sending::new(self, session).run().await?;
                Ok(Arrival::Sent)
            }
        }
    }

    /// Mounts the blob from a repository of the same registry that is known to have it; or begins to send.
    async fn mount_or_begin(&self) -> Result<Begun> {
        let mut begun = None;
        let origins = self.store.origins(&self.blob.digest)?;
        let elsewhere = origins.into_iter().filter(|(registry, repository)| {
            registry == self.repository.registry && repository != self.repository.name
        });
        for (_, source) in elsewhere.take(MAX_MOUNTS) {
            if let Some(session) = begun.take() {
                self.cancel(&session).await;
            }
            match self.begin(Some(&source)).await {
                Ok(Begun::Session(session)) => begun = Some(session),
                // We may not read there, or it is gone.
                Err(
                    RegistryError::NotFound { .. }
                    | RegistryError::NoRepository { .. }
                    | RegistryError::Unauthorized { .. }
                    | RegistryError::Status {
                        status: 400..=499, ..
                    },
                ) => {}
                result => return Ok(result?),
            }
        }
        Ok(match begun {
            Some(session) => Begun::Session(session),
            None => self.begin(None).await?,
        })
    }

    pub(super) async fn begin(&self, source: Option<&str>) -> Result<Begun, RegistryError> {
        let digest = &self.blob.digest;
        let path = match source {
            Some(source) => format!("blobs/uploads/?mount={digest}&from={source}"),
            None => "blobs/uploads/".to_owned(),
        };
        let mut request = self
            .repository
            .blob_request(Method::POST, path, digest)
            .with(CONTENT_LENGTH, "0");
        request
            .scopes
            .extend(source.map(|source| format!("repository:{source}:pull")));
        let response = self.repository.send(&request).await?;
        match response.status() {
            StatusCode::CREATED if source.is_some() => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => {
                Session::begun(&self.repository, &request, &response).map(Begun::Session)
            }
            status => Err(invalid(&request, format!("it answered {status}"))),
        }
    }

    /// Tells the registry that an upload is not wanted any more. If it does not hear, it finds out by itself.
    pub(super) async fn cancel(&self, session: &Session) {
        let request = self.request(Method::DELETE, session);
        if let Ok((builder, _)) = self.repository.transport.prepare(&request, Length::Small) {
            let _ = tokio::time::timeout(CANCEL_LIMIT, builder.send()).await;
        }
    }

    pub(super) fn request(&self, method: Method, session: &Session) -> Request<'_> {
        let path = session.location.to_string();
        self.repository
            .blob_request(method, path, &self.blob.digest)
    }
}
