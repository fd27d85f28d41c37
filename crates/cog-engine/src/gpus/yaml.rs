//! YAML as a JSON value, for specifications written in YAML.
//!
//! Aliases are refused: no tool that writes specifications makes any, and a few lines of them can stand for gigabytes.

use granit_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Number, Value};

const MAX_DEPTH: usize = 32;

/// The first document.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
    };
    let mut document = None;
    while let Some(event) = reader.next()? {
        match event {
            Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..)
            | Event::Alias(_) => {
                let value = reader.value(event, 0)?;
                document.get_or_insert(value);
            }
            _ => {}
        }
    }
    document.ok_or_else(|| "it is empty".into())
}

struct Reader<'text> {
    parser: Parser<'text, StrInput<'text>>,
}

impl<'text> Reader<'text> {
    fn next(&mut self) -> Result<Option<Event<'text>>, String> {
        loop {
            let event = self.parser.next_event().transpose().map_err(|error| {
                let place = error.marker();
                format!(
                    "line {}, column {}: {}",
                    place.line(),
                    place.col() + 1,
                    error.info()
                )
            })?;
            match event {
                Some((Event::Comment(..), _)) => {}
                other => return Ok(other.map(|(event, _)| event)),
            }
        }
    }

    fn expect(&mut self) -> Result<Event<'text>, String> {
        self.next()?.ok_or_else(|| "it ends too early".into())
    }

    fn value(&mut self, event: Event<'text>, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".into());
        }
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(plain(&text)),
            Event::Scalar(text, ..) => Ok(text.into_owned().into()),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.expect()? {
                        Event::SequenceEnd => return Ok(items.into()),
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut members = Map::new();
                loop {
                    match self.expect()? {
                        Event::MappingEnd => return Ok(members.into()),
                        Event::Scalar(name, ..) => {
                            let event = self.expect()?;
                            let value = self.value(event, depth + 1)?;
                            if members.insert(name.to_string(), value).is_some() {
                                return Err(format!("`{name}` is there twice"));
                            }
                        }
                        _ => return Err("a key must be text".into()),
                    }
                }
            }
            Event::Alias(_) => Err("it uses an alias".into()),
            _ => Err("a value is missing".into()),
        }
    }
}

/// By YAML's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        text => match text.parse::<Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_keep_their_types() {
        let text = "# made\n---\na: 0.5.0\nb: [1, true, \"2\", ~]\nc:\n- d: x=y:z\n  e: {}\n";
        assert_eq!(
            read(text).unwrap(),
            json!({"a": "0.5.0", "b": [1, true, "2", null], "c": [{"d": "x=y:z", "e": {}}]})
        );
    }

    #[test]
    fn what_is_no_yaml_is_named_with_its_place() {
        for (text, expected) in [
            ("a: [1", "line"),
            ("a: b: c", "line 1"),
            ("a: 1\na: 2", "`a` is there twice"),
            ("a: &x 1\nb: *x", "alias"),
            ("", "empty"),
            ("? [1]\n: 2", "key"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert!(read(&"[".repeat(100)).is_err());
        assert!(
            read(&format!("{}{}", "[".repeat(100), "]".repeat(100)))
                .unwrap_err()
                .contains("deeply")
        );
    }
}
