//! Texts that fit into a number of columns.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

const GAP: char = '…';

/// How many columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text of somebody else as part of a line: without colours, and nothing in it moves the cursor.
pub(crate) fn one_line(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    plain
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect()
}

/// The beginning of a text that takes no more columns.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = taken(text.chars(), columns.saturating_sub(1));
    if columns > 0 {
        cut.push(GAP);
    }
    cut
}

/// Beginning and end of a text that takes no more columns: both tell names apart.
pub(crate) fn cut_middle(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else {
        return String::new();
    };
    let begin = taken(text.chars(), room.div_ceil(2));
    let end = taken(text.chars().rev(), room - width(&begin));
    let end: String = end.chars().rev().collect();
    format!("{begin}{GAP}{end}")
}

fn taken(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut taken = String::new();
    let mut used = 0;
    for one in characters {
        used += one.width().unwrap_or(0);
        if used > columns {
            break;
        }
        taken.push(one);
    }
    taken
}

/// Seconds, or minutes and hours where there are that many.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcdef", 0), "");
        assert_eq!(cut_middle("abcdef", 6), "abcdef");
        assert_eq!(cut_middle("abcdefghij", 6), "abc…ij");
        assert_eq!(cut_middle("abcdefghij", 1), "…");
        assert_eq!(cut_middle("abcdefghij", 0), "");
    }

    #[test]
    fn columns_are_counted_and_not_letters() {
        for columns in 0..12 {
            for text in ["模型模型模型", "modèle-de-langue", "a模b型c模d"] {
                assert!(width(&cut(text, columns)) <= columns, "{text} {columns}");
                assert!(
                    width(&cut_middle(text, columns)) <= columns,
                    "{text} {columns}"
                );
            }
        }
        assert_eq!(cut("模型模型", 5), "模型…");
    }

    #[test]
    fn what_moves_the_cursor_is_left_out() {
        assert_eq!(one_line("\x1b[31mred\x1b[0m\rx\ty"), "red x y");
        assert_eq!(one_line("a\x1b[2Kb\x1b]0;title\x07c\x08"), "abc");
    }

    #[test]
    fn times_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (65, "1m05s"),
            (3599, "59m59s"),
            (3900, "1h05m"),
        ] {
            assert_eq!(time(Duration::from_secs(seconds)), text);
        }
    }
}
