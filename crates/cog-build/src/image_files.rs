//! An image's files, for those who know nothing of images.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cog_image::Rootfs;
use cog_python::installations::Tree;

/// Of the name or version of a package, in bytes; real ones have a tenth of that.
const MAX_WORD: usize = 512;

/// Whether a name or version can be one: what anybody wrote there goes into labels, documents and identifiers.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() <= MAX_WORD && !text.contains(char::is_control)
}

/// The files of a root, as a container would see them.
pub(crate) struct ImageFiles<'a>(pub(crate) &'a Rootfs);

impl Tree for ImageFiles<'_> {
    fn names(&self, folder: &Path) -> BTreeSet<OsString> {
        self.0.names(folder)
    }

    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        self.0.resolve(path)
    }

    fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        self.0.read(path, limit)
    }
}
