//! The output of a prediction while it grows, kept as JSON text.

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

/// The items of a stream: the text between the brackets of a JSON array, and where each item ends.
///
/// One growing buffer instead of a value per item: any prefix of the array is a slice of it.
#[derive(Debug, Default)]
pub(crate) struct Items {
    text: Vec<u8>,
    ends: Vec<usize>,
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

    /// The array of the first `count` items.
    pub(crate) fn first_items(&self, count: usize) -> Option<Bytes> {
        match self {
            Self::Items(items) => Some(items.first(count)),
            Self::Nothing | Self::Value(_) => None,
        }
    }
}

impl Items {
    fn push(&mut self, item: &[u8]) {
        if !self.ends.is_empty() {
            self.text.push(b',');
        }
        self.text.extend_from_slice(item);
        self.ends.push(self.text.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn first(&self, count: usize) -> Bytes {
        let end = count
            .checked_sub(1)
            .and_then(|last| self.ends.get(last))
            .copied()
            .unwrap_or(0);
        let mut array = Vec::with_capacity(end + 2);
        array.push(b'[');
        array.extend_from_slice(&self.text[..end]);
        array.push(b']');
        array.into()
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
        assert_eq!(output.to_json().unwrap(), r#"[1,"a",[2]]"#);
        assert_eq!(output.first_items(2).unwrap(), r#"[1,"a"]"#);
        assert_eq!(output.first_items(0).unwrap(), "[]");
        assert_eq!(output.item_count(), 3);
    }
}
