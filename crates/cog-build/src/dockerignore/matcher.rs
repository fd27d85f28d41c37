//! What the path of one pattern has to be like: by a comparison where that will do, by an expression for all else.

use regex::bytes::{Regex, RegexBuilder};

/// What makes more of a pattern than the path that it spells.
pub(super) const WILDCARDS: [char; 4] = ['*', '?', '[', '\\'];

/// What a path has to be like. Most patterns are of the simple kinds, which cost next to nothing for each of many files.
#[derive(Debug)]
pub(super) enum Matcher {
    /// This path.
    Exact(String),
    /// This one, in any folder: `**/name`.
    Anywhere(String),
    /// Any name in any folder that ends like this: `**/*.log`.
    Ending(String),
    Regex(Regex),
}

impl Matcher {
    pub(super) fn new(pattern: &str) -> Result<Self, regex::Error> {
        let plain = |text: &str| (!text.contains(WILDCARDS)).then(|| text.to_owned());
        if let Some(path) = plain(pattern) {
            return Ok(Self::Exact(path));
        }
        if let Some(path) = pattern.strip_prefix("**/").and_then(plain) {
            return Ok(Self::Anywhere(path));
        }
        let ending = pattern.strip_prefix("**/*").and_then(plain);
        if let Some(ending) = ending.filter(|ending| !ending.contains('/')) {
            return Ok(Self::Ending(ending));
        }
        // What matches one character needs to know what a character is; the tables for that are slow to build.
        let needs_characters = pattern.contains(['?', '[']);
        let regex = RegexBuilder::new(&to_regex(pattern))
            .unicode(needs_characters)
            .build()?;
        Ok(Self::Regex(regex))
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Anywhere(exact) => path
                .strip_suffix(exact.as_str())
                .is_some_and(|folder| folder.is_empty() || folder.ends_with('/')),
            Self::Ending(ending) => path.ends_with(ending.as_str()),
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }
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

    #[test]
    fn comparisons_say_what_the_expressions_would() {
        let patterns = [
            ("a", "exact"),
            ("a/b.c", "exact"),
            ("**/a", "anywhere"),
            ("**/a/b.c", "anywhere"),
            ("**/ä", "anywhere"),
            ("**/*", "ending"),
            ("**/*.c", "ending"),
            ("**/*b.c", "ending"),
            ("**/*/b.c", "expression"),
            ("**/a*", "expression"),
            ("*.c", "expression"),
            ("**/\\a", "expression"),
        ];
        let paths = [
            "a", "b", "ä", "a/b.c", "x/a", "xa", "x/a/b.c", "xa/b.c", "x/y/b.c", ".c", "x/.c",
            "b.cc",
        ];
        for (pattern, expected) in patterns {
            let matcher = Matcher::new(pattern).expect("it is valid");
            let kind = match matcher {
                Matcher::Exact(_) => "exact",
                Matcher::Anywhere(_) => "anywhere",
                Matcher::Ending(_) => "ending",
                Matcher::Regex(_) => "expression",
            };
            assert_eq!(kind, expected, "{pattern}");
            let regex = Regex::new(&to_regex(pattern)).expect("it is valid");
            for path in paths {
                let expected = regex.is_match(path.as_bytes());
                assert_eq!(matcher.matches(path), expected, "{pattern} {path}");
            }
        }
    }
}
