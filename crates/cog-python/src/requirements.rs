//! Requirement lines as a build sees them: what is installed, what is staged, what is refused.
//!
//! Reading the file, with comments and continued lines, is the configuration's job; here each
//! line is one complete requirement or option.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use hex::encode as hex;

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
    /// `-r file`, `--find-links folder` and the like.
    #[error("local requirements option \"{option}\" is not supported: `{line}`")]
    LocalOption {
        /// The option.
        option: String,
        /// The whole line.
        line: String,
    },
    /// An artifact with `--hash` or another option behind it.
    #[error("local Python package artifacts do not support inline options or hashes: `{0}`")]
    InlineOptions(String),
    /// An artifact with `; marker`.
    #[error("local Python package artifact `{0}`: environment markers are not supported")]
    Markers(String),
    /// An artifact with `[extra]`.
    #[error("local Python package artifact `{0}`: extras are not supported")]
    Extras(String),
    /// A path of another kind.
    #[error("local path `{0}` is not a supported wheel or source archive")]
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

/// What one line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An option such as `--extra-index-url URL`.
    Option(String),
    /// A requirement from an index or a URL.
    Package(String),
    /// A wheel or source archive in the project: the path as written.
    Artifact(String),
    /// `cog` or `coglet`, which the image brings itself.
    Sdk(String),
}

/// Requirements ready to be resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    /// Options, in order.
    pub options: Vec<String>,
    /// Packages, in order; the image path for local artifacts.
    pub packages: Vec<String>,
    /// Files of the project to install.
    pub artifacts: Vec<Artifact>,
    /// Lines that were left out because the image brings these packages itself.
    pub overridden: Vec<String>,
}

/// A wheel or source archive of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Path in the project, as written and cleaned.
    pub project_path: PathBuf,
    /// SHA-256 of its content, as hexadecimal digits.
    pub sha256: String,
    /// The project, without links.
    #[serde(skip)]
    root: PathBuf,
    /// The file, without links.
    #[serde(skip)]
    real: PathBuf,
}

/// Where staged artifacts are in the image.
pub const ARTIFACTS_DIR: &str = "/tmp/local_package_artifacts";

impl Artifact {
    /// Where the artifact is in the image.
    pub fn image_path(&self) -> String {
        format!("{ARTIFACTS_DIR}/{}", self.project_path.display())
    }

    /// Copies the artifact to its place below `folder` and says where that is.
    pub fn stage(&self, folder: &Path) -> Result<PathBuf, RequirementError> {
        let written = || self.project_path.display().to_string();
        let failed = |source| RequirementError::Unreadable {
            path: written(),
            source,
        };
        let target = folder.join(&self.project_path);
        fs_err::create_dir_all(target.parent().unwrap_or(folder)).map_err(failed)?;
        let mut source = open_beneath(&self.root, &self.real)
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

impl Requirements {
    /// Classifies `lines` and reads the artifacts among them; relative paths start at
    /// `base_dir`, the folder of the requirements file.
    pub fn read(
        lines: &[String],
        base_dir: &Path,
        project_dir: &Path,
    ) -> Result<Self, RequirementError> {
        let mut requirements = Self::default();
        for line in lines {
            match classify(line)? {
                Line::Option(option) => requirements.options.push(option),
                Line::Package(package) => requirements.packages.push(package),
                Line::Sdk(line) => requirements.overridden.push(line),
                Line::Artifact(path) => {
                    let artifact = read_artifact(&path, base_dir, project_dir)?;
                    requirements.packages.push(artifact.image_path());
                    if !requirements.artifacts.contains(&artifact) {
                        requirements.artifacts.push(artifact);
                    }
                }
            }
        }
        Ok(requirements)
    }

    /// Whether there is nothing to install.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// The text of the requirements file in the image.
    pub fn text(&self) -> String {
        self.options
            .iter()
            .chain(&self.packages)
            .map(String::as_str)
            .flat_map(|line| [line, "\n"])
            .collect()
    }

    /// Whether a line asks for the package `name` (normalised).
    pub fn mentions(&self, name: &str) -> bool {
        self.packages
            .iter()
            .any(|line| package_name(line).as_deref() == Some(name))
    }
}

/// The name that a requirement begins with, normalised: lower case, single dashes.
pub fn package_name(requirement: &str) -> Option<String> {
    let end = requirement
        .find(|character: char| !(character.is_ascii_alphanumeric() || "._-".contains(character)))
        .unwrap_or(requirement.len());
    let name = &requirement[..end];
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        .then(|| normalise(name))
}

/// A package name in the form that names are compared in.
pub fn normalise(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

const SUFFIX: &str = r"\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)";

/// Knows ASCII only, as names and options do: tables of all letters would take longer to build than a
/// whole rebuild.
fn expression(pattern: &str) -> Regex {
    RegexBuilder::new(&pattern.replace("SUFFIX", SUFFIX))
        .unicode(false)
        .build()
        .expect("the pattern is a literal of this module")
}

static REMOTE: LazyLock<Regex> = LazyLock::new(|| {
    expression(r"(?i)^(?:[a-z0-9][a-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*)?[a-z][a-z0-9+.-]*://")
});
static FILE_URL: LazyLock<Regex> = LazyLock::new(|| {
    expression(r"(?i)^(?:[a-z0-9][a-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*)?(?:[a-z]+\+)?file:")
});
static DIRECT_REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?i)^[a-z0-9][a-z0-9._-]*\s*(?:\[[^\]]*\])?(?:\s*@\s*(?:\.{1,2}/|/|~)|\s+@\s*\S.*SUFFIX|\s*@\s+\S.*SUFFIX)",
    )
});
static ARTIFACT: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)SUFFIX$"));
static ARTIFACT_OPTIONS: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i)SUFFIX\s+(?:--[a-z]|-[fr])"));
static ARTIFACT_MARKER: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)SUFFIX\s*;"));
static ARTIFACT_EXTRAS: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)SUFFIX\s*\["));
static LOCAL_PATH: LazyLock<Regex> =
    LazyLock::new(|| expression(r"^(?:\.{1,2}(?:/|$)|/|~)|^[^\s;@<>=!~\[]+/"));
static SDK: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i)^(?:cog|coglet)\s*(?:$|[\[(<>=!~;@\s])"));

/// Whether `line` is nothing but names, versions and the like: the usual case, decided without any expression.
fn is_plain(line: &str) -> bool {
    let name = normalise(
        line.split(['=', '<', '>', '!', '~', '[', ' '])
            .next()
            .unwrap_or_default(),
    );
    !line.is_empty()
        && line
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.[],=<>!~ ".contains(&byte))
        && line.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !["cog", "coglet"].contains(&&*name)
        && ![".whl", ".zip", ".tar", ".tgz"]
            .iter()
            .any(|suffix| line.to_ascii_lowercase().contains(suffix))
}

pub fn classify(line: &str) -> Result<Line, RequirementError> {
    let line = line.trim();
    let owned = || line.to_owned();
    if line.starts_with('-') {
        return option(line);
    }
    if is_plain(line) {
        return Ok(Line::Package(owned()));
    }
    if FILE_URL.is_match(line.as_bytes()) {
        return Err(RequirementError::FileUrl(owned()));
    }
    if REMOTE.is_match(line.as_bytes()) {
        return Ok(if SDK.is_match(line.as_bytes()) {
            Line::Sdk(owned())
        } else {
            Line::Package(owned())
        });
    }
    if DIRECT_REFERENCE.is_match(line.as_bytes()) {
        return Err(RequirementError::DirectReference(owned()));
    }
    if ARTIFACT.is_match(line.as_bytes()) {
        return Ok(Line::Artifact(owned()));
    }
    for (pattern, error) in [
        (
            &ARTIFACT_OPTIONS,
            RequirementError::InlineOptions as fn(String) -> RequirementError,
        ),
        (&ARTIFACT_MARKER, RequirementError::Markers),
        (&ARTIFACT_EXTRAS, RequirementError::Extras),
        (&LOCAL_PATH, RequirementError::UnsupportedPath),
    ] {
        if pattern.is_match(line.as_bytes()) {
            return Err(error(owned()));
        }
    }
    Ok(if SDK.is_match(line.as_bytes()) {
        Line::Sdk(owned())
    } else {
        Line::Package(owned())
    })
}

/// Options that read files. With a remote value they pass.
const FILE_OPTIONS: [(&str, &str); 4] = [
    ("-r", "--requirement"),
    ("-f", "--find-links"),
    ("-c", "--constraint"),
    ("-e", "--editable"),
];

fn option(line: &str) -> Result<Line, RequirementError> {
    for (short, long) in FILE_OPTIONS {
        let long_value = line
            .strip_prefix(long)
            .filter(|rest| rest.is_empty() || rest.starts_with(['=', ' ', '\t']));
        let (option, value) = match (long_value, line.strip_prefix(short)) {
            (Some(value), _) => (long, value),
            (None, Some(value)) if !line.starts_with("--") => (short, value),
            _ => continue,
        };
        let value = value.trim_start_matches(['=', ' ', '\t']);
        if FILE_URL.is_match(value.as_bytes()) || !REMOTE.is_match(value.as_bytes()) {
            return Err(RequirementError::LocalOption {
                option: option.to_owned(),
                line: line.to_owned(),
            });
        }
        if short == "-e" {
            return Ok(Line::Package(line.to_owned()));
        }
    }
    Ok(Line::Option(line.to_owned()))
}

fn read_artifact(
    written: &str,
    base_dir: &Path,
    project_dir: &Path,
) -> Result<Artifact, RequirementError> {
    let unreadable = |source| RequirementError::Unreadable {
        path: written.to_owned(),
        source,
    };
    let outside = || RequirementError::OutsideProject(written.to_owned());
    let root = fs_err::canonicalize(project_dir).map_err(unreadable)?;
    let base = fs_err::canonicalize(base_dir).map_err(unreadable)?;
    let path = clean(&base.join(written));
    let real = fs_err::canonicalize(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => RequirementError::NotFound(written.to_owned()),
        _ => unreadable(error),
    })?;
    if !real.starts_with(&root) {
        return Err(outside());
    }
    let project_path = path.strip_prefix(&root).map_err(|_| outside())?.to_owned();
    let file = open_beneath(&root, &real)
        .map_err(unreadable)?
        .ok_or_else(|| RequirementError::NotAFile(written.to_owned()))?;
    let sha256 = sha256_of(file).map_err(unreadable)?;
    Ok(Artifact {
        project_path,
        sha256,
        root,
        real,
    })
}

/// Opens the file through `root` without following any link, so that one swapped in after the
/// path was checked is an error. Nothing if it is not a regular file.
fn open_beneath(root: &Path, real: &Path) -> std::io::Result<Option<std::fs::File>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root_fd = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let relative = real.strip_prefix(root).unwrap_or(real);
    let file = rustix::fs::openat2(
        &root_fd,
        relative,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    let file = std::fs::File::from(file);
    Ok(file.metadata()?.is_file().then_some(file))
}

fn sha256_of(mut file: impl std::io::Read) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// `path` without `.` and `..`, by the text alone: a link in the last place keeps its name.
fn clean(path: &Path) -> PathBuf {
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

#[cfg(test)]
mod tests;
