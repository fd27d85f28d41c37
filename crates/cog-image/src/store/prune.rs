//! Removes what nothing refers to and nobody uses.
//!
//! Kept is what a name refers to, what a step made that was used lately, what else was used lately, and
//! what a [`Lease`](super::Lease) names: running containers are not disturbed. Whoever works with other
//! content holds [`Store::lease`]; pruning waits for that to end.

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use super::scratch::{self, Scratch};
use super::usage::{Item, Kind, size};
use super::{StepRecord, Store};
use crate::error::Result;
use crate::layer::{Layer, system};
use crate::manifest::{Descriptor, Manifest};

/// What [`Store::prune`] may remove.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// What becomes of names.
    pub names: Names,
    /// Steps used within this time stay, with all their layers, and so do environments, downloads and
    /// tools.
    pub keep_used_within: Duration,
}

/// What pruning does with the names of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// They stay, with all they refer to.
    #[default]
    Keep,
    /// They go first.
    Forget,
}

impl Default for PruneOptions {
    /// A week: the projects that somebody works on.
    fn default() -> Self {
        Self {
            names: Names::Keep,
            keep_used_within: Duration::from_hours(7 * 24),
        }
    }
}

impl PruneOptions {
    /// Everything that is not in use.
    pub fn everything() -> Self {
        Self {
            names: Names::Forget,
            keep_used_within: Duration::ZERO,
        }
    }
}

/// What [`Store::prune`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// For each kind of which something was removed: how many, and their bytes.
    pub removed: Vec<Removed>,
}

/// How much of a kind was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The kind.
    pub kind: Kind,
    /// How many.
    pub count: usize,
    /// Bytes of their files; one with several names counts for each.
    pub bytes: u64,
}

impl PruneReport {
    /// How many of `kind` were removed.
    pub fn count(&self, kind: Kind) -> usize {
        let of_kind = self.removed.iter().filter(|removed| removed.kind == kind);
        of_kind.map(|removed| removed.count).sum()
    }

    /// Bytes of everything that was removed.
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|removed| removed.bytes).sum()
    }

    fn add(&mut self, kind: Kind, bytes: u64) {
        let known = self.removed.iter_mut().find(|removed| removed.kind == kind);
        match known {
            Some(removed) => {
                removed.count += 1;
                removed.bytes += bytes;
            }
            None => self.removed.push(Removed {
                kind,
                count: 1,
                bytes,
            }),
        }
    }
}

/// File names to keep, by directory.
#[derive(Default)]
struct Kept {
    blobs: HashSet<OsString>,
    snapshots: HashSet<OsString>,
}

/// A pruning under way.
struct Pruning<'a> {
    store: &'a Store,
    options: &'a PruneOptions,
    now: SystemTime,
    /// Things are moved here before they are removed, so that an interruption leaves nothing half there.
    bin: Scratch,
    report: PruneReport,
}

impl Store {
    /// Removes what no name, no recent step and no lease refers to, after waiting for running builds.
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
        let held = self.held()?;
        if options.names == Names::Forget {
            self.forget_names()?;
        }
        let mut pruning = Pruning {
            store: self,
            options,
            now: SystemTime::now(),
            bin: self.scratch()?,
            report: PruneReport::default(),
        };
        let mut kept = self.named()?;
        pruning.steps(&mut kept)?;
        kept.snapshots
            .extend(held.snapshots.into_iter().map(Into::into));
        pruning.all_but(Kind::Blobs, &kept.blobs)?;
        pruning.all_but(Kind::Snapshots, &kept.snapshots)?;
        pruning.origins(&kept.blobs)?;
        let folders = held.folders.iter().map(|folder| self.path(folder));
        pruning.caches(&folders.collect())?;
        Ok(pruning.report)
    }

    /// What names refer to, and what is said about that.
    fn named(&self) -> Result<Kept> {
        let mut kept = Kept::default();
        self.forget_orphans()?;
        for entry in self.index()?.manifests {
            kept.blobs.insert(entry.digest.hex().into());
            // A damaged image must not keep the others from being pruned around it: its name stays, and
            // whatever of it can still be read.
            for manifest in self.manifests(&entry).unwrap_or_default() {
                self.keep(&manifest, &mut kept);
            }
        }
        Ok(kept)
    }

    fn keep(&self, entry: &Descriptor, kept: &mut Kept) {
        kept.blobs.insert(entry.digest.hex().into());
        if let Ok(bytes) = self.read_document(entry)
            && let Ok(manifest) = Manifest::parse(&bytes, "manifest")
        {
            kept.blobs
                .extend(manifest.blobs().map(|blob| blob.digest.hex().into()));
        }
        if let Ok(image) = self.load_image(String::new(), entry) {
            kept.layers(&image.layers);
        }
    }
}

impl Pruning<'_> {
    fn steps(&mut self, kept: &mut Kept) -> Result<()> {
        for step in self.store.items(Kind::Steps)? {
            let record = fs_err::read(&step.path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<StepRecord>(&bytes).ok());
            // Reading it for this is no use of it: only the time that uses write counts.
            let used = fs_err::metadata(&step.path)?.modified()?;
            match record {
                Some(record) if self.is_recent(used) => kept.layers(&record.layers),
                _ => {
                    self.remove(Kind::Steps, &step)?;
                }
            }
        }
        Ok(())
    }

    fn all_but(&mut self, kind: Kind, keep: &HashSet<OsString>) -> Result<()> {
        for item in self.store.items(kind)? {
            if item
                .path
                .file_name()
                .is_none_or(|name| !keep.contains(name))
            {
                self.remove(kind, &item)?;
            }
        }
        Ok(())
    }

    fn caches(&mut self, held: &HashSet<std::path::PathBuf>) -> Result<()> {
        for kind in Kind::CACHES {
            for item in self.store.items(kind)? {
                if !held.contains(&item.path) && !self.is_recent(item.last_used) {
                    self.remove(kind, &item)?;
                }
            }
        }
        Ok(())
    }

    /// A few bytes each, which nobody wants to hear about.
    fn origins(&self, keep: &HashSet<OsString>) -> Result<()> {
        for entry in fs_err::read_dir(self.store.path("origins"))? {
            let entry = entry?;
            if !keep.contains(&entry.file_name()) {
                fs_err::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, kind: Kind, item: &Item) -> Result<()> {
        let away = self.bin.path().join("away");
        fs_err::rename(&item.path, &away)?;
        self.report.add(kind, size(&away));
        system::remove_tree(&away)?;
        Ok(())
    }

    /// A time to come counts as recent: the clock may have been wrong.
    fn is_recent(&self, used: SystemTime) -> bool {
        let age = self.now.duration_since(used).unwrap_or_default();
        age < self.options.keep_used_within
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
