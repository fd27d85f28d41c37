//! Release files: what an archive contains, with checksums, until when to believe it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::stanza::Stanza;

/// A release file whose signature was checked.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) codename: String,
    pub(super) date: SystemTime,
    /// With the date as it was written.
    pub(super) valid_until: Option<(SystemTime, String)>,
    /// Whether files can be fetched under the name of their checksum, so that a mirror that is being updated gives the
    /// right one.
    pub(super) by_hash: bool,
    files: HashMap<String, IndexFile>,
}

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexFile {
    /// Hexadecimal.
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl Release {
    /// The error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let stanza = Stanza::parse_single(text.as_bytes()).map_err(|error| error.to_string())?;
        let field = |name: &str| {
            stanza
                .field(name)
                .ok_or_else(|| format!("it has no `{name}`"))
        };
        let date = |value: &str| parse_date(value).ok_or_else(|| format!("`{value}` is no date"));
        let valid_until = match stanza.field("Valid-Until") {
            Some(value) => Some((date(value)?, value.to_owned())),
            None => None,
        };
        Ok(Self {
            codename: field("Codename")?.to_owned(),
            date: date(field("Date")?)?,
            valid_until,
            by_hash: stanza.field("Acquire-By-Hash") == Some("yes"),
            files: field("SHA256")?.lines().filter_map(parse_file).collect(),
        })
    }

    pub(super) fn file(&self, path: &str) -> Option<&IndexFile> {
        self.files.get(path)
    }
}

/// `checksum size path`.
fn parse_file(line: &str) -> Option<(String, IndexFile)> {
    let mut words = line.split_whitespace();
    let sha256 = words.next().filter(|text| is_sha256(text))?.to_owned();
    let size = words.next()?.parse().ok()?;
    Some((words.next()?.to_owned(), IndexFile { sha256, size }))
}

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `Sat, 11 Jul 2026 10:16:37 UTC`.
fn parse_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_weekday, day, month, year, time, "UTC" | "GMT" | "+0000"] = words.as_slice() else {
        return None;
    };
    let day: u64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = MONTHS.iter().position(|name| name == month)?;
    let year: u64 = year
        .parse()
        .ok()
        .filter(|year| (1970..10_000).contains(year))?;
    let clock: Vec<u64> = time
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [hour @ 0..24, minute @ 0..60, second @ 0..=60] = clock[..] else {
        return None;
    };
    let days = days_before(year, month) + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days from 1970 to the first of the month, which counts from 0.
fn days_before(year: u64, month: usize) -> u64 {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days_until = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_days = leap_days_until(year - 1) - leap_days_until(1969);
    (year - 1970) * 365 + leap_days + BEFORE_MONTH[month] + u64::from(is_leap && month > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let date = parse_date(text)?;
        Some(
            date.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
        )
    }

    #[test]
    fn dates_are_parsed() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Sat, 11 Jul 2026 10:16:37 UTC", 1_783_764_997),
            ("Thu, 29 Feb 2024 23:59:59 +0000", 1_709_251_199),
            ("Fri, 1 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Tue, 29 Feb 2000 12:00:00 UTC", 951_825_600),
            ("Sun, 31 Dec 2034 23:59:59 UTC", 2_051_222_399),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "2026-07-11",
            "Sat, 11 Jul 2026 10:16:37 CEST",
            "Sat, 0 Jul 2026 10:16:37 UTC",
            "Sat, 11 Juli 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 25:16:37 UTC",
            "Sat, 11 Jul 2026 10:16 UTC",
            "Sat, 11 Jul 1969 10:16:37 UTC",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn release_files_are_parsed() {
        let sum = "ab".repeat(32);
        let release = Release::parse(&format!(
            "Origin: Debian\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\n\
             MD5Sum:\n 0123 10 main/binary-amd64/Packages.xz\n\
             SHA256:\n {sum}  20 main/binary-amd64/Packages.xz\n nonsense 1 x\n"
        ))
        .unwrap();
        assert_eq!(release.codename, "bookworm");
        assert!(release.by_hash && release.valid_until.is_none());
        let file = release.file("main/binary-amd64/Packages.xz").unwrap();
        assert_eq!((file.sha256.as_str(), file.size), (sum.as_str(), 20));
        assert!(release.file("x").is_none());
    }

    #[test]
    fn what_is_missing_is_named() {
        let error =
            Release::parse("Codename: x\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n").unwrap_err();
        assert_eq!(error, "it has no `SHA256`");
        assert!(
            Release::parse("Codename: x\nDate: soon\nSHA256:\n")
                .unwrap_err()
                .contains("`soon`")
        );
    }
}
