//! The directories that lead to the current entry, kept open: entries come directory by directory.

use crate::layer::inside::{Directory, MAX_DEPTH, Missing, Refused, Root};

/// Where the current entry is, and the way there.
pub(super) struct Entered {
    root: Root,
    /// Each with its path in the archive, the root first. A part of the way may be a link: what is open is where it
    /// leads to.
    way: Vec<(Vec<u8>, Directory)>,
}

impl Entered {
    pub(super) fn new(root: Root) -> Self {
        Self {
            root,
            way: Vec::new(),
        }
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Makes `path` the current directory, creating what is missing of it.
    pub(super) fn enter(&mut self, path: &[u8]) -> Result<(), Refused> {
        while self
            .way
            .last()
            .is_some_and(|(known, _)| !leads(known, path))
        {
            self.way.pop();
        }
        if self.way.is_empty() {
            // A long way through links that lead up would hold more descriptors than there may be.
            let is_long = path.split(|byte| *byte == b'/').nth(MAX_DEPTH).is_some();
            let first = if is_long { path } else { b"" };
            self.push(first)?;
        }
        while let Some((known, directory)) = self.way.last()
            && known.len() < path.len()
        {
            let start = known.len() + usize::from(!known.is_empty());
            let length = path[start..].iter().position(|byte| *byte == b'/');
            let end = length.map_or(path.len(), |length| start + length);
            match directory.child(&path[start..end])? {
                Some(child) => self.way.push((path[..end].to_vec(), child)),
                // It is a link, or nothing that can be entered.
                None => self.push(&path[..end])?,
            }
        }
        Ok(())
    }

    /// Looks `path` up from the root, by links where there are some.
    fn push(&mut self, path: &[u8]) -> Result<(), Refused> {
        let directory = self.root.open(path, Missing::Create)?;
        let directory = directory.expect("missing ones are created");
        self.way.push((path.to_vec(), directory));
        Ok(())
    }

    /// Something was replaced, which the way may have led through.
    pub(super) fn forget(&mut self) {
        self.way.clear();
    }

    /// The directory that was entered last.
    pub(super) fn current(&self) -> &Directory {
        let (_, directory) = self.way.last().expect("entered before anything is created");
        directory
    }
}

/// Whether `known` is `path` or above it.
fn leads(known: &[u8], path: &[u8]) -> bool {
    match path.strip_prefix(known) {
        Some(rest) => known.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn entered(entered: &mut Entered, path: &[u8]) -> Result<PathBuf, String> {
        match entered.enter(path) {
            Ok(()) => Ok(entered.current().path.clone()),
            Err(refused) => Err(format!("{refused:?}")),
        }
    }

    #[test]
    fn the_way_is_walked_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut way = Entered::new(Root::new(root));
        for (path, open) in [("a/b/c", 4), ("a/b", 3), ("a/bc", 3), ("", 1), ("x", 2)] {
            let expected = root.join(path);
            assert_eq!(entered(&mut way, path.as_bytes()), Ok(expected), "{path}");
            assert_eq!(way.way.len(), open, "{path}");
        }
    }

    #[test]
    fn links_are_resolved_from_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut way = Entered::new(Root::new(root));
        entered(&mut way, b"usr/lib").unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, root.join(name));
        link("usr/lib", "lib").unwrap();
        link("../../..", "usr/lib/out").unwrap();
        assert_eq!(entered(&mut way, b"lib/x/y"), Ok(root.join("usr/lib/x/y")));
        let error = entered(&mut way, b"lib/out/x").unwrap_err();
        assert!(error.contains("leads out of the layer"), "{error}");
        // What is open there is not trusted after something was replaced.
        entered(&mut way, b"lib/x").unwrap();
        fs_err::remove_file(root.join("lib")).unwrap();
        way.forget();
        assert_eq!(entered(&mut way, b"lib/x"), Ok(root.join("lib/x")));
    }

    #[test]
    fn depth_and_descriptors_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut way = Entered::new(Root::new(dir.path()));
        let deep = "d/".repeat(MAX_DEPTH + 1);
        let error = entered(&mut way, deep.trim_end_matches('/').as_bytes()).unwrap_err();
        assert!(error.contains("nested too deeply"), "{error}");
        // Up and down, it is long and not deep.
        fs_err::create_dir(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("a/up")).unwrap();
        let mut way = Entered::new(Root::new(dir.path()));
        let long = "a/up/".repeat(MAX_DEPTH) + "a";
        let error = entered(&mut way, long.as_bytes()).unwrap_err();
        assert!(error.contains("too many links"), "{error}");
        assert!(way.way.len() <= 1);
    }
}
