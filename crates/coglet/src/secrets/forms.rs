//! The ways in which a secret may be written.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::MIN_LENGTH;

/// Of one secret, as many lines are looked for. A private key has some fifty.
const MAX_LINES: usize = 256;

/// A secret as a whole, as it is and as Python and JSON write it; nothing if it is too short.
pub(super) fn whole(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    add(secret.trim(), &mut forms);
    forms
}

/// Its lines: what is told comes line by line.
pub(super) fn lines(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let lines = secret.split(is_line_end).map(str::trim);
    let lines = lines.filter(|line| line.len() >= MIN_LENGTH);
    for line in lines.take(MAX_LINES) {
        add(line, &mut forms);
    }
    forms
}

/// What Python's `str.splitlines` takes for one.
fn is_line_end(character: char) -> bool {
    matches!(
        character,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

fn add(text: &str, forms: &mut BTreeSet<String>) {
    if text.len() < MIN_LENGTH {
        return;
    }
    for writing in [
        Writing::Repr {
            ascii: false,
            quoted: false,
        },
        Writing::Repr {
            ascii: false,
            quoted: true,
        },
        Writing::Repr {
            ascii: true,
            quoted: false,
        },
        Writing::Repr {
            ascii: true,
            quoted: true,
        },
        Writing::Json { ascii: false },
        Writing::Json { ascii: true },
    ] {
        forms.insert(writing.of(text));
    }
    forms.insert(text.to_owned());
}

/// How something is escaped.
#[derive(Debug, Clone, Copy)]
enum Writing {
    /// As `repr` has it, or `ascii`. Which quotes are escaped depends on what else is in the string: either none, or the
    /// single ones.
    Repr { ascii: bool, quoted: bool },
    /// As `json.dumps` has it, with `ensure_ascii` or without.
    Json { ascii: bool },
}

impl Writing {
    fn of(self, text: &str) -> String {
        let mut written = String::with_capacity(text.len());
        for character in text.chars() {
            self.write(character, &mut written);
        }
        written
    }

    fn write(self, character: char, written: &mut String) {
        match (self, character) {
            (_, '\\') => written.push_str(r"\\"),
            (_, '\n') => written.push_str(r"\n"),
            (_, '\r') => written.push_str(r"\r"),
            (_, '\t') => written.push_str(r"\t"),
            (Self::Repr { quoted: true, .. }, '\'') => written.push_str(r"\'"),
            (Self::Json { .. }, '"') => written.push_str("\\\""),
            (Self::Json { .. }, '\x08') => written.push_str(r"\b"),
            (Self::Json { .. }, '\x0c') => written.push_str(r"\f"),
            (_, ' '..='~') => written.push(character),
            (Self::Repr { ascii, .. }, _) => {
                if !ascii && is_printable(character) {
                    written.push(character);
                } else {
                    let code = u32::from(character);
                    let escape = match code {
                        0..=0xff => format!("\\x{code:02x}"),
                        0x100..=0xffff => format!("\\u{code:04x}"),
                        _ => format!("\\U{code:08x}"),
                    };
                    written.push_str(&escape);
                }
            }
            (Self::Json { ascii }, _) => {
                if !ascii && character >= ' ' {
                    written.push(character);
                } else {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        // Writing to a string does not fail.
                        let _ = write!(written, "\\u{unit:04x}");
                    }
                }
            }
        }
    }
}

/// As `str.isprintable` has it, and Rust's own escapes, but for what only belongs to the character before it.
fn is_printable(character: char) -> bool {
    let after_another = format!("x{character}");
    after_another.escape_debug().eq(after_another.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_and_json_write_it_so() {
        let forms = whole("a\\b'c\"d\te\x07\x7f\u{a0}ä\u{301}😀\u{e000}");
        let expected = [
            "a\\b'c\"d\te\x07\x7f\u{a0}ä\u{301}😀\u{e000}",
            "a\\\\b'c\"d\\te\\x07\\x7f\\xa0ä\u{301}😀\\ue000",
            "a\\\\b\\'c\"d\\te\\x07\\x7f\\xa0ä\u{301}😀\\ue000",
            r#"a\\b'c"d\te\x07\x7f\xa0\xe4\u0301\U0001f600\ue000"#,
            r#"a\\b\'c"d\te\x07\x7f\xa0\xe4\u0301\U0001f600\ue000"#,
            "a\\\\b'c\\\"d\\te\\u0007\x7f\u{a0}ä\u{301}😀\u{e000}",
            r#"a\\b'c\"d\te\u0007\u007f\u00a0\u00e4\u0301\ud83d\ude00\ue000"#,
        ];
        assert_eq!(forms, expected.map(str::to_owned).into());
        assert_eq!(whole("plain"), ["plain".to_owned()].into());
        assert_eq!(whole("abc"), BTreeSet::new());
    }

    #[test]
    fn lines_end_as_they_do_in_python() {
        let ends = "\n \r \x0b \x0c \x1c \x1d \x1e \u{85} \u{2028} \u{2029}";
        let lines_of = |(number, end)| format!("line {number}{end}");
        let secret: Vec<_> = ends.split(' ').enumerate().map(lines_of).collect();
        let secret = secret.concat();
        let expected: BTreeSet<_> = (0..10).map(|number| format!("line {number}")).collect();
        assert_eq!(lines(&secret), expected);
        assert_eq!(lines("abc\ndef"), BTreeSet::new());
    }

    #[test]
    fn a_secret_without_end_is_not_looked_for_line_by_line() {
        let secret: Vec<_> = (0..100_000).map(|line| format!("line {line}\n")).collect();
        assert_eq!(lines(&secret.concat()).len(), MAX_LINES);
    }
}
