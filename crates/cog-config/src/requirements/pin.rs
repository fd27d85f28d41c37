//! Lines that pin one version, and the places to look for packages that a line names beside it.

use std::str::FromStr as _;

use pep440_rs::{Operator, VersionSpecifiers};

use super::is_local_archive;

/// A line `name==version`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin<'line> {
    /// The package, without extras: with extras a line is left alone.
    pub(crate) name: &'line str,
    /// The version as written.
    pub(crate) version: &'line str,
    /// What follows it.
    pub(crate) rest: Rest,
}

/// What follows a pinned version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    Nothing,
    /// A marker.
    Marker,
    /// A hash or another option.
    Options,
}

/// A place to look for packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `--find-links`.
    Links(String),
    /// `--extra-index-url`.
    Index(String),
}

impl<'line> Pin<'line> {
    /// Takes a line apart if it is a simple pin.
    pub(crate) fn parse(line: &'line str) -> Option<Self> {
        if line.starts_with('-') || is_local_archive(line) {
            return None;
        }
        let (name, rest) = line.split_once("==")?;
        let name = name.trim_end();
        let plain = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|character| character.is_alphanumeric() || "_-.".contains(character))
        };
        let rest = rest.trim_start();
        if !plain(name) || rest.starts_with('=') {
            return None;
        }
        let end = rest
            .find(|character: char| character.is_whitespace() || ",;|*".contains(character))
            .unwrap_or(rest.len());
        let (version, rest) = rest.split_at(end);
        let rest = rest.trim();
        let rest = match rest.chars().next() {
            None => Rest::Nothing,
            Some(';') if !rest.contains(" --") => Rest::Marker,
            Some(';' | '-') => Rest::Options,
            Some(_) => return None,
        };
        (!version.is_empty()).then_some(Self {
            name,
            version,
            rest,
        })
    }
}

/// The version that a line pins exactly: one `==`, no wildcard, no URL. Markers don't count, a local tag stays.
pub fn exact_pin(line: &str) -> Option<String> {
    let line = line.split(';').next()?.split(" --").next()?.trim();
    if line.starts_with('-') || line.contains('@') || is_local_archive(line) {
        return None;
    }
    let start = line.find(|character: char| "=<>!~(".contains(character))?;
    let specifiers = line[start..]
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')');
    let specifiers = VersionSpecifiers::from_str(specifiers).ok()?;
    match &specifiers[..] {
        [one] if *one.operator() == Operator::Equal => Some(one.version().to_string()),
        _ => None,
    }
}

/// The line without the places to look for packages that stand in it, and these.
pub(crate) fn split_sources(line: &str) -> (String, Vec<Source>) {
    let mut sources = Vec::new();
    if line.starts_with('-') || is_local_archive(line) || !line.contains(" -") {
        return (line.to_owned(), sources);
    }
    let mut kept = Vec::new();
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        let option = OPTIONS.iter().find_map(|(option, source)| {
            let value = word.strip_prefix(option)?;
            match value.strip_prefix('=') {
                Some(value) => Some((source, Some(value))),
                None if value.is_empty() => Some((source, None)),
                None => None,
            }
        });
        let Some((source, value)) = option else {
            kept.push(word);
            continue;
        };
        match value.or_else(|| words.next()) {
            Some(value) => sources.push(source(value.to_owned())),
            None => kept.push(word),
        }
    }
    if sources.is_empty() {
        return (line.to_owned(), sources);
    }
    (kept.join(" "), sources)
}

type MakeSource = fn(String) -> Source;

const OPTIONS: [(&str, MakeSource); 3] = [
    ("--extra-index-url", Source::Index),
    ("--find-links", Source::Links),
    ("-f", Source::Links),
];
