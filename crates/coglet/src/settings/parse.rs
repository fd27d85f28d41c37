//! Values of variables that the published server does not have. A value that is not understood is an
//! error: a limit or a lock that is not there because of a typing mistake must not go unnoticed.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;

use super::non_empty;
use crate::Error;
use crate::env::Lookup;

/// As good as for ever. Clocks cannot be asked for moments much later than that.
pub(super) const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);
/// More processes than any machine can make use of, and few enough to start.
const MOST: usize = 1024;

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

/// A number of things of which there is at least one, and each takes a process or a device.
pub(super) fn count(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<usize>, Error> {
    let expected = format!("a whole number from 1 to {MOST}");
    value(lookup, variable, &expected, |text| {
        text.parse()
            .ok()
            .filter(|number| (1..=MOST).contains(number))
    })
}

/// Seconds, with or without a fraction.
pub(super) fn seconds(
    lookup: Lookup<'_>,
    variable: &'static str,
) -> Result<Option<Duration>, Error> {
    value(lookup, variable, "a number of seconds", |text| {
        let seconds: f64 = text.parse().ok().filter(|seconds| *seconds >= 0.0)?;
        // What a duration cannot hold is longer than the longest.
        Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST)))
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

/// Names or addresses of hosts, without schemes and ports, that are compared with those of URLs.
pub(super) fn hosts(
    lookup: Lookup<'_>,
    variable: &'static str,
) -> Result<Option<Vec<String>>, Error> {
    let expected = "a list of hosts, like `hooks.example.com,10.0.0.7`";
    value(lookup, variable, expected, |text| {
        let hosts = text.split(',').map(str::trim);
        let hosts: Vec<_> = hosts.filter(|host| !host.is_empty()).collect();
        let are_hosts = !hosts.is_empty() && hosts.iter().all(|host| is_host(host));
        are_hosts.then(|| hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
    })
}

/// A leading dot stands for all hosts below, where that means something.
fn is_host(text: &str) -> bool {
    let is_name = |text: &str| {
        let mut labels = text.split('.');
        labels.all(|label| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !label.is_empty() && label.bytes().all(known)
        })
    };
    let name = text.strip_prefix('.').unwrap_or(text);
    let address = text.trim_matches(['[', ']']).parse::<IpAddr>();
    address.is_ok() || is_name(name.strip_suffix('.').unwrap_or(name))
}

/// What is sent in a header. White space around it comes from files that end in a newline.
pub(super) fn header(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<String>, Error> {
    let text = lookup(variable).map(|text| text.trim().to_owned());
    match text.filter(|text| !text.is_empty()) {
        Some(text) if HeaderValue::from_str(&text).is_err() => {
            Err(Error::NotForHeaders { variable })
        }
        text => Ok(text),
    }
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
    fn no_time_is_too_long_for_a_clock() {
        let of = |text: &str| {
            let text = text.to_owned();
            seconds(&move |_| Some(text.clone()), "X").ok().flatten()
        };
        assert_eq!(of("0.5"), Some(Duration::from_millis(500)));
        for long in ["1e18", "1e300", "inf", "18446744073709551616"] {
            assert_eq!(of(long), Some(LONGEST), "{long}");
        }
        for wrong in ["-1", "-0.1", "nan", "1s", "0x1"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert!(std::time::Instant::now().checked_add(LONGEST).is_some());
    }

    #[test]
    fn hosts_have_no_schemes_and_ports() {
        let of = |text: &str| {
            let text = text.to_owned();
            hosts(&move |_| Some(text.clone()), "X")
        };
        assert_eq!(
            of("A.example, .b.example,[::1],10.0.0.7,")
                .unwrap()
                .unwrap(),
            ["a.example", ".b.example", "[::1]", "10.0.0.7"]
        );
        assert_eq!(of("").unwrap(), None);
        for wrong in [
            "https://a.example",
            "a.example:443",
            "a.example/hook",
            "user@a.example",
            "a b",
            "a..b",
            "*.example",
            ",",
            "a.example;b.example",
        ] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` in `X`")), "{error}");
        }
    }

    #[test]
    fn headers_have_no_lines_and_what_is_wrong_is_not_shown() {
        let of = |text: &str| {
            let text = text.to_owned();
            header(&move |_| Some(text.clone()), "X")
        };
        assert_eq!(of(" token\n").unwrap().as_deref(), Some("token"));
        assert_eq!(of("\n").unwrap(), None);
        for wrong in ["a\nsecret", "a\u{1}secret"] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(
                error.contains("`X`") && !error.contains("secret"),
                "{error}"
            );
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
