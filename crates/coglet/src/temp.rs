//! Files that go away by themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use cog_files::Scratch;

use crate::scratch::scratch;
use crate::sync::lock;

/// One file, or a directory and all that is in it, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    File,
    Tree,
}

/// The directory for input files: made at first use, removed at the end.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    directory: OnceLock<Scratch>,
    making: Mutex<()>,
    next: AtomicU64,
}

impl TempFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        let kind = Kind::File;
        Self { path, kind }
    }

    pub(crate) fn tree(path: PathBuf) -> Self {
        let kind = Kind::Tree;
        Self { path, kind }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // The model may have moved or removed its input: that is its right.
        match self.kind {
            Kind::File => drop(fs_err::remove_file(&self.path)),
            Kind::Tree => remove_tree(std::mem::take(&mut self.path)),
        }
    }
}

/// Beside the event loop, if there is one: there may be many files.
fn remove_tree(path: PathBuf) {
    let remove = move || drop(fs_err::remove_dir_all(path));
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(remove)),
        Err(_) => remove(),
    }
}

impl Workspace {
    pub(crate) fn directory(&self) -> io::Result<&Path> {
        if self.directory.get().is_none() {
            let _making = lock(&self.making);
            if self.directory.get().is_none() {
                let made = scratch()?;
                self.directory.get_or_init(|| made);
            }
        }
        Ok(self.directory.get().expect("made above").path())
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A name that no other file has and that ends as `name` does.
    pub(crate) fn next_name(&self, name: &str) -> String {
        numbered(self.next_number(), name)
    }
}

pub(crate) fn numbered(number: u64, name: &str) -> String {
    format!("{number}-{name}")
}
