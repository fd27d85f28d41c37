//! What is quoted of others, as letters.

use std::borrow::Cow;

/// The text with characters that a terminal would act upon written as escapes. Files and servers of somebody else are
/// quoted in what we say, and must not be able to say anything but that.
pub fn plain(text: &str) -> Cow<'_, str> {
    let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut letters = String::with_capacity(text.len());
    for letter in text.replace("\r\n", "\n").chars() {
        if acts(letter) {
            letters.extend(letter.escape_default());
        } else {
            letters.push(letter);
        }
    }
    Cow::Owned(letters)
}

#[cfg(test)]
mod tests {
    use super::plain;

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
}
