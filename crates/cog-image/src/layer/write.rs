//! Writes collected nodes as a layer blob.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;

use super::LayerOptions;
use super::compress::{BlobEncoder, Written};
use super::content::Content;
use super::tar_writer::{Meta, TarWriter};
use super::tree::{Node, NodeKind};
use crate::digest::{DiffId, HashingWriter};
use crate::error::{Error, Result};

const BUFFER: usize = 256 * 1024;

/// Writes `nodes`, which must be sorted, to `out`.
pub(crate) fn write_layer<W: Write + Send + 'static>(
    nodes: &[Node],
    options: &LayerOptions,
    out: W,
) -> Result<(W, Written)> {
    let out = BlobEncoder::new(out, options.compression, options.threads);
    Ok(write_tar(nodes, options, out)?.finish()?)
}

/// What the layer of `nodes` would be called, as soon as they are read.
pub(crate) fn diff_id(nodes: &[Node], options: &LayerOptions) -> Result<DiffId> {
    let out = write_tar(nodes, options, HashingWriter::new(io::sink()))?;
    let (_, digest, _) = out.finish();
    Ok(DiffId::new(digest))
}

fn write_tar<W: Write>(nodes: &[Node], options: &LayerOptions, out: W) -> Result<W> {
    let mut tar = TarWriter::new(out);
    let mut buffer = vec![0; BUFFER];
    for node in nodes {
        write_node(&mut tar, node, options.timestamp, &mut buffer)?;
    }
    Ok(tar.finish()?)
}

fn write_node(
    tar: &mut TarWriter<impl Write>,
    node: &Node,
    timestamp: i64,
    buffer: &mut [u8],
) -> Result<()> {
    let meta = Meta {
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: timestamp,
    };
    match &node.kind {
        NodeKind::Directory => tar.directory(&node.path, meta)?,
        NodeKind::Bytes(bytes) => tar.bytes(&node.path, meta, bytes)?,
        NodeKind::Symlink(target) => tar.symlink(&node.path, target, meta)?,
        NodeKind::HardLink(target) => tar.hard_link(&node.path, target, meta)?,
        NodeKind::Fifo => tar.fifo(&node.path, meta)?,
        NodeKind::File { source, size } => {
            let Some(mut file) = source.open()? else {
                return Err(changed(source));
            };
            let before = state(&file)?;
            let is_whole = tar.file(&node.path, meta, *size, &mut file, buffer)?;
            // Also one of the same size could be half of the old and half of the new.
            if !is_whole || state(&file)? != before {
                return Err(changed(source));
            }
        }
    }
    Ok(())
}

/// When the content of a file was changed last. That of its status does not count: it changes whenever somebody makes
/// another name for the file, as installers do with what they have unpacked once.
fn state(file: &fs_err::File) -> io::Result<[i64; 2]> {
    let found = file.metadata()?;
    Ok([found.mtime(), found.mtime_nsec()])
}

fn changed(content: &Content) -> Error {
    Error::Changed {
        path: content.path(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tree;
    use crate::layer::{Entry, EntryKind, Owner};
    use std::path::PathBuf;

    /// Writes the file anew, with the same size, as soon as something of it was read.
    struct Writer(PathBuf, bool);

    impl Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.contains(&b'a') && !std::mem::replace(&mut self.1, true) {
                let mut file = fs_err::OpenOptions::new().write(true).open(&self.0)?;
                file.write_all(&vec![b'b'; 4 * BUFFER])?;
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_that_is_overwritten_while_it_is_read_is_no_layer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs_err::write(&path, vec![b'a'; 4 * BUFFER]).unwrap();
        // Long enough before, for clocks that go in steps.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let entry = Entry {
            path: "weights".into(),
            kind: EntryKind::File(path.clone()),
            mode: 0o644,
        };
        let options = LayerOptions::default();
        let nodes = tree::from_entries(vec![entry], Owner::Root).unwrap();
        let error = write_tar(&nodes, &options, Writer(path.clone(), false)).err();
        assert!(
            matches!(&error, Some(Error::Changed { path: at }) if *at == path),
            "{error:?}"
        );
        // Another name is no change.
        let linked = Linker(path, folder.path().join("other"));
        write_tar(&nodes, &options, linked).unwrap();
    }

    /// Makes another name for the file as soon as something of it was read.
    struct Linker(PathBuf, PathBuf);

    impl Write for Linker {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.contains(&b'b') && !self.1.exists() {
                fs_err::hard_link(&self.0, &self.1)?;
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
