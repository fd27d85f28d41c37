//! Requirement lines as a build sees them: what is installed, what is staged, what is refused.
//!
//! Reading the file, with comments and continued lines, is the configuration's job; here each
//! line is one complete requirement or option.

mod artifact;
mod classify;
mod error;
mod folder;
mod names;
mod nested;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use artifact::Artifact;
pub use classify::{Line, classify};
pub use error::RequirementError;
pub use folder::Folder;
pub use names::{normalise, package_name};
pub use nested::{Reader, flatten};

use crate::resolution::{file_url, public_line};
use artifact::Project;

/// Requirements ready to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    /// Where the user wrote them, for messages, such as `requirements.txt`.
    #[serde(skip, default = "unnamed")]
    pub source: String,
    /// Options, in order. Credentials in them are not serialised.
    #[serde(serialize_with = "without_secrets")]
    pub options: Vec<String>,
    /// Packages, in order; the image path for local artifacts. Credentials in them are not serialised.
    #[serde(serialize_with = "without_secrets")]
    pub packages: Vec<String>,
    /// Versions that packages may have if something asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Files of the project to install.
    pub artifacts: Vec<Artifact>,
    /// Folders of the project that packages are built from or taken from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<Folder>,
    /// Lines that were left out because the image brings these packages itself.
    pub overridden: Vec<String>,
    /// Lines that were left out because they ask for the project itself, which is at the model's working directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub itself: Vec<String>,
    /// The hashes that files of a distribution may have, such as `sha256:…`, by its normalised name.
    pub hashes: BTreeMap<String, Vec<String>>,
    /// Whether every distribution needs a hash.
    pub require_hashes: bool,
}

fn unnamed() -> String {
    "the requirements".to_owned()
}

fn without_secrets<S: serde::Serializer>(
    lines: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(lines.iter().map(|line| public_line(line)))
}

impl Default for Requirements {
    fn default() -> Self {
        Self {
            source: unnamed(),
            options: Vec::new(),
            packages: Vec::new(),
            constraints: Vec::new(),
            artifacts: Vec::new(),
            folders: Vec::new(),
            overridden: Vec::new(),
            itself: Vec::new(),
            hashes: BTreeMap::new(),
            require_hashes: false,
        }
    }
}

/// Where staged artifacts are in the image.
pub const ARTIFACTS_DIR: &str = "/tmp/local_package_artifacts";

impl Requirements {
    /// Classifies `lines` and reads the files among them; relative paths start at `base_dir`, the folder of the
    /// requirements file.
    pub fn read(
        lines: &[String],
        base_dir: &Path,
        project_dir: &Path,
        reader: Reader,
    ) -> Result<Self, RequirementError> {
        let project = Project::open(base_dir, project_dir)?;
        let mut requirements = Self::default();
        let lines = nested::all(lines, &project, reader)?;
        for line in lines.iter().flat_map(|line| classify::options(line)) {
            match classify(&line)? {
                // uv has no such option in a file; we check it ourselves.
                Line::Option(option) if option == "--require-hashes" => {
                    requirements.require_hashes = true;
                }
                Line::Option(option) => requirements.options.extend(classify::each(&option)),
                Line::Package(package) => requirements.add_package(package),
                Line::Sdk(line) => requirements.overridden.push(line),
                Line::Artifact { path, hashes } => {
                    requirements.add_artifact(project.artifact(&path)?, hashes)?;
                }
                Line::Folder { path, extras } => {
                    requirements.add_folder(&line, &path, &extras, &project)?;
                }
                Line::Links(path) => requirements.add_links(&path, &project)?,
                Line::Constraints(path) => {
                    for line in nested::constraints(&path, &project, reader)? {
                        requirements.add_constraint(&line);
                    }
                }
                Line::File(_) => unreachable!("files are replaced by their lines"),
            }
        }
        Ok(requirements)
    }

    fn add_artifact(
        &mut self,
        artifact: Artifact,
        hashes: Vec<String>,
    ) -> Result<(), RequirementError> {
        let found = format!("sha256:{}", artifact.sha256);
        let comparable = hashes.iter().any(|hash| hash.starts_with("sha256:"));
        if comparable && !hashes.contains(&found) {
            return Err(RequirementError::Hash {
                path: artifact.project_path.display().to_string(),
                found,
            });
        }
        let file = artifact.project_path.file_name().unwrap_or_default();
        if let Some(name) = names::of_file(&file.to_string_lossy())
            && !hashes.is_empty()
        {
            self.hashes.entry(name).or_default().extend(hashes);
        }
        self.packages.push(artifact.image_path());
        if !self.artifacts.contains(&artifact) {
            self.artifacts.push(artifact);
        }
        Ok(())
    }

    fn add_folder(
        &mut self,
        line: &str,
        path: &str,
        extras: &str,
        project: &Project,
    ) -> Result<(), RequirementError> {
        let Some(folder) = project.package(path)? else {
            if !extras.is_empty() {
                return Err(RequirementError::Extras(line.to_owned()));
            }
            self.itself.push(line.to_owned());
            return Ok(());
        };
        // The only way to write extras of something that has no name yet.
        self.packages
            .push(format!("{}{extras}", folder.image_path()));
        self.keep(folder);
        Ok(())
    }

    fn add_links(&mut self, path: &str, project: &Project) -> Result<(), RequirementError> {
        let folder = project.links(path)?;
        let url = file_url(Path::new(&folder.image_path()));
        self.options.push(format!("--find-links {url}"));
        self.keep(folder);
        Ok(())
    }

    fn keep(&mut self, folder: Folder) {
        if !self.folders.contains(&folder) {
            self.folders.push(folder);
        }
    }

    /// Hashes over all that is in the project's files that are installed: what a key has to have besides the lines.
    pub fn content(&self) -> Vec<&str> {
        let artifacts = self.artifacts.iter().map(|one| one.sha256.as_str());
        let folders = self.folders.iter().map(|one| one.sha256.as_str());
        artifacts.chain(folders).collect()
    }

    fn add_package(&mut self, line: String) {
        self.add_hashes(&line);
        self.packages.push(line);
    }

    /// Its hashes are checked by us, as those of all other lines.
    fn add_constraint(&mut self, line: &str) {
        self.add_hashes(line);
        let without_hashes = line.split(" --hash").next().unwrap_or(line);
        self.constraints.push(without_hashes.trim_end().to_owned());
    }

    fn add_hashes(&mut self, line: &str) {
        let hashes = names::hashes_of(line);
        if !hashes.is_empty()
            && let Some(name) = names::of_requirement(line)
        {
            self.hashes.entry(name).or_default().extend(hashes);
        }
    }

    /// Whether there is nothing to install.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Copies the files of the project in `project_dir` to their places below `folder`, which is made. They have to be
    /// what they were when the requirements were read, perhaps long ago and elsewhere. Files and folders are dated
    /// `date`, in seconds since 1970: builds can see it, and write it into what they make.
    pub fn stage(
        &self,
        project_dir: &Path,
        folder: &Path,
        date: i64,
    ) -> Result<(), RequirementError> {
        let project = Project::open(project_dir, project_dir)?;
        let failed = |source| RequirementError::Unreadable {
            path: folder.display().to_string(),
            source,
        };
        fs_err::create_dir(folder).map_err(failed)?;
        for artifact in &self.artifacts {
            artifact.stage(&project.root, folder)?;
        }
        for one in &self.folders {
            one.stage(&project.root, folder)?;
        }
        set_dates(folder, date).map_err(failed)
    }

    /// The text of the requirements file in the image: without credentials.
    pub fn text(&self) -> String {
        let strict = self.require_hashes.then(|| "--require-hashes".to_owned());
        // They are of interest, but installing this file again needs none.
        let constraints = self
            .constraints
            .iter()
            .map(|line| format!("# constraint: {line}"));
        let lines = self.options.iter().chain(&self.packages);
        strict
            .into_iter()
            .chain(lines.map(|line| public_line(line)))
            .chain(constraints)
            .map(|line| line + "\n")
            .collect()
    }

    /// The constraints without credentials.
    pub fn public_constraints(&self) -> Vec<String> {
        let lines = self.constraints.iter();
        lines.map(|line| public_line(line)).collect()
    }

    /// Whether a line asks for the package `name` (normalised).
    pub fn mentions(&self, name: &str) -> bool {
        self.packages
            .iter()
            .any(|line| package_name(line).as_deref() == Some(name))
    }
}

/// Dates `path` and all that is below it, a folder after what is in it. Permissions of folders no longer depend on the
/// umask.
fn set_dates(path: &Path, date: i64) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    use std::os::unix::fs::PermissionsExt as _;

    if fs_err::symlink_metadata(path)?.is_dir() {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        for entry in fs_err::read_dir(path)? {
            set_dates(&entry?.path(), date)?;
        }
    }
    let date = Timespec {
        tv_sec: date,
        tv_nsec: 0,
    };
    let dates = Timestamps {
        last_access: date,
        last_modification: date,
    };
    Ok(utimensat(CWD, path, &dates, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests;
