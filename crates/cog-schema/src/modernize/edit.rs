//! Changes of a text, each of its own place.

use std::ops::Range;

use ruff_text_size::Ranged;

/// One place gets another text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    range: Range<usize>,
    text: String,
}

impl Edit {
    pub(super) fn replace(at: impl Ranged, text: impl Into<String>) -> Self {
        Self {
            range: bytes(at),
            text: text.into(),
        }
    }

    pub(super) fn insert(at: usize, text: impl Into<String>) -> Self {
        Self {
            range: at..at,
            text: text.into(),
        }
    }

    pub(super) fn remove(range: Range<usize>) -> Self {
        Self {
            range,
            text: String::new(),
        }
    }
}

/// The place of a part of the tree, in bytes.
pub(super) fn bytes(at: impl Ranged) -> Range<usize> {
    at.start().to_usize()..at.end().to_usize()
}

/// The text after all changes. Of two that overlap, the later one is left out.
pub(super) fn applied(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let mut changed = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        let Some(kept) = text.get(done..edit.range.start) else {
            continue;
        };
        changed.push_str(kept);
        changed.push_str(&edit.text);
        done = edit.range.end;
    }
    changed.push_str(text.get(done..).unwrap_or_default());
    changed
}

/// Takes some of a list's items away, with the commas and blanks that belong to them. All of them cannot go this way.
pub(super) fn without_items(items: &[Range<usize>], goes: impl Fn(usize) -> bool) -> Vec<Edit> {
    let Some(last_kept) = (0..items.len()).rev().find(|index| !goes(*index)) else {
        return Vec::new();
    };
    let mut edits: Vec<Edit> = (0..last_kept)
        .filter(|index| goes(*index))
        .map(|index| Edit::remove(items[index].start..items[index + 1].start))
        .collect();
    if let Some(last) = items.last().filter(|_| last_kept + 1 < items.len()) {
        edits.push(Edit::remove(items[last_kept].end..last.end));
    }
    edits
}

/// Takes a statement away: with its line, if there is nothing else in it.
pub(super) fn without_statement(source: &str, statement: &Range<usize>) -> Edit {
    let before = &source[..statement.start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = &source[statement.end..];
    let (line_rest, line_end) = match rest.find('\n') {
        Some(at) => (&rest[..at], statement.end + at + 1),
        None => (rest, source.len()),
    };
    let line_rest = line_rest.trim();
    let is_alone = before[line_start..].trim().is_empty()
        && (line_rest.is_empty() || line_rest.starts_with('#'));
    if is_alone {
        Edit::remove(line_start..line_end)
    } else {
        Edit {
            range: statement.clone(),
            text: "pass".to_owned(),
        }
    }
}

/// How lines of the text end.
pub(super) fn line_end(source: &str) -> &'static str {
    if source.contains("\r\n") {
        "\r\n"
    } else {
        "\n"
    }
}
