//! The project's files as an image gets them: which these are (`tree`), and what of them stays out.

mod tree;

use std::path::{Path, PathBuf};

use cog_config::Config;
use cog_errors::Hint;
use cog_files::read_project_file;
use cog_image::{Entry, EntryKind};

use crate::dockerignore::{Dockerignore, DockerignoreError, PatternLine};

pub(crate) use tree::{Item, ItemKind, Tree, tree};

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
    /// Folders in folders without end.
    #[error("`{0}` is nested too deeply; list a folder above it in `.dockerignore`")]
    Depth(String),
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

/// What stays out of an image of `config`: refused if that is its model, by which the server would find nothing to
/// serve.
pub(crate) fn ignore_for(
    project_dir: &Path,
    config: &Config,
) -> Result<Dockerignore, ContextError> {
    let mut ignore = ignore(project_dir)?;
    for reference in [&config.runner, &config.train].into_iter().flatten() {
        let path = reference.split(':').next().unwrap_or_default();
        let path = path.trim_start_matches("./");
        if let Some(line) = ignore.excluded_by(path) {
            return Err(ContextError::LeftOut {
                path: path.to_owned(),
                line: line.clone(),
            });
        }
        ignore.need(path);
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

    #[test]
    fn patterns_of_somewhere_else_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(".dockerignore");
        for target in ["/etc/passwd", "/dev/zero"] {
            fs_err::os::unix::fs::symlink(target, &path).expect("linked");
            let error = ignore(folder.path()).expect_err("it leads out");
            assert!(matches!(error, ContextError::Ignore(_)), "{target}");
            fs_err::remove_file(&path).expect("removed");
        }
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("made");
        let error = ignore(folder.path()).expect_err("it is a pipe");
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
}
