//! A log that grows as long as somebody prints, and of which a bounded part is kept: its beginning, which
//! says what was started, and its end, which says what became of it.

use std::borrow::Cow;
use std::ops::Range;

/// Text of which the middle is dropped when it becomes too long.
#[derive(Debug, Clone)]
pub(crate) struct LogText {
    limit: usize,
    /// All of it, as long as it is not too long.
    head: String,
    /// Bytes that were dropped.
    dropped: usize,
    /// What comes after them.
    tail: String,
}

impl LogText {
    /// Keeps about `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            head: String::new(),
            dropped: 0,
            tail: String::new(),
        }
    }

    /// Adds text, and returns its place in all that has ever been added.
    pub(crate) fn push(&mut self, text: &str) -> Range<usize> {
        let start = self.len();
        if self.dropped == 0 && self.tail.is_empty() && self.head.len() + text.len() <= self.limit {
            self.head.push_str(text);
            return start..self.len();
        }
        if self.dropped == 0 && self.tail.is_empty() {
            self.tail = self.head.split_off(line_start(&self.head, self.limit / 2));
            self.head.shrink_to_fit();
        }
        self.tail.push_str(text);
        // Not each time: what stays has to be moved.
        if self.tail.len() > self.limit / 2 + self.limit / 8 {
            let excess = self.tail.len() - self.limit / 2;
            let cut = line_start(&self.tail, excess);
            self.tail.drain(..cut);
            self.dropped += cut;
        }
        start..self.len()
    }

    /// What was added at a place, unless it has been dropped.
    pub(crate) fn get(&self, place: Range<usize>) -> Option<&str> {
        let before_tail = self.head.len() + self.dropped;
        if let Some(start) = place.start.checked_sub(before_tail) {
            return self.tail.get(start..place.end - before_tail);
        }
        self.head.get(place)
    }

    /// The text as a client sees it.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        let Self {
            head,
            tail,
            dropped,
            ..
        } = self;
        if tail.is_empty() && *dropped == 0 {
            return Cow::Borrowed(head);
        }
        if *dropped == 0 {
            return Cow::Owned(format!("{head}{tail}"));
        }
        Cow::Owned(format!("{head}{}{tail}", mark(*dropped)))
    }

    fn len(&self) -> usize {
        self.head.len() + self.dropped + self.tail.len()
    }
}

fn mark(bytes: usize) -> String {
    format!("[**** {bytes} BYTES OF LOG LEFT OUT ****]\n")
}

/// The beginning of the line after a place, or a place near it if the line is long.
fn line_start(text: &str, near: usize) -> usize {
    const LONG: usize = 64 << 10;
    let near = text.ceil_char_boundary(near);
    let end = text.floor_char_boundary(near.saturating_add(LONG));
    match text[near..end].find('\n') {
        Some(newline) => near + newline + 1,
        None => near,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_middle_goes() {
        let mut log = LogText::new(1000);
        for number in 0..10_000 {
            log.push(&format!("line {number}\n"));
        }
        let text = log.text();
        assert!(text.starts_with("line 0\nline 1\n"), "{text}");
        assert!(text.ends_with("line 9998\nline 9999\n"), "{text}");
        let mark = text.find("[**** ").unwrap();
        assert!(text[..mark].ends_with('\n'));
        assert!(
            text.contains(" BYTES OF LOG LEFT OUT ****]\nline "),
            "{text}"
        );
        assert!(text.len() < 1300, "{}", text.len());
    }

    #[test]
    fn what_fits_is_whole() {
        let mut log = LogText::new(10);
        log.push("12345");
        log.push("67890");
        assert_eq!(log.text(), "1234567890");
        assert!(matches!(log.text(), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn places_stay_what_they_are(
            pieces in prop::collection::vec("[aé\n]{0,40}", 0..60),
            limit in 0_usize..200,
        ) {
            let mut log = LogText::new(limit);
            let mut all = String::new();
            let mut places = Vec::new();
            for piece in &pieces {
                all.push_str(piece);
                places.push(log.push(piece));
                prop_assert!(log.head.len() + log.tail.len() <= limit + limit / 8 + 45);
            }
            for (place, piece) in places.into_iter().zip(&pieces) {
                prop_assert_eq!(&all[place.clone()], piece.as_str());
                if let Some(kept) = log.get(place) {
                    prop_assert_eq!(kept, piece.as_str());
                }
            }
            prop_assert!(all.starts_with(&log.head) && all.ends_with(&log.tail));
            prop_assert_eq!(log.len(), all.len());
        }
    }
}
