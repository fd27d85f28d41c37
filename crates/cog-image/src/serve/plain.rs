//! How large layers are without compression.

use std::io;

use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::layer::decompress::Decompressor;
use crate::store::{StepKey, StepRecord, Store};

/// Bytes of the layer's tar stream. Counted once: the store remembers the number.
pub(super) fn plain_size(store: &Store, layer: &Layer) -> Result<u64> {
    let key = StepKey::builder("plain-size")
        .field("of", layer.blob.digest.to_string())
        .finish();
    let known = store.step(&key)?.and_then(|record| record.facts.as_u64());
    if let Some(size) = known {
        return Ok(size);
    }
    let damaged = |error: io::Error| Error::BadArchive {
        layer: layer.blob.digest,
        reason: error.to_string(),
    };
    // Whoever takes the layer compares its digest.
    let mut plain = Decompressor::new(store.open_blob(&layer.blob)?).map_err(damaged)?;
    let size = io::copy(&mut plain, &mut io::sink()).map_err(damaged)?;
    let record = StepRecord {
        layers: Vec::new(),
        facts: size.into(),
    };
    store.record_step(&key, &record)?;
    Ok(size)
}
