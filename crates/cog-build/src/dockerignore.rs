//! `.dockerignore`: which files of the project stay out of the image.
//!
//! Docker's rules, not Git's: patterns are rooted at the project, the last pattern that matches a
//! path or one of its folders decides, and `!` can bring back files of an excluded folder.

mod matcher;

use matcher::{Matcher, WILDCARDS};

/// A line of `.dockerignore` that is not a pattern.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of `.dockerignore` is not a valid pattern: `{pattern}`: {reason}")]
pub struct DockerignoreError {
    /// The line, counted from 1.
    pub line: usize,
    /// The pattern as written.
    pub pattern: String,
    /// Why, in a line: the whole text of the expression's error would show what the pattern was made into.
    reason: String,
}

/// A line of `.dockerignore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternLine {
    /// Counted from 1.
    pub number: usize,
    /// As written.
    pub text: String,
}

/// The parsed patterns of a `.dockerignore` file.
#[derive(Debug, Default)]
pub struct Dockerignore {
    patterns: Vec<Pattern>,
    /// Paths of the model itself.
    needed: Vec<String>,
}

#[derive(Debug)]
struct Pattern {
    line: PatternLine,
    matcher: Matcher,
    /// The pattern's leading components without wildcards.
    literal_prefix: Vec<String>,
    action: Action,
}

/// Which patterns match a folder or one that it is in: they count for all that is in it.
#[derive(Debug, Clone)]
pub(crate) struct Above(Vec<bool>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Exclude,
    Include,
}

/// What the patterns say about a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderVerdict {
    /// The folder is part of the image.
    Included,
    /// The folder is excluded, but a `!` pattern may bring back something below it.
    MayContainIncluded,
    /// Nothing below the folder is part of the image.
    Excluded,
}

impl Dockerignore {
    /// Parses the text of a `.dockerignore` file.
    pub fn parse(text: &str) -> Result<Self, DockerignoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = PatternLine {
                number: index + 1,
                text: line.trim_end().to_owned(),
            };
            let pattern = Pattern::parse(line.clone()).map_err(|source| DockerignoreError {
                line: line.number,
                pattern: line.text.trim().to_owned(),
                reason: reason(&source),
            })?;
            patterns.extend(pattern);
        }
        Ok(Self {
            patterns,
            needed: Vec::new(),
        })
    }

    /// Whether the file at `path` (relative to the project, `/` between components) is excluded.
    pub fn excludes(&self, path: &str) -> bool {
        self.excluded_by(path).is_some()
    }

    /// The line that excludes the file at `path`, if it is excluded.
    pub fn excluded_by(&self, path: &str) -> Option<&PatternLine> {
        let last = self.last_match(&self.above(path), path)?;
        (last.action == Action::Exclude).then_some(&last.line)
    }

    /// What to do with the folder at `path` and what is in it.
    pub fn folder(&self, path: &str) -> FolderVerdict {
        self.folder_in(&self.above(path), path)
    }

    /// Notes that the image is of no use without the file at `path`.
    pub(crate) fn need(&mut self, path: &str) {
        self.needed.push(path.to_owned());
    }

    /// Whether the folder at `path` is asked for: a `!` line names it or something in it, or the model is in it.
    pub(crate) fn asks_for(&self, above: &Above, path: &str) -> bool {
        let last = self.last_match(above, path);
        let is_inside = |inner: &str| {
            let rest = inner.strip_prefix(path);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let names_inside = |pattern: &Pattern| {
            pattern.action == Action::Include && is_inside(&pattern.literal_prefix.join("/"))
        };
        last.is_some_and(|pattern| pattern.action == Action::Include)
            || self.patterns.iter().any(names_inside)
            || self.needed.iter().any(|needed| is_inside(needed))
    }

    /// What counts for the files beside cog.yaml.
    pub(crate) fn top(&self) -> Above {
        Above(vec![false; self.patterns.len()])
    }

    /// What counts for the files in the folder at `path`, which is itself in a folder with these patterns `above`.
    pub(crate) fn inside(&self, above: &Above, path: &str) -> Above {
        let patterns = self.patterns.iter().zip(&above.0);
        Above(
            patterns
                .map(|(pattern, above)| *above || pattern.matcher.matches(path))
                .collect(),
        )
    }

    /// The same as [`Dockerignore::excludes`], for who knows what counts for all files of the folder.
    pub(crate) fn excludes_in(&self, above: &Above, path: &str) -> bool {
        let last = self.last_match(above, path);
        last.is_some_and(|pattern| pattern.action == Action::Exclude)
    }

    /// The same as [`Dockerignore::folder`], for who knows what counts for the folder that it is in.
    pub(crate) fn folder_in(&self, above: &Above, path: &str) -> FolderVerdict {
        if !self.excludes_in(above, path) {
            FolderVerdict::Included
        } else if self
            .patterns
            .iter()
            .any(|pattern| pattern.may_include_below(path))
        {
            FolderVerdict::MayContainIncluded
        } else {
            FolderVerdict::Excluded
        }
    }

    /// What counts for what is beside `path`.
    fn above(&self, path: &str) -> Above {
        let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        folders.fold(self.top(), |above, folder| self.inside(&above, folder))
    }

    fn last_match(&self, above: &Above, path: &str) -> Option<&Pattern> {
        let patterns = self.patterns.iter().zip(&above.0);
        let matches =
            |(pattern, above): &(&Pattern, &bool)| **above || pattern.matcher.matches(path);
        patterns.rev().find(matches).map(|(pattern, _)| pattern)
    }
}

impl Pattern {
    /// The pattern on `line`, or nothing for comments and blank lines.
    fn parse(line: PatternLine) -> Result<Option<Self>, regex::Error> {
        if line.text.starts_with('#') {
            return Ok(None);
        }
        let text = line.text.trim();
        let (action, text) = match text.strip_prefix('!') {
            Some(rest) => (Action::Include, rest.trim()),
            None => (Action::Exclude, text),
        };
        let components = clean(text);
        if components.is_empty() {
            return Ok(None);
        }
        let literal_prefix = components
            .iter()
            .take_while(|component| !component.contains(WILDCARDS))
            .map(|&component| component.to_owned())
            .collect();
        let matcher = Matcher::new(&components.join("/"))?;
        Ok(Some(Self {
            line,
            matcher,
            literal_prefix,
            action,
        }))
    }

    /// Whether this is a `!` pattern that can match something below the folder at `path`: the
    /// folder and the pattern's literal beginning agree as far as both go.
    fn may_include_below(&self, path: &str) -> bool {
        self.action == Action::Include
            && path
                .split('/')
                .zip(&self.literal_prefix)
                .all(|(folder, literal)| folder == literal)
    }
}

/// The components of a pattern with `.`, `..` and doubled slashes resolved, as Docker does it.
fn clean(pattern: &str) -> Vec<&str> {
    let rooted = pattern.starts_with('/');
    let mut components = Vec::new();
    for component in pattern.split('/') {
        match component {
            "" | "." => {}
            ".." if components.last().is_some_and(|&last| last != "..") => {
                components.pop();
            }
            ".." if rooted => {}
            other => components.push(other),
        }
    }
    components
}

/// What the last line of `error` says.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &str, excluded: &[&str], included: &[&str]) {
        let ignore = Dockerignore::parse(patterns).expect("the patterns are valid");
        for path in excluded {
            assert!(
                ignore.excludes(path),
                "`{path}` should be excluded by {patterns:?}"
            );
        }
        for path in included {
            assert!(
                !ignore.excludes(path),
                "`{path}` should be included by {patterns:?}"
            );
        }
    }

    #[test]
    fn matches_as_docker_does() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("", &[], &["a", "a/b"]),
            ("# comment\n\n  \n", &[], &["# comment", "a"]),
            ("a", &["a", "a/b", "a/b/c"], &["b/a", "ab", "aa"]),
            ("/a", &["a", "a/b"], &["b/a"]),
            ("a/", &["a", "a/b"], &["b/a"]),
            ("./a/../b", &["b", "b/x"], &["a"]),
            (
                "*.log",
                &["x.log", "x.log/y"],
                &["d/x.log", "x.logs", "xlog"],
            ),
            ("*/*.log", &["d/x.log"], &["x.log", "d/e/x.log"]),
            ("**/*.log", &["x.log", "d/x.log", "d/e/x.log"], &["x.txt"]),
            ("**", &["a", "a/b", ".hidden"], &[]),
            ("größe*", &["größe.txt"], &["gröse.txt"]),
            ("**/gr?ße", &["größe", "d/größe"], &["grße"]),
            ("d/**", &["d/x", "d/e/x"], &["d", "e/d/x"]),
            ("d/**/x", &["d/x", "d/e/x", "d/e/f/x"], &["d/y", "x"]),
            (
                "**/node_modules",
                &["node_modules", "a/node_modules/b"],
                &["node_modules2"],
            ),
            ("a?c", &["abc"], &["ac", "a/c", "abbc"]),
            ("a[bc]d", &["abd", "acd"], &["add", "a[bc]d"]),
            ("a[^bc]d", &["add"], &["abd"]),
            ("a[a-c]", &["aa", "ac"], &["ad", "a-"]),
            ("a\\*b", &["a*b"], &["axb"]),
            ("a.b+c(d){e}|f$", &["a.b+c(d){e}|f$"], &["axb+c(d){e}|f$"]),
            ("*\n!a", &["b", "b/a"], &["a", "a/b"]),
            ("a\n!a/keep", &["a", "a/b"], &["a/keep", "a/keep/x"]),
            ("!a\na", &["a"], &[]),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                &["x.md", "README-secret.md"],
                &["README.md", "README-x.md"],
            ),
            ("!  a\n", &[], &["a"]),
            ("\u{feff}a", &["a"], &["b"]),
            ("  a  ", &["a"], &["b"]),
            ("../a", &[], &["a"]),
            ("/../a", &["a"], &[]),
            (".", &[], &["a"]),
            ("ä*", &["äb", "ä"], &["b"]),
            ("a\r\nb\r\n", &["a", "b"], &["c"]),
        ];
        for (patterns, excluded, included) in table {
            check(patterns, excluded, included);
        }
    }

    #[test]
    fn folders_are_entered_only_where_something_can_come_back() {
        let ignore = Dockerignore::parse("data\nbuild\n!data/small/keep.bin").expect("valid");
        assert_eq!(ignore.folder("src"), FolderVerdict::Included);
        assert_eq!(ignore.folder("data"), FolderVerdict::MayContainIncluded);
        assert_eq!(
            ignore.folder("data/small"),
            FolderVerdict::MayContainIncluded
        );
        assert_eq!(ignore.folder("data/large"), FolderVerdict::Excluded);
        assert_eq!(ignore.folder("build"), FolderVerdict::Excluded);

        let anywhere = Dockerignore::parse("build\n!**/keep").expect("valid");
        assert_eq!(
            anywhere.folder("build/deep"),
            FolderVerdict::MayContainIncluded
        );
    }

    #[test]
    fn a_bad_pattern_names_its_line() {
        let error = Dockerignore::parse("ok\n[a").expect_err("the class is not closed");
        assert_eq!(error.line, 2);
        assert_eq!(
            error.to_string(),
            "line 2 of `.dockerignore` is not a valid pattern: `[a`: unclosed character class"
        );
    }
}
