//! Where a tree of files, such as an image's, has its Pythons, and what is installed for them.
//!
//! Whoever made them: what is read is foreign, so what can't be understood is left out. The tree is whatever can be asked
//! for names and content; nothing here knows what holds it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::freeze::{self, Freeze};
use crate::installed::Installed;
use crate::venv::VENV;

/// Metadata of distributions is much smaller, and lists of their files are.
const MAX_TEXT: u64 = 64 << 20;

/// Folders below which images have a Python of their own; `*` stands for any name. The prebuilt images with CUDA have one
/// of uv's or of pyenv's.
const PREFIXES: [&str; 5] = [
    "usr/local",
    "usr",
    "opt/conda",
    "root/.local/share/uv/python/*",
    "root/.pyenv/versions/*",
];

/// Folders below such a one in which a Python `{}` has packages; those of Debian's are called otherwise.
const PACKAGES: [&str; 4] = [
    "lib/python{}/site-packages",
    "lib/python{}/dist-packages",
    "local/lib/python{}/dist-packages",
    "lib/python3/dist-packages",
];

/// The same for every Python that there may be.
const ALL_PACKAGES: [&str; 2] = ["lib/*/site-packages", "lib/*/dist-packages"];

/// A tree of files. Paths are relative to its root.
pub trait Tree {
    /// Names in a folder, sorted; none if it is no folder.
    fn names(&self, folder: &Path) -> BTreeSet<OsString>;
    /// Where a path leads to when links are followed, if that is somewhere.
    fn resolve(&self, path: &Path) -> Option<PathBuf>;
    /// The content of a file of at most `limit` bytes. No link is followed.
    fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>>;
}

/// The folders in which there may be interpreters, those that come first in a search path first.
pub fn program_folders(tree: &impl Tree) -> Vec<PathBuf> {
    let prefixes = PREFIXES.iter().flat_map(|prefix| matching(tree, prefix));
    prefixes.map(|prefix| prefix.join("bin")).collect()
}

/// The distributions that the interpreter at `program`, of the version `minor`, finds: the first of each name, sorted by
/// the folders that have them.
pub fn installed_for(tree: &impl Tree, program: &Path, minor: &str) -> Vec<Installed> {
    let prefix = program.parent().and_then(Path::parent);
    let prefix = prefix.unwrap_or(Path::new(""));
    let mut all: Vec<Installed> = Vec::new();
    for folder in PACKAGES.map(|folder| prefix.join(folder.replace("{}", minor))) {
        let Some(folder) = tree.resolve(&folder) else {
            continue;
        };
        let found: Vec<Installed> = infos(tree, &folder)
            .filter_map(|info| info.installed())
            .filter(|one| all.iter().all(|had| had.freeze.name != one.freeze.name))
            .collect();
        all.extend(found);
    }
    all
}

/// All distributions in the tree, for whichever Python, by name and version; the same in several places counts once.
pub fn everything(tree: &impl Tree) -> Vec<Freeze> {
    let places = [VENV].into_iter().chain(PREFIXES);
    let patterns = places.flat_map(|prefix| ALL_PACKAGES.map(|below| format!("{prefix}/{below}")));
    let folders: BTreeSet<PathBuf> = patterns
        .flat_map(|pattern| matching(tree, &pattern))
        .filter_map(|folder| tree.resolve(&folder))
        .collect();
    let infos = folders.iter().flat_map(|folder| infos(tree, folder));
    let mut found: Vec<Freeze> = infos.filter_map(|info| info.freeze()).collect();
    let key = |one: &Freeze| (one.name.to_lowercase(), one.version.clone());
    found.sort_by_key(key);
    found.dedup_by_key(|one| key(one));
    found
}

/// The folders that a pattern stands for, whether they are there or not where it has no `*`.
fn matching(tree: &impl Tree, pattern: &str) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::new()];
    for part in pattern.split('/') {
        folders = folders
            .into_iter()
            .flat_map(|folder| match part {
                "*" => {
                    let names = tree.names(&folder).into_iter();
                    names.map(|name| folder.join(name)).collect()
                }
                name => vec![folder.join(name)],
            })
            .collect();
    }
    folders
}

/// The metadata of a distribution.
struct Info<'a, T> {
    tree: &'a T,
    folder: PathBuf,
}

fn infos<'a, T: Tree>(tree: &'a T, folder: &Path) -> impl Iterator<Item = Info<'a, T>> {
    let folder = folder.to_owned();
    let names = tree.names(&folder).into_iter();
    let infos = names.filter(|name| name.to_string_lossy().ends_with(".dist-info"));
    infos.map(move |name| Info {
        tree,
        folder: folder.join(name),
    })
}

impl<T: Tree> Info<'_, T> {
    fn text(&self, file: &str) -> Option<String> {
        let bytes = self.tree.read(&self.folder.join(file), MAX_TEXT)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn freeze(&self) -> Option<Freeze> {
        let origin = self.text("direct_url.json");
        freeze::parse(&self.text("METADATA")?, origin.as_deref())
    }

    fn installed(&self) -> Option<Installed> {
        let (record, entry_points) = (self.text("RECORD"), self.text("entry_points.txt"));
        Installed::read(
            &self.text("METADATA")?,
            &record.unwrap_or_default(),
            &entry_points.unwrap_or_default(),
            self.text("direct_url.json").as_deref(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Files by path, without links.
    #[derive(Default)]
    struct Files(BTreeMap<PathBuf, String>);

    impl Files {
        fn add(mut self, folder: &str, name: &str, version: &str) -> Self {
            let info = Path::new(folder).join(format!("{name}-{version}.dist-info"));
            let metadata = format!("Name: {name}\nVersion: {version}\n\n");
            self.0.insert(info.join("METADATA"), metadata);
            let record = format!("{name}/__init__.py,,\n");
            self.0.insert(info.join("RECORD"), record);
            self
        }
    }

    impl Tree for Files {
        fn names(&self, folder: &Path) -> BTreeSet<OsString> {
            let below = self
                .0
                .keys()
                .filter_map(|path| path.strip_prefix(folder).ok());
            below
                .filter_map(|rest| Some(rest.components().next()?.as_os_str().to_owned()))
                .collect()
        }

        fn resolve(&self, path: &Path) -> Option<PathBuf> {
            let is_there = self.0.keys().any(|known| known.starts_with(path));
            is_there.then(|| path.to_owned())
        }

        fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
            let text = self.0.get(path)?;
            (text.len() as u64 <= limit).then(|| text.clone().into_bytes())
        }
    }

    fn tree() -> Files {
        Files::default()
            .add("opt/venv/lib/python3.11/site-packages", "torch", "2")
            .add("usr/local/lib/python3.11/site-packages", "numpy", "1")
            .add("usr/lib/python3/dist-packages", "numpy", "1")
            .add("usr/lib/python3/dist-packages", "apt", "0")
            .add(
                "root/.pyenv/versions/3.11.4/lib/python3.11/site-packages",
                "Zope",
                "5",
            )
            .add("home/me/lib/python3.11/site-packages", "hidden", "1")
    }

    #[test]
    fn everything_is_listed_once() {
        let found = everything(&tree());
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["apt", "numpy", "torch", "Zope"]);
    }

    #[test]
    fn an_interpreter_finds_its_own() {
        let names = |program: &str| -> Vec<(String, Vec<String>)> {
            let found = installed_for(&tree(), Path::new(program), "3.11");
            found
                .into_iter()
                .map(|one| (one.freeze.name, one.names))
                .collect()
        };
        let one = |name: &str| (name.to_owned(), vec![name.to_owned()]);
        assert_eq!(names("usr/local/bin/python3.11"), [one("numpy")]);
        assert_eq!(names("usr/bin/python3.11"), [one("apt"), one("numpy")]);
        assert_eq!(names("opt/conda/bin/python3.11"), []);
    }

    #[test]
    fn programs_are_looked_for_where_images_have_them() {
        let folders = program_folders(&tree());
        let expected = [
            "usr/local/bin",
            "usr/bin",
            "opt/conda/bin",
            "root/.pyenv/versions/3.11.4/bin",
        ];
        assert_eq!(folders, expected.map(PathBuf::from));
    }
}
