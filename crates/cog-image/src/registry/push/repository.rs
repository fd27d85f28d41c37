//! The repository that is pushed to, and the requests to it.

use reqwest::header::{CONTENT_LENGTH, HeaderMap, LOCATION};
use reqwest::{Method, Response, Url};

use super::event::{PushEvent, PushFn};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::reference::ImageRef;
use crate::registry::answer::invalid;
use crate::registry::endpoint::Security;
use crate::registry::error::RegistryError;
use crate::registry::transport::{Request, Transport};

/// What registries say the content of a request or answer is.
const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";

/// A repository that is pushed to.
#[derive(Clone, Copy)]
pub(super) struct Repository<'a> {
    pub(super) transport: &'a Transport,
    pub(super) registry: &'a str,
    pub(super) name: &'a str,
    pub(super) tell: PushFn<'a>,
}

impl<'a> Repository<'a> {
    /// `target`'s repository.
    pub(super) fn of(target: &'a ImageRef, transport: &'a Transport, tell: PushFn<'a>) -> Self {
        Self {
            transport,
            registry: target.registry(),
            name: target.repository(),
            tell,
        }
    }

    /// A request about `path` below the repository, or about a URL that the registry gave.
    pub(super) fn request(&self, method: Method, path: String, what: String) -> Request<'a> {
        Request {
            method,
            scopes: vec![format!("repository:{}:pull,push", self.name)],
            ..Request::get(self.registry, self.name, path, what)
        }
    }

    pub(super) fn blob_request(
        &self,
        method: Method,
        path: String,
        digest: &Digest,
    ) -> Request<'a> {
        self.request(method, path, format!("{}@{digest}", self.name))
    }

    /// Sends `request` until there is an answer; only success is `Ok`.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        let tell = |wait| (self.tell)(PushEvent::Waiting(wait));
        self.transport.send_telling(request, &tell).await
    }

    /// Whether the blob is there.
    pub(super) async fn has(&self, blob: &Descriptor) -> Result<bool> {
        let path = format!("blobs/{}", blob.digest);
        let request = self.blob_request(Method::HEAD, path, &blob.digest);
        match self.send(&request).await {
            Ok(response) => {
                let length = header(response.headers(), CONTENT_LENGTH.as_str());
                let length = length.and_then(|text| text.parse::<u64>().ok());
                Ok(length.is_none_or(|length| length == blob.size))
            }
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the registry wants what comes next, if it says so.
    pub(super) fn location(
        &self,
        request: &Request<'_>,
        response: &Response,
    ) -> Result<Option<Url>, RegistryError> {
        let Some(text) = header(response.headers(), LOCATION.as_str()) else {
            return Ok(None);
        };
        let url = response.url().join(text).map_err(|error| {
            invalid(request, format!("its upload has no valid address: {error}"))
        })?;
        let protected = self.transport.endpoint(self.registry).security == Security::Tls;
        if protected && url.scheme() != "https" {
            return Err(invalid(
                request,
                "the address of its upload is not protected by TLS",
            ));
        }
        Ok(Some(url))
    }

    /// Refuses an answer that names another digest than `expected`; whether it named one.
    pub(super) fn check_digest(
        &self,
        what: &'static str,
        response: &Response,
        expected: Digest,
    ) -> Result<bool, Error> {
        let named = header(response.headers(), DOCKER_CONTENT_DIGEST);
        match named.and_then(|text| text.parse::<Digest>().ok()) {
            Some(actual) if actual != expected => Err(RegistryError::StoredDifferently {
                what,
                registry: self.registry.to_owned(),
                expected,
                actual,
            }
            .into()),
            named => Ok(named.is_some()),
        }
    }
}

/// A header of an answer, if it is readable text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}
