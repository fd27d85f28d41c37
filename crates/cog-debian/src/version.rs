//! Order of Debian package versions, as Debian policy defines it.

use std::cmp::Ordering;

/// Compares two versions `[epoch:]upstream[-revision]`.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (Version::parse(left), Version::parse(right));
    left.epoch
        .cmp(&right.epoch)
        .then_with(|| compare_part(left.upstream, right.upstream))
        .then_with(|| compare_part(left.revision, right.revision))
}

struct Version<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => epoch.parse().map_or((0, text), |epoch| (epoch, rest)),
            None => (0, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self {
            epoch,
            upstream,
            revision,
        }
    }
}

/// Compares text and numbers in turn.
fn compare_part(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let order = compare_text(take_text(&mut left), take_text(&mut right))
            .then_with(|| compare_number(take_number(&mut left), take_number(&mut right)));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    (0..left.len().max(right.len()))
        .map(|position| weight(left.get(position)).cmp(&weight(right.get(position))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// A tilde sorts before the end, letters before everything else.
fn weight(character: Option<&u8>) -> i32 {
    match character {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

/// Numbers have any length.
fn compare_number(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
    let (left, right) = (&left[significant(left)..], &right[significant(right)..]);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    take(rest, |byte| !byte.is_ascii_digit())
}

fn take_number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    take(rest, u8::is_ascii_digit)
}

fn take<'a>(rest: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let length = rest.iter().take_while(|byte| wanted(byte)).count();
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_order_of_debian_policy() {
        let ascending = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0.0~rc1",
            "0.0",
            "0.0.1",
            "0.1",
            "1.0~alpha1-1",
            "1.0-1~deb12u1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb12u1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0+dfsg-1",
            "1.0.0-1",
            "1.2.3~rc1",
            "1.2.3",
            "1.2.3a",
            "1.2.3+b",
            "1.2.3.1",
            "1.10",
            "2",
            "20230311",
            "99999999999999999999999998",
            "99999999999999999999999999",
            "1:0~",
            "1:0.1",
            "2:0",
        ];
        for (position, left) in ascending.iter().enumerate() {
            assert_eq!(compare(left, left), Ordering::Equal, "{left}");
            for right in &ascending[position + 1..] {
                assert_eq!(compare(left, right), Ordering::Less, "{left} {right}");
                assert_eq!(compare(right, left), Ordering::Greater, "{right} {left}");
            }
        }
    }

    #[test]
    fn different_spellings_can_be_the_same_version() {
        for (left, right) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.0-00", "1.0-0"),
            ("1.01", "1.1"),
            ("", "0"),
        ] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn the_last_hyphen_starts_the_revision() {
        assert_eq!(compare("1-2-3", "1-2-4"), Ordering::Less);
        assert_eq!(compare("1-3-1", "1-2-9"), Ordering::Greater);
    }
}
