//! Blobs: written to a temporary file, renamed to their digest.
//!
//! A blob that is there already is replaced by the new copy: that costs nothing, and heals one that was
//! damaged.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::Store;
use super::scratch::{Scratch, unique_name};
use crate::digest::{Digest, HashingReader};
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, MAX_DOCUMENT};

/// A file that is removed unless it is renamed.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    pub(super) file: fs_err::File,
    /// Empty after the rename.
    path: PathBuf,
    /// Keeps the directory that it is in.
    _staging: Arc<Scratch>,
}

impl TemporaryFile {
    pub(super) fn rename(mut self, to: &Path) -> io::Result<()> {
        fs_err::rename(&self.path, to)?;
        self.path.clear();
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// A blob being written, invisible until it is committed.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    temporary: TemporaryFile,
    store: Store,
}

impl BlobWriter {
    /// Makes the blob visible under `digest`, which the caller computed while writing.
    pub(crate) fn commit_as(self, digest: Digest) -> Result<()> {
        Ok(self.temporary.rename(&self.store.blob_path(&digest))?)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.file.flush()
    }
}

impl Store {
    /// Path of the blob `digest`, whether it is there or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob is there with the right size. Its content is checked when it is read.
    pub fn has_blob(&self, blob: &Descriptor) -> bool {
        fs_err::metadata(self.blob_path(&blob.digest)).is_ok_and(|found| found.len() == blob.size)
    }

    /// Opens a blob of the expected size, fetching it if it is not here. Whoever reads it must compare the
    /// digest.
    pub(crate) fn open_blob(&self, blob: &Descriptor) -> Result<fs_err::File> {
        match self.open_blob_here(blob) {
            Err(Error::MissingBlob { .. } | Error::WrongSize { .. })
                if self.is_remote(&blob.digest) =>
            {
                self.fetch([blob])?;
                self.open_blob_here(blob)
            }
            result => result,
        }
    }

    /// The same, without asking any registry.
    pub(crate) fn open_blob_here(&self, blob: &Descriptor) -> Result<fs_err::File> {
        open_blob_file(&self.blob_path(&blob.digest), blob)
    }

    /// Reads and verifies a small blob.
    pub(crate) fn read_document(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        read_verified(self.open_blob(blob)?, blob)
    }

    /// Stores a small blob.
    pub(crate) fn put_document(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = Digest::of(bytes);
        self.write_file(&self.blob_path(&digest), bytes)
            .map_err(|error| error.at(self.root()))?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }

    /// Copies a blob in from `source`, verifying it.
    pub(crate) fn copy_blob_in(&self, source: impl Read, blob: &Descriptor) -> Result<()> {
        let copy = || {
            let mut writer = self.blob_writer()?;
            copy_verified(source, &mut writer, blob)?;
            writer.commit_as(blob.digest)
        };
        copy().map_err(|error: Error| error.at(self.root()))
    }

    pub(crate) fn blob_writer(&self) -> Result<BlobWriter> {
        Ok(BlobWriter {
            temporary: self.temporary_file()?,
            store: self.clone(),
        })
    }

    /// Removes a blob that turned out to be damaged, so that it is made or fetched again.
    pub fn discard_blob(&self, digest: &Digest) -> Result<()> {
        match fs_err::remove_file(self.blob_path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn temporary_file(&self) -> Result<TemporaryFile> {
        let staging = self.staging()?;
        let path = staging.path().join(unique_name());
        Ok(TemporaryFile {
            file: fs_err::File::create_new(&path)?,
            path,
            _staging: staging,
        })
    }

    fn staging(&self) -> Result<Arc<Scratch>> {
        let mut staging = self
            .inner
            .staging
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = &*staging {
            return Ok(Arc::clone(scratch));
        }
        let scratch = Arc::new(Scratch::create(&self.path("tmp"))?);
        *staging = Some(Arc::clone(&scratch));
        Ok(scratch)
    }
}

/// Opens a blob file, checking that it has the size that `blob` says.
pub(crate) fn open_blob_file(path: &Path, blob: &Descriptor) -> Result<fs_err::File> {
    let file = match fs_err::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::MissingBlob {
                digest: blob.digest,
            });
        }
        result => result?,
    };
    let actual = file.metadata()?.len();
    if actual != blob.size {
        return Err(Error::WrongSize {
            digest: blob.digest,
            expected: blob.size,
            actual,
        });
    }
    Ok(file)
}

/// Reads a document that must match `blob`.
pub(crate) fn read_verified(source: impl Read, blob: &Descriptor) -> Result<Vec<u8>> {
    if blob.size > MAX_DOCUMENT {
        return Err(Error::Unsupported {
            what: format!("blob {}", blob.digest),
            reason: format!("a document of {} bytes", blob.size),
        });
    }
    let mut bytes = Vec::new();
    copy_verified(source, &mut bytes, blob)?;
    Ok(bytes)
}

/// Copies `source` to `target` and checks that it was what `blob` describes.
pub(crate) fn copy_verified(
    source: impl Read,
    target: &mut impl Write,
    blob: &Descriptor,
) -> Result<()> {
    // One byte more tells too long from just right, without reading an endless source.
    let mut source = HashingReader::new(source.take(blob.size.saturating_add(1)));
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => target.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (actual, size) = source.finish();
    if size != blob.size {
        return Err(Error::WrongSize {
            digest: blob.digest,
            expected: blob.size,
            actual: size,
        });
    }
    if actual != blob.digest {
        return Err(Error::CorruptBlob {
            expected: blob.digest,
            actual,
        });
    }
    Ok(())
}
