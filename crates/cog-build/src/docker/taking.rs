//! Takes what a daemon has built out of it: the daemon pushes what is not here to a registry of this process, or, where it
//! cannot reach that or all would take longer so, hands out an archive with all layers.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cog_engine::docker::{DaemonImage, DaemonKind};
use cog_image::layout::SavedImage;
use cog_image::receive::{Expected, Receiving, Taken};
use cog_image::{DiffId, Digest, Layer};
use tokio::sync::mpsc::{Receiver, channel};

use super::counted::{Observer, counted};
use super::error::DaemonError;
use super::{DockerBuilder, PIECES};
use crate::error::Result;
use crate::executor::Executor;

/// A daemon compresses what it pushes, on one core, and writes archives as fast as its disk is: it makes this many bytes of an
/// archive while it pushes one.
const PUSHED_FOR_SAVED: u64 = 5;
/// How often an image is pushed: what was said to be here and is not comes the next time, if need be the config before layers.
const ROUNDS: usize = 3;
/// An archive is longer than the files in it, by so much for sure.
const HEADERS: u64 = 1 << 30;

impl DockerBuilder {
    /// Takes the image `name` out of the daemon, of which `known` layers are not wanted.
    pub(super) fn take(
        &self,
        executor: &Executor<'_>,
        name: &str,
        known: &[Layer],
    ) -> Result<SavedImage> {
        let label = format!("taking layers from {}", self.daemon.title());
        counted(executor.reporter, &label, |observer| {
            match self.pushed(executor, name, known, &observer) {
                Ok(Some(image)) => return Ok(image),
                Ok(None) => {}
                Err(error) => executor.detail(&format!("{error}; an archive is taken instead")),
            }
            self.saved(executor, name, known, observer)
        })
    }

    /// Has the daemon push it; nothing if it should not.
    fn pushed(
        &self,
        executor: &Executor<'_>,
        name: &str,
        known: &[Layer],
        observer: &Observer,
    ) -> Result<Option<SavedImage>, DaemonError> {
        if self.is_out_of_reach.load(Ordering::Relaxed) || !self.daemon.is_local() {
            return Ok(None);
        }
        let image = self.daemon.image(name)?.ok_or_else(|| DaemonError::Lost {
            daemon: self.daemon.title(),
            name: name.to_owned(),
        })?;
        let news = News::of(&image, known, &self.daemon.growth(name)?);
        if !news.is_worth_a_push() {
            return Ok(None);
        }
        let name = match self.daemon.kind() {
            DaemonKind::Docker => name,
            DaemonKind::Podman => image.id.trim_start_matches("sha256:"),
        };
        let mut lacking = news.lacking;
        for _ in 0..ROUNDS {
            let expected = Expected {
                lacking: lacking.clone(),
                most: image.size.saturating_mul(2).saturating_add(HEADERS),
            };
            let tag = self.owner.tag("pushed");
            let receiving = Receiving::start(executor.store, expected, &tag, observer.clone())?;
            let (repository, tag) = receiving.reference();
            let pushed = self
                .daemon
                .push(name, (&repository, tag), receiving.broken());
            if !receiving.was_reached() {
                self.is_out_of_reach.store(true, Ordering::Relaxed);
            }
            if let Some(failure) = receiving.failure() {
                return Err(failure.into());
            }
            pushed?;
            let received = receiving.received();
            match receiving.take(executor.store, known)? {
                Taken::Image(image) => {
                    executor.detail(&format!(
                        "{} has pushed {received} bytes of new layers",
                        self.daemon.title()
                    ));
                    return Ok(Some(*image));
                }
                Taken::Lacks(digests) => lacking.extend(digests),
            }
        }
        Ok(None)
    }

    /// Has the daemon hand out all of it.
    fn saved(
        &self,
        executor: &Executor<'_>,
        name: &str,
        known: &[Layer],
        observer: Observer,
    ) -> Result<SavedImage> {
        let (sender, pieces) = channel(PIECES);
        std::thread::scope(|scope| {
            let store = executor.store;
            let received = Received::new(pieces, observer);
            let reader = scope.spawn(move || SavedImage::read(store, received, known));
            let saved = self.daemon.save(name, &sender);
            let hung_up = sender.is_closed();
            if saved.is_err() {
                let broken = io::Error::other("the daemon broke off");
                let _ = sender.blocking_send(Err(broken));
            }
            drop(sender);
            let read = reader.join();
            let read =
                read.map_err(|_| io::Error::other("the thread that reads the image ended"))?;
            match (read, saved) {
                (Ok(image), Ok(())) => Ok(image),
                (Err(error), Ok(())) => Err(error.into()),
                // Whoever reads has hung up, and says why.
                (Err(error), Err(_)) if hung_up => Err(error.into()),
                (_, Err(error)) => Err(DaemonError::from(error).into()),
            }
        })
    }
}

/// What of an image is not here.
#[derive(Debug, PartialEq, Eq)]
struct News {
    /// By the digests that a daemon may know it by.
    lacking: HashSet<Digest>,
    /// Bytes of its files, at most.
    bytes: u64,
    /// Bytes of all files.
    whole: u64,
}

impl News {
    /// `growth` says for each instruction, the last one first, what it added; some of those that made a layer added nothing.
    fn of(image: &DaemonImage, known: &[Layer], growth: &[u64]) -> Self {
        let layers: Vec<Option<DiffId>> = image.layers.iter().map(|id| id.parse().ok()).collect();
        let is_known = |id: &Option<DiffId>| {
            id.is_some_and(|id| known.iter().any(|layer| layer.diff_id == id))
        };
        let unknown = layers.iter().filter(|id| !is_known(id)).flatten();
        // Older daemons call an image by its config, which has to come in any case.
        let config = image.id.parse().ok();
        let lacking = unknown.map(DiffId::digest).chain(config).collect();
        let below = layers.iter().take_while(|id| is_known(id)).count();
        let added = growth.iter().filter(|bytes| **bytes > 0);
        Self {
            lacking,
            bytes: added
                .take(layers.len() - below)
                .fold(0, |sum, bytes| sum.saturating_add(*bytes)),
            whole: image.size,
        }
    }

    fn is_worth_a_push(&self) -> bool {
        self.bytes.saturating_mul(PUSHED_FOR_SAVED) <= self.whole
    }
}

/// Reads what a daemon sends.
struct Received {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
    bytes: u64,
    observer: Observer,
}

impl Received {
    fn new(pieces: Receiver<io::Result<Bytes>>, observer: Observer) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
            bytes: 0,
            observer,
        }
    }
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
            self.bytes += self.piece.len() as u64;
            (self.observer)(self.bytes);
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use cog_image::manifest::Descriptor;

    use super::*;

    fn id(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn known(name: &str) -> Layer {
        Layer {
            diff_id: DiffId::new(id(name)),
            blob: Descriptor::new("x", id("its blob"), 1),
            created_by: String::new(),
        }
    }

    fn news(layers: &[&str], growth: &[u64], size: u64) -> News {
        let image = DaemonImage {
            id: id("config").to_string(),
            layers: layers.iter().map(|name| id(name).to_string()).collect(),
            size,
            ..DaemonImage::default()
        };
        News::of(&image, &[known("a"), known("b")], growth)
    }

    #[test]
    fn layers_on_top_are_news() {
        let found = news(&["a", "b", "c", "d"], &[1, 0, 20, 300, 0, 4000], 4321);
        assert_eq!(
            found.lacking,
            HashSet::from([id("c"), id("d"), id("config")])
        );
        // Of instructions that add nothing, some make layers and some do not.
        assert_eq!(found.bytes, 21);
        assert_eq!(found.whole, 4321);
        assert!(found.is_worth_a_push());
        let nothing = news(&["a", "b"], &[300, 4000], 4300);
        assert_eq!(
            (nothing.bytes, nothing.lacking),
            (0, HashSet::from([id("config")]))
        );
    }

    #[test]
    fn a_new_layer_below_may_be_one_of_those_above() {
        let found = news(&["c", "a", "b"], &[1, 20, 300], 321);
        assert_eq!((found.bytes, found.lacking.len()), (321, 2));
        assert!(!found.is_worth_a_push());
    }

    #[test]
    fn what_a_daemon_says_is_not_trusted() {
        let image = DaemonImage {
            id: "an-id".to_owned(),
            layers: vec!["no-digest".to_owned()],
            ..DaemonImage::default()
        };
        let found = News::of(&image, &[], &[u64::MAX, u64::MAX]);
        assert!(found.lacking.is_empty());
        assert!(!found.is_worth_a_push());
    }
}
