//! Where source files come from.

use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use cog_files::read_project_bytes;

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
        match read_project_bytes(&self.root, relative) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => match error.kind() {
                // Nothing is there, or no file, or one of somebody else.
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_named_and_what_is_no_file_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs_err::write(root.join("run.py"), "x = 1").unwrap();
        let long = fs_err::File::create(root.join("long.py")).unwrap();
        long.set_len(1 << 30).unwrap();
        fs_err::os::unix::fs::symlink("/dev/zero", root.join("zero.py")).unwrap();
        fs_err::create_dir(root.join("folder.py")).unwrap();
        let tree = Directory::new(root);
        assert_eq!(tree.read("run.py").unwrap().as_deref(), Some("x = 1"));
        for nothing in ["none.py", "run.py/x", "zero.py", "folder.py", "../run.py"] {
            assert_eq!(tree.read(nothing).unwrap(), None, "{nothing}");
        }
        let error = tree.read("long.py").unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 16 MiB");
    }
}
