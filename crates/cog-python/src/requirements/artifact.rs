//! Wheels and source archives of the project.

use std::path::{Path, PathBuf};

use cog_files::{Folder, Found};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ARTIFACTS_DIR, RequirementError};

/// A wheel or source archive of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Path in the project, as written and cleaned.
    pub project_path: PathBuf,
    /// SHA-256 of its content, as hexadecimal digits.
    pub sha256: String,
}

impl Artifact {
    /// Where the artifact is in the image.
    pub fn image_path(&self) -> String {
        format!("{ARTIFACTS_DIR}/{}", self.project_path.display())
    }

    /// Copies the artifact from the project in `root`, a path without links, to its place below `folder` and says where
    /// that is.
    pub(super) fn stage(&self, root: &Path, folder: &Path) -> Result<PathBuf, RequirementError> {
        let written = || self.project_path.display().to_string();
        let failed = |source| RequirementError::Unreadable {
            path: written(),
            source,
        };
        let target = folder.join(&self.project_path);
        fs_err::create_dir_all(target.parent().unwrap_or(folder)).map_err(failed)?;
        let real = fs_err::canonicalize(root.join(&self.project_path)).map_err(failed)?;
        if !real.starts_with(root) {
            return Err(RequirementError::OutsideProject(written()));
        }
        let mut source = open_beneath(root, &real)
            .map_err(failed)?
            .ok_or_else(|| RequirementError::NotAFile(written()))?;
        let mut copy = fs_err::File::create(&target).map_err(failed)?;
        std::io::copy(&mut source, &mut copy).map_err(failed)?;
        let staged = fs_err::File::open(&target).map_err(failed)?;
        if sha256_of(staged).map_err(failed)? != self.sha256 {
            return Err(RequirementError::Changed(written()));
        }
        Ok(target)
    }
}

/// A project and the folder in it that relative paths start at.
pub(super) struct Project {
    /// Without links.
    pub(super) root: PathBuf,
    /// Without links.
    pub(super) base: PathBuf,
}

impl Project {
    pub(super) fn open(base_dir: &Path, project_dir: &Path) -> Result<Self, RequirementError> {
        let canonical = |path: &Path| {
            fs_err::canonicalize(path).map_err(|source| RequirementError::Unreadable {
                path: path.display().to_string(),
                source,
            })
        };
        Ok(Self {
            root: canonical(project_dir)?,
            base: canonical(base_dir)?,
        })
    }

    /// The wheel or source archive at the path `written`.
    pub(super) fn artifact(&self, written: &str) -> Result<Artifact, RequirementError> {
        let unreadable = |source| RequirementError::Unreadable {
            path: written.to_owned(),
            source,
        };
        let outside = || RequirementError::OutsideProject(written.to_owned());
        let root = &self.root;
        let path = clean(&self.base.join(written));
        let real = fs_err::canonicalize(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => RequirementError::NotFound(written.to_owned()),
            _ => unreadable(error),
        })?;
        if !real.starts_with(root) {
            return Err(outside());
        }
        let project_path = path.strip_prefix(root).map_err(|_| outside())?.to_owned();
        let file = open_beneath(root, &real)
            .map_err(unreadable)?
            .ok_or_else(|| RequirementError::NotAFile(written.to_owned()))?;
        let sha256 = sha256_of(file).map_err(unreadable)?;
        Ok(Artifact {
            project_path,
            sha256,
        })
    }

    /// The real path of a file or folder that is `written`, inside the project.
    pub(super) fn locate(&self, written: &str) -> Result<PathBuf, RequirementError> {
        let path = clean(&self.base.join(written));
        let outside = || RequirementError::PathOutsideProject(written.to_owned());
        // What is outside is not even looked for.
        if !path.starts_with(&self.root) {
            return Err(outside());
        }
        let real = fs_err::canonicalize(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => RequirementError::NoSuchPath(written.to_owned()),
            _ => RequirementError::Unreadable {
                path: written.to_owned(),
                source,
            },
        })?;
        if real.starts_with(&self.root) {
            Ok(real)
        } else {
            Err(outside())
        }
    }
}

/// Opens the file through `root` without following any link, so that one swapped in after the
/// path was checked is an error. Nothing if it is not a regular file.
pub(super) fn open_beneath(root: &Path, real: &Path) -> std::io::Result<Option<std::fs::File>> {
    match Folder::open(root)?.find(real.strip_prefix(root).unwrap_or(real))? {
        Found::File(file) => Ok(Some(file)),
        Found::Other => Ok(None),
        Found::Nothing => Err(std::io::ErrorKind::NotFound.into()),
    }
}

pub(super) fn sha256_of(mut file: impl std::io::Read) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// `path` without `.` and `..`, by the text alone: a link in the last place keeps its name.
pub(super) fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    path.components()
        .fold(PathBuf::new(), |mut clean, component| {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    clean.pop();
                }
                other => clean.push(other),
            }
            clean
        })
}
