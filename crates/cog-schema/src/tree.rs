//! Where source files come from.

use std::io;
use std::path::{Component, Path, PathBuf};

/// A project's files by their path from its root, with forward slashes.
pub trait SourceTree {
    /// The text of a file, `None` if there is none.
    fn read(&self, path: &str) -> io::Result<Option<String>>;
}

/// A folder on disk. Nothing outside of it is read, also not through symbolic links.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The project at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl SourceTree for Directory {
    fn read(&self, path: &str) -> io::Result<Option<String>> {
        let relative = Path::new(path);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Ok(None);
        }
        let Ok(real) = fs_err::canonicalize(self.root.join(relative)) else {
            return Ok(None);
        };
        let root = fs_err::canonicalize(&self.root)?;
        if !real.starts_with(root) || !real.is_file() {
            return Ok(None);
        }
        let bytes = fs_err::read(real)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}
