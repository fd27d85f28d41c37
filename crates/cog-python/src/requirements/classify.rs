//! What a single line is.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

use super::RequirementError;
use super::names::{hashes_of, normalise};

/// What one line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An option such as `--extra-index-url URL`.
    Option(String),
    /// A requirement from an index or a URL.
    Package(String),
    /// A wheel or source archive in the project.
    Artifact {
        /// The path as written.
        path: String,
        /// The hashes that it may have.
        hashes: Vec<String>,
    },
    /// A folder of the project that a package is built from.
    Folder {
        /// The path as written.
        path: String,
        /// Such as `[dev]`, or nothing.
        extras: String,
    },
    /// Another file with requirements: the path as written.
    File(String),
    /// A file with constraints: the path as written.
    Constraints(String),
    /// A folder with wheels and source archives: the path as written.
    Links(String),
    /// `cog` or `coglet`, which the image brings itself.
    Sdk(String),
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
    LazyLock::new(|| expression(r"^(?:\.{1,2}(?:[/\[]|$)|/|~)|^[^\s;@<>=!~\[]+/"));
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

/// What `line` asks for.
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
    if let Some((path, hashes)) = artifact(line) {
        return Ok(Line::Artifact { path, hashes });
    }
    for (pattern, error) in [
        (
            &ARTIFACT_OPTIONS,
            RequirementError::InlineOptions as fn(String) -> RequirementError,
        ),
        (&ARTIFACT_MARKER, RequirementError::Markers),
        (&ARTIFACT_EXTRAS, RequirementError::Extras),
    ] {
        if pattern.is_match(line.as_bytes()) {
            return Err(error(owned()));
        }
    }
    if LOCAL_PATH.is_match(line.as_bytes()) {
        return folder(line);
    }
    Ok(if SDK.is_match(line.as_bytes()) {
        Line::Sdk(owned())
    } else {
        Line::Package(owned())
    })
}

/// A path with the hashes behind it.
fn artifact(line: &str) -> Option<(String, Vec<String>)> {
    let (path, options) = match line.find(" --hash") {
        Some(at) => (line[..at].trim_end(), &line[at..]),
        None => (line, ""),
    };
    let only_hashes = options
        .split_whitespace()
        .all(|word| word.starts_with("--hash") || word.contains(':'));
    (ARTIFACT.is_match(path.as_bytes()) && only_hashes)
        .then(|| (path.to_owned(), hashes_of(options)))
}

/// The path of a folder, perhaps with extras.
fn folder(line: &str) -> Result<Line, RequirementError> {
    let (path, extras) = match line.split_once('[') {
        Some((path, _)) if line.ends_with(']') => (path.trim_end(), &line[path.len()..]),
        _ => (line, ""),
    };
    if path.starts_with('~') || path.contains([';', '[', ']']) {
        return Err(RequirementError::UnsupportedPath(line.to_owned()));
    }
    if path.contains(" -") {
        return Err(RequirementError::InlineOptions(line.to_owned()));
    }
    Ok(Line::Folder {
        path: path.to_owned(),
        extras: extras.to_owned(),
    })
}

/// The options of a line that has several, as pip allows: `--pre -f URL`. All else is one line as it is.
pub(super) fn options(line: &str) -> Vec<String> {
    let line = line.trim();
    let mut parts: Vec<String> = Vec::new();
    if line.starts_with('-') {
        for word in line.split_whitespace() {
            match parts.last_mut() {
                Some(part) if !word.starts_with('-') || is_editable(part) => {
                    part.push(' ');
                    part.push_str(word);
                }
                _ => parts.push(word.to_owned()),
            }
        }
    }
    match parts.len() {
        0 | 1 => vec![line.to_owned()],
        _ => parts,
    }
}

/// The same option for each package of a list, as pip has it and uv has not: `--only-binary a,b`.
pub(super) fn each(option: &str) -> Vec<String> {
    let (name, value) = option.split_once(['=', ' ', '\t']).unwrap_or((option, ""));
    if !["--only-binary", "--no-binary"].contains(&name) || !value.contains(',') {
        return vec![option.to_owned()];
    }
    let packages = value.split(',').map(str::trim);
    packages
        .filter(|package| !package.is_empty())
        .map(|package| format!("{name} {package}"))
        .collect()
}

/// A package, which may have options of its own.
fn is_editable(option: &str) -> bool {
    matches!(file_option(option), Some(("-e", ..)))
}

/// Options that read files. With a remote value they pass.
const FILE_OPTIONS: [(&str, &str); 4] = [
    ("-r", "--requirement"),
    ("-f", "--find-links"),
    ("-c", "--constraint"),
    ("-e", "--editable"),
];

fn option(line: &str) -> Result<Line, RequirementError> {
    let Some((short, option, value)) = file_option(line) else {
        return Ok(Line::Option(line.to_owned()));
    };
    if FILE_URL.is_match(value.as_bytes()) || value.is_empty() {
        return Err(RequirementError::LocalOption {
            option: option.to_owned(),
            line: line.to_owned(),
        });
    }
    let path = value.to_owned();
    Ok(match (short, REMOTE.is_match(value.as_bytes())) {
        ("-e", true) => Line::Package(line.to_owned()),
        (_, true) => Line::Option(line.to_owned()),
        ("-r", false) => Line::File(path),
        ("-c", false) => Line::Constraints(path),
        ("-f", false) => Line::Links(path),
        (_, false) => return folder(value),
    })
}

/// The short name, the name as written, and the value of an option that reads files.
fn file_option(line: &str) -> Option<(&'static str, &str, &str)> {
    FILE_OPTIONS.into_iter().find_map(|(short, long)| {
        let long_value = line
            .strip_prefix(long)
            .filter(|rest| rest.is_empty() || rest.starts_with(['=', ' ', '\t']));
        let (option, value) = match (long_value, line.strip_prefix(short)) {
            (Some(value), _) => (long, value),
            (None, Some(value)) if !line.starts_with("--") => (short, value),
            _ => return None,
        };
        let value = value.trim_start_matches(['=', ' ', '\t']).trim_end();
        Some((short, option, value))
    })
}
