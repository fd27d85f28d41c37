//! Layers put together for a container.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Store;
use super::leases::{Held, Lease};
use crate::digest::DiffId;
use crate::error::Result;
use crate::layer::Layer;
use crate::layer::overlay::{self, Mark};

/// The unpacked layers of one root file system, kept from pruning for as long as the value lives.
#[derive(Debug)]
pub struct Rootfs {
    layers: Vec<PathBuf>,
    _lease: Lease,
}

impl Rootfs {
    /// The directories, lowest first, none twice, as an overlay mount takes them. See
    /// [`Store::snapshot`] for what is in them.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// What is at `path` (relative, in the image), as a mount would show it: deletions count. No link is
    /// followed; where one is on the way, there is nothing.
    pub fn find(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        for layer in self.layers.iter().rev() {
            match look(layer, path.as_ref()) {
                Seen::Here(path) => return Some(path),
                Seen::Hidden => return None,
                Seen::Nothing => {}
            }
        }
        None
    }

    /// The path (relative, in the image) that `path` leads to when links are followed, as a program in the image
    /// would follow them; nothing if that is nowhere.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let mut resolved = PathBuf::new();
        let mut rest: VecDeque<OsString> = VecDeque::new();
        prepend(&mut rest, path.as_ref());
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                resolved.pop();
                continue;
            }
            resolved.push(name);
            let here = self.find(&resolved)?;
            if here.symlink_metadata().ok()?.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                let target = here.read_link().ok()?;
                resolved.pop();
                if target.is_absolute() {
                    resolved = PathBuf::new();
                }
                prepend(&mut rest, &target);
            }
        }
        Some(resolved)
    }

    /// Names in the directory `path` (relative, in the image), sorted: none if there is no such directory. No link is
    /// followed.
    pub fn names(&self, path: impl AsRef<Path>) -> BTreeSet<OsString> {
        let path = path.as_ref();
        let listed = self
            .layers
            .iter()
            .flat_map(|layer| match look(layer, path) {
                Seen::Here(folder) => entries(&folder),
                Seen::Hidden | Seen::Nothing => Vec::new(),
            });
        let found = |name: &OsString| self.find(path.join(name)).is_some();
        listed.filter(found).collect()
    }

    /// The content of the file `path` (relative, in the image), if it is a file of at most `limit` bytes. No link is
    /// followed.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Option<Vec<u8>> {
        let path = self.find(path)?;
        let metadata = path.symlink_metadata().ok()?;
        let is_wanted = metadata.is_file() && metadata.len() <= limit;
        is_wanted.then(|| fs_err::read(path).ok()).flatten()
    }
}

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// Puts the components of `path` in front of `rest`; what is not a name counts as far as it is a step up.
fn prepend(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front(OsStr::new("..").to_owned()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

/// None if it is no directory.
fn entries(folder: &Path) -> Vec<OsString> {
    let metadata = folder.symlink_metadata();
    if !metadata.is_ok_and(|metadata| metadata.is_dir()) {
        return Vec::new();
    }
    let entries = fs_err::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect()
}

/// What one layer says about a path.
enum Seen {
    Here(PathBuf),
    /// It is deleted, or something else is in its place.
    Hidden,
    Nothing,
}

fn look(layer: &Path, path: &Path) -> Seen {
    let mut here = layer.to_owned();
    let mut is_opaque = false;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            return Seen::Hidden;
        };
        here.push(name);
        let Ok(metadata) = here.symlink_metadata() else {
            return if is_opaque {
                Seen::Hidden
            } else {
                Seen::Nothing
            };
        };
        match overlay::mark(&here, &metadata) {
            Ok(Mark::Whiteout) => return Seen::Hidden,
            Ok(Mark::Opaque) => is_opaque = true,
            _ => {}
        }
        if components.peek().is_some() && !metadata.is_dir() {
            return Seen::Hidden;
        }
    }
    Seen::Here(here)
}

impl Store {
    /// Puts `layers`, lowest first, together. What is in a registry is fetched, several blobs at a time;
    /// what is packed is unpacked.
    pub fn rootfs(&self, layers: &[Layer]) -> Result<Rootfs> {
        // Pruning between the lease and the look would take what is being looked at.
        let _working = self.lease()?;
        let layers = distinct(layers);
        let lease = self.hold(&Held::snapshots(&layers))?;
        let packed = layers
            .iter()
            .filter(|layer| !self.has_snapshot(&layer.diff_id));
        self.fetch(packed.map(|layer| &layer.blob))?;
        Ok(Rootfs {
            layers: self.snapshots(&layers)?,
            _lease: lease,
        })
    }

    /// The layers unpacked, in their order. Several are unpacked at once: most of it is waiting for the file system.
    fn snapshots(&self, layers: &[&Layer]) -> Result<Vec<PathBuf>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((layer.diff_id, self.snapshot(layer)?));
            }
            Ok(done)
        };
        let packed = layers
            .iter()
            .filter(|layer| !self.has_snapshot(&layer.diff_id));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let helpers = packed.count().min(cores).saturating_sub(1);
        let done: Vec<Vec<(DiffId, PathBuf)>> = std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
            let own = work();
            let theirs = helpers.into_iter().map(|helper| match helper.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            [own].into_iter().chain(theirs).collect::<Result<_>>()
        })?;
        let paths: HashMap<DiffId, PathBuf> = done.into_iter().flatten().collect();
        let path = |layer: &&Layer| paths.get(&layer.diff_id).cloned();
        Ok(layers.iter().filter_map(path).collect())
    }
}

/// `layers` without those that come again further up: an overlay takes no directory twice. The highest of
/// equal layers hides all of the lower ones, and also what lies between them, so it is the one to keep.
fn distinct<'a>(layers: &'a [Layer]) -> Vec<&'a Layer> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<&'a Layer> = layers
        .iter()
        .rev()
        .filter(|layer| seen.insert(layer.diff_id))
        .collect();
    kept.reverse();
    kept
}
