//! What is wrong with requirements.

/// A requirement that cannot be built into an image.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// `file:` URLs.
    #[error(
        "local file URL requirements are not supported: `{0}`; write the path of a wheel or archive in the project"
    )]
    FileUrl(String),
    /// `name @ ./path`.
    #[error(
        "local direct reference requirements are not supported: `{0}`; write the path of the wheel or archive alone"
    )]
    DirectReference(String),
    /// `-r file:…` and the like.
    #[error(
        "local requirements option \"{option}\" is not supported: `{line}`; write the path of a file or folder in the project"
    )]
    LocalOption {
        /// The option.
        option: String,
        /// The whole line.
        line: String,
    },
    /// An artifact with an option behind it that is not a hash, or a folder with one.
    #[error("local Python package artifacts do not support inline options or hashes: `{0}`")]
    InlineOptions(String),
    /// An artifact with `; marker`.
    #[error("local Python package artifact `{0}`: environment markers are not supported")]
    Markers(String),
    /// An artifact with `[extra]`.
    #[error("local Python package artifact `{0}`: extras are not supported")]
    Extras(String),
    /// A path of another kind.
    #[error(
        "local path `{0}` is not a supported wheel or source archive, and no folder with a `pyproject.toml` or `setup.py`"
    )]
    UnsupportedPath(String),
    /// The artifact is missing.
    #[error("local Python package artifact \"{0}\" not found")]
    NotFound(String),
    /// The artifact is a folder, a socket or the like.
    #[error("local Python package artifact \"{0}\" must be a regular file")]
    NotAFile(String),
    /// The artifact is, perhaps through a link, elsewhere.
    #[error("local Python package artifact \"{0}\" must be inside the project directory")]
    OutsideProject(String),
    /// The artifact is not the one that the requirements want.
    #[error(
        "local Python package artifact \"{path}\" has none of the hashes that are given for it; it has {found}"
    )]
    Hash {
        /// The path in the project.
        path: String,
        /// Its hash.
        found: String,
    },
    /// A file or folder that an option names, or a folder of a package, is missing.
    #[error("`{0}`, which the requirements name, was not found")]
    NoSuchPath(String),
    /// It leads out of the project, perhaps through a link.
    #[error("`{0}`, which the requirements name, must be inside the project directory")]
    PathOutsideProject(String),
    /// It is neither a file nor a folder, or not the one of them that it should be.
    #[error("`{path}`, which the requirements name, is not a {expected}")]
    WrongKind {
        /// The path as written.
        path: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Files of requirements that name each other.
    #[error("`{0}` names itself, directly or through other requirement files")]
    Loop(String),
    /// Too much, or too deep.
    #[error("the requirement files have too many lines, or name each other too deeply")]
    TooManyLines,
    /// A requirements file cannot be read.
    #[error("could not read `{path}`, which the requirements name: {reason}")]
    UnreadableFile {
        /// The path as written.
        path: String,
        /// Why.
        reason: std::io::Error,
    },
    /// It is wrong with a line of a file that others name.
    #[error("{error} (line {number} of {file})")]
    Named {
        /// The file as written.
        file: String,
        /// The line in it.
        number: usize,
        /// What is wrong.
        error: Box<RequirementError>,
    },
    /// The artifact was written to while the build ran.
    #[error("local Python package artifact \"{0}\" changed during the build")]
    Changed(String),
    /// The artifact cannot be read.
    #[error("could not read local Python package artifact \"{path}\"")]
    Unreadable {
        /// The path as written.
        path: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
}

impl RequirementError {
    /// The same with the place of the line. The innermost place counts.
    pub(super) fn at(self, file: &str, number: usize) -> Self {
        match self {
            Self::Named { .. } | Self::TooManyLines => self,
            error => Self::Named {
                file: file.to_owned(),
                number,
                error: Box::new(error),
            },
        }
    }
}
