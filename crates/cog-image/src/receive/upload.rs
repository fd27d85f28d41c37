//! A blob on its way: bytes to a file, and their digest.

use std::io::Write as _;
use std::path::PathBuf;

use crate::digest::{Digest, HashingWriter};
use crate::error::{Error, Result};
use crate::store::Scratch;

use super::Blob;

pub(super) struct Upload {
    path: PathBuf,
    file: HashingWriter<fs_err::File>,
    size: u64,
}

impl Upload {
    pub(super) fn create(scratch: &Scratch, name: &str) -> Result<Self> {
        let path = scratch.path().join(name);
        let file = HashingWriter::new(fs_err::File::create_new(&path)?);
        Ok(Self {
            path,
            file,
            size: 0,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What has come, which has to be `expected`.
    pub(super) fn finish(self, expected: Digest) -> Result<Blob> {
        let (_, actual, size) = self.file.finish();
        if actual != expected {
            return Err(Error::CorruptBlob { expected, actual });
        }
        let path = self.path;
        Ok(Blob { path, size })
    }
}
