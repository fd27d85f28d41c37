//! Removes what nothing refers to.
//!
//! Kept is what a name refers to, and what a step made that was used lately. Whoever works with other
//! content holds a lease ([`Store::lease`]); pruning waits for all leases to end.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::scratch::{self, Scratch};
use super::{StepRecord, Store};
use crate::error::Result;
use crate::layer::Layer;
use crate::manifest::Manifest;

/// What [`Store::prune`] may remove.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// Steps used within this time stay, with all their layers.
    pub keep_steps_used_within: Duration,
}

impl Default for PruneOptions {
    /// A week: the projects that somebody works on.
    fn default() -> Self {
        Self {
            keep_steps_used_within: Duration::from_hours(7 * 24),
        }
    }
}

/// What [`Store::prune`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Blobs, and unfinished downloads.
    pub blobs: usize,
    /// Unpacked layers.
    pub snapshots: usize,
    /// Records of build steps.
    pub steps: usize,
    /// Bytes of the blobs and of the snapshots' files; one with several names counts for each.
    pub bytes: u64,
}

/// File names to keep, by directory.
#[derive(Default)]
struct Kept {
    blobs: HashSet<OsString>,
    snapshots: HashSet<OsString>,
}

impl Store {
    /// Removes what no name and no recent step refers to, after waiting for running builds and
    /// containers.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        self.prune_or_report(options, || ())
    }

    /// Like [`Store::prune`], but calls `waiting` before it waits, to tell the user.
    pub fn prune_or_report(
        &self,
        options: &PruneOptions,
        waiting: impl FnOnce(),
    ) -> Result<PruneReport> {
        let _alone = self.exclusive_lease(waiting)?;
        scratch::remove_orphans(&self.path("tmp"))?;
        let mut report = PruneReport::default();
        let mut kept = self.named()?;
        self.prune_steps(options, &mut kept, &mut report)?;
        let bin = self.scratch()?;
        let blobs = Removal {
            from: self.path("blobs/sha256"),
            keep: &kept.blobs,
        };
        report.blobs = blobs.run(&bin, &mut report.bytes)?;
        let partial = Removal {
            from: self.path("partial"),
            keep: &kept.blobs,
        };
        report.blobs += partial.run(&bin, &mut report.bytes)?;
        let snapshots = Removal {
            from: self.path("snapshots"),
            keep: &kept.snapshots,
        };
        report.snapshots = snapshots.run(&bin, &mut report.bytes)?;
        // A few bytes each, which nobody wants to hear about.
        Removal {
            from: self.path("origins"),
            keep: &kept.blobs,
        }
        .run(&bin, &mut 0)?;
        Ok(report)
    }

    fn named(&self) -> Result<Kept> {
        let mut kept = Kept::default();
        for entry in self.index()?.manifests {
            kept.blobs.insert(entry.digest.hex().into());
            // A damaged image must not keep the others from being pruned around it: its name stays, and
            // whatever of it can still be read.
            if let Ok(bytes) = self.read_document(&entry)
                && let Ok(manifest) = Manifest::parse(&bytes, "manifest")
            {
                kept.blobs.insert(manifest.config.digest.hex().into());
                kept.blobs.extend(
                    manifest
                        .layers
                        .iter()
                        .map(|layer| layer.digest.hex().into()),
                );
            }
            if let Ok(image) = self.load_image(String::new(), &entry) {
                kept.layers(&image.layers);
            }
        }
        Ok(kept)
    }

    fn prune_steps(
        &self,
        options: &PruneOptions,
        kept: &mut Kept,
        report: &mut PruneReport,
    ) -> Result<()> {
        let now = SystemTime::now();
        for entry in fs_err::read_dir(self.path("steps"))? {
            let entry = entry?;
            let age = now
                .duration_since(entry.metadata()?.modified()?)
                .unwrap_or_default();
            let record = fs_err::read(entry.path())
                .ok()
                .and_then(|bytes| serde_json::from_slice::<StepRecord>(&bytes).ok());
            match record {
                Some(record) if age <= options.keep_steps_used_within => {
                    kept.layers(&record.layers);
                }
                _ => {
                    fs_err::remove_file(entry.path())?;
                    report.steps += 1;
                }
            }
        }
        Ok(())
    }
}

impl Kept {
    fn layers(&mut self, layers: &[Layer]) {
        for layer in layers {
            self.blobs.insert(layer.blob.digest.hex().into());
            self.snapshots.insert(layer.diff_id.hex().into());
        }
    }
}

/// Removes what is in `from` and not in `keep`.
struct Removal<'a> {
    from: PathBuf,
    keep: &'a HashSet<OsString>,
}

impl Removal<'_> {
    /// Moves things out of sight before removing them, so that an interruption leaves nothing half there.
    /// Returns how many there were, and adds their size.
    fn run(&self, bin: &Scratch, bytes: &mut u64) -> Result<usize> {
        let mut count = 0;
        for entry in fs_err::read_dir(&self.from)? {
            let entry = entry?;
            if self.keep.contains(&entry.file_name()) {
                continue;
            }
            *bytes += size(&entry.path());
            let away = bin.path().join(entry.file_name());
            fs_err::rename(entry.path(), &away)?;
            crate::layer::system::remove_tree(&away)?;
            count += 1;
        }
        Ok(count)
    }
}

/// Bytes of the regular files at or below `path`; what cannot be looked at counts as nothing.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs_err::symlink_metadata(path) else {
        return 0;
    };
    if metadata.is_file() {
        return metadata.len();
    }
    if !metadata.is_dir() {
        return 0;
    }
    let Ok(entries) = fs_err::read_dir(path) else {
        return 0;
    };
    entries
        .filter_map(|entry| Some(size(&entry.ok()?.path())))
        .sum()
}
