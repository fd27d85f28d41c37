//! Requirement files: their lines, and what completion needs to know of a line.
//!
//! Two readings exist side by side. [`found_version`] is the loose one that versions of CUDA and base images are
//! chosen by: the text behind the first comparison, whatever it compares. [`exact_pin`] is the strict one, by the
//! standard for requirement lines. What is installed, staged or refused is decided by whoever installs it.

mod file;
mod pin;
mod pyproject;

pub use file::numbered_lines;
pub use pin::exact_pin;
pub(crate) use pin::{Pin, Rest, Source, split_sources};

/// Endings of wheels and source archives.
const ARCHIVES: [&str; 6] = [".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"];

/// What a comparison can be, longest first.
const COMPARISONS: [&str; 8] = ["===", "==", ">=", "<=", "~=", "!=", "<", ">"];

/// The requirement lines of `text`, in order.
///
/// A `#` starts a comment at the beginning of a line or after a blank, so that URL fragments (`#egg=…`) stay.
pub fn lines(text: &str) -> Vec<String> {
    let lines = numbered_lines(text).into_iter();
    lines
        .map(|(_, text)| text)
        .filter(|text| text != "-e .")
        .collect()
}

/// The requirement lines of the file at `path`, which has the text `text`: of a requirements file, or of a project as uv
/// and others know it, in the versions of its `uv.lock`. `beside` reads another file of the same folder. The error says
/// what cannot be understood.
pub fn lines_of(
    path: &str,
    text: &str,
    beside: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    use pyproject::{LOCK, PROJECT};
    match file_name(path) {
        PROJECT => pyproject::lines(text, beside(LOCK).as_deref()),
        LOCK => match beside(PROJECT) {
            Some(project) => pyproject::lines(&project, Some(text)),
            None => Err(format!("there is no {PROJECT} beside {LOCK}")),
        },
        _ => Ok(lines(text)),
    }
}

/// Whether the file at `path` has requirement lines, and is not of another kind.
pub fn has_lines(path: &str) -> bool {
    ![pyproject::LOCK, pyproject::PROJECT].contains(&file_name(path))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn without_comment(line: &str) -> &str {
    let start = line
        .char_indices()
        .find(|&(index, character)| {
            character == '#'
                && (index == 0
                    || line[..index].ends_with(|before: char| before.is_ascii_whitespace()))
        })
        .map_or(line.len(), |(index, _)| index);
    line[..start].trim()
}

/// The package that a line asks for, as written, extras included; nothing for options, URLs and files.
pub fn name(line: &str) -> Option<&str> {
    if line.starts_with('-') || is_local_archive(line) || is_url(line) {
        return None;
    }
    let end = line
        .find(|character: char| !(character.is_alphanumeric() || "_-.".contains(character)))
        .unwrap_or(line.len());
    let extras = line[end..]
        .strip_prefix('[')
        .and_then(|rest| rest.find(']'));
    let end = extras.map_or(end, |length| end + length + 2);
    Some(&line[..end]).filter(|name| !name.is_empty())
}

/// What a line says of its version: the text behind its first comparison, or the URL of a `name @ url`. Empty if it
/// says nothing.
pub fn found_version(line: &str) -> &str {
    let Some(name) = name(line) else {
        return "";
    };
    let rest = line[name.len()..].trim_start();
    if let Some(url) = rest.strip_prefix('@') {
        return url.split_whitespace().next().unwrap_or_default();
    }
    let specifiers = rest.split(';').next().unwrap_or_default();
    let first = COMPARISONS
        .iter()
        .filter_map(|comparison| Some((specifiers.find(comparison)?, comparison.len())))
        .min_by_key(|&(index, length)| (index, usize::MAX - length));
    let Some((index, length)) = first else {
        return "";
    };
    let version = specifiers[index + length..].trim_start();
    let end = version
        .find([' ', '\t', ',', ';', '|', ')'])
        .unwrap_or(version.len());
    &version[..end]
}

/// What the lines say of the package with exactly this name: nothing if no line has it, else its version, which is
/// empty if none is said.
pub fn version_of<'lines>(lines: &'lines [String], package: &str) -> Option<&'lines str> {
    let mut versions = lines
        .iter()
        .filter(|line| name(line) == Some(package))
        .map(|line| found_version(line));
    let first = versions.next()?;
    if first.is_empty() {
        // The same package may be listed twice; the line that says more counts.
        return Some(
            versions
                .find(|version| !version.is_empty())
                .unwrap_or(first),
        );
    }
    Some(first)
}

/// Whether a line is the path of a wheel or source archive, whatever package it looks like.
pub fn is_local_archive(line: &str) -> bool {
    !line.starts_with('-') && !line.contains("://") && is_archive(line)
}

/// Whether a path or URL ends like a wheel or source archive.
pub(crate) fn is_archive(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    ARCHIVES.iter().any(|ending| lower.ends_with(ending))
}

fn is_url(line: &str) -> bool {
    line.split_once("://").is_some_and(|(scheme, _)| {
        scheme
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))
    })
}

#[cfg(test)]
mod tests;
