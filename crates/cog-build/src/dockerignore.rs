//! `.dockerignore`: which files of the project stay out of the image.
//!
//! Docker's rules, not Git's: patterns are rooted at the project, the last pattern that matches a
//! path or one of its folders decides, and `!` can bring back files of an excluded folder.

use regex::bytes::{Regex, RegexBuilder};

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
}

#[derive(Debug)]
struct Pattern {
    line: PatternLine,
    regex: Regex,
    /// The pattern's leading components without wildcards.
    literal_prefix: Vec<String>,
    action: Action,
}

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
        Ok(Self { patterns })
    }

    /// Whether the file at `path` (relative to the project, `/` between components) is excluded.
    pub fn excludes(&self, path: &str) -> bool {
        self.excluded_by(path).is_some()
    }

    /// The line that excludes the file at `path`, if it is excluded.
    pub fn excluded_by(&self, path: &str) -> Option<&PatternLine> {
        let mut patterns = self.patterns.iter().rev();
        let last = patterns.find(|pattern| pattern.matches_with_parents(path))?;
        (last.action == Action::Exclude).then_some(&last.line)
    }

    /// What to do with the folder at `path` and what is in it.
    pub fn folder(&self, path: &str) -> FolderVerdict {
        if !self.excludes(path) {
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
            .take_while(|component| !component.contains(['*', '?', '[', '\\']))
            .map(|&component| component.to_owned())
            .collect();
        let pattern = components.join("/");
        // What matches one character needs to know what a character is; the tables for that are slow to build.
        let needs_characters = pattern.contains(['?', '[']);
        let regex = RegexBuilder::new(&to_regex(&pattern))
            .unicode(needs_characters)
            .build()?;
        Ok(Some(Self {
            line,
            regex,
            literal_prefix,
            action,
        }))
    }

    fn matches_with_parents(&self, path: &str) -> bool {
        self.regex.is_match(path.as_bytes())
            || path
                .match_indices('/')
                .any(|(end, _)| self.regex.is_match(&path.as_bytes()[..end]))
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

fn to_regex(pattern: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let (piece, length) = match character {
            '*' if rest.starts_with("**") => double_star(rest),
            '*' => ("[^/]*".to_owned(), 1),
            '?' => ("[^/]".to_owned(), 1),
            '[' => class(rest),
            '\\' => escaped(rest),
            other => (
                regex::escape(other.encode_utf8(&mut [0; 4])),
                other.len_utf8(),
            ),
        };
        regex.push_str(&piece);
        rest = &rest[length..];
    }
    regex.push('$');
    regex
}

/// `**` spans any number of folders, none included. At the end it matches all that is below.
fn double_star(rest: &str) -> (String, usize) {
    let length = if rest.starts_with("**/") { 3 } else { 2 };
    let piece = if rest.len() == length { ".*" } else { "(.*/)?" };
    (piece.to_owned(), length)
}

/// A character class, which needs no closing bracket to be found for the expression to be
/// rejected: an unclosed one is copied as it is and fails to compile.
fn class(rest: &str) -> (String, usize) {
    let mut piece = String::from("[");
    let mut characters = rest.char_indices().skip(1).peekable();
    if let Some((_, '^')) = characters.peek() {
        piece.push('^');
        characters.next();
    }
    while let Some((at, character)) = characters.next() {
        match character {
            ']' => {
                piece.push(']');
                return (piece, at + 1);
            }
            '-' => piece.push('-'),
            '\\' => {
                let literal = characters.next().map_or('\\', |(_, next)| next);
                piece.push_str(&escape_in_class(literal));
            }
            other => piece.push_str(&escape_in_class(other)),
        }
    }
    (piece, rest.len())
}

fn escape_in_class(character: char) -> String {
    regex::escape(character.encode_utf8(&mut [0; 4]))
}

fn escaped(rest: &str) -> (String, usize) {
    let literal = rest.chars().nth(1);
    let length = 1 + literal.map_or(0, char::len_utf8);
    let literal = literal.unwrap_or('\\');
    (regex::escape(literal.encode_utf8(&mut [0; 4])), length)
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
