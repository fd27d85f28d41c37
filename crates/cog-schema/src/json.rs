//! JSON in the reference's layout: keys sorted but where order means something, three characters escaped, no needless
//! fraction in numbers.

use std::fmt::Write as _;

use serde_json::Value;

#[derive(Debug, Clone)]
pub(crate) enum Json {
    Value(Value),
    /// Written with its keys sorted.
    Object(Vec<(String, Json)>),
    /// Written as it is, except in merged documents.
    Ordered(Vec<(String, Json)>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Compact,
    /// Two blanks a level, and every object sorted.
    Indented,
}

impl Json {
    pub(crate) fn text(text: &str) -> Self {
        Self::Value(text.into())
    }

    pub(crate) fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(members.map(|(key, value)| (key.to_owned(), value)).into())
    }

    pub(crate) fn ordered<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Ordered(members.map(|(key, value)| (key.to_owned(), value)).into())
    }

    pub(crate) fn members_mut(&mut self) -> Option<&mut Vec<(String, Self)>> {
        match self {
            Self::Object(members) | Self::Ordered(members) => Some(members),
            Self::Value(_) => None,
        }
    }

    pub(crate) fn member_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.members_mut()?
            .iter_mut()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: Self) -> Self {
        if let Some(members) = self.members_mut() {
            members.retain(|(known, _)| known != key);
            members.push((key.to_owned(), value));
        }
        self
    }

    pub(crate) fn write(&self, layout: Layout) -> String {
        let mut text = String::new();
        self.write_to(&mut text, layout, 0);
        text
    }

    fn write_to(&self, text: &mut String, layout: Layout, level: usize) {
        match self {
            Self::Value(value) => write_value(value, text, layout, level),
            Self::Object(members) | Self::Ordered(members) => {
                let mut members: Vec<&(String, Self)> = members.iter().collect();
                if layout == Layout::Indented || matches!(self, Self::Object(_)) {
                    members.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                enclose(text, layout, level, "{}", members, |(key, value), text| {
                    write_key(key, text, layout);
                    value.write_to(text, layout, level + 1);
                });
            }
        }
    }
}

fn write_value(value: &Value, text: &mut String, layout: Layout, level: usize) {
    match value {
        Value::Array(items) => {
            enclose(text, layout, level, "[]", items, |item, text| {
                write_value(item, text, layout, level + 1);
            });
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(a, _)| *a);
            enclose(text, layout, level, "{}", members, |(key, value), text| {
                write_key(key, text, layout);
                write_value(value, text, layout, level + 1);
            });
        }
        Value::String(string) => write_string(string, text),
        Value::Number(number) => write_number(number, text),
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

fn enclose<I: IntoIterator>(
    text: &mut String,
    layout: Layout,
    level: usize,
    ends: &str,
    items: I,
    mut write: impl FnMut(I::Item, &mut String),
) {
    text.push_str(&ends[..1]);
    let mut empty = true;
    for item in items {
        if !empty {
            text.push(',');
        }
        empty = false;
        new_line(text, layout, level + 1);
        write(item, text);
    }
    if !empty {
        new_line(text, layout, level);
    }
    text.push_str(&ends[1..]);
}

fn new_line(text: &mut String, layout: Layout, level: usize) {
    if layout == Layout::Indented {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", level));
    }
}

fn write_key(key: &str, text: &mut String, layout: Layout) {
    write_string(key, text);
    text.push_str(if layout == Layout::Indented {
        ": "
    } else {
        ":"
    });
}

fn write_string(string: &str, text: &mut String) {
    let quoted = Value::from(string).to_string();
    for character in quoted.chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
}

fn write_number(number: &serde_json::Number, text: &mut String) {
    const EXACT_INTEGERS: f64 = 1e15;
    let whole = number
        .as_f64()
        .filter(|value| number.is_f64() && value.fract() == 0.0 && value.abs() < EXACT_INTEGERS);
    let _ = match whole {
        Some(value) => write!(text, "{value:.0}"),
        None => write!(text, "{number}"),
    };
}
