//! Snapshots: layers unpacked, as an overlay mount needs them.
//!
//! `snapshots/<diff id>/fs` holds the files and `info.json` what is known about them. Snapshots are not
//! forced to disk, as that would take longer than making them. Instead, `info.json` names the boot that
//! made the snapshot; in a later one, numbers and sizes of files are compared once before it is used,
//! because a crash leaves files short. [`crate::validate()`] compares the content itself.
//!
//! One that a crash damaged stays until a new one is complete, and both change places in one step: at no
//! moment is there half a snapshot, or none where there was one.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{LockGuard, Store};
use crate::digest::DiffId;
use crate::error::{Error, Result};
use crate::layer::limits::Limits;
use crate::layer::tree::{Node, NodeKind};
use crate::layer::unpack::{Count, unpack};
use crate::layer::{Layer, system};
use crate::manifest::{Descriptor, parse, to_json};

const FILES: &str = "fs";
const INFO: &str = "info.json";

/// What `info.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Info {
    /// The boot that made it; empty once the files are known to have reached the disk.
    boot: String,
    #[serde(flatten)]
    totals: Totals,
}

/// What a look at the files, without reading them, can tell. Empty files do not count: a crash cannot
/// shorten them, and some of them are whiteouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    /// Number of names of regular files.
    files: u64,
    /// Their sizes in bytes.
    bytes: u64,
}

/// Whether a layer is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotState {
    /// Its files are here.
    Present(PathBuf),
    /// Something is here, but a crash left it incomplete.
    Stale,
    Missing,
}

impl Store {
    /// Path of the unpacked layer. If it is missing, it is unpacked from the blob, whose digest and diff
    /// id are verified; a blob that is not here is fetched. For what a container needs, see
    /// [`Store::rootfs`].
    ///
    /// Deletions are in the form that overlayfs wants in a lower directory: see the crate's overlay
    /// notes. The content must not be changed.
    pub fn snapshot(&self, layer: &Layer) -> Result<PathBuf> {
        if let SnapshotState::Present(path) = self.snapshot_state(&layer.diff_id)? {
            return Ok(path);
        }
        // One process unpacks, others wait for it: unpacking twice costs more than waiting.
        let _lock = self.lock_snapshot(&layer.diff_id)?;
        if let SnapshotState::Present(path) = self.snapshot_state(&layer.diff_id)? {
            return Ok(path);
        }
        let unpacked = match self.unpack_snapshot(layer) {
            Err(Error::CorruptBlob { expected, .. }) if self.is_remote(&expected) => {
                self.discard_blob(&expected)?;
                self.unpack_snapshot(layer)
            }
            result => result,
        };
        unpacked.map_err(|error| error.at(self.root()))
    }

    /// Removes a snapshot that turned out to be damaged; it is made again when next asked for.
    pub fn discard_snapshot(&self, diff_id: &DiffId) -> Result<()> {
        // Out of sight first, so that nobody finds half of it.
        let scratch = self.scratch()?;
        match fs_err::rename(
            self.snapshot_path(diff_id),
            scratch.path().join("discarded"),
        ) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn has_snapshot(&self, diff_id: &DiffId) -> bool {
        matches!(self.snapshot_state(diff_id), Ok(SnapshotState::Present(_)))
    }

    pub(crate) fn snapshot_state(&self, diff_id: &DiffId) -> Result<SnapshotState> {
        let path = self.snapshot_path(diff_id);
        let info: Option<Info> = match fs_err::read(path.join(INFO)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            result => parse(&result?, INFO).ok(),
        };
        let files = path.join(FILES);
        match info {
            Some(info) if info.boot.is_empty() || Some(&info.boot) == boot_id().as_ref() => {
                Ok(SnapshotState::Present(files))
            }
            Some(info) if totals(&files)? == info.totals => {
                let settled = Info {
                    boot: String::new(),
                    ..info
                };
                self.write_file(&path.join(INFO), &to_json(&settled))?;
                Ok(SnapshotState::Present(files))
            }
            // Without a word about it, what is there may be anything.
            None if fs_err::symlink_metadata(&path).is_err() => Ok(SnapshotState::Missing),
            _ => Ok(SnapshotState::Stale),
        }
    }

    /// For whoever is about to make a snapshot: nobody else makes it then. Lock files stay for good, hence
    /// few of them.
    fn lock_snapshot(&self, diff_id: &DiffId) -> Result<LockGuard> {
        self.lock(&format!("snapshot-{}", &diff_id.hex()[..2]))
    }

    /// Moves `dir` into place as the snapshot of the layer that `nodes` were written to.
    pub(super) fn adopt_snapshot(
        &self,
        diff_id: &DiffId,
        dir: &Path,
        nodes: &[Node],
    ) -> Result<()> {
        if self.has_snapshot(diff_id) {
            return Ok(());
        }
        // Another process may have been quicker, and may use it already: then it must stay.
        let _lock = self.lock_snapshot(diff_id)?;
        if self.has_snapshot(diff_id) {
            return Ok(());
        }
        // Hard links have the size of what they link to, which `totals` counts for each name.
        let sizes: std::collections::HashMap<&[u8], u64> = nodes
            .iter()
            .filter_map(|node| match node.kind {
                NodeKind::File { size, .. } => Some((node.path.as_slice(), size)),
                _ => None,
            })
            .collect();
        let mut totals = Totals::default();
        for node in nodes {
            totals.add(match &node.kind {
                NodeKind::File { size, .. } => *size,
                NodeKind::HardLink(target) => sizes.get(target.as_slice()).copied().unwrap_or(0),
                _ => 0,
            });
        }
        let stage = self.scratch()?;
        let ready = stage.path().join("snapshot");
        fs_err::create_dir(&ready)?;
        fs_err::rename(dir, ready.join(FILES)).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => Error::Unpackable {
                path: dir.to_owned(),
                reason: "it is not in the store's scratch space".into(),
            },
            _ => error.into(),
        })?;
        // What the caller made it with is no concern of the layer's: its root is like any other directory.
        system::set_mode(&ready.join(FILES), 0o755)?;
        self.place_snapshot(&ready, totals, diff_id).map(drop)
    }

    fn unpack_snapshot(&self, layer: &Layer) -> Result<PathBuf> {
        let blob = self.open_blob(&layer.blob)?;
        let scratch = self.scratch()?;
        let ready = scratch.path().join("snapshot");
        fs_err::create_dir_all(ready.join(FILES))?;
        let files = ready.join(FILES);
        system::set_mode(&files, 0o755)?;
        let digest = layer.blob.digest;
        let unpacked = unpack(blob, &files, digest, Limits::for_blob(layer.blob.size));
        let (unpacked, count) = unpacked.map_err(|error| self.blame_blob(&layer.blob, error))?;
        if unpacked.digest != digest {
            return Err(Error::CorruptBlob {
                expected: digest,
                actual: unpacked.digest,
            });
        }
        if unpacked.diff_id != layer.diff_id {
            return Err(Error::WrongDiffId {
                layer: digest,
                expected: layer.diff_id,
                actual: unpacked.diff_id,
            });
        }
        let totals = count.map_or_else(|| totals(&files), |count| Ok(count.into()))?;
        self.place_snapshot(&ready, totals, &layer.diff_id)
    }

    /// An archive that cannot be read may simply be damaged: then that is the error to report.
    fn blame_blob(&self, blob: &Descriptor, error: Error) -> Error {
        if !matches!(error, Error::BadArchive { .. } | Error::BadEntry { .. }) {
            return error;
        }
        match self
            .open_blob(blob)
            .and_then(|file| super::blobs::copy_verified(file, &mut io::sink(), blob))
        {
            Err(damage) => damage,
            Ok(()) => error,
        }
    }

    fn place_snapshot(&self, ready: &Path, totals: Totals, diff_id: &DiffId) -> Result<PathBuf> {
        fs_err::write(
            ready.join(INFO),
            to_json(&Info {
                boot: boot_id().unwrap_or_else(|| "unknown".into()),
                totals,
            }),
        )?;
        let place = self.snapshot_path(diff_id);
        self.publish(ready, &place)?;
        Ok(place.join(FILES))
    }

    pub(super) fn snapshot_path(&self, diff_id: &DiffId) -> PathBuf {
        self.path("snapshots").join(diff_id.hex())
    }
}

impl From<Count> for Totals {
    fn from(Count { files, bytes }: Count) -> Self {
        Self { files, bytes }
    }
}

impl Totals {
    fn add(&mut self, size: u64) {
        self.files += u64::from(size > 0);
        self.bytes += size;
    }
}

/// Counts the regular files below `dir`.
fn totals(dir: &Path) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        let entries = match fs_err::read_dir(&dir) {
            // Closed by its owner: what is inside is neither counted now nor later.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            result => result?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                totals.add(entry.metadata()?.size());
            }
        }
    }
    Ok(totals)
}

/// Changes with every start of the kernel. Where it is unknown, snapshots are looked at each time.
fn boot_id() -> Option<String> {
    let id = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}
