//! Layers in another compression.

use std::io;

use crate::digest::{DiffId, HashingReader};
use crate::error::{Error, Result};
use crate::layer::compress::BlobEncoder;
use crate::layer::decompress::Decompressor;
use crate::layer::{Compression, Layer};
use crate::manifest::Descriptor;
use crate::store::{StepKey, StepRecord, Store};

impl Store {
    /// `layers` compressed with `compression`; one that is already stays as it is and where it is. Each is converted
    /// once: the store remembers the result.
    pub fn recompress(&self, layers: &[Layer], compression: Compression) -> Result<Vec<Layer>> {
        let _lease = self.lease()?;
        let convert = |layer| convert(self, layer, compression);
        layers.iter().map(convert).collect()
    }
}

/// `layer` compressed with `compression`. Converted once: the store remembers the result.
pub(super) fn convert(store: &Store, layer: &Layer, compression: Compression) -> Result<Layer> {
    if layer.blob.media_type == compression.media_type() {
        return Ok(layer.clone());
    }
    let key = StepKey::builder("convert")
        .field("from", layer.blob.digest.to_string())
        .field("to", compression.media_type())
        .finish();
    if let Some(record) = store.step(&key)?
        && let [converted] = record.layers.as_slice()
    {
        return Ok(Layer {
            created_by: layer.created_by.clone(),
            ..converted.clone()
        });
    }
    let converted =
        recompress(store, layer, compression).map_err(|error| error.at(store.root()))?;
    let record = StepRecord {
        layers: vec![converted.clone()],
        facts: serde_json::Value::Null,
    };
    store.record_step(&key, &record)?;
    Ok(converted)
}

fn recompress(store: &Store, layer: &Layer, compression: Compression) -> Result<Layer> {
    let mut encoder = BlobEncoder::new(store.blob_writer()?, compression, 0);
    copy_plain(store, layer, &mut encoder)?;
    let (writer, written) = encoder.finish()?;
    writer.commit_as(written.digest)?;
    Ok(Layer {
        blob: Descriptor::new(compression.media_type(), written.digest, written.size),
        ..layer.clone()
    })
}

/// Writes the layer's uncompressed content, verifying blob and diff id.
pub(crate) fn copy_plain(store: &Store, layer: &Layer, target: &mut dyn io::Write) -> Result<()> {
    let expected = layer.blob.digest;
    let damaged = |error: io::Error| Error::BadArchive {
        layer: expected,
        reason: error.to_string(),
    };
    let mut blob = HashingReader::new(store.open_blob(&layer.blob)?);
    let mut plain = HashingReader::new(Decompressor::new(&mut blob).map_err(damaged)?);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match io::Read::read(&mut plain, &mut buffer).map_err(damaged)? {
            0 => break,
            read => target.write_all(&buffer[..read])?,
        }
    }
    let (decompressor, (diff_id, _)) = plain.split();
    decompressor.drain().map_err(damaged)?;
    let (actual, _) = blob.finish();
    if actual != expected {
        return Err(Error::CorruptBlob { expected, actual });
    }
    let actual = DiffId::new(diff_id);
    if actual != layer.diff_id {
        return Err(Error::WrongDiffId {
            layer: expected,
            expected: layer.diff_id,
            actual,
        });
    }
    Ok(())
}
