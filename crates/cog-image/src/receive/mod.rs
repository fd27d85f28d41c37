//! A registry on this machine's loopback that a container daemon pushes one image to: what it has built comes here without an
//! archive, and without the layers that are here.
//!
//! Start with [`Receiving::start`]. A daemon asks for each layer whether it is here, by the digest that it knows the layer by:
//! that of the blob that it once pulled or pushed, wherever that was. What this digest stands for, only the image's manifest
//! and config say, which come last. So everything is said to be here but what is known to be lacking, and
//! [`Receiving::take`] tells what should have come; a second time, that comes.
//!
//! The repository has a name that nobody can guess, so that other users of the machine can put nothing into it. Nothing can be
//! read from it. Which daemon pushes, and when an archive is the better way, is not decided here.

mod answer;
mod upload;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::config::ParsedConfig;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::layout::SavedImage;
use crate::loopback::{Loopback, unguessable_name};
use crate::manifest::{Descriptor, Index, MAX_DOCUMENT, Manifest, is_index, parse};
use crate::store::{Scratch, Store};

/// Learns how many bytes of blobs have come so far.
pub type ReceivedObserver = Arc<dyn Fn(u64) + Send + Sync>;

/// What is to come.
#[derive(Debug, Default)]
pub struct Expected {
    /// Blobs that are not here. All others are said to be.
    pub lacking: HashSet<Digest>,
    /// Bytes that all blobs together have at most; beyond that, nothing is taken.
    pub most: u64,
}

/// An image that came, or what is lacking of it.
#[derive(Debug)]
pub enum Taken {
    /// All that was not known is here.
    Image(Box<SavedImage>),
    /// These blobs were said to be here, and are not.
    Lacks(HashSet<Digest>),
}

/// A registry that waits for an image for as long as the value lives.
#[derive(Debug)]
pub struct Receiving {
    server: Loopback,
    shared: Arc<Shared>,
}

/// What the answers need.
struct Shared {
    scratch: Arc<Scratch>,
    expected: Expected,
    /// The repository's name.
    repository: String,
    /// The one tag that can be written.
    tag: String,
    received: AtomicU64,
    was_reached: AtomicBool,
    state: Mutex<State>,
    /// Told of a failure.
    broken: Notify,
    observer: ReceivedObserver,
}

#[derive(Default)]
struct State {
    /// Uploads that have begun.
    begun: usize,
    /// Files of those that have not ended.
    open: HashMap<String, upload::Upload>,
    blobs: HashMap<Digest, Blob>,
    /// Manifests and indexes.
    documents: HashMap<Digest, Vec<u8>>,
    /// What the tag names.
    tagged: Option<Digest>,
    failure: Option<Error>,
}

/// A blob that has come, in a file.
#[derive(Clone, Debug)]
struct Blob {
    path: PathBuf,
    size: u64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the repository: who knows it can write.
        f.debug_struct("Shared")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl Receiving {
    /// Begins to wait for an image that is pushed as `tag`.
    pub fn start(
        store: &Store,
        expected: Expected,
        tag: &str,
        observer: ReceivedObserver,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            scratch: Arc::new(store.scratch()?),
            expected,
            repository: unguessable_name()?,
            tag: tag.to_owned(),
            received: AtomicU64::new(0),
            was_reached: AtomicBool::new(false),
            state: Mutex::default(),
            broken: Notify::new(),
            observer,
        });
        let receiving = Arc::clone(&shared);
        let server = Loopback::start(move |request| {
            let shared = Arc::clone(&receiving);
            async move { answer::answer(request, &shared).await }
        })?;
        Ok(Self { server, shared })
    }

    /// The repository to push to, and the tag.
    pub fn reference(&self) -> (String, &str) {
        let Shared {
            repository, tag, ..
        } = &*self.shared;
        (format!("{}/{repository}", self.server.address()), tag)
    }

    /// Bytes of blobs that have come.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Whether somebody has asked for a blob: whoever pushes and has not cannot reach this machine's loopback, or does not
    /// want to speak with a registry that has no certificate.
    pub fn was_reached(&self) -> bool {
        self.shared.was_reached.load(Ordering::Relaxed)
    }

    /// Waits for a failure: then it is of no use to go on.
    pub async fn broken(&self) {
        self.shared.broken.notified().await;
    }

    /// Why something could not be taken, if something could not.
    pub fn failure(&self) -> Option<Error> {
        self.shared.state().failure.take()
    }

    /// What has come, after the push. Of the `known` layers nothing is needed.
    pub fn take(self, store: &Store, known: &[Layer]) -> Result<Taken> {
        let Self { server, shared } = self;
        let state = std::mem::take(&mut *shared.state());
        // Files stay until the image goes.
        drop(server);
        state
            .image(&shared.scratch, known)
            .map_err(|error| error.at(store.root()))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure is the one that counts.
    fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.broken.notify_one();
    }
}

impl State {
    fn image(&self, scratch: &Arc<Scratch>, known: &[Layer]) -> Result<Taken> {
        let manifest = self.manifest()?;
        let Some(config) = self.blobs.get(&manifest.config.digest) else {
            return Ok(Taken::Lacks(HashSet::from([manifest.config.digest])));
        };
        if config.size > MAX_DOCUMENT {
            return Err(unreadable(format!("a config of {} bytes", config.size)));
        }
        let config = fs_err::read(&config.path)?;
        let config = ParsedConfig::parse(&config, "the config of the pushed image")?;
        if manifest.layers.len() != config.diff_ids.len() {
            return Err(unreadable(format!(
                "it lists {} layers, and its config {}",
                manifest.layers.len(),
                config.diff_ids.len()
            )));
        }
        let is_known = |diff_id: &DiffId| known.iter().any(|layer| layer.diff_id == *diff_id);
        let files = manifest.layers.iter().map(|layer| {
            let blob = self.blobs.get(&layer.digest);
            blob.map(|blob| blob.path.clone())
        });
        let files: Vec<Option<PathBuf>> = files.collect();
        let parts = manifest.layers.iter().zip(&config.diff_ids).zip(&files);
        let lacking = parts
            .filter(|((_, diff_id), file)| file.is_none() && !is_known(diff_id))
            .map(|((layer, _), _)| layer.digest);
        let lacking: HashSet<Digest> = lacking.collect();
        if !lacking.is_empty() {
            return Ok(Taken::Lacks(lacking));
        }
        let image = SavedImage::of_files(Arc::clone(scratch), config, files, known)?;
        Ok(Taken::Image(Box::new(image)))
    }

    /// That of the image: of an index, the first that is for something that runs programs.
    fn manifest(&self) -> Result<Manifest> {
        let what = "the manifest of the pushed image";
        let missing = || unreadable("its manifest has not come".to_owned());
        let tagged = self
            .tagged
            .as_ref()
            .and_then(|digest| self.documents.get(digest));
        let tagged = tagged.ok_or_else(missing)?;
        let kind: Kind = parse(tagged, what)?;
        if !is_index(&kind.media_type) && kind.manifests.is_empty() {
            return Manifest::parse(tagged, what);
        }
        let is_image = |entry: &&Descriptor| {
            let platform = entry.platform.as_ref();
            platform.is_none_or(|platform| platform.os != "unknown")
        };
        let index = Index::parse(tagged, what)?;
        let entry = index.manifests.iter().find(is_image);
        let found = entry.and_then(|entry| self.documents.get(&entry.digest));
        Manifest::parse(found.ok_or_else(missing)?, what)
    }
}

/// What tells an index from a manifest.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Vec<serde_json::Value>,
}

fn unreadable(reason: String) -> Error {
    Error::Unsupported {
        what: "the image that the daemon pushed".to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests;
