//! The project's tree, less what `.dockerignore` leaves out. No file of it is read.

use std::path::Path;

use cog_files::{Folder, Status};
use rustix::fs::FileType;

use super::ContextError;
use crate::dockerignore::{Above, Dockerignore, FolderVerdict};

/// The folder that builds write to. It stays out of the image, whatever `.dockerignore` says.
const OWN: &str = ".cog";

/// What a virtual environment has, and nothing else.
const ENVIRONMENT: &str = "pyvenv.cfg";

/// Bounds the number of open folders; real projects have a tenth of that.
const MAX_DEPTH: usize = 250;

/// A file, a link, or a folder with nothing in it. Other folders are known by what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Relative to the project, `/` between names.
    pub(crate) path: String,
    pub(crate) kind: ItemKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File(Status),
    /// To this target.
    Symlink(String),
    Folder,
}

impl Item {
    /// Bytes of its content.
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            ItemKind::File(status) => status.size,
            ItemKind::Symlink(_) | ItemKind::Folder => 0,
        }
    }
}

/// A project as it is looked at.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Sorted by path.
    pub(crate) items: Vec<Item>,
    /// What no image can have: paths of sockets, pipes and devices, sorted.
    pub(crate) special: Vec<String>,
    /// Virtual environments that are left out, sorted: they work where they were made, with the Python there.
    pub(crate) environments: Vec<String>,
}

/// What of the project at `project_dir` an image gets. The folder `.cog` is left out.
pub(crate) fn tree(project_dir: &Path, ignore: &Dockerignore) -> Result<Tree, ContextError> {
    let mut walk = Walk {
        ignore,
        items: Vec::new(),
        special: Vec::new(),
        environments: Vec::new(),
    };
    walk.folder(&Folder::open(project_dir)?, "", &ignore.top(), MAX_DEPTH)?;
    let Walk {
        mut items,
        mut special,
        mut environments,
        ..
    } = walk;
    items.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    special.sort_unstable();
    environments.sort_unstable();
    Ok(Tree {
        items,
        special,
        environments,
    })
}

struct Walk<'a> {
    ignore: &'a Dockerignore,
    items: Vec<Item>,
    special: Vec<String>,
    environments: Vec<String>,
}

impl Walk<'_> {
    /// Adds what is in `folder`, whose paths begin with `prefix`.
    ///
    /// Editors make files that are gone at once: what vanishes between two looks is not there.
    fn folder(
        &mut self,
        folder: &Folder,
        prefix: &str,
        above: &Above,
        depth: usize,
    ) -> Result<(), ContextError> {
        if depth == 0 {
            return Err(ContextError::Depth(prefix.to_owned()));
        }
        for entry in folder.entries()? {
            let Some(name) = entry.name.to_str() else {
                return Err(ContextError::Name(Path::new(prefix).join(&entry.name)));
            };
            let path = [prefix, name].concat();
            if path == OWN {
                continue;
            }
            if entry.kind == FileType::Directory {
                self.sub_folder(folder, name, path, above, depth)?;
            } else if !self.ignore.excludes_in(above, &path) {
                match kind(folder, &entry, &path)? {
                    Seen::Item(kind) => self.items.push(Item { path, kind }),
                    Seen::Special => self.special.push(path),
                    Seen::Gone => {}
                }
            }
        }
        Ok(())
    }

    /// An excluded folder that something in it can bring back appears only with that something.
    fn sub_folder(
        &mut self,
        parent: &Folder,
        name: &str,
        path: String,
        above: &Above,
        depth: usize,
    ) -> Result<(), ContextError> {
        let verdict = self.ignore.folder_in(above, &path);
        if verdict == FolderVerdict::Excluded {
            return Ok(());
        }
        let Some(folder) = parent.enter(name)? else {
            return Ok(());
        };
        if is_environment(&folder)? && !self.ignore.asks_for(above, &path) {
            self.environments.push(path);
            return Ok(());
        }
        let before = self.items.len();
        let inside = self.ignore.inside(above, &path);
        self.folder(&folder, &format!("{path}/"), &inside, depth - 1)?;
        if self.items.len() == before && verdict == FolderVerdict::Included {
            let kind = ItemKind::Folder;
            self.items.push(Item { path, kind });
        }
        Ok(())
    }
}

/// Whether `folder` is one that `python -m venv` and its like have made.
fn is_environment(folder: &Folder) -> Result<bool, ContextError> {
    let status = folder.status(ENVIRONMENT.as_ref())?;
    Ok(status.is_some_and(|status| status.kind == FileType::RegularFile))
}

/// What became of an entry.
enum Seen {
    Item(ItemKind),
    /// No image can have it.
    Special,
    /// It has gone meanwhile, or is another one.
    Gone,
}

/// What `entry` is.
fn kind(folder: &Folder, entry: &cog_files::Entry, path: &str) -> Result<Seen, ContextError> {
    match entry.kind {
        FileType::Symlink => {
            let Some(target) = folder.link_target(&entry.name)? else {
                return Ok(Seen::Gone);
            };
            let target = target.into_string();
            let target = target.map_err(|_| ContextError::Name(path.into()))?;
            Ok(Seen::Item(ItemKind::Symlink(target)))
        }
        FileType::RegularFile => {
            let status = folder.status(&entry.name)?;
            let file = status.filter(|status| status.kind == FileType::RegularFile);
            Ok(file.map_or(Seen::Gone, |status| Seen::Item(ItemKind::File(status))))
        }
        _ => Ok(Seen::Special),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::ignore;

    fn paths(project_dir: &Path) -> Vec<String> {
        let ignore = ignore(project_dir).expect("it is valid");
        let tree = tree(project_dir, &ignore).expect("readable");
        tree.items.into_iter().map(|item| item.path).collect()
    }

    fn write(project_dir: &Path, path: &str) {
        let path = project_dir.join(path);
        fs_err::create_dir_all(path.parent().expect("it has one")).expect("created");
        fs_err::write(path, "x").expect("written");
    }

    #[test]
    fn the_project_is_filtered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = [
            "run.py",
            "data/a.bin",
            "data/keep/b.bin",
            ".cog/x",
            "sub/.cog/y",
            ".git/HEAD",
            "a/x",
            "a-b",
            "logs/deep/x.log",
        ];
        for path in files {
            write(folder.path(), path);
        }
        for path in ["empty/inner", "data/empty"] {
            fs_err::create_dir_all(folder.path().join(path)).expect("created");
        }
        fs_err::os::unix::fs::symlink("run.py", folder.path().join("link.py")).expect("linked");
        let mode = rustix::fs::Mode::RUSR;
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("made");
        let patterns = "data\n!data/keep\n!.cog\n**/*.log\n";
        fs_err::write(folder.path().join(".dockerignore"), patterns).expect("written");
        assert_eq!(
            paths(folder.path()),
            [
                ".dockerignore",
                ".git/HEAD",
                "a-b",
                "a/x",
                "data/keep/b.bin",
                "empty/inner",
                "link.py",
                "logs/deep",
                "run.py",
                "sub/.cog/y",
            ]
        );
    }

    #[test]
    fn virtual_environments_are_left_out_unless_they_are_asked_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in [
            "run.py",
            ".venv/pyvenv.cfg",
            ".venv/lib/torch.py",
            "sub/env/pyvenv.cfg",
            "sub/x.py",
            "mine/pyvenv.cfg/x",
        ] {
            write(folder.path(), path);
        }
        let look = |patterns: &str, needed: &str| {
            let mut ignore = Dockerignore::parse(patterns).expect("they are valid");
            ignore.need(needed);
            let tree = tree(folder.path(), &ignore).expect("readable");
            let paths = tree.items.iter().map(|item| item.path.as_str());
            let has_torch = paths.clone().any(|path| path == ".venv/lib/torch.py");
            assert!(paths.clone().any(|path| path == "mine/pyvenv.cfg/x"));
            (has_torch, tree.environments.join(" "))
        };
        let model = "run.py";
        assert_eq!(look("", model), (false, ".venv sub/env".into()));
        assert_eq!(look(".venv\n", model), (false, "sub/env".into()));
        assert_eq!(look("**/*env\n", model), (false, String::new()));
        assert_eq!(look("!.venv\n", model), (true, "sub/env".into()));
        assert_eq!(look("!**/*env\n", model), (true, String::new()));
        assert_eq!(
            look("!.venv/lib/torch.py\n", model),
            (true, "sub/env".into())
        );
        assert_eq!(look("!.venvs\n", model), (false, ".venv sub/env".into()));
        assert_eq!(look("", ".venv/run.py"), (true, "sub/env".into()));
    }

    #[test]
    fn what_no_image_can_have_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path(), "sub/x");
        let mode = rustix::fs::Mode::RUSR;
        for pipe in ["sub/pipe", "ignored"] {
            let pipe = folder.path().join(pipe);
            rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("made");
        }
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("a socket"));
        fs_err::write(folder.path().join(".dockerignore"), "ignored\n").expect("written");
        let ignore = ignore(folder.path()).expect("it is valid");
        let tree = tree(folder.path(), &ignore).expect("readable");
        assert_eq!(tree.special, ["a socket", "sub/pipe"]);
    }

    #[test]
    fn a_tree_without_end_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let deep = |depth: usize| vec!["d"; depth].join("/");
        write(folder.path(), &format!("{}/file", deep(MAX_DEPTH - 1)));
        assert_eq!(paths(folder.path()).len(), 1);
        write(folder.path(), &format!("{}/file", deep(MAX_DEPTH)));
        let error = tree(folder.path(), &Dockerignore::default()).expect_err("it is too deep");
        assert!(matches!(error, ContextError::Depth(_)), "{error}");
    }

    #[test]
    fn names_that_are_no_text_are_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = std::ffi::OsStr::from_bytes(b"a\xff");
        fs_err::create_dir(folder.path().join("sub")).expect("created");
        fs_err::write(folder.path().join("sub").join(name), "x").expect("written");
        let error = tree(folder.path(), &Dockerignore::default()).expect_err("it is no text");
        assert!(error.to_string().contains("`sub/a"), "{error}");
    }
}
