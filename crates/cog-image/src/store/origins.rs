//! Where blobs that are not in the store can be fetched.
//!
//! A base image is used by reference: its layers stay in the registry until something has to run or be
//! exported. This remembers which registry, across processes, and what was pushed where.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Store;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::Descriptor;

impl Store {
    /// Remembers that `registry` has the blob in `repository`.
    pub(crate) fn record_origin(
        &self,
        digest: &Digest,
        registry: &str,
        repository: &str,
    ) -> Result<()> {
        let path = self.path("origins").join(digest.hex());
        let origin = (registry.to_owned(), repository.to_owned());
        let mut origins = self.origins(digest)?;
        // The latest first: it is the likeliest to answer.
        if origins.first() == Some(&origin) {
            return Ok(());
        }
        origins.retain(|known| *known != origin);
        origins.insert(0, origin);
        origins.truncate(5);
        let json = serde_json::to_vec(&origins).expect("pairs of texts");
        self.write_file(&path, &json)
            .map_err(|error| error.at(self.root()))
    }

    /// Remembers that the image with this manifest is in a repository, which the registry therefore keeps whole.
    pub(crate) fn record_pushed(
        &self,
        registry: &str,
        repository: &str,
        manifest: &Descriptor,
    ) -> Result<()> {
        if self.last_pushed(registry, repository).as_ref() == Some(manifest) {
            return Ok(());
        }
        let json = serde_json::to_vec(manifest).expect("a descriptor");
        self.write_file(&self.pushed_path(registry, repository), &json)
            .map_err(|error| error.at(self.root()))
    }

    /// Forgets which image is in a repository.
    pub(crate) fn forget_pushed(&self, registry: &str, repository: &str) -> io::Result<()> {
        match fs_err::remove_file(self.pushed_path(registry, repository)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// The manifest that was pushed to a repository last, if that is known. Pruning forgets it.
    pub(crate) fn last_pushed(&self, registry: &str, repository: &str) -> Option<Descriptor> {
        let bytes = fs_err::read(self.pushed_path(registry, repository)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn pushed_path(&self, registry: &str, repository: &str) -> PathBuf {
        let place = Digest::of(format!("{registry}/{repository}").as_bytes());
        self.path("origins").join(format!("pushed-{}", place.hex()))
    }

    /// Remembers that nobody answers at `address`.
    pub(crate) fn record_unreachable(&self, address: &str) -> Result<()> {
        self.write_file(&self.unreachable_path(address), b"")
            .map_err(|error| error.at(self.root()))
    }

    /// Whether nobody answered at `address` within the last `time`.
    pub(crate) fn was_unreachable(&self, address: &str, time: Duration) -> bool {
        let recorded =
            fs_err::metadata(self.unreachable_path(address)).and_then(|found| found.modified());
        recorded.is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age < time)
        })
    }

    fn unreachable_path(&self, address: &str) -> PathBuf {
        let name = format!("unreachable-{}", Digest::of(address.as_bytes()).hex());
        self.path("origins").join(name)
    }

    /// Where an unfinished download of the blob is.
    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.path("partial").join(digest.hex())
    }

    /// Removes an unfinished download. If that fails, the next one continues it, which is no harm.
    pub(crate) fn discard_partial(&self, digest: &Digest) {
        let _ = fs_err::remove_file(self.partial_path(digest));
    }

    /// Registries and repositories that have the blob.
    pub(crate) fn origins(&self, digest: &Digest) -> Result<Vec<(String, String)>> {
        match fs_err::read(self.path("origins").join(digest.hex())) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
