//! Files that appear at their place when they are complete, and archives in them.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::layer::tar_writer::{Meta, TarWriter};

pub(super) const META: Meta = Meta {
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: 0,
};
const BLOCK: u64 = 512;

/// A file being written next to `target`; removed unless committed.
#[derive(Debug)]
pub(super) struct Output {
    file: Option<fs_err::File>,
    temporary: PathBuf,
    target: PathBuf,
}

impl Output {
    pub(super) fn create(target: &Path) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        // Left over from a process that had the same number: nobody else uses the name.
        if let Err(error) = fs_err::remove_file(&temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        Ok(Self {
            file: Some(file),
            temporary,
            target: target.to_owned(),
        })
    }

    pub(super) fn commit(mut self) -> Result<()> {
        fs_err::rename(&self.temporary, &self.target)?;
        self.file = None;
        Ok(())
    }

    fn file(&mut self) -> &mut fs_err::File {
        self.file.as_mut().expect("taken by `commit` only")
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs_err::remove_file(&self.temporary);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for Output {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file().seek(position)
    }
}

/// A tar file of blobs and documents, with the same bytes for the same content.
pub(super) struct Archive {
    output: Output,
}

impl Archive {
    pub(super) fn create(target: &Path) -> Result<Self> {
        Ok(Self {
            output: Output::create(target)?,
        })
    }

    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        let meta = Meta {
            mode: 0o755,
            ..META
        };
        Ok(TarWriter::new(&mut self.output).directory(name.as_bytes(), meta)?)
    }

    pub(super) fn bytes(&mut self, name: &str, content: &[u8]) -> Result<()> {
        Ok(TarWriter::new(&mut self.output).bytes(name.as_bytes(), META, content)?)
    }

    /// Writes an entry whose size is not known before: the header is written again afterwards.
    pub(super) fn stream(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let header_at = self.output.stream_position()?;
        self.header(name, 0)?;
        let start = self.output.stream_position()?;
        write(&mut self.output)?;
        let end = self.output.stream_position()?;
        let size = end - start;
        let padding = (BLOCK - size % BLOCK) % BLOCK;
        io::copy(&mut io::repeat(0).take(padding), &mut self.output)?;
        self.output.seek(SeekFrom::Start(header_at))?;
        self.header(name, size)?;
        self.output.seek(SeekFrom::Start(end + padding))?;
        Ok(())
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        Ok(TarWriter::new(&mut self.output).file_header(name.as_bytes(), META, size)?)
    }

    pub(super) fn commit(self) -> Result<()> {
        TarWriter::new(self.output).finish()?.commit()
    }
}

/// Writes an entry of a tar stream that nobody goes back to: its size is known before.
pub(super) fn write_member(
    out: &mut dyn Write,
    name: &str,
    size: u64,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    TarWriter::new(&mut *out).file_header(name.as_bytes(), META, size)?;
    write(&mut *out)?;
    let padding = (BLOCK - size % BLOCK) % BLOCK;
    io::copy(&mut io::repeat(0).take(padding), out)?;
    Ok(())
}
