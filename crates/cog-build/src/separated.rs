//! `--separate-weights`: which large files of a project are put into an image or into layers of their own.
//!
//! [`separate`] decides, from paths and sizes alone; nothing of the project is changed.

use std::collections::BTreeSet;
use std::path::Path;

use crate::context::{self, ContextError, Item, ItemKind};

/// A file from this size on is separated.
const LARGE: u64 = 10 * 1024 * 1024;

/// Paths that begin like this are not looked at.
const SKIPPED: [&str; 3] = [".cog", ".git", "__pycache__"];

/// Sources, packages, and media that come with a project: part of it, however large.
const SOURCES: [&str; 2] = [".py", ".ipynb"];
const OTHERS: [&str; 22] = [
    ".whl", ".jpg", ".jpeg", ".png", ".webp", ".svg", ".gif", ".avif", ".heic", ".mp4", ".mov",
    ".avi", ".wmv", ".mkv", ".webm", ".mp3", ".wav", ".ogg", ".flac", ".aac", ".m4a", ".log",
];

/// Which layers a project's files are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceLayers {
    /// Large files and folders are in layers of their own.
    #[default]
    BySize,
    /// So is, before all else, what [`separate`] names.
    SeparateWeights,
}

/// A path of the project, from the project on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeparatedPath {
    /// With all that is in it.
    Folder(String),
    /// One file.
    File(String),
}

impl SeparatedPath {
    /// The path.
    pub fn path(&self) -> &str {
        match self {
            Self::Folder(path) | Self::File(path) => path,
        }
    }

    /// The patterns that leave it out of the source.
    pub fn patterns(&self) -> Vec<String> {
        match self {
            Self::Folder(path) => vec![path.clone(), format!("{path}/**/*")],
            Self::File(path) => vec![path.clone()],
        }
    }
}

/// What of the project in `project_dir` is separated. What `.dockerignore` leaves out is not there.
pub fn separated_paths(project_dir: &Path) -> Result<Vec<SeparatedPath>, ContextError> {
    let tree = context::tree(project_dir, &context::ignore(project_dir)?)?;
    Ok(separated_items(&tree.items))
}

/// The same for a project that was looked at.
pub(crate) fn separated_items(items: &[Item]) -> Vec<SeparatedPath> {
    let files = items
        .iter()
        .filter(|item| matches!(item.kind, ItemKind::File(_)));
    let files: Vec<(&str, u64)> = files
        .map(|item| (item.path.as_str(), item.size()))
        .collect();
    separate(&files)
}

/// Folders with large files and no sources, shallow ones first, then large files beside cog.yaml.
pub fn separate(files: &[(&str, u64)]) -> Vec<SeparatedPath> {
    let large: Vec<&str> = files
        .iter()
        .filter(|(path, size)| *size >= LARGE && is_candidate(path))
        .map(|(path, _)| *path)
        .collect();
    let in_folders: BTreeSet<&str> = large
        .iter()
        .filter_map(|path| Some(path.rsplit_once('/')?.0))
        .collect();
    let mut folders: Vec<&str> = in_folders.into_iter().collect();
    folders.sort_by_key(|folder| (folder.matches('/').count(), *folder));
    let mut chosen: Vec<&str> = Vec::new();
    for folder in folders {
        if !chosen.iter().any(|above| is_below(folder, above)) {
            chosen.push(folder);
        }
    }
    chosen.retain(|folder| {
        let mut inside = files.iter().filter(|(path, _)| is_below(path, folder));
        !inside.any(|(path, _)| ends_with(path, &SOURCES))
    });
    let mut single: Vec<&str> = large
        .into_iter()
        .filter(|path| !path.contains('/'))
        .collect();
    single.sort_unstable();
    let folders = chosen
        .into_iter()
        .map(|path| SeparatedPath::Folder(path.to_owned()));
    let single = single
        .into_iter()
        .map(|path| SeparatedPath::File(path.to_owned()));
    folders.chain(single).collect()
}

fn is_candidate(path: &str) -> bool {
    let in_git = path.split('/').any(|part| part == ".git");
    let skipped = SKIPPED.iter().any(|start| path.starts_with(start));
    !in_git && !skipped && !ends_with(path, &SOURCES) && !ends_with(path, &OTHERS)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn ends_with(path: &str, suffixes: &[&str]) -> bool {
    suffixes.iter().any(|suffix| path.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, u64)], expected: &[&str]) {
        let separated = separate(files);
        let patterns: Vec<String> = separated.iter().flat_map(SeparatedPath::patterns).collect();
        assert_eq!(patterns, expected, "{files:?}");
    }

    #[test]
    fn large_files_are_separated() {
        check(
            &[
                ("checkpoints/large-a", LARGE),
                ("models/large-b", LARGE),
                ("root-large", LARGE),
                ("run.py", 10),
            ],
            &[
                "checkpoints",
                "checkpoints/**/*",
                "models",
                "models/**/*",
                "root-large",
            ],
        );
    }

    #[test]
    fn sources_small_files_and_git_stay() {
        check(&[("models/large", LARGE), ("models/code/x.py", 1)], &[]);
        check(&[("models/large", LARGE), ("models/code/x.ipynb", 1)], &[]);
        check(&[("models/almost", LARGE - 1), (".git/large", LARGE)], &[]);
        check(&[("a/.git/large", LARGE), (".cog/large", LARGE)], &[]);
        check(&[("__pycache__/large", LARGE), ("film.mp4", LARGE)], &[]);
        check(
            &[("data.whl", LARGE), ("big.py", LARGE), ("x.log", LARGE)],
            &[],
        );
    }

    #[test]
    fn folders_below_a_chosen_one_are_part_of_it() {
        check(
            &[
                ("a/b/large", LARGE),
                ("a/large", LARGE),
                ("ab/large", LARGE),
                ("z/y/large", LARGE),
                ("z/x.py", 1),
            ],
            &["a", "a/**/*", "ab", "ab/**/*", "z/y", "z/y/**/*"],
        );
        // The folder above is dropped with all that it took in.
        check(
            &[("a/b/large", LARGE), ("a/large", LARGE), ("a/x.py", 1)],
            &[],
        );
    }
}
