//! The Pythons of this machine: where people and their tools have them, and which fits a project best.
//!
//! Looking for them reads names only, which is quick. Which patch one has, it must be asked.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cog_files::{Links, open_regular};

/// An interpreter of CPython 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Where it is, without links.
    pub path: PathBuf,
    /// The `11` of Python 3.11.
    pub minor: u32,
    /// Who put it there.
    pub origin: Origin,
}

/// Who put an interpreter where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It is in a folder of `PATH`.
    Path,
    /// An environment of conda.
    Conda,
    /// One of pyenv's versions.
    Pyenv,
    /// uv installed it.
    Uv,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Path => "PATH",
            Self::Conda => "conda",
            Self::Pyenv => "pyenv",
            Self::Uv => "uv",
        })
    }
}

/// Where interpreters are looked for.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `PATH`.
    pub path: OsString,
    /// The user's folder.
    pub home: Option<PathBuf>,
    /// The environment of conda that is active.
    pub conda_prefix: Option<PathBuf>,
    /// Where pyenv is, if not in its usual place.
    pub pyenv_root: Option<PathBuf>,
    /// Where uv installs interpreters, if not in its usual place.
    pub uv: Option<PathBuf>,
    /// Where programs of the user keep their data, if not in the usual place.
    pub data: Option<PathBuf>,
}

/// Where conda and its relatives are usually installed, below the user's folder.
const CONDAS: [&str; 6] = [
    "miniconda3",
    "anaconda3",
    "miniforge3",
    "mambaforge",
    "micromamba",
    ".conda",
];

impl Places {
    /// Those that this process's environment names.
    pub fn of_this_machine() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = |name| variable(name).map(PathBuf::from);
        Self {
            path: variable("PATH").unwrap_or_default(),
            home: folder("HOME"),
            conda_prefix: folder("CONDA_PREFIX"),
            pyenv_root: folder("PYENV_ROOT"),
            uv: folder("UV_PYTHON_INSTALL_DIR"),
            data: folder("XDG_DATA_HOME"),
        }
    }

    /// All interpreters, each once: those of `PATH` in its order, then conda's, pyenv's and uv's by name.
    pub fn interpreters(&self) -> Vec<Interpreter> {
        let mut found: Vec<Interpreter> = Vec::new();
        for (program, origin) in self.programs() {
            let Ok(path) = fs_err::canonicalize(program) else {
                continue;
            };
            if let Some(minor) = minor_of(&path)
                && !found.iter().any(|known| known.path == path)
            {
                found.push(Interpreter {
                    path,
                    minor,
                    origin,
                });
            }
        }
        found
    }

    /// Paths where interpreters are, if they are.
    fn programs(&self) -> Vec<(PathBuf, Origin)> {
        let mut programs = Vec::new();
        for folder in std::env::split_paths(&self.path) {
            let python = ["python", "python3"].map(|name| folder.join(name));
            let versions = names_in(&folder).into_iter();
            let versions = versions.filter(|name| name.starts_with("python3."));
            let versions = versions.map(|name| folder.join(name));
            let all = python.into_iter().chain(versions);
            programs.extend(all.map(|program| (program, Origin::Path)));
        }
        for (folders, origin) in [
            (self.of_conda(), Origin::Conda),
            (self.of_pyenv(), Origin::Pyenv),
            (self.of_uv(), Origin::Uv),
        ] {
            let programs_there = folders.into_iter().map(|folder| folder.join("bin/python3"));
            programs.extend(programs_there.map(|program| (program, origin)));
        }
        programs
    }

    fn of_conda(&self) -> Vec<PathBuf> {
        let roots = CONDAS.iter().filter_map(|name| self.at_home(name));
        let environments = roots.flat_map(|root| {
            let others = folders_in(&root.join("envs"));
            std::iter::once(root).chain(others)
        });
        self.conda_prefix
            .clone()
            .into_iter()
            .chain(environments)
            .collect()
    }

    fn of_pyenv(&self) -> Vec<PathBuf> {
        let root = self.pyenv_root.clone().or_else(|| self.at_home(".pyenv"));
        root.map_or_else(Vec::new, |root| folders_in(&root.join("versions")))
    }

    fn of_uv(&self) -> Vec<PathBuf> {
        let data = self.data.clone().or_else(|| self.at_home(".local/share"));
        let folder = self.uv.clone().or_else(|| Some(data?.join("uv/python")));
        folder.map_or_else(Vec::new, |folder| folders_in(&folder))
    }

    fn at_home(&self, name: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(name))
    }
}

/// The version that a project asks for: `3.11` or `3.11.9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    minor: u32,
    patch: Option<u32>,
}

impl Wanted {
    /// Nothing if it is no version of Python 3.
    pub fn parse(version: &str) -> Option<Self> {
        let (minor, patch) = parts(version)?;
        Some(Self { minor, patch })
    }

    /// The minor versions among `interpreters` that are not older than `oldest`, the nearest first; of two that are
    /// equally near, the newer one, which understands what the older one does.
    pub fn minors(self, interpreters: &[Interpreter], oldest: u32) -> Vec<u32> {
        let mut minors: Vec<u32> = interpreters.iter().map(|one| one.minor).collect();
        minors.retain(|minor| *minor >= oldest);
        minors.sort_by_key(|minor| (minor.abs_diff(self.minor), Reverse(*minor)));
        minors.dedup();
        minors
    }

    /// The best of interpreters with one minor version, each with its whole version: with the patch that is wanted, else
    /// the nearest to it. Where none is wanted, the first on `PATH`, else the newest of the first tool that has one.
    pub fn best<T>(
        self,
        versions: impl IntoIterator<Item = (T, Origin, String)>,
    ) -> Option<(T, String)> {
        let best = versions.into_iter().min_by_key(|(_, origin, version)| {
            let patch = parts(version).and_then(|(_, patch)| patch).unwrap_or(0);
            match self.patch {
                Some(wanted) => (patch.abs_diff(wanted), *origin, 0),
                None if *origin == Origin::Path => (0, *origin, 0),
                None => (0, *origin, u32::MAX - patch),
            }
        });
        best.map(|(one, _, version)| (one, version))
    }
}

/// Minor and patch of a version of Python 3. What comes behind the patch, such as `rc1`, does not count.
fn parts(version: &str) -> Option<(u32, Option<u32>)> {
    let mut parts = version.trim().strip_prefix("3.")?.split('.');
    let minor = parts.next()?.parse().ok()?;
    let patch = parts.next().map(|patch| {
        let digits = patch.bytes().take_while(u8::is_ascii_digit).count();
        patch[..digits].parse().unwrap_or(0)
    });
    Some((minor, patch))
}

/// The minor version of the interpreter at `path`, which says it in its name: scripts that choose one do not, and neither
/// do other implementations.
fn minor_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let minor = name.strip_prefix("python3.")?.parse().ok()?;
    (!is_script(path)).then_some(minor)
}

fn is_script(program: &Path) -> bool {
    let mut start = [0; 2];
    let read =
        open_regular(program, Links::Followed).and_then(|mut file| file.read_exact(&mut start));
    read.is_err() || &start == b"#!"
}

/// The folders in `folder`, sorted.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let folders = names_in(folder).into_iter().map(|name| folder.join(name));
    folders.filter(|path| path.is_dir()).collect()
}

/// The names in `folder`, sorted; none if it cannot be read.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A user's folder with interpreters, which are no programs.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, path: &str) -> PathBuf {
            fs_err::canonicalize(self.0.path()).unwrap().join(path)
        }

        fn file(&self, path: &str, content: &str) -> &Self {
            let path = self.at(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
            self
        }

        /// A folder as installers make it: `python3` is a link.
        fn installed(&self, folder: &str, minor: u32) -> &Self {
            let name = format!("python3.{minor}");
            self.file(&format!("{folder}/bin/{name}"), "\x7fELF");
            symlink(name, self.at(folder).join("bin/python3")).unwrap();
            self
        }

        fn found(&self, places: Places) -> Vec<(String, u32, Origin)> {
            let places = Places {
                home: Some(self.at("")),
                ..places
            };
            let root = self.at("");
            let shown = |one: Interpreter| {
                let path = one.path.strip_prefix(&root).unwrap_or(&one.path);
                (path.display().to_string(), one.minor, one.origin)
            };
            places.interpreters().into_iter().map(shown).collect()
        }
    }

    #[test]
    fn every_place_is_looked_at() {
        let machine = Machine::new();
        machine
            .installed("usr", 11)
            .installed("miniconda3", 12)
            .installed("miniconda3/envs/old", 8)
            .installed(".pyenv/versions/3.10.13", 10)
            .installed(".pyenv/versions/3.12.1", 12)
            .installed(".local/share/uv/python/cpython-3.13.0", 13);
        let path = machine.at("usr/bin").into_os_string();
        let found = machine.found(Places {
            path,
            ..Places::default()
        });
        let expected = [
            ("usr/bin/python3.11", 11, Origin::Path),
            ("miniconda3/bin/python3.12", 12, Origin::Conda),
            ("miniconda3/envs/old/bin/python3.8", 8, Origin::Conda),
            (".pyenv/versions/3.10.13/bin/python3.10", 10, Origin::Pyenv),
            (".pyenv/versions/3.12.1/bin/python3.12", 12, Origin::Pyenv),
            (
                ".local/share/uv/python/cpython-3.13.0/bin/python3.13",
                13,
                Origin::Uv,
            ),
        ];
        let expected = expected.map(|(path, minor, origin)| (path.to_owned(), minor, origin));
        assert_eq!(found, expected);
    }

    #[test]
    fn named_places_replace_the_usual_ones() {
        let machine = Machine::new();
        machine
            .installed(".pyenv/versions/3.10.13", 10)
            .installed("pyenv/versions/3.12.1", 12)
            .installed("active", 11)
            .installed("data/uv/python/cpython", 13)
            .installed("uv/cpython", 14);
        let found = machine.found(Places {
            conda_prefix: Some(machine.at("active")),
            pyenv_root: Some(machine.at("pyenv")),
            data: Some(machine.at("data")),
            ..Places::default()
        });
        let minors = found.iter().map(|(_, minor, _)| *minor);
        assert_eq!(minors.collect::<Vec<_>>(), [11, 12, 13]);
        let found = machine.found(Places {
            uv: Some(machine.at("uv")),
            data: Some(machine.at("data")),
            pyenv_root: Some(machine.at("none")),
            ..Places::default()
        });
        let minors = found.iter().map(|(_, minor, _)| *minor);
        assert_eq!(minors.collect::<Vec<_>>(), [14]);
    }

    #[test]
    fn scripts_and_other_programs_are_none() {
        let machine = Machine::new();
        machine
            .file("shims/python3.12", "#!/bin/sh\n")
            .file("shims/python3", "\x7fELF")
            .file("shims/python3.11-config", "\x7fELF")
            .file("shims/python3.13t", "\x7fELF")
            .file("shims/python3.10", "\x7fELF");
        symlink(machine.at("nowhere"), machine.at("shims/python3.14")).unwrap();
        let pipe = machine.at("shims/python3.9");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, pipe, kind, rustix::fs::Mode::RUSR, 0).unwrap();
        let path = machine.at("shims").into_os_string();
        let found = machine.found(Places {
            path,
            ..Places::default()
        });
        assert_eq!(found, [("shims/python3.10".to_owned(), 10, Origin::Path)]);
    }

    #[test]
    fn the_nearest_minor_version_comes_first() {
        let interpreters = [8, 13, 10, 11, 13].map(|minor| Interpreter {
            path: PathBuf::new(),
            minor,
            origin: Origin::Path,
        });
        let minors = |wanted| Wanted::parse(wanted).unwrap().minors(&interpreters, 10);
        assert_eq!(minors("3.11"), [11, 10, 13]);
        assert_eq!(minors("3.12"), [13, 11, 10]);
        assert_eq!(minors("3.14.1"), [13, 11, 10]);
        assert_eq!(Wanted::parse("2.7"), None);
        assert_eq!(Wanted::parse("python"), None);
    }

    #[test]
    fn the_patch_decides_where_one_is_wanted() {
        let all = [
            (1, Origin::Path, "3.11.2"),
            (2, Origin::Pyenv, "3.11.7"),
            (3, Origin::Pyenv, "3.11.10rc1"),
            (4, Origin::Uv, "3.11.9"),
        ];
        let best = |wanted: &str, from: usize| {
            let versions = all[from..].iter();
            let versions =
                versions.map(|(one, origin, version)| (*one, *origin, (*version).to_owned()));
            Wanted::parse(wanted).unwrap().best(versions).unwrap().0
        };
        assert_eq!(best("3.11", 0), 1);
        assert_eq!(best("3.11", 1), 3);
        assert_eq!(best("3.11.9", 0), 4);
        assert_eq!(best("3.11.6", 0), 2);
        assert_eq!(best("3.11.0", 0), 1);
    }
}
