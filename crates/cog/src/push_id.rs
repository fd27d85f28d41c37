//! Identifiers of pushes: UUIDs of version 7, which sort by time.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};

/// One for a push that begins `milliseconds` after the beginning of 1970.
pub(crate) fn push_id(milliseconds: u64) -> String {
    // Seeded by the system. Nobody must be unable to guess it: it has to be unlike all others.
    let random = || RandomState::new().hash_one(milliseconds);
    uuid7(milliseconds, random(), random())
}

fn uuid7(milliseconds: u64, one: u64, other: u64) -> String {
    let time = milliseconds & 0xffff_ffff_ffff;
    let high = time << 16 | 0x7000 | one & 0x0fff;
    let low = 0x8000_0000_0000_0000 | other >> 2;
    let digits = format!("{high:016x}{low:016x}");
    let mut text = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        let _ = write!(text, "{digit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_the_form_of_version_7() {
        assert_eq!(
            uuid7(0x0189_0a5d_ac96, 0x1_774b, u64::MAX),
            "01890a5d-ac96-774b-bfff-ffffffffffff"
        );
        assert_eq!(uuid7(0, 0, 0), "00000000-0000-7000-8000-000000000000");
    }

    #[test]
    fn no_two_are_the_same() {
        let all: std::collections::HashSet<String> = (0..1000).map(|_| push_id(1)).collect();
        assert_eq!(all.len(), 1000);
    }
}
