//! Reads OCI layouts, as a directory or a tar file, with random access to either.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layer::tar_reader::TarReader;
use crate::manifest::{Descriptor, Index, MAX_DOCUMENT, parse};
use crate::store::open_blob_file;

/// More files than any layout has; what cannot be listed must not fill the memory.
const MAX_FILES: usize = 100_000;

/// An OCI layout that somebody else may have written.
#[derive(Debug)]
pub(crate) struct LayoutSource {
    path: PathBuf,
    /// Offset and size of each file, for an archive.
    files: Option<HashMap<Vec<u8>, (u64, u64)>>,
}

impl LayoutSource {
    pub(crate) fn dir(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: None,
        }
    }

    /// Reads through the archive once to find out where things are.
    pub(crate) fn archive(path: &Path) -> Result<Self> {
        let input = Counting {
            inner: BufReader::new(fs_err::File::open(path)?),
            count: 0,
        };
        let mut reader = TarReader::new(input);
        let mut files = HashMap::new();
        let unreadable = |reason: String| Error::Unsupported {
            what: format!("`{}`", path.display()),
            reason: format!("not a readable archive: {reason}"),
        };
        while let Some(entry) = reader.next().map_err(unreadable)? {
            let name = entry
                .path
                .strip_prefix(b"./")
                .unwrap_or(&entry.path)
                .to_vec();
            if entry.kind == tar::EntryType::Regular {
                files.insert(name, (reader.input().count, entry.size));
            }
            if files.len() > MAX_FILES {
                return Err(unreadable(format!("more than {MAX_FILES} files")));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            files: Some(files),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `index.json`, if there is one.
    pub(crate) fn index(&self) -> Result<Option<Index>> {
        let what = || format!("`index.json` of `{}`", self.path.display());
        let Some((reader, size)) = self.open("index.json")? else {
            return Ok(None);
        };
        if size > MAX_DOCUMENT {
            let reason = format!("a document of {size} bytes");
            return Err(Error::Unsupported {
                what: what(),
                reason,
            });
        }
        let mut bytes = Vec::new();
        reader.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
        parse(&bytes, &what()).map(Some)
    }

    /// Opens a blob of the expected size. Whoever reads it must compare the digest.
    pub(crate) fn open_blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let name = format!("blobs/sha256/{}", blob.digest.hex());
        if self.files.is_none() {
            return Ok(Box::new(open_blob_file(&self.path.join(name), blob)?));
        }
        let Some((reader, actual)) = self.open(&name)? else {
            return Err(Error::MissingBlob {
                digest: blob.digest,
            });
        };
        if actual != blob.size {
            return Err(Error::WrongSize {
                digest: blob.digest,
                expected: blob.size,
                actual,
            });
        }
        Ok(reader)
    }

    fn open(&self, name: &str) -> Result<Option<(Box<dyn Read + Send>, u64)>> {
        if let Some(files) = &self.files {
            let Some((offset, size)) = files.get(name.as_bytes()) else {
                return Ok(None);
            };
            let mut file = fs_err::File::open(&self.path)?;
            file.seek(SeekFrom::Start(*offset))?;
            return Ok(Some((Box::new(file.take(*size)), *size)));
        }
        match fs_err::File::open(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some((Box::new(file), size)))
            }
        }
    }
}

/// Counts what was read.
struct Counting<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}
