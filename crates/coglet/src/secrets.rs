//! Inputs, and what models say of them, as they may be shown.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use crate::validate::each_member;

/// As Python shows a secret.
const STARS: &str = "**********";
/// Less is no secret, and is in every other word.
const MIN_LENGTH: usize = 4;
/// Each is looked for in everything that is said. A private key has some fifty lines.
const MAX_LINES: usize = 256;

/// The secrets of one input, to be kept out of what is told of it.
#[derive(Default)]
pub(crate) struct Secrets {
    /// The lines of all of them, longest first: one may be part of another.
    lines: Vec<String>,
}

impl Secrets {
    /// The values of the members of `input`, a JSON object, that are called so.
    pub(crate) fn of(input: &Bytes, names: &HashSet<String>) -> Self {
        let mut lines = Vec::new();
        if !names.is_empty() {
            each_member(
                std::str::from_utf8(input).unwrap_or_default(),
                |name, value| {
                    if names.contains(name) {
                        collect(
                            &serde_json::from_str(value.get()).unwrap_or_default(),
                            &mut lines,
                        );
                    }
                },
            );
        }
        lines.sort_by(|one, other| (other.len(), other).cmp(&(one.len(), one)));
        lines.dedup();
        Self { lines }
    }

    /// `text` with stars in place of them.
    pub(crate) fn hidden_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for line in &self.lines {
            if shown.contains(line) {
                shown = Cow::Owned(shown.replace(line, STARS));
            }
        }
        shown
    }
}

/// It may be logged with what it belongs to.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

/// What is told comes line by line.
fn collect(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let whole = text.lines().map(str::trim);
            let long = whole.filter(|line| line.len() >= MIN_LENGTH);
            lines.extend(long.take(MAX_LINES - lines.len()).map(str::to_owned));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, lines)),
        Value::Object(map) => map.values().for_each(|value| collect(value, lines)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An input, which is a JSON object, with a mask in place of what is secret. Null hides nothing and stays.
pub(crate) fn masked(input: &Bytes, secrets: &HashSet<String>) -> Bytes {
    let mut text = Vec::new();
    each_member(
        std::str::from_utf8(input).unwrap_or_default(),
        |name, value| {
            text.push(if text.is_empty() { b'{' } else { b',' });
            text.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
            text.push(b':');
            let is_shown = value.get() == "null" || !secrets.contains(name);
            if is_shown {
                text.extend_from_slice(value.get().as_bytes());
            } else {
                text.extend_from_slice(format!("\"{STARS}\"").as_bytes());
            }
        },
    );
    if text.is_empty() {
        text.push(b'{');
    }
    text.push(b'}');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let secrets = HashSet::from(["key".to_owned(), "other".to_owned()]);
        let check = |input: &'static str, expected: &str| {
            assert_eq!(masked(&Bytes::from(input), &secrets), expected);
        };
        check(
            r#"{"s":"x","key":"s3cret","other":null,"k\u0065y":["s3cret"]}"#,
            r#"{"s":"x","key":"**********","other":null,"key":"**********"}"#,
        );
        check("{}", "{}");
    }

    #[test]
    fn secrets_are_found_in_what_is_said() {
        let names = HashSet::from(["key".to_owned(), "keys".to_owned()]);
        let secrets = Secrets::of(
            &Bytes::from(
                r#"{"s":"plain","key":"-- BEGIN\r\nab\"c\nxy\n","keys":["ab\"cdef",null,[{"a":"äöüß"}]]}"#,
            ),
            &names,
        );
        let check = |said: &str, shown: &str| assert_eq!(secrets.hidden_in(said), shown);
        check("plain xy", "plain xy");
        check("-- BEGIN\nab\"c\nxy\n", "**********\n**********\nxy\n");
        check("ab\"cdef, öäöüß.", "**********, ö**********.");
        assert!(!format!("{secrets:?}").contains("BEGIN"));
        let none = Secrets::of(&Bytes::from(r#"{"key":"secret"}"#), &HashSet::new());
        assert_eq!(none.hidden_in("secret"), "secret");
    }

    #[test]
    fn a_secret_without_end_is_not_looked_for_line_by_line() {
        let lines: Vec<_> = (0..100_000).map(|line| format!("line {line}")).collect();
        let input = serde_json::json!({"key": lines.join("\n")}).to_string();
        let secrets = Secrets::of(&Bytes::from(input), &HashSet::from(["key".to_owned()]));
        assert_eq!(secrets.lines.len(), MAX_LINES);
    }
}
