//! What build steps made, by a key of everything they depend on.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Store;
use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::layer::Layer;
use crate::manifest::{Descriptor, to_json};

/// Identifies a build step by everything it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepKey(Digest);

/// Collects what a step depends on.
#[derive(Clone)]
pub struct StepKeyBuilder(Hasher);

/// What a step made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Whatever else later steps need to know.
    pub facts: serde_json::Value,
}

impl StepKey {
    /// Starts a key for the step called `name`: add fields, then finish.
    pub fn builder(name: &str) -> StepKeyBuilder {
        StepKeyBuilder(Hasher::default()).field("step", name)
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl StepKeyBuilder {
    /// Adds one dependency. Names and values are delimited by their lengths, so that different lists of
    /// fields have different keys; the order counts.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// The key.
    pub fn finish(self) -> StepKey {
        StepKey(self.0.finish().0)
    }
}

/// The time of last use is only written when it is older than this: it decides about pruning, which
/// thinks in days.
pub(super) const TOUCH_AFTER: Duration = Duration::from_mins(10);

impl Store {
    /// What the step with this key made. `None` if that is unknown, or a layer's blob is not here with the right size: then
    /// the step has to run again.
    ///
    /// That a registry has the blob, because it was pushed there, does not count: the registry may have lost it or be gone,
    /// and asking it would make each rebuild wait for the network. Nothing but damage takes blobs away and leaves their
    /// steps, so this makes work only where something is broken, and mends it.
    pub fn step(&self, key: &StepKey) -> Result<Option<StepRecord>> {
        self.step_where(key, |blob| Ok(self.has_blob(blob)))
    }

    /// The same for layers that others have made, those of a base image: they need not be here as long as a registry is
    /// known to have them. There is no way to make them again.
    pub fn step_of_others(&self, key: &StepKey) -> Result<Option<StepRecord>> {
        self.step_where(key, |blob| {
            Ok(self.has_blob(blob) || !self.origins(&blob.digest)?.is_empty())
        })
    }

    fn step_where(
        &self,
        key: &StepKey,
        is_usable: impl Fn(&Descriptor) -> Result<bool>,
    ) -> Result<Option<StepRecord>> {
        let path = self.step_path(key);
        let bytes = match fs_err::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        // A damaged record is as good as none.
        let Ok(record) = serde_json::from_slice::<StepRecord>(&bytes) else {
            return Ok(None);
        };
        for layer in &record.layers {
            if !is_usable(&layer.blob)? {
                return Ok(None);
            }
        }
        Self::touch(&path);
        Ok(Some(record))
    }

    /// Remembers what a step made.
    pub fn record_step(&self, key: &StepKey, record: &StepRecord) -> Result<()> {
        self.write_file(&self.step_path(key), &to_json(record))
            .map_err(|error| error.at(self.root()))
    }

    fn step_path(&self, key: &StepKey) -> PathBuf {
        self.path("steps").join(key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let key = |fields: &[(&str, &str)]| {
            fields
                .iter()
                .fold(StepKey::builder("step"), |builder, (name, value)| {
                    builder.field(name, value)
                })
                .finish()
        };
        let keys = [
            key(&[]),
            key(&[("a", "bc")]),
            key(&[("ab", "c")]),
            key(&[("a", "b"), ("c", "")]),
            key(&[("c", ""), ("a", "b")]),
            StepKey::builder("other").finish(),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(one), "{at}");
        }
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
    }
}
