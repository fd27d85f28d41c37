//! Folders of the project that packages are built from, or that wheels are looked for in.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::artifact::{Project, open_beneath, sha256_of};
use super::classify::{Line, classify};
use super::{ARTIFACTS_DIR, RequirementError};

/// A folder of the project, with all that counts in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Path in the project.
    pub project_path: PathBuf,
    /// SHA-256 over names, permissions and content of its files, as hexadecimal digits.
    pub sha256: String,
    /// Paths in the folder, sorted.
    files: Vec<PathBuf>,
}

/// Folders that are made by working with a package, and are no part of it.
const LEFT_OUT: [&str; 4] = [".git", ".hg", ".cog", "__pycache__"];

/// Names of virtual environments, which are left out too. A module may be called so.
const ENVIRONMENTS: [&str; 2] = [".venv", "venv"];

/// What a virtual environment has.
const ENVIRONMENT_MARK: &str = "pyvenv.cfg";

/// How deep folders may be nested: a bound for loops of mounts.
const MAX_DEPTH: usize = 64;

impl Project {
    /// The package in the folder that is `written`; none if that is the project itself.
    pub(super) fn package(&self, written: &str) -> Result<Option<Folder>, RequirementError> {
        let real = self.folder(written)?;
        if self.root.starts_with(&real) {
            return Ok(None);
        }
        let is_package = ["pyproject.toml", "setup.py"]
            .iter()
            .any(|file| real.join(file).is_file());
        if !is_package {
            return Err(RequirementError::UnsupportedPath(written.to_owned()));
        }
        self.collect(&real, |_| true).map(Some)
    }

    /// The wheels and source archives in the folder that is `written`.
    pub(super) fn links(&self, written: &str) -> Result<Folder, RequirementError> {
        let real = self.folder(written)?;
        self.collect(&real, |file| {
            let is_direct = file.components().count() == 1;
            let name = file.to_string_lossy();
            is_direct && matches!(classify(&format!("./{name}")), Ok(Line::Artifact { .. }))
        })
    }

    fn folder(&self, written: &str) -> Result<PathBuf, RequirementError> {
        let real = self.locate(written).map_err(|error| match error {
            // A name that leads nowhere may have been meant for something else.
            RequirementError::NoSuchPath(_) => {
                RequirementError::UnsupportedPath(written.to_owned())
            }
            other => other,
        })?;
        if real.is_dir() {
            Ok(real)
        } else {
            Err(RequirementError::UnsupportedPath(written.to_owned()))
        }
    }

    fn collect(
        &self,
        real: &Path,
        counts: impl Fn(&Path) -> bool,
    ) -> Result<Folder, RequirementError> {
        let mut files = Vec::new();
        list(real, Path::new(""), 0, &mut files)?;
        files.retain(|file| counts(file));
        files.sort();
        let project_path = real.strip_prefix(&self.root).unwrap_or(real).to_owned();
        let mut folder = Folder {
            project_path,
            sha256: String::new(),
            files,
        };
        folder.sha256 = folder.hash(&self.root)?;
        Ok(folder)
    }
}

impl Folder {
    /// Where the folder is for uv, and for `direct_url.json` in the image.
    pub fn image_path(&self) -> String {
        format!("{ARTIFACTS_DIR}/{}", self.project_path.display())
    }

    /// Copies the files from the project in `root`, a path without links, to their places below `folder`.
    pub(super) fn stage(&self, root: &Path, folder: &Path) -> Result<(), RequirementError> {
        let target = folder.join(&self.project_path);
        let failed = |source| self.unreadable(Path::new(""), source);
        fs_err::create_dir_all(&target).map_err(failed)?;
        for file in &self.files {
            let (mut source, executable) = self.open(root, file)?;
            let copy = target.join(file);
            let failed = |source| self.unreadable(file, source);
            fs_err::create_dir_all(copy.parent().unwrap_or(&target)).map_err(failed)?;
            let mut written = fs_err::File::create(&copy).map_err(failed)?;
            std::io::copy(&mut source, &mut written).map_err(failed)?;
            set_mode(&copy, executable).map_err(failed)?;
        }
        // What was copied is what was hashed.
        let staged = fs_err::canonicalize(folder).map_err(failed)?;
        if self.hash(&staged)? == self.sha256 {
            Ok(())
        } else {
            Err(RequirementError::Changed(
                self.project_path.display().to_string(),
            ))
        }
    }

    fn hash(&self, root: &Path) -> Result<String, RequirementError> {
        let mut hasher = Sha256::new();
        for file in &self.files {
            let (content, executable) = self.open(root, file)?;
            let digest = sha256_of(content).map_err(|source| self.unreadable(file, source))?;
            hasher.update(format!("{}\0{executable}\0{digest}\n", file.display()));
        }
        Ok(hex::encode(hasher.finalize()))
    }

    /// Opens a file of the folder; a link must lead to a file in the project.
    fn open(
        &self,
        root: &Path,
        file: &Path,
    ) -> Result<(impl std::io::Read + use<>, bool), RequirementError> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = root.join(&self.project_path).join(file);
        let shown = || self.project_path.join(file).display().to_string();
        let failed = |source| self.unreadable(file, source);
        let real = fs_err::canonicalize(&path).map_err(failed)?;
        if !real.starts_with(root) {
            return Err(RequirementError::PathOutsideProject(shown()));
        }
        let opened = open_beneath(root, &real).map_err(failed)?;
        let opened = opened.ok_or_else(|| RequirementError::WrongKind {
            path: shown(),
            expected: "file",
        })?;
        let mode = opened.metadata().map_err(failed)?.permissions().mode();
        Ok((opened.take(u64::MAX), mode & 0o111 != 0))
    }

    fn unreadable(&self, file: &Path, source: std::io::Error) -> RequirementError {
        RequirementError::Unreadable {
            path: self.project_path.join(file).display().to_string(),
            source,
        }
    }
}

/// Permissions that do not depend on the umask.
fn set_mode(path: &Path, executable: bool) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if executable { 0o755 } else { 0o644 };
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Whether the folder at `path`, which is called `name`, is no part of a package.
fn is_left_out(name: &OsStr, path: &Path) -> bool {
    let is_one_of = |names: &[&str]| names.iter().any(|one| name == *one);
    is_one_of(&LEFT_OUT) || (is_one_of(&ENVIRONMENTS) && path.join(ENVIRONMENT_MARK).is_file())
}

/// All files and links below `root`, folders that are links included, which opening refuses.
fn list(
    root: &Path,
    inside: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), RequirementError> {
    let unreadable = |source| RequirementError::Unreadable {
        path: root.join(inside).display().to_string(),
        source,
    };
    if depth > MAX_DEPTH {
        return Err(unreadable(std::io::Error::other("it is nested too deeply")));
    }
    for entry in fs_err::read_dir(root.join(inside)).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let path = inside.join(&name);
        if entry.file_type().map_err(unreadable)?.is_dir() {
            if !is_left_out(&name, &root.join(&path)) {
                list(root, &path, depth + 1, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}
