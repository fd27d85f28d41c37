//! Texts in a lock file that end up in requirement files, addresses, paths or settings of other programs: each is
//! checked while it is read, so that a mistake is told with its line.

use cog_debian::Suite;
use cog_python::requirements::normalise;
use serde::Deserialize;

/// Nobody has a package as large, in bytes.
const MAX_SIZE: u64 = 1 << 40;

/// Longer texts are no names, versions or addresses.
const MAX_LENGTH: usize = 4096;

/// Makes a type of text that `$check` accepts; the error says what the text is not.
macro_rules! checked {
    ($($(#[$meta:meta])* $name:ident: $check:expr, $expected:literal;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(&str) -> bool = $check;
                if text.len() <= MAX_LENGTH && check(&text) {
                    return Ok(Self(text));
                }
                let shown: String = text.chars().take(80).collect();
                Err(format!("{shown:?} is {}", $expected))
            }
        }
    )*};
}

checked! {
    /// What people read.
    Line: |text| !text.contains(char::is_control), "not one line of text";
    /// A checksum.
    Sha256: |text| text.len() == 64 && text.bytes().all(is_hex), "not the SHA-256 of anything";
    /// A checksum with its algorithm.
    Hash: is_hash, "not a whole hash of a strong algorithm, such as `sha256:` and 64 digits";
    /// A file of an index.
    FileName: |text| is_plain(text, b"._+!-~%,()= @") && !text.starts_with('.'), "not the name of a file";
    /// A file or folder of the project.
    ProjectPath: is_relative, "not a path in the project";
    /// A file of the Debian archive.
    PoolPath: |text| is_relative(text) && is_plain(text, b"/._+~-:%"), "not a path in the Debian archive";
    /// A Python distribution.
    PythonName: |text| is_plain(text, b"-._") && normalise(text) == *text && !text.starts_with('-'), "not the normalised name of a Python package";
    /// A version of it, or of Python.
    PythonVersion: |text| is_plain(text, b"._+!-"), "not a version";
    /// A package of a distribution.
    SystemName: |text| is_plain(text, b"+.-") && !text.starts_with('-'), "not the name of a package";
    /// A version of it.
    SystemVersion: |text| is_plain(text, b".+~:-"), "not a version";
    /// An address, without credentials.
    Url: is_url, "not an address without credentials, such as https://example.com/file.whl";
    /// A repository, without credentials.
    Repository: |text| is_url(text) || is_repository(text), "not the address of a repository";
    /// A commit of it.
    Commit: |text| (7..=64).contains(&text.len()) && text.bytes().all(is_hex), "not a commit";
    /// A date.
    Date: is_date, "not a date such as 2026-07-11T10:16:37Z";
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_plain(text: &str, also: &[u8]) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || also.contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// MD5 is none: who wants to can make two files of one.
fn is_hash(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digest)| {
        let length = match algorithm {
            "sha256" => 64..=64,
            "sha384" => 96..=96,
            "sha512" => 128..=128,
            "blake2b" => 64..=128,
            _ => return false,
        };
        length.contains(&digest.len()) && digest.bytes().all(is_hex)
    })
}

/// As the archive's releases have it, in UTC to the second.
fn is_date(text: &str) -> bool {
    let has_form = text.len() == 20
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let number = |range: std::ops::Range<usize>| text[range].parse().unwrap_or(u32::MAX);
    has_form
        && (1..=12).contains(&number(5..7))
        && (1..=31).contains(&number(8..10))
        && number(11..13) < 24
        && number(14..16) < 60
        && number(17..19) < 61
}

/// A list with something in it: where nothing is known, the list is left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Hash>")]
pub(super) struct Hashes(pub(super) Vec<Hash>);

impl TryFrom<Vec<Hash>> for Hashes {
    type Error = &'static str;

    fn try_from(hashes: Vec<Hash>) -> Result<Self, Self::Error> {
        if hashes.is_empty() {
            return Err("there is no hash in the list, so anything would be taken");
        }
        Ok(Self(hashes))
    }
}

/// Bytes of a file that has something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Size(pub(super) u64);

impl TryFrom<u64> for Size {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        if (1..=MAX_SIZE).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(format!("{bytes} is not the size of a package"))
        }
    }
}

fn is_relative(text: &str) -> bool {
    let is_step = |part: &str| !matches!(part, "" | "." | "..");
    text.split('/').all(is_step) && !text.contains(char::is_control)
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    has_no_blanks(text)
        && matches!(scheme, "http" | "https")
        && !rest.split('/').next().unwrap_or_default().contains('@')
}

/// The user of ssh is everybody.
fn is_repository(text: &str) -> bool {
    let starts = ["ssh://", "git://", "file:///"];
    has_no_blanks(text) && starts.iter().any(|start| text.starts_with(start))
}

fn has_no_blanks(text: &str) -> bool {
    !text.contains(|one: char| one.is_control() || one.is_whitespace() || one == '\\')
}

/// The Debian release that is called so.
pub(super) fn suite(name: &str) -> Result<Suite, String> {
    let known = Suite::ALL.into_iter().find(|one| one.codename() == name);
    known.ok_or_else(|| format!("{name:?} is no release of Debian that bases are made of"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_do_no_harm_is_taken() {
        fn takes<T: TryFrom<String>>(text: &str) -> bool {
            T::try_from(text.to_owned()).is_ok()
        }
        assert!(takes::<Hash>(&format!("sha256:{}", "0a".repeat(32))));
        assert!(takes::<Hash>(&format!("sha512:{}", "0a".repeat(64))));
        let md5 = format!("md5:{}", "0a".repeat(16));
        let cut = format!("sha256:{}", "0a".repeat(31));
        for wrong in [
            "",
            "sha256:",
            "sha256:xyz",
            "0a",
            "sha256:0a --hash=x",
            &md5,
            &cut,
        ] {
            assert!(!takes::<Hash>(wrong), "{wrong}");
        }
        assert!(takes::<FileName>("torch-2.3.1+cpu-cp311-none.whl"));
        for wrong in ["", ".x", "a/b", "..", "a\nb"] {
            assert!(!takes::<FileName>(wrong), "{wrong}");
        }
        assert!(takes::<ProjectPath>("my wheels/a.whl"));
        for wrong in [
            "",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a//b",
            "./a",
            "a\nb",
        ] {
            assert!(!takes::<ProjectPath>(wrong), "{wrong}");
        }
        assert!(takes::<PythonName>("typing-extensions"));
        for wrong in ["", "Typing_Extensions", "a b", "a==1", "-r"] {
            assert!(!takes::<PythonName>(wrong), "{wrong}");
        }
        assert!(takes::<SystemVersion>("7:5.1.6-0+deb12u1~x"));
        for wrong in ["", "1\nPin: x", "1 2", "*"] {
            assert!(!takes::<SystemVersion>(wrong), "{wrong}");
        }
        assert!(takes::<Url>("https://e.com/a-1.zip"));
        assert!(takes::<Repository>("ssh://git@e.com/r.git"));
        for wrong in [
            "",
            "file:///etc/passwd",
            "https://u:p@e.com/a.zip",
            "https://e.com/a b",
            "https://e.com/a\\",
        ] {
            assert!(!takes::<Url>(wrong), "{wrong}");
        }
        assert!(takes::<Date>("2026-07-11T10:16:37Z"));
        for wrong in [
            "",
            "2026-07-11",
            "2026-13-11T10:16:37Z",
            "2026-00-11T10:16:37Z",
            "2026-07-32T10:16:37Z",
            "2026-07-11T24:16:37Z",
            "2026-07-11T10:60:37Z",
            "2026-07-11 10:16:37Z",
            "2026-07-11T10:16:3\u{663}",
        ] {
            assert!(!takes::<Date>(wrong), "{wrong}");
        }
        for (bytes, is_size) in [(0, false), (1, true), (1 << 40, true), (u64::MAX, false)] {
            assert_eq!(Size::try_from(bytes).is_ok(), is_size, "{bytes}");
        }
        assert!(takes::<Commit>("0123abc"));
        assert!(!takes::<Commit>("main"));
    }
}
