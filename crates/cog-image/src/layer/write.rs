//! Writes collected nodes as a layer blob.

use std::io::{self, Write};

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
            if !tar.file(&node.path, meta, *size, &mut file, buffer)? {
                return Err(changed(source));
            }
        }
    }
    Ok(())
}

fn changed(content: &Content) -> Error {
    Error::Changed {
        path: content.path(),
    }
}
