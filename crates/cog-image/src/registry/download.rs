//! Downloads blobs: verified, resumed within a process and across processes.
//!
//! A blob arrives in `partial/<hex>`, which the downloading process holds locked: a second one waits for
//! it and then finds the blob. What a broken transfer leaves there is continued by the next.

mod partial;

use std::io;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};

use self::partial::Partial;
use super::answer::{invalid, part_missing, unreachable};
use super::error::RegistryError;
use super::transport::{Request, Transport, in_words};
use super::{Progress, ProgressFn};
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::store::Store;

/// A transfer that advanced this far, in bytes, beyond what ever had arrived may start counting its
/// attempts anew: a large blob over a bad line is not a lost cause.
const ADVANCE: u64 = 4 * 1024 * 1024;

/// One blob on its way from one repository.
pub(super) struct Download<'a> {
    pub(super) transport: &'a Transport,
    pub(super) store: &'a Store,
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    pub(super) blob: &'a Descriptor,
    pub(super) progress: ProgressFn<'a>,
}

/// How one answer's body ended.
enum End {
    Complete,
    /// The connection broke, or the answer ended early.
    Broken(Option<reqwest::Error>),
    /// The registry does not go on from where the last answer ended: all of it is asked for.
    StartedOver,
}

impl Download<'_> {
    /// Fetches the blob into the store, unless another process has meanwhile.
    pub(super) async fn run(&self) -> Result<()> {
        let digest = self.blob.digest;
        (self.progress)(Progress::Started {
            digest,
            size: self.blob.size,
        });
        let (store, path) = (self.store.clone(), self.store.partial_path(&digest));
        let (blob, size) = (self.blob.clone(), self.blob.size);
        let opened = blocking(move || {
            let partial = Partial::open(&path, size)?;
            if store.has_blob(&blob) {
                // Another process had it. The file goes while it is locked: it is nobody else's.
                store.discard_partial(&blob.digest);
                return Ok(None);
            }
            Ok(Some(partial))
        });
        if let Some(partial) = opened.await.map_err(|error| error.at(self.store.root()))? {
            self.fill(partial)
                .await
                .map_err(|error| error.at(self.store.root()))?;
        }
        (self.progress)(Progress::Finished { digest });
        Ok(())
    }

    async fn fill(&self, mut partial: Partial) -> Result<()> {
        let result = self.transfer(&mut partial).await;
        match &result {
            Ok(()) => {
                partial.rename(&self.store.blob_path(&self.blob.digest))?;
            }
            // Kept to be continued.
            Err(Error::Registry(RegistryError::Interrupted { .. })) => {}
            // Nothing there, wrong, or the disk is full: of no use to anybody.
            Err(_) if partial.size() == 0 => self.store.discard_partial(&self.blob.digest),
            Err(Error::Registry(RegistryError::Corrupt { .. }) | Error::Io(_)) => {
                self.store.discard_partial(&self.blob.digest);
            }
            Err(_) => {}
        }
        result
    }

    async fn transfer(&self, partial: &mut Partial) -> Result<()> {
        let mut attempt = 1;
        // The most that had ever arrived when attempts were counted anew: what is thrown away is no advance.
        let mut best = partial.size();
        loop {
            let end = if partial.size() == self.blob.size {
                End::Complete
            } else {
                self.attempt(partial).await?
            };
            let done = partial.size();
            match end {
                End::Complete if self.verify(partial)? => return Ok(()),
                End::Complete | End::StartedOver => {}
                End::Broken(source) => {
                    if done > best + ADVANCE {
                        attempt = 1;
                        best = done;
                    }
                    let source = source.map(reqwest::Error::without_url);
                    if !self.transport.may_retry(attempt) {
                        return Err(self.interrupted(done, source).into());
                    }
                    let why = source.map_or_else(
                        || "the answer ended early".to_owned(),
                        |error| in_words(&error),
                    );
                    let what = self.blob.digest.short();
                    self.transport.pause(attempt, &what, why).await;
                    attempt += 1;
                }
            }
        }
    }

    /// Whether the blob is what it should be. If not, and an earlier process's bytes may be why, starts
    /// over once.
    fn verify(&self, partial: &mut Partial) -> Result<bool> {
        let actual = partial.digest();
        if actual == self.blob.digest {
            return Ok(true);
        }
        if partial.is_inherited() {
            partial.restart()?;
            return Ok(false);
        }
        Err(RegistryError::Corrupt {
            what: "a blob",
            registry: self.registry.to_owned(),
            expected: self.blob.digest,
            actual,
        }
        .into())
    }

    /// One request and as much of its answer as arrives.
    async fn attempt(&self, partial: &mut Partial) -> Result<End> {
        let offset = partial.size();
        let mut request = Request::get(
            self.registry,
            self.repository,
            format!("blobs/{}", self.blob.digest),
            format!("{}@{}", self.repository, self.blob.digest),
        );
        if offset > 0 {
            request = request.with(RANGE, format!("bytes={offset}-"));
        }
        let mut response = match self.transport.send(&request).await {
            // The registry does not like the range: start over.
            Err(RegistryError::Status { status: 416, .. }) if offset > 0 => {
                partial.restart()?;
                return Ok(End::StartedOver);
            }
            response => response.map_err(|error| part_missing(&request, error))?,
        };
        if offset > 0 && !continues(&response, offset) {
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(invalid(&request, "it sent another range than asked for").into());
            }
            partial.restart()?;
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if partial.size() + chunk.len() as u64 > self.blob.size {
                        return Err(invalid(&request, "the blob is larger than announced").into());
                    }
                    // Into the page cache, which is quicker than a thread that could do it.
                    partial.push(chunk)?;
                    let (digest, done) = (self.blob.digest, partial.size());
                    (self.progress)(Progress::Advanced { digest, done });
                }
                Ok(None) if partial.size() == self.blob.size => return Ok(End::Complete),
                Ok(None) => return Ok(End::Broken(None)),
                Err(error) => return Ok(End::Broken(Some(error))),
            }
        }
    }

    fn interrupted(&self, done: u64, source: Option<reqwest::Error>) -> RegistryError {
        match source {
            // Not one byte: that is no better than no connection.
            Some(error) if done == 0 => unreachable(self.registry, error),
            source => RegistryError::Interrupted {
                registry: self.registry.to_owned(),
                digest: self.blob.digest,
                done,
                size: self.blob.size,
                source,
            },
        }
    }
}

/// Whether the answer starts at `offset`.
pub(super) fn continues(response: &Response, offset: u64) -> bool {
    response.status() == StatusCode::PARTIAL_CONTENT
        && response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// Runs `work` where blocking hinders nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(io::Error::other(error).into()),
        },
    }
}
