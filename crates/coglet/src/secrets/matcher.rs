//! Many strings, looked for in one pass over a text.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::{MIN_LENGTH, STARS};

/// Of a longer string this many bytes are looked for: where they are, as much is hidden as goes on like it. So what
/// is looked for stays small, and a long string that was cut is found too.
const HEAD: usize = 32;

/// Strings to be hidden, none of them empty.
pub(super) struct Matcher {
    /// In order, so that those that begin with something are next to each other.
    strings: Vec<String>,
    heads: AhoCorasick,
    /// Which strings begin with each.
    beginning: Vec<Range<usize>>,
}

/// Where they are.
struct Found {
    /// In order; they do not touch.
    ranges: Vec<Range<usize>>,
    /// Where one begins that goes on after the text, and of which more than the head is in it.
    open: Option<usize>,
}

impl Matcher {
    pub(super) fn new(strings: BTreeSet<String>) -> Self {
        let strings: Vec<_> = strings.into_iter().collect();
        let (mut heads, mut beginning): (Vec<&[u8]>, Vec<_>) = Default::default();
        for same in strings.chunk_by(|one, other| head(one) == head(other)) {
            let start = beginning.last().map_or(0, |before: &Range<_>| before.end);
            heads.push(head(&same[0]));
            beginning.push(start..start + same.len());
        }
        let heads = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(heads)
            .expect("short strings, and not many of them, can be looked for");
        Self {
            strings,
            heads,
            beginning,
        }
    }

    /// `text` with stars in place of them, and in place of the beginnings of them before `cuts`, which are places where
    /// something is left out.
    pub(super) fn hidden_in<'a>(&self, text: &'a str, cuts: &[usize]) -> Cow<'a, str> {
        let mut ranges = self.find(text.as_bytes()).ranges;
        for &cut in cuts {
            if let Some(start) = self.begun_in(&text.as_bytes()[..cut], MIN_LENGTH) {
                ranges.push(start..cut);
            }
        }
        if ranges.is_empty() {
            return Cow::Borrowed(text);
        }
        ranges.sort_unstable_by_key(|range| range.start);
        let mut shown = String::with_capacity(text.len());
        let mut end = None;
        for range in ranges {
            if end.is_none_or(|end| range.start > end) {
                shown.push_str(&text[end.unwrap_or(0)..range.start]);
                shown.push_str(STARS);
            }
            end = end.max(Some(text.ceil_char_boundary(range.end)));
        }
        shown.push_str(&text[end.unwrap_or(0)..]);
        Cow::Owned(shown)
    }

    /// How much of `text`, which goes on, can be given away without cutting one of them in two.
    pub(super) fn uncut(&self, text: &[u8]) -> usize {
        let found = self.find(text);
        let begun = self.begun_in(text, 1).into_iter().chain(found.open).min();
        let Some(start) = begun else {
            return text.len();
        };
        let around = found
            .ranges
            .iter()
            .find(|range| (range.start..range.end).contains(&start));
        around.map_or(start, |range| range.start)
    }

    fn find(&self, text: &[u8]) -> Found {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut open = None;
        // In the order of their ends.
        for head in self.heads.find_overlapping_iter(text) {
            let mut range = head.range();
            while let Some(last) = ranges.pop_if(|last| last.end >= range.start) {
                range = range.start.min(last.start)..range.end.max(last.end);
            }
            for string in &self.strings[self.beginning[head.pattern().as_usize()].clone()] {
                // What is hidden already is not compared again: a text of one letter would take forever.
                if let Some(rest) = string.as_bytes().get(range.end - head.start()..) {
                    let goes_on = text[range.end..].iter().zip(rest);
                    range.end += goes_on.take_while(|(one, other)| one == other).count();
                }
                if range.end == text.len() && head.start() + string.len() > text.len() {
                    open = open.min(Some(head.start())).or(Some(head.start()));
                }
            }
            ranges.push(range);
        }
        Found { ranges, open }
    }

    /// Where the longest beginning of one of them starts that a text ends with. It has at least as many bytes, and at
    /// most those of a head are looked at.
    fn begun_in(&self, text: &[u8], least: usize) -> Option<usize> {
        let earliest = text.len().saturating_sub(HEAD);
        (earliest..=text.len().checked_sub(least)?).find(|&start| {
            let end = &text[start..];
            let next = self
                .strings
                .partition_point(|string| string.as_bytes() <= end);
            let next = self.strings.get(next);
            next.is_some_and(|string| string.as_bytes().starts_with(end))
        })
    }
}

fn head(string: &str) -> &[u8] {
    &string.as_bytes()[..string.len().min(HEAD)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(strings: &[&str]) -> Matcher {
        Matcher::new(strings.iter().map(|string| (*string).to_owned()).collect())
    }

    fn hidden(strings: &[&str], text: &str) -> String {
        matcher(strings).hidden_in(text, &[]).into_owned()
    }

    #[test]
    fn what_overlaps_is_hidden_as_one() {
        assert_eq!(hidden(&["abcd", "cdef"], "-abcdef-"), "-**********-");
        assert_eq!(hidden(&["abcdefgh", "cdef"], "abcdefgh"), "**********");
        assert_eq!(hidden(&["abcdefgh", "cdef"], "abcdef-"), "ab**********-");
        assert_eq!(hidden(&["abab"], "xabababx"), "x**********x");
        assert_eq!(
            hidden(&["abcd", "efgh"], "abcdefgh abcd"),
            "********** **********"
        );
        assert_eq!(hidden(&["abcd"], "nothing"), "nothing");
    }

    #[test]
    fn what_was_hidden_stays_as_it_is() {
        let strings = ["****", "*****", "secret"];
        let once = hidden(&strings, "a secret, **** and so on");
        assert_eq!(once, "a **********, ********** and so on");
        assert_eq!(hidden(&strings, &once), once);
    }

    #[test]
    fn a_long_string_is_found_by_its_beginning() {
        let long = "0123456789é".repeat(100);
        let text = format!("<{long}>");
        assert_eq!(hidden(&[&long], &text), "<**********>");
        let cut = &text[..text.floor_char_boundary(500)];
        assert_eq!(hidden(&[&long], cut), "<**********");
        // The next character begins like that of the string.
        let other = format!("<{}è>", &long[..10 * 12 + 10]);
        assert_eq!(hidden(&[&long], &other), "<**********>");
        assert_eq!(matcher(&[&long]).uncut(cut.as_bytes()), 1);
    }

    #[test]
    fn nothing_is_cut_in_two() {
        let matcher = matcher(&["hunter2-hunter2", "other"]);
        for (text, uncut) in [
            ("text", 4),
            ("text hun", 5),
            ("text hunter2-hunter2", 5),
            ("text hunter2-hunter2.", 21),
            ("text other", 10),
            ("text o", 5),
            ("hunter", 0),
            ("", 0),
        ] {
            assert_eq!(matcher.uncut(text.as_bytes()), uncut, "{text}");
        }
        let text = "text hunt[CUT] hunt";
        assert_eq!(matcher.hidden_in(text, &[9]), "text **********[CUT] hunt");
    }

    #[test]
    fn a_text_of_one_letter_takes_no_longer() {
        let text = "a".repeat(1 << 17);
        let strings: Vec<_> = (4..100).map(|length| "a".repeat(length)).collect();
        let mut strings: Vec<_> = strings.iter().map(String::as_str).collect();
        strings.push(&text[..1 << 16]);
        // Comparing all of them everywhere would be so many steps that this would not end.
        assert_eq!(hidden(&strings, &text), STARS);
    }

    proptest! {
        #[test]
        fn none_is_left(strings in prop::collection::vec("[abé]{1,90}", 1..6), text in "[abé\n]{0,300}") {
            let strings: Vec<_> = strings.iter().map(String::as_str).collect();
            let matcher = matcher(&strings);
            let text = format!("{text}{}{text}", strings[0]);
            let shown = matcher.hidden_in(&text, &[]);
            for piece in shown.split(STARS) {
                for string in &strings {
                    prop_assert!(!piece.contains(string), "{string:?} in {shown:?}");
                }
            }
            let uncut = matcher.uncut(text.as_bytes());
            for string in &strings {
                for (place, _) in text.match_indices(string) {
                    prop_assert!(place + string.len() <= uncut || place >= uncut);
                }
            }
        }
    }
}
