//! Where the bytes of an upload come from: a file of the store, or another registry, with no file between.
//!
//! What is read is hashed on its way. A blob never goes out whole with other bytes than its digest says: its
//! end is held back until all of it is checked.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::RANGE;
use reqwest::{Response, StatusCode};

use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::registry::answer::{invalid, part_missing};
use crate::registry::download::continues;
use crate::registry::error::RegistryError;
use crate::registry::transport::{Request, Transport};
use crate::store::Store;

const PIECE: usize = 256 * 1024;

/// A blob that can be read from any place on, several times.
pub(super) struct Source<'a> {
    pub(super) store: &'a Store,
    pub(super) transport: &'a Transport,
    pub(super) blob: &'a Descriptor,
}

/// What is known of a body while it is sent.
pub(super) struct Flow(Mutex<State>);

struct State {
    /// Of all bytes of the blob up to those that were read last.
    hasher: Hasher,
    /// Where in the blob those end that were handed over last.
    position: u64,
    moved: Instant,
    failure: Option<Failure>,
}

/// Why a body has no end.
pub(super) enum Failure {
    /// The registry that it comes from broke off.
    Passing(Option<reqwest::Error>),
    /// It is not there or not what it should be.
    Lasting(Error),
}

/// Part of a blob on its way.
struct Reading {
    reader: Reader,
    blob: Descriptor,
    /// Bytes before this one are only hashed.
    from: u64,
    to: u64,
    flow: Arc<Flow>,
}

enum Reader {
    File(fs_err::File),
    Registry { response: Response, name: String },
}

impl Source<'_> {
    /// A body of the bytes `from..to`. `mark` has hashed some that are before them; reading starts there.
    pub(super) async fn body(
        &self,
        mark: &Hasher,
        from: u64,
        to: u64,
    ) -> Result<(reqwest::Body, Arc<Flow>)> {
        let (reader, hasher) = self.open(mark, to).await?;
        let flow = Arc::new(Flow::new(hasher, from));
        let reading = Reading {
            reader,
            blob: self.blob.clone(),
            from,
            to,
            flow: Arc::clone(&flow),
        };
        let stream = futures_util::stream::try_unfold(reading, Reading::next);
        Ok((reqwest::Body::wrap_stream(stream), flow))
    }

    /// Something to read from, and the hash of what is before it.
    async fn open(&self, mark: &Hasher, to: u64) -> Result<(Reader, Hasher)> {
        if self.store.has_blob(self.blob) {
            let mut file = self.store.open_blob_here(self.blob)?;
            file.seek(SeekFrom::Start(mark.size()))?;
            return Ok((Reader::File(file), mark.clone()));
        }
        let digest = self.blob.digest;
        let mut places = Vec::new();
        let mut first = None;
        for (registry, repository) in self.store.origins(&digest)? {
            let place = format!("{registry}/{repository}");
            match self.ask(registry, &repository, mark, to).await {
                // Another registry may have what this one lost or keeps to itself.
                Err(Error::Registry(error)) => {
                    places.push(place);
                    first.get_or_insert(error);
                }
                result => return result,
            }
        }
        Err(match first {
            None => Error::MissingBlob { digest },
            Some(error) => Error::PartNotFetched {
                digest,
                places,
                source: Box::new(error),
            },
        })
    }

    async fn ask(
        &self,
        registry: String,
        repository: &str,
        mark: &Hasher,
        to: u64,
    ) -> Result<(Reader, Hasher)> {
        let digest = self.blob.digest;
        let mut request = Request::get(
            &registry,
            repository,
            format!("blobs/{digest}"),
            format!("{repository}@{digest}"),
        );
        let start = mark.size();
        if start > 0 || to < self.blob.size {
            let last = to.saturating_sub(1);
            request = request.with(RANGE, format!("bytes={start}-{last}"));
        }
        let response = self.transport.send(&request).await;
        let response = response.map_err(|error| part_missing(&request, error))?;
        let hasher = if continues(&response, start) {
            mark.clone()
        } else if response.status() == StatusCode::PARTIAL_CONTENT {
            return Err(invalid(&request, "it sent another range than asked for").into());
        } else {
            // All of it: what is before is hashed again.
            Hasher::default()
        };
        let name = registry;
        Ok((Reader::Registry { response, name }, hasher))
    }
}

impl Reading {
    /// The next piece, and what comes after it.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let before = self.flow.state().hasher.size();
            let left = self.to.saturating_sub(before);
            if left == 0 {
                return Ok(None);
            }
            let mut piece = match self.reader.read(left).await {
                Ok(piece) if !piece.is_empty() => piece,
                Ok(_) => return Err(self.fail(self.ended_early(before))),
                Err(failure) => return Err(self.fail(failure)),
            };
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let after = before + piece.len() as u64;
            if let Err(failure) = self.hash(&piece) {
                return Err(self.fail(failure));
            }
            if after <= self.from {
                continue;
            }
            // Cannot be longer than the piece: it ends behind `from`.
            let known = usize::try_from(self.from.saturating_sub(before)).unwrap_or_default();
            let piece = piece.slice(known..);
            self.flow.hand_over(after);
            return Ok(Some((piece, self)));
        }
    }

    /// Hashes `piece` and, if it is the blob's last one, compares.
    fn hash(&self, piece: &[u8]) -> Result<(), Failure> {
        let mut state = self.flow.state();
        state.hasher.update(piece);
        if state.hasher.size() < self.blob.size {
            return Ok(());
        }
        let (actual, _) = state.hasher.clone().finish();
        let expected = self.blob.digest;
        if actual == expected {
            return Ok(());
        }
        Err(Failure::Lasting(match &self.reader {
            Reader::File(_) => Error::CorruptBlob { expected, actual },
            Reader::Registry { name, .. } => RegistryError::Corrupt {
                what: "a blob",
                registry: name.clone(),
                expected,
                actual,
            }
            .into(),
        }))
    }

    fn ended_early(&self, actual: u64) -> Failure {
        match self.reader {
            Reader::File(_) => Failure::Lasting(Error::WrongSize {
                digest: self.blob.digest,
                expected: self.blob.size,
                actual,
            }),
            Reader::Registry { .. } => Failure::Passing(None),
        }
    }

    /// Remembers why, and breaks the body off.
    fn fail(&self, failure: Failure) -> io::Error {
        self.flow.state().failure = Some(failure);
        io::Error::other("there is no more to send")
    }
}

impl Reader {
    /// The next bytes, `left` at most or more; none at the end.
    async fn read(&mut self, left: u64) -> Result<Bytes, Failure> {
        match self {
            Self::File(file) => {
                // From the page cache mostly, which is quicker than a thread that could do it.
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
                let mut buffer = vec![0; length];
                let read =
                    read_some(file, &mut buffer).map_err(|error| Failure::Lasting(error.into()))?;
                buffer.truncate(read);
                Ok(buffer.into())
            }
            Self::Registry { response, .. } => {
                let chunk = response.chunk().await;
                let chunk = chunk.map_err(|error| Failure::Passing(Some(error)))?;
                Ok(chunk.unwrap_or_default())
            }
        }
    }
}

fn read_some(file: &mut fs_err::File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Flow {
    fn new(hasher: Hasher, position: u64) -> Self {
        Self(Mutex::new(State {
            hasher,
            position,
            moved: Instant::now(),
            failure: None,
        }))
    }

    /// That of a request without a body, after `hasher`'s bytes.
    pub(super) fn still(hasher: Hasher) -> Self {
        let position = hasher.size();
        Self::new(hasher, position)
    }

    fn hand_over(&self, position: u64) {
        let mut state = self.state();
        state.position = position;
        state.moved = Instant::now();
    }

    /// Where in the blob those bytes end that were handed over last.
    pub(super) fn position(&self) -> u64 {
        self.state().position
    }

    /// For how long none were.
    pub(super) fn idle(&self) -> Duration {
        self.state().moved.elapsed()
    }

    /// Why the body broke off, if that was its own fault.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.state().failure.take()
    }

    /// The hash of all bytes of the blob up to the body's end.
    pub(super) fn mark(&self) -> Hasher {
        self.state().hasher.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
