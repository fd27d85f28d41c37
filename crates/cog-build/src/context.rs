//! The project's files as an image gets them.

use std::path::{Path, PathBuf};

use cog_config::Config;
use cog_errors::Hint;
use cog_files::read_project_file;
use cog_image::{Entry, EntryKind};

use crate::dockerignore::{Dockerignore, DockerignoreError, FolderVerdict, PatternLine};

/// Where the project is in the image, without leading slash.
pub(crate) const SOURCE_DIR: &str = "src";

/// The project's files cannot be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A file or folder cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// `.dockerignore` cannot be read, or is none of the project's files.
    #[error("could not read `.dockerignore`")]
    Ignore(#[source] std::io::Error),
    /// `.dockerignore` is broken.
    #[error(transparent)]
    Dockerignore(#[from] DockerignoreError),
    /// The image would have no model.
    #[error(
        "`{path}`, which cog.yaml names, would not be in the image: line {} of `.dockerignore` leaves it out: `{}`",
        line.number,
        line.text
    )]
    LeftOut {
        /// The file.
        path: String,
        /// Why it is left out.
        line: PatternLine,
    },
    /// A name that is not UTF-8, which layers and labels cannot hold faithfully.
    #[error("the name of `{}` is not valid UTF-8; rename it, or list it in `.dockerignore`", .0.display())]
    Name(PathBuf),
}

impl Hint for ContextError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::LeftOut { path, .. } => Some(format!(
                "take the line out, or write `!{path}` on a later one"
            )),
            _ => None,
        }
    }
}

/// The entries of the project at `project_dir` below [`SOURCE_DIR`], sorted by path.
///
/// What `.dockerignore` excludes and the folder `.cog` are left out, sockets and devices too.
pub(crate) fn entries(
    project_dir: &Path,
    ignore: &Dockerignore,
) -> Result<Vec<Entry>, ContextError> {
    let mut walk = Walk {
        root: project_dir,
        ignore,
        entries: Vec::new(),
    };
    walk.entries.push(directory(SOURCE_DIR));
    walk.folder("")?;
    walk.entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.entries)
}

/// What stays out of an image of `config`: refused if that is its model, by which the server would find nothing to
/// serve.
pub(crate) fn ignore_for(
    project_dir: &Path,
    config: &Config,
) -> Result<Dockerignore, ContextError> {
    let ignore = ignore(project_dir)?;
    for reference in [&config.runner, &config.train].into_iter().flatten() {
        let path = reference.split(':').next().unwrap_or_default();
        let path = path.trim_start_matches("./");
        if let Some(line) = ignore.excluded_by(path) {
            return Err(ContextError::LeftOut {
                path: path.to_owned(),
                line: line.clone(),
            });
        }
    }
    Ok(ignore)
}

/// What stays out of an image, by the project's `.dockerignore`.
pub(crate) fn ignore(project_dir: &Path) -> Result<Dockerignore, ContextError> {
    match read_project_file(project_dir, Path::new(".dockerignore")) {
        Ok(text) => Ok(Dockerignore::parse(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Dockerignore::default()),
        Err(error) => Err(ContextError::Ignore(error)),
    }
}

struct Walk<'a> {
    root: &'a Path,
    ignore: &'a Dockerignore,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    /// Adds what is in the folder `relative`.
    fn folder(&mut self, relative: &str) -> Result<(), ContextError> {
        for entry in fs_err::read_dir(self.root.join(relative))? {
            let entry = entry?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| ContextError::Name(entry.path()))?;
            let path = if relative.is_empty() {
                name
            } else {
                format!("{relative}/{name}")
            };
            if path == ".cog" {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.sub_folder(&path)?;
            } else if !self.ignore.excludes(&path) {
                self.file(&entry.path(), &path, kind)?;
            }
        }
        Ok(())
    }

    /// An excluded folder that something in it can bring back appears only with that something:
    /// its entry comes with the layer's missing parents.
    fn sub_folder(&mut self, path: &str) -> Result<(), ContextError> {
        match self.ignore.folder(path) {
            FolderVerdict::Included => {
                self.entries
                    .push(directory(&format!("{SOURCE_DIR}/{path}")));
                self.folder(path)
            }
            FolderVerdict::MayContainIncluded => self.folder(path),
            FolderVerdict::Excluded => Ok(()),
        }
    }

    fn file(
        &mut self,
        file: &Path,
        path: &str,
        kind: std::fs::FileType,
    ) -> Result<(), ContextError> {
        use std::os::unix::fs::PermissionsExt as _;

        let entry = |kind, mode| Entry {
            path: format!("{SOURCE_DIR}/{path}").into(),
            kind,
            mode,
        };
        if kind.is_symlink() {
            let target = fs_err::read_link(file)?
                .into_os_string()
                .into_string()
                .map_err(|_| ContextError::Name(file.to_owned()))?;
            self.entries.push(entry(EntryKind::Symlink(target), 0o777));
        } else if kind.is_file() {
            // Only whether it can be executed counts: the rest depends on the host's umask.
            let executable = fs_err::metadata(file)?.permissions().mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            self.entries
                .push(entry(EntryKind::File(file.to_owned()), mode));
        }
        Ok(())
    }
}

pub(crate) fn directory(path: &str) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::Directory,
        mode: 0o755,
    }
}

/// `/tmp` as everybody may write to it. A layer that has something in it must say so: folders of a
/// layer replace those below.
pub(crate) fn temporary_folder() -> Entry {
    Entry {
        mode: 0o1777,
        ..directory("tmp")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(project_dir: &Path) -> Result<Vec<Entry>, ContextError> {
        entries(project_dir, &ignore(project_dir)?)
    }

    fn paths(project_dir: &Path) -> Vec<String> {
        all(project_dir)
            .expect("readable")
            .iter()
            .map(|entry| entry.path.display().to_string())
            .collect()
    }

    #[test]
    fn the_project_is_filtered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in [
            "run.py",
            "data/a.bin",
            "data/keep/b.bin",
            ".cog/x",
            "sub/.cog/y",
            ".git/HEAD",
        ] {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().expect("it has one")).expect("created");
            fs_err::write(path, "x").expect("written");
        }
        fs_err::os::unix::fs::symlink("run.py", folder.path().join("link.py")).expect("linked");
        fs_err::write(
            folder.path().join(".dockerignore"),
            "data\n!data/keep\n!.cog\n",
        )
        .expect("written");
        assert_eq!(
            paths(folder.path()),
            [
                "src",
                "src/.dockerignore",
                "src/.git",
                "src/.git/HEAD",
                "src/data/keep",
                "src/data/keep/b.bin",
                "src/link.py",
                "src/run.py",
                "src/sub",
                "src/sub/.cog",
                "src/sub/.cog/y",
            ]
        );
    }

    #[test]
    fn patterns_of_somewhere_else_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(".dockerignore");
        for target in ["/etc/passwd", "/dev/zero"] {
            fs_err::os::unix::fs::symlink(target, &path).expect("linked");
            let error = all(folder.path()).expect_err("it leads out");
            assert!(matches!(error, ContextError::Ignore(_)), "{target}");
            fs_err::remove_file(&path).expect("removed");
        }
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("made");
        let error = all(folder.path()).expect_err("it is a pipe");
        assert_eq!(error.to_string(), "could not read `.dockerignore`");
    }

    #[test]
    fn a_model_that_would_be_left_out_is_refused_with_the_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |text: &str| {
            fs_err::write(folder.path().join(".dockerignore"), text).expect("written");
        };
        let config = Config {
            runner: Some("./model/run.py:Runner".into()),
            train: Some("train.py:train".into()),
            ..Config::default()
        };
        let check = |text: &str| {
            write(text);
            let ignored = ignore_for(folder.path(), &config);
            ignored.map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(check("*\n!model\n!train.py\n"), Ok(()));
        assert_eq!(
            check("# mine\n\nmodel \n"),
            Err(
                "`model/run.py`, which cog.yaml names, would not be in the image: line 3 of `.dockerignore` leaves it \
                 out: `model`"
                    .to_owned()
            )
        );
        let trained = check("!model/*\n*.py\n").expect_err("it is left out");
        assert!(trained.contains("`train.py`, which"), "{trained}");
    }

    #[test]
    fn modes_do_not_depend_on_the_umask() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, mode) in [("a", 0o600), ("b", 0o700), ("c", 0o664)] {
            let path = folder.path().join(name);
            fs_err::write(&path, "x").expect("written");
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        }
        let modes: Vec<u32> = all(folder.path())
            .expect("readable")
            .iter()
            .map(|entry| entry.mode)
            .collect();
        assert_eq!(modes, [0o755, 0o644, 0o755, 0o644]);
    }
}
