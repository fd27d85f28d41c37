//! Values of variables that the published server does not have. A value that is not understood is an
//! error: a limit or a lock that is not there because of a typing mistake must not go unnoticed.

use std::time::Duration;

use super::non_empty;
use crate::Error;
use crate::env::Lookup;

/// `1`, `true`, `yes`, `on` or their opposites; unset is off.
pub(super) fn switch(lookup: Lookup<'_>, variable: &'static str) -> Result<bool, Error> {
    let on = |value: &str| match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    };
    Ok(value(lookup, variable, "`1` or `0`", on)?.unwrap_or(false))
}

/// A whole number.
pub(super) fn number(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<usize>, Error> {
    value(lookup, variable, "a whole number", |text| text.parse().ok())
}

/// A whole number that is not 0.
pub(super) fn number_from_1(
    lookup: Lookup<'_>,
    variable: &'static str,
) -> Result<Option<usize>, Error> {
    value(lookup, variable, "a whole number from 1", |text| {
        text.parse().ok().filter(|number| *number > 0)
    })
}

/// Seconds, with or without a fraction.
pub(super) fn seconds(
    lookup: Lookup<'_>,
    variable: &'static str,
) -> Result<Option<Duration>, Error> {
    value(lookup, variable, "a number of seconds", |text| {
        Duration::try_from_secs_f64(text.parse().ok()?).ok()
    })
}

/// A number of bytes, like `1048576`, `1M`, `1MiB`.
pub(super) fn size(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<u64>, Error> {
    let expected = "a number of bytes, like `500M` or `2G`";
    value(lookup, variable, expected, |text| {
        let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let shift = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(1 << shift)
    })
}

/// The same for what has to fit into memory.
pub(super) fn memory(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<usize>, Error> {
    let size = size(lookup, variable)?;
    Ok(size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
}

/// One of these words.
pub(super) fn one_of<T: Copy, const N: usize>(
    lookup: Lookup<'_>,
    variable: &'static str,
    words: [(&str, T); N],
) -> Result<Option<T>, Error> {
    let expected = words.map(|(word, _)| format!("`{word}`")).join(" or ");
    value(lookup, variable, &expected, |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning)
    })
}

fn value<T>(
    lookup: Lookup<'_>,
    variable: &'static str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let Some(text) = non_empty(lookup, variable) else {
        return Ok(None);
    };
    match parse(text.trim()) {
        Some(value) => Ok(Some(value)),
        None => Err(Error::InvalidVariable {
            variable,
            value: text,
            expected: expected.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of(text: &'static str) -> Option<u64> {
        size(&|_| Some(text.into()), "X").ok().flatten()
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("2k", 2048),
            ("1M", 1 << 20),
            ("3 GiB", 3 << 30),
        ] {
            assert_eq!(size_of(text), Some(bytes), "{text}");
        }
        for text in ["M", "1T", "-1", "1.5M", "99999999999G"] {
            assert_eq!(size_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_that_is_not_understood_is_named() {
        let error = switch(&|_| Some("maybe".into()), "COG_X").unwrap_err();
        assert_eq!(error.to_string(), "`maybe` in `COG_X` is not `1` or `0`");
        assert!(switch(&|_| Some("Yes".into()), "COG_X").unwrap());
        assert!(!switch(&|_| Some(String::new()), "COG_X").unwrap());
        let words = [("some", 1), ("all", 2)];
        let error = one_of(&|_| Some("none".into()), "COG_X", words).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`none` in `COG_X` is not `some` or `all`"
        );
        assert_eq!(
            one_of(&|_| Some("all".into()), "COG_X", words).unwrap(),
            Some(2)
        );
    }
}
