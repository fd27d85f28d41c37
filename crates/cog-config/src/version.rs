//! Versions as the tables compare them. Deliberately not PEP 440: the tables know releases only, and a version that
//! is more than that is in none of them.

use std::cmp::Ordering;
use std::fmt;

use serde::{Serialize, Serializer};

/// Up to three numbers, and perhaps a local tag: `2.3`, `2.3.1`, `2.3.1+cu118`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// Such as 2.
    pub major: u32,
    /// Such as 3; 0 if it isn't said.
    pub minor: u32,
    /// Such as 1, if it is said.
    pub patch: Option<u32>,
    /// What follows a `+`.
    pub local: Option<String>,
}

impl Version {
    /// Reads a version; nothing if it is more than numbers and a local tag.
    pub fn parse(text: &str) -> Option<Self> {
        let (numbers, local) = match text.trim().split_once('+') {
            Some((numbers, local)) => (numbers, Some(local.to_owned())),
            None => (text.trim(), None),
        };
        let numbers: Vec<u32> = numbers.split('.').map(number).collect::<Option<_>>()?;
        let (&major, rest) = numbers.split_first()?;
        if rest.len() > 2 {
            return None;
        }
        Some(Self {
            major,
            minor: rest.first().copied().unwrap_or_default(),
            patch: rest.get(1).copied(),
            local,
        })
    }

    /// Same major and minor, and the same patch if both say one. Local tags don't count.
    pub fn matches(&self, other: &Self) -> bool {
        let patch = match (self.patch, other.patch) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        (self.major, self.minor) == (other.major, other.minor) && patch
    }

    /// The order of the numbers; a patch that isn't said is 0, local tags don't count.
    pub fn order(&self, other: &Self) -> Ordering {
        self.numbers().cmp(&other.numbers())
    }

    /// Whether the numbers are the same; a patch that isn't said is 0, local tags don't count.
    pub fn equals(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
    }

    /// `major.minor`.
    pub fn major_minor(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Without its local tag.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self {
            local: None,
            ..self.clone()
        }
    }

    fn numbers(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch.unwrap_or_default())
    }
}

/// Digits only: `parse` of numbers would take a sign too.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)?;
        if let Some(patch) = self.patch {
            write!(formatter, ".{patch}")?;
        }
        match &self.local {
            Some(local) => write!(formatter, "+{local}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn versions_are_numbers_with_a_tag() {
        for text in ["2.3", "2.3.1", "2.3.1+cu118", "12.4"] {
            assert_eq!(version(text).to_string(), text);
        }
        assert_eq!(version("2").to_string(), "2.0");
        for text in [
            "",
            "2.3.1.4",
            "2.x",
            "2.3rc1",
            "+1.2",
            "2.*",
            "2.",
            "99999999999.1",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_patch_counts_if_both_say_one() {
        assert!(version("2.3").matches(&version("2.3.1+cu118")));
        assert!(version("2.3.1").matches(&version("2.3.1+cu118")));
        assert!(!version("2.3.0").matches(&version("2.3.1")));
        assert!(!version("2.4").matches(&version("2.3.1")));
        assert!(version("2.3").equals(&version("2.3.0")));
        assert_eq!(version("2.10").order(&version("2.9.1")), Ordering::Greater);
    }
}
