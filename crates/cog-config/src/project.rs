//! Finding the file, and from its text to a checked configuration.

use std::path::{Path, PathBuf};

use cog_files::{Links, read_project_file, read_regular_text};

use crate::config::Config;
use crate::error::{ConfigError, Warning};
use crate::{parse as typed, tree, validate};

/// How far up a project is looked for.
const MAX_PARENTS: usize = 100;
/// More than anybody writes by hand.
const MAX_LENGTH: u64 = 16 << 20;

/// A configuration file that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// The project: the folder with the file, from which relative paths start.
    pub directory: PathBuf,
    /// The file's name in it.
    pub file_name: String,
}

/// A checked configuration and what should be changed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// In the order they should be shown.
    pub warnings: Vec<Warning>,
}

/// What the rules ask of the file system. A trait, so that they can be tested without one.
pub trait Files {
    /// Whether the project has this file; an absolute path is taken as it is.
    fn exists(&self, path: &str) -> bool;

    /// The text of this file, if it can be read.
    fn read(&self, path: &str) -> Option<String>;
}

impl Files for ProjectFile {
    fn exists(&self, path: &str) -> bool {
        self.directory.join(path).exists()
    }

    fn read(&self, path: &str) -> Option<String> {
        read_project_file(&self.directory, Path::new(path)).ok()
    }
}

/// Looks for `file_name` in `directory`, then in its parents.
pub fn find(directory: &Path, file_name: &str) -> Result<ProjectFile, ConfigError> {
    let found = directory
        .ancestors()
        .take(MAX_PARENTS)
        .find(|candidate| candidate.join(file_name).is_file());
    match found {
        Some(found) => Ok(ProjectFile {
            directory: found.to_owned(),
            file_name: file_name.to_owned(),
        }),
        None => Err(ConfigError::NotFound {
            file_name: file_name.to_owned(),
            directory: directory.to_owned(),
        }),
    }
}

/// Reads and checks the file.
pub fn load(file: &ProjectFile) -> Result<Loaded, ConfigError> {
    let path = file.directory.join(&file.file_name);
    // It may be a link to wherever the user has it.
    let text = read_regular_text(&path, Links::Followed, MAX_LENGTH)
        .map_err(|source| ConfigError::Unreadable { path, source })?;
    parse(&text, &file.file_name, file)
}

/// Checks the text of a configuration.
pub fn parse(text: &str, file_name: &str, files: &dyn Files) -> Result<Loaded, ConfigError> {
    let root = tree::read(text).map_err(|error| ConfigError::Syntax {
        file_name: file_name.to_owned(),
        detail: error.detail,
        location: error.location,
    })?;
    let (draft, schema_problem, mut warnings) = typed::read(root.as_ref());
    let (config, semantic_problems) = validate::check(&draft, files);
    let problems: Vec<_> = schema_problem
        .into_iter()
        .chain(semantic_problems)
        .collect();
    if !problems.is_empty() {
        let meant = |warning: &Warning| matches!(warning, Warning::Unknown { meant: Some(_), .. });
        return Err(ConfigError::Invalid {
            file_name: file_name.to_owned(),
            problems,
            ignored: warnings.into_iter().filter(meant).collect(),
        });
    }
    if root.is_none_or(|root| root.is_null()) {
        let file_name = file_name.to_owned();
        warnings.push(Warning::Empty { file_name });
    }
    warnings.splice(0..0, validate::deprecations(&draft));
    Ok(Loaded { config, warnings })
}
