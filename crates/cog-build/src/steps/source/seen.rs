//! What a part of the source was like when its layer was made, so that one which is still like that is not read.
//!
//! As Git's index does it, files are compared by their status: size, times to the nanosecond, inode and device. Whoever
//! changes a file cannot choose the time of its last change, so a change is seen, unless another one came shortly before
//! it: see [`cog_files::Status::is_settled`], or the file system keeps no such time: see `devices`. So what is remembered
//! of a part in which something changed just before it was read, or on such a file system, is not certain: the next build
//! reads it again, which is much quicker than to pack it. Of a small one, nothing is remembered.
//!
//! The record is kept in the store among those of the steps, one for each part of each project: the next one takes its
//! place, and what it named is free to be pruned.

use std::os::unix::ffi::OsStrExt as _;
use std::time::SystemTime;

use cog_image::{Layer, StepKey, StepRecord};
use serde::{Deserialize, Serialize};

use super::Made;
use super::devices::Devices;
use crate::context::{Item, ItemKind};
use crate::error::Result;
use crate::executor::Executor;
use crate::parts::PartName;
use crate::plan::{KeyBuilder, key};

/// Changes whenever the same files would give another layer.
const RECIPE: u32 = 1;

/// From here on it is worth a record that packing is spared, in bytes.
const LARGE: u64 = 4 * 1024 * 1024;

/// What is remembered of a part.
#[derive(Serialize, Deserialize)]
struct Facts {
    state: String,
    /// Whether its files cannot have changed since without showing it.
    is_settled: bool,
}

/// A layer that was made of a part that looked as it does now.
pub(super) struct Before {
    pub(super) layer: Layer,
    /// Whether the part is the same. If not, reading it tells.
    pub(super) is_certain: bool,
}

/// A part as it is now.
pub(super) struct Seen {
    /// Where its record is.
    key: StepKey,
    /// Hash of all that its layer depends on.
    state: String,
    /// Whether every change from now on can be seen.
    is_settled: bool,
    is_large: bool,
}

impl Seen {
    /// What the `items` of the part `name` and what is `made` for it are like, looked at after `now`.
    pub(super) fn new(
        executor: &Executor<'_>,
        name: &PartName,
        items: &[&Item],
        made: &[Made],
        devices: &Devices,
        now: SystemTime,
    ) -> Self {
        // The records of different settings stand side by side.
        let key = key("part of the source", RECIPE)
            .field("project", executor.project_dir.as_os_str().as_bytes())
            // Not as it is shown, which is the same for several names.
            .field("part", format!("{name:?}"))
            .field("timestamp", executor.timestamp.to_string())
            .field("compression", format!("{:?}", executor.compression))
            .finish();
        let state = StepKey::builder("state of a part");
        let state = made.iter().fold(state, add_made);
        let state = items
            .iter()
            .fold(state, |state, item| add_item(state, item));
        Self {
            key,
            state: state.finish().to_string(),
            is_settled: items.iter().all(|item| match &item.kind {
                ItemKind::File(status) => {
                    devices.show_changes(status.device) && status.is_settled(now)
                }
                ItemKind::Symlink(_) | ItemKind::Folder => true,
            }),
            is_large: items.iter().map(|item| item.size()).sum::<u64>() >= LARGE,
        }
    }

    /// The layer that was made of the part when it looked as it does now, if the store still has it.
    pub(super) fn before(&self, executor: &Executor<'_>) -> Result<Option<Before>> {
        let Some(mut record) = executor.recorded(&self.key)? else {
            return Ok(None);
        };
        let facts = serde_json::from_value(record.facts);
        let facts: Option<Facts> = facts.ok().filter(|facts: &Facts| facts.state == self.state);
        Ok(facts.zip(record.layers.pop()).map(|(facts, layer)| Before {
            layer,
            is_certain: facts.is_settled,
        }))
    }

    /// Remembers that this is the part's `layer`.
    pub(super) fn remember(&self, executor: &Executor<'_>, layer: &Layer) -> Result<()> {
        if !self.is_settled && !self.is_large {
            return Ok(());
        }
        let facts = Facts {
            state: self.state.clone(),
            is_settled: self.is_settled,
        };
        let record = StepRecord {
            layers: vec![layer.clone()],
            facts: serde_json::to_value(facts).expect("a text and a truth value"),
        };
        Ok(executor.store.record_step(&self.key, &record)?)
    }
}

fn add_item(state: KeyBuilder, item: &Item) -> KeyBuilder {
    let state = state.field("path", &item.path);
    match &item.kind {
        ItemKind::Folder => state.field("folder", ""),
        ItemKind::Symlink(target) => state.field("link", target),
        ItemKind::File(status) => state.field("file", status.bytes()),
    }
}

fn add_made(state: KeyBuilder, made: &Made) -> KeyBuilder {
    let state = state.field("made", &made.path);
    match &made.content {
        Some(content) => state.field("content", content),
        None => state.field("folder", ""),
    }
}
