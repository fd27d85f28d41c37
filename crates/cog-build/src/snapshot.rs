//! What a running server was started with: the code, other files, and what its environment is made of; so that it can be
//! said whether the folder has changed since, and how.
//!
//! Code is compared by its content, other files by what the file system says of them: they may be large. No Python is
//! run, and nothing outside of the project is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cog_files::{Moment, Status, read_project_bytes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::architecture::Architecture;
use crate::context::{Item, ItemKind, ignore, tree};
use crate::environment::open_project;
use crate::error::Result;
use crate::executor::Executor;
use crate::implied::{ImpliedPolicy, Project, Sources};
use crate::lock_file::name_for;
use crate::model::Model;
use crate::reporter::Silent;
use crate::request::BuildRequest;
use crate::steps::runtime::server_program;

/// Folders in which programs keep what is theirs, not the project's.
const FOREIGN: [&str; 13] = [
    ".cog",
    ".git",
    ".hg",
    ".svn",
    ".idea",
    ".vscode",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".tox",
    "__pycache__",
    "node_modules",
];
/// Lies in every virtual environment.
const OF_ENVIRONMENT: &str = "pyvenv.cfg";
/// What `cog run` calls the files that it writes if nothing is said.
const OUTPUT: &str = "output";

/// A project as it is at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// A hash over all that decides the environment.
    environment: String,
    /// The same of the lock file, which a build may write.
    lock: String,
    /// What Python may run, by path.
    code: BTreeMap<String, String>,
    /// Other files.
    data: BTreeMap<String, String>,
    /// The folders in which all of it lies, the project's own first.
    #[serde(skip)]
    folders: BTreeSet<PathBuf>,
}

/// How a project differs from what it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// It needs another environment.
    pub environment: bool,
    /// Files with code that are new, changed or gone.
    pub code: Vec<String>,
    /// Other files that are changed or gone. New ones are none: most are what the model has made.
    pub data: Vec<String>,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.environment && self.code.is_empty() && self.data.is_empty()
    }

    /// The first file of them; nothing if there is only another environment.
    pub fn first(&self) -> Option<&str> {
        let mut all = self.code.iter().chain(&self.data);
        all.next().map(String::as_str)
    }
}

impl Snapshot {
    /// The project of `request` as it is now.
    pub fn take(request: &BuildRequest<'_>) -> Result<Self> {
        let mut snapshot = Self::of_files(request.project_dir, request.config_file_name)?;
        snapshot.environment = environment(request)?;
        Ok(snapshot)
    }

    /// The same without what decides the environment, which may not be known for a project that is broken.
    pub fn of_files(project_dir: &Path, config_file_name: &str) -> Result<Self> {
        let mut snapshot = Self {
            lock: lock(project_dir, config_file_name),
            folders: [PathBuf::new()].into(),
            ..Self::default()
        };
        let items = tree(project_dir, &ignore(project_dir)?)?.items;
        let environments = environments(&items);
        let lock_name = name_for(config_file_name);
        // What these say counts, and is looked at elsewhere.
        let known = [config_file_name, ".dockerignore", &lock_name];
        for item in items {
            let is_foreign =
                is_foreign(&item.path) || environments.iter().any(|one| item.path.starts_with(one));
            if is_foreign || known.contains(&item.path.as_str()) {
                continue;
            }
            snapshot.add(project_dir, &item);
        }
        Ok(snapshot)
    }

    /// The folders in which the project's files lie, relative to it.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path)
    }

    /// How `now` differs from this.
    pub fn changes(&self, now: &Self) -> Changes {
        let data = self.data.iter().filter(|(path, mark)| {
            let found = now.data.get(*path);
            found.map_or("", String::as_str) != mark.as_str()
        });
        let paths: BTreeSet<&String> = self.code.keys().chain(now.code.keys()).collect();
        let code = paths
            .into_iter()
            .filter(|path| self.code.get(*path) != now.code.get(*path));
        Changes {
            environment: self.environment != now.environment || self.lock != now.lock,
            code: code.cloned().collect(),
            data: data.map(|(path, _)| path.clone()).collect(),
        }
    }

    /// This, brought up to `now`. Of other files, those that were known stay so and no new ones are.
    #[must_use]
    pub fn brought_up_to(&self, now: &Self) -> Self {
        let data = self.data.keys().map(|path| {
            let mark = now.data.get(path).cloned().unwrap_or_default();
            (path.clone(), mark)
        });
        Self {
            data: data.collect(),
            ..now.clone()
        }
    }

    /// Takes a file with no code as it is in `now`.
    pub fn accept(&mut self, path: &str, now: &Self) {
        if let Some(mark) = self.data.get_mut(path) {
            *mark = now.data.get(path).cloned().unwrap_or_default();
        }
    }

    /// Knows no more of a file with no code.
    pub fn forget(&mut self, path: &str) {
        self.data.remove(path);
    }

    /// Takes the lock file as the build has left it.
    pub fn take_lock(&mut self, request: &BuildRequest<'_>) {
        self.lock = lock(request.project_dir, request.config_file_name);
    }

    fn add(&mut self, project_dir: &Path, item: &Item) {
        let path = Path::new(&item.path);
        let folder = match item.kind {
            ItemKind::Folder => Some(path),
            ItemKind::File(_) | ItemKind::Symlink(_) => path.parent(),
        };
        let above = folder.into_iter().flat_map(Path::ancestors);
        self.folders.extend(above.map(Path::to_owned));
        let mark = match &item.kind {
            ItemKind::Folder => return,
            ItemKind::Symlink(target) => format!("to {target}"),
            ItemKind::File(status) => of_status(status),
        };
        match extension(&item.path) {
            "py" => {
                let content = read_project_bytes(project_dir, path);
                let mark = content.map_or(mark, |content| hash(&content));
                self.code.insert(item.path.clone(), mark);
            }
            "so" | "pyx" | "pth" => {
                self.code.insert(item.path.clone(), mark);
            }
            _ if is_output(&item.path) => {}
            _ => {
                self.data.insert(item.path.clone(), mark);
            }
        }
    }
}

/// Leaves the model's schema in the project, where a server that has it mounted reads it.
pub fn leave_schema(request: &BuildRequest<'_>) -> Result<()> {
    open_project(request).map(drop)
}

/// A hash over all that decides what the project's environment is, and what a server in it is told.
fn environment(request: &BuildRequest<'_>) -> Result<String> {
    let completed = request.completed()?;
    // It is all told when the environment is made.
    let executor = Executor {
        reporter: &Silent,
        ..request.executor()
    };
    let requirements = request.requirements(&completed, &executor)?;
    let lines = request.chosen_lines(&completed);
    let implied = match request.implied {
        ImpliedPolicy::Add => {
            let sources = Sources::default();
            Project::new(request.project_dir, request.config, &lines, &sources)
                .on_the_usual_release()?
        }
        ImpliedPolicy::Ignore => Vec::new(),
    };
    let server = Status::of(&server_program(request.server, Architecture::host())?)?;
    let described = json!({
        "config": request.config,
        "completed": completed,
        "requirements": requirements.text(),
        "files": requirements.content(),
        "implied": implied,
        "concurrency": Model::of(request)?.concurrency,
        "base": format!("{:?}", request.base),
        "options": format!("{:?}", request.options),
        "sdk": crate::sdk::digest(),
        "server": hash(&server.bytes()),
    });
    Ok(hash(described.to_string().as_bytes()))
}

fn lock(project_dir: &Path, config_file_name: &str) -> String {
    let name = name_for(config_file_name);
    let content = read_project_bytes(project_dir, Path::new(&name));
    content.map(|content| hash(&content)).unwrap_or_default()
}

fn hash(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn of_status(status: &Status) -> String {
    let Moment {
        seconds,
        nanoseconds,
    } = status.modified;
    format!(
        "{} {seconds}.{nanoseconds:09} {}",
        status.size, status.inode
    )
}

/// Virtual environments that an image would get, as `.dockerignore` asks for them, with a slash behind.
fn environments(items: &[Item]) -> Vec<String> {
    let marks = items.iter().filter_map(|item| {
        let folder = item.path.strip_suffix(OF_ENVIRONMENT)?;
        folder.ends_with('/').then(|| folder.to_owned())
    });
    marks.collect()
}

/// Of other programs: their folders, and what editors leave beside a file.
fn is_foreign(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.split('/').any(|part| FOREIGN.contains(&part))
        || name.ends_with('~')
        || name.starts_with(".#")
        || (name.starts_with('#') && name.ends_with('#'))
        || ["swp", "swo", "swx", "pyc"].contains(&extension(name))
        // Vim asks with it whether it may write.
        || name == "4913"
}

fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// `output`, `output.png`, `output.0.png`
fn is_output(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut parts = name.split('.');
    if parts.next() != Some(OUTPUT) {
        return false;
    }
    match (parts.next(), parts.next(), parts.next()) {
        (_, None, _) => true,
        (Some(number), Some(_), None) => number.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(code: &[(&str, &str)], data: &[(&str, &str)]) -> Snapshot {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(path, mark)| ((*path).to_owned(), (*mark).to_owned()))
                .collect()
        };
        Snapshot {
            code: map(code),
            data: map(data),
            ..Snapshot::default()
        }
    }

    #[test]
    fn new_code_counts_and_other_new_files_do_not() {
        let before = snapshot(
            &[("a.py", "1"), ("b.py", "1")],
            &[("w.bin", "1"), ("x", "1")],
        );
        assert!(before.changes(&before).is_empty());
        let now = snapshot(
            &[("a.py", "2"), ("c.py", "1")],
            &[("w.bin", "2"), ("out.png", "1")],
        );
        let changes = before.changes(&now);
        assert_eq!(changes.code, ["a.py", "b.py", "c.py"]);
        assert_eq!(changes.data, ["w.bin", "x"]);
        assert_eq!(changes.first(), Some("a.py"));
        assert!(!changes.environment);
        let later = before.brought_up_to(&now);
        assert!(later.changes(&now).is_empty(), "{later:?}");
        // What was there, went and comes back is a change; what the model has made is none.
        let again = snapshot(
            &[("a.py", "2"), ("c.py", "1")],
            &[("w.bin", "2"), ("x", "1")],
        );
        assert_eq!(later.changes(&again).data, ["x"]);
    }

    #[test]
    fn a_file_of_the_models_own_is_taken_as_it_is() {
        let mut before = snapshot(&[], &[("log", "1"), ("x", "1")]);
        let now = snapshot(&[], &[("log", "2"), ("x", "2")]);
        before.accept("log", &now);
        assert_eq!(before.changes(&now).data, ["x"]);
        before.forget("x");
        assert!(before.changes(&now).is_empty());
    }

    #[test]
    fn what_other_programs_leave_is_no_ones_change() {
        for path in [
            ".git/HEAD",
            "a/__pycache__/run.py",
            "run.py~",
            "sub/.run.py.swp",
            ".#run.py",
            "#run.py#",
            "4913",
        ] {
            assert!(is_foreign(path), "{path}");
        }
        for path in ["run.py", "git/HEAD", "4913.txt", "a#.py"] {
            assert!(!is_foreign(path), "{path}");
        }
        for path in ["output", "output.png", "a/output.0.png"] {
            assert!(is_output(path), "{path}");
        }
        for path in ["output.final.png", "my-output.png", "outputs/a.png"] {
            assert!(!is_output(path), "{path}");
        }
    }

    #[test]
    fn files_are_sorted_by_what_python_does_with_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs_err::write(path, text).expect("written");
        };
        for path in [
            "run.py",
            "lib/deep/a.py",
            "lib/words.txt",
            "env/pyvenv.cfg",
            "env/lib/b.py",
            "left/out.py",
            ".git/HEAD",
        ] {
            write(path, "x");
        }
        write(".dockerignore", "left\n!env\n");
        let take = || {
            let mut snapshot = Snapshot::default();
            let items = tree(folder.path(), &ignore(folder.path()).expect("valid"));
            let items = items.expect("readable").items;
            let environments = environments(&items);
            assert_eq!(environments, ["env/"]);
            for item in items {
                if !is_foreign(&item.path) && !item.path.starts_with("env/") {
                    snapshot.add(folder.path(), &item);
                }
            }
            snapshot
        };
        let before = take();
        let code: Vec<_> = before.code.keys().collect();
        assert_eq!(code, ["lib/deep/a.py", "run.py"]);
        assert!(before.data.contains_key("lib/words.txt"));
        let folders: Vec<_> = before.folders().collect();
        assert_eq!(
            folders,
            ["", "lib", "lib/deep"].map(Path::new),
            "nothing that is left out is watched"
        );
        // Saved again as it was: code counts by what is in it.
        write("run.py", "x");
        assert!(before.changes(&take()).is_empty());
        write("run.py", "y");
        write("lib/words.txt", "other words");
        let changes = before.changes(&take());
        assert_eq!(changes.code, ["run.py"]);
        assert_eq!(changes.data, ["lib/words.txt"]);
    }
}
