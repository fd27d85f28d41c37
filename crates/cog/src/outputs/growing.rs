//! A list that is shown while it grows.

use serde_json::Value;

use super::pretty;

/// The text of a list, item by item. All together it is what the whole list looks like.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    items: usize,
}

impl Growing {
    /// What an item adds.
    pub(crate) fn add(&mut self, item: &Value) -> serde_json::Result<String> {
        let before = if self.items == 0 { "[\n  " } else { ",\n  " };
        self.items += 1;
        // Line breaks in strings are escaped, so these are between the parts of a value.
        Ok(format!("{before}{}", pretty(item)?.replace('\n', "\n  ")))
    }

    /// Whether something of it has been shown.
    pub(crate) fn has_begun(&self) -> bool {
        self.items > 0
    }

    /// What completes it: the items of `whole` that are not there yet, and the end.
    pub(crate) fn complete(mut self, whole: &Value) -> serde_json::Result<String> {
        let mut text = String::new();
        for item in whole.as_array().into_iter().flatten().skip(self.items) {
            text.push_str(&self.add(item)?);
        }
        text.push_str("\n]\n");
        Ok(text)
    }

    /// What ends its last line where nothing will complete it: half a list must not look like a whole one.
    pub(crate) fn break_off(&self) -> &'static str {
        if self.has_begun() { "\n" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_looks_like_the_whole_list() {
        let whole = json!(["a\nb", "", 1, null, [], {}, { "a": [1, { "b": "]\n" }] }, [[2]]]);
        let items = whole.as_array().unwrap();
        for shown in 1..=items.len() {
            let mut list = Growing::default();
            let mut text = String::new();
            for item in &items[..shown] {
                text.push_str(&list.add(item).unwrap());
            }
            text.push_str(&list.complete(&whole).unwrap());
            assert_eq!(text, format!("{}\n", pretty(&whole).unwrap()));
        }
    }

    #[test]
    fn what_breaks_off_is_no_json() {
        let mut list = Growing::default();
        assert_eq!(list.break_off(), "");
        let text = list.add(&json!("a")).unwrap() + list.break_off();
        assert_eq!(text, "[\n  \"a\"\n");
        assert!(serde_json::from_str::<Value>(&text).is_err());
    }
}
