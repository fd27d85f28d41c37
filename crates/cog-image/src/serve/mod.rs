//! A registry on this machine's loopback that has one image and can only be read: a container daemon that
//! pulls from it gets an image of the store without an archive, and fetches only the layers that it lacks.
//!
//! Start with [`Content`], which says what is served, and [`Served::start`]. The repository has a name that
//! nobody can guess, so that other users of the machine cannot read what it has; nothing else of the store
//! can be reached through it, and nothing can be written.
//!
//! Which daemon pulls, and what it calls the image afterwards, is not decided here.

mod answer;
mod content;
mod plain;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::loopback::{Loopback, unguessable_name};
use crate::store::{LockGuard, Store};

pub use content::{Content, Zstd};

/// Learns how many bytes of blobs have been sent so far.
pub type SentObserver = Arc<dyn Fn(u64) + Send + Sync>;

/// An image that is served for as long as the value lives.
#[derive(Debug)]
pub struct Served {
    server: Loopback,
    shared: Arc<Shared>,
    /// What is served is not pruned.
    _lease: LockGuard,
}

/// What the answers need.
struct Shared {
    store: Store,
    content: Content,
    /// The repository's name.
    repository: String,
    /// The one tag that it has.
    tag: String,
    sent: AtomicU64,
    /// Layers that were sent whole.
    given: Mutex<HashSet<Digest>>,
    was_read: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// One blob after the other comes from a registry, so that there is one progress to show.
    fetching: Mutex<()>,
    observer: SentObserver,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the repository: who knows it can read.
        f.debug_struct("Shared")
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

impl Served {
    /// Begins to serve `content` of `store` under `tag`.
    pub fn start(
        store: &Store,
        content: Content,
        tag: &str,
        observer: SentObserver,
    ) -> Result<Self> {
        let lease = store.lease()?;
        let shared = Arc::new(Shared {
            store: store.clone(),
            content,
            repository: unguessable_name()?,
            tag: tag.to_owned(),
            sent: AtomicU64::new(0),
            given: Mutex::default(),
            was_read: AtomicBool::new(false),
            failure: Mutex::default(),
            fetching: Mutex::default(),
            observer,
        });
        let of_answers = Arc::clone(&shared);
        let server = Loopback::start(move |request| {
            std::future::ready(answer::answer(&request, &of_answers))
        })?;
        Ok(Self {
            server,
            shared,
            _lease: lease,
        })
    }

    /// The reference to pull.
    pub fn reference(&self) -> String {
        let Shared {
            repository, tag, ..
        } = &*self.shared;
        format!("{}/{repository}:{tag}", self.server.address())
    }

    /// Bytes of blobs that were sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Layers that were sent whole.
    pub fn given(&self) -> HashSet<Digest> {
        self.shared.given().clone()
    }

    /// Whether somebody has read the manifest: whoever pulls and has not cannot reach this machine's
    /// loopback, or does not want to speak with a registry that has no certificate.
    pub fn was_read(&self) -> bool {
        self.shared.was_read.load(Ordering::Relaxed)
    }

    /// Why a blob could not be sent, if one could not.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure().take()
    }
}

impl Shared {
    fn failure(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn given(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
