//! The output of a prediction while it grows, kept as JSON text.

use std::ops::Range;

use bytes::Bytes;

/// What the model has produced so far.
#[derive(Debug, Default)]
pub(crate) enum Output {
    #[default]
    Nothing,
    /// One value, as JSON text.
    Value(Bytes),
    Items(Items),
}

/// The items of a stream as a JSON array that lacks its closing bracket, and where each item ends.
///
/// One growing buffer instead of a value per item: any prefix of the array is a slice of it.
#[derive(Debug)]
pub(crate) struct Items {
    text: Text,
    ends: Vec<usize>,
}

#[derive(Debug)]
enum Text {
    Open(Vec<u8>),
    /// The whole array. Nothing comes any more, so everybody can share it.
    Sealed(Bytes),
}

impl Output {
    /// From now on it is a list, even if nothing is ever pushed.
    pub(crate) fn ensure_items(&mut self) {
        if !matches!(self, Self::Items(_)) {
            *self = Self::Items(Items::default());
        }
    }

    pub(crate) fn push(&mut self, item: &[u8]) {
        self.ensure_items();
        if let Self::Items(items) = self {
            items.push(item);
        }
    }

    /// Nothing will be pushed any more.
    pub(crate) fn seal(&mut self) {
        if let Self::Items(items) = self {
            items.seal();
        }
    }

    /// The output as the client sees it, if there is any.
    pub(crate) fn to_json(&self) -> Option<Bytes> {
        match self {
            Self::Nothing => None,
            Self::Value(text) => Some(text.clone()),
            Self::Items(items) => Some(items.first(items.len())),
        }
    }

    pub(crate) fn item_count(&self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Nothing | Self::Value(_) => 0,
        }
    }

    /// The text of one item.
    pub(crate) fn item(&self, index: usize) -> Option<&[u8]> {
        match self {
            Self::Items(items) => items.get(index),
            Self::Nothing | Self::Value(_) => None,
        }
    }

    /// The array of the first `count` items.
    pub(crate) fn first_items(&self, count: usize) -> Option<Bytes> {
        match self {
            Self::Items(items) => Some(items.first(count)),
            Self::Nothing | Self::Value(_) => None,
        }
    }
}

impl Default for Items {
    fn default() -> Self {
        Self {
            text: Text::Open(vec![b'[']),
            ends: Vec::new(),
        }
    }
}

impl Items {
    fn push(&mut self, item: &[u8]) {
        // What comes after the end is nobody's any more.
        if let Text::Open(text) = &mut self.text {
            if !self.ends.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(item);
            self.ends.push(text.len());
        }
    }

    fn seal(&mut self) {
        if let Text::Open(text) = &mut self.text {
            text.push(b']');
            self.text = Text::Sealed(std::mem::take(text).into());
        }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        // After the bracket, or after the comma that follows the item before.
        let start = 1 + index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(self.slice(start..end))
    }

    fn first(&self, count: usize) -> Bytes {
        if let Text::Sealed(text) = &self.text
            && count == self.len()
        {
            return text.clone();
        }
        let end = count
            .checked_sub(1)
            .and_then(|last| self.ends.get(last))
            .copied()
            .unwrap_or(1);
        let mut array = Vec::with_capacity(end + 1);
        array.extend_from_slice(self.slice(0..end));
        array.push(b']');
        array.into()
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        match &self.text {
            Text::Open(text) => &text[range],
            Text::Sealed(text) => &text[range],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_an_array() {
        let mut output = Output::default();
        assert_eq!(output.to_json(), None);
        for item in ["1", r#""a""#, "[2]"] {
            output.push(item.as_bytes());
        }
        for _ in 0..2 {
            assert_eq!(output.to_json().unwrap(), r#"[1,"a",[2]]"#);
            assert_eq!(output.first_items(2).unwrap(), r#"[1,"a"]"#);
            assert_eq!(output.first_items(0).unwrap(), "[]");
            assert_eq!(output.item_count(), 3);
            let items = [0, 1, 2, 3].map(|index| output.item(index));
            assert_eq!(items, [Some(&b"1"[..]), Some(b"\"a\""), Some(b"[2]"), None]);
            output.seal();
        }
    }

    #[test]
    fn a_sealed_array_is_shared() {
        let mut output = Output::default();
        output.ensure_items();
        output.seal();
        assert_eq!(output.to_json().unwrap(), "[]");
        output.push(b"late");
        assert_eq!(
            output.to_json().unwrap().as_ptr(),
            output.to_json().unwrap().as_ptr()
        );
        assert_eq!(output.item_count(), 0);
    }
}
