//! What is quoted of others, as letters.

use std::borrow::Cow;

/// The text with characters that a terminal would act upon written as escapes. Files and servers of somebody else are
/// quoted in what we say, and must not be able to say anything but that.
pub fn plain(text: &str) -> Cow<'_, str> {
    let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(escaped(&text.replace("\r\n", "\n"), acts))
}

/// The same on one line: for what somebody else calls something, and for words of theirs within ours.
pub fn line(text: &str) -> Cow<'_, str> {
    // Some terminals begin a line for the last two.
    let acts = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(escaped(text, acts))
}

fn escaped(text: &str, acts: impl Fn(char) -> bool) -> String {
    let mut letters = String::with_capacity(text.len());
    for letter in text.chars() {
        if acts(letter) {
            letters.extend(letter.escape_default());
        } else {
            letters.push(letter);
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::{line, plain};

    #[test]
    fn nothing_acts_on_a_terminal() {
        for (text, shown) in [
            ("two\r\nlines\tof é", "two\nlines\tof é"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J\u{7}", "\\u{9b}2J\\u{7}"),
            ("over\rwritten", "over\\rwritten"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn a_line_is_one() {
        for (text, shown) in [
            ("of é, as it is", "of é, as it is"),
            ("plan9\r\n", "plan9\\r\\n"),
            ("x\nfake: pushed", "x\\nfake: pushed"),
            ("a\tb\u{1b}[A\u{2028}c", "a\\tb\\u{1b}[A\\u{2028}c"),
        ] {
            assert_eq!(line(text), shown);
        }
    }
}
