//! Where the content of a file of a layer comes from, and how it is opened when its turn has come.

use std::io;
use std::path::{Path, PathBuf};

use cog_files::{Folder, Found};

use super::system;

/// A file on the host.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Wherever links lead.
    At(PathBuf),
    /// Somewhere in a folder of somebody else's, who may have put a link there since it was listed.
    In { folder: PathBuf, path: PathBuf },
}

impl Content {
    /// For messages.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::At(path) => path.clone(),
            Self::In { folder, path } => folder.join(path),
        }
    }

    /// Bytes, before it is opened.
    pub(crate) fn size(&self) -> io::Result<u64> {
        let metadata = match self {
            Self::At(path) => fs_err::metadata(path)?,
            Self::In { .. } => fs_err::symlink_metadata(self.path())?,
        };
        Ok(metadata.len())
    }

    /// The open file; nothing if there is none any more.
    pub(crate) fn open(&self) -> io::Result<Option<fs_err::File>> {
        match self {
            Self::At(path) => system::open_even_if_unreadable(path).map(Some),
            Self::In { folder, path } => open_in(folder, path),
        }
    }
}

fn open_in(folder: &Path, path: &Path) -> io::Result<Option<fs_err::File>> {
    let name = folder.join(path);
    let found = Folder::open(folder)?.find_even_if_unreadable(path);
    let found = found.map_err(|error| {
        let text = format!("failed to open file `{}`: {error}", name.display());
        io::Error::new(error.kind(), text)
    })?;
    Ok(match found {
        Found::File(file) => Some(fs_err::File::from_parts(file, name)),
        Found::Nothing | Found::Other => None,
    })
}
