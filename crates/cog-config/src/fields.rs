//! Where fields are in a file's text, and edits that leave the rest of it alone: for those who change the file, and
//! for messages about a file that cannot be loaded.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::Location;

/// Fields at the top of the file and one level below, as far as the text is YAML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

/// A field as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// Dotted, as `build.gpu`.
    name: String,
    location: Location,
    key: Range<usize>,
    value: Option<Scalar>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Scalar {
    text: String,
    /// Of a value that can be replaced by another one. A block of lines (`|`, `>`) cannot: its mark would stay.
    place: Option<Range<usize>>,
}

/// What an event belongs to.
enum Frame {
    List,
    /// With the key whose value comes next.
    Mapping(Option<Key>),
}

struct Key {
    name: String,
    location: Location,
    place: Range<usize>,
}

impl Fields {
    /// Those of a text.
    pub fn of(text: &str) -> Self {
        let mut fields = Self::default();
        let mut frames: Vec<Frame> = Vec::new();
        let mut parser = Parser::new_from_str(text);
        while let Some(Ok((event, span))) = parser.next_event() {
            match event {
                Event::Scalar(scalar, style, ..) => {
                    let Some(place) = place(span) else { break };
                    let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                    let text = scalar.into_owned();
                    if let Some(Frame::Mapping(key @ None)) = frames.last_mut() {
                        let location = Location {
                            line: span.start.line(),
                            column: span.start.col() + 1,
                        };
                        *key = Some(Key {
                            name: text,
                            location,
                            place,
                        });
                        continue;
                    }
                    let place = (!is_block).then_some(place);
                    fields.add(&frames, Some(Scalar { text, place }));
                    finish(&mut frames);
                }
                Event::Alias(_) => {
                    fields.add(&frames, None);
                    finish(&mut frames);
                }
                Event::SequenceStart(..) => {
                    fields.add(&frames, None);
                    frames.push(Frame::List);
                }
                Event::MappingStart(..) => {
                    fields.add(&frames, None);
                    frames.push(Frame::Mapping(None));
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    frames.pop();
                    finish(&mut frames);
                }
                // There is but one document.
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        fields
    }

    /// Where a field is, by its dotted name.
    pub fn location(&self, name: &str) -> Option<Location> {
        self.field(name).map(|field| field.location)
    }

    /// The text of a field that has one.
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.field(name)?.value.as_ref()?;
        Some(&value.text)
    }

    /// `text`, of which these are the fields, with another name and value for a field.
    pub fn with_renamed(&self, text: &str, name: &str, new: &str, value: &str) -> Option<String> {
        let field = self.field(name)?;
        let old = field.value.as_ref()?.place.as_ref()?;
        let edited = replaced(text, old, &quoted(value))?;
        replaced(&edited, &field.key, new)
    }

    /// `text`, of which these are the fields, with another value for a field.
    pub fn with_value(&self, text: &str, name: &str, value: &str) -> Option<String> {
        let old = self.field(name)?.value.as_ref()?.place.as_ref()?;
        replaced(text, old, &quoted(value))
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.name == name)
    }

    /// Takes in the value that comes now, if it is that of a field.
    fn add(&mut self, frames: &[Frame], value: Option<Scalar>) {
        let key = |frame: &Frame| match frame {
            Frame::Mapping(Some(key)) => Some(key.name.clone()),
            _ => None,
        };
        let Some(Frame::Mapping(Some(last))) = frames.last() else {
            return;
        };
        let names: Option<Vec<String>> = frames.iter().map(key).collect();
        if let Some(names) = names.filter(|names| names.len() <= 2) {
            self.0.push(Field {
                name: names.join("."),
                location: last.location,
                key: last.place.clone(),
                value,
            });
        }
    }
}

/// The value is over: what comes next in a mapping is another key.
fn finish(frames: &mut [Frame]) {
    if let Some(Frame::Mapping(key)) = frames.last_mut() {
        *key = None;
    }
}

fn place(span: Span) -> Option<Range<usize>> {
    Some(span.start.byte_offset()?..span.end.byte_offset()?)
}

fn replaced(text: &str, place: &Range<usize>, with: &str) -> Option<String> {
    let (before, after) = (text.get(..place.start)?, text.get(place.end..)?);
    Some(format!("{before}{with}{after}"))
}

/// Between double quotes; only for what needs no escapes in there.
fn quoted(value: &str) -> String {
    debug_assert!(!value.contains(['"', '\\']));
    format!("\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ünicode\nbuild:\n  gpu: true\n  run:\n    - command: x\n      predict: no\n\
                        predict:   'predict.py:Predictor'   # mine\nenvironment: [A=1]\n";

    #[test]
    fn fields_have_places_and_texts() {
        let fields = Fields::of(TEXT);
        let line = |name: &str| fields.location(name).map(|location| location.line);
        assert_eq!(line("build"), Some(2));
        assert_eq!(line("build.gpu"), Some(3));
        assert_eq!(line("build.run"), Some(4));
        assert_eq!(line("predict"), Some(7));
        assert_eq!(line("command"), None);
        assert_eq!(fields.text("predict"), Some("predict.py:Predictor"));
        assert_eq!(fields.text("build.gpu"), Some("true"));
        assert_eq!(fields.text("environment"), None);
    }

    #[test]
    fn what_is_broken_further_down_hides_nothing_above() {
        let fields = Fields::of("predict: a.py:A\nbuild: [\n");
        assert_eq!(fields.text("predict"), Some("a.py:A"));
    }

    #[test]
    fn a_field_is_renamed_where_it_is() {
        let rename =
            |text: &str| Fields::of(text).with_renamed(text, "predict", "run", "run.py:Runner");
        let expected = TEXT.replace(
            "predict:   'predict.py:Predictor'",
            "run:   \"run.py:Runner\"",
        );
        assert_eq!(rename(TEXT), Some(expected));
        for (old, new) in [
            ("predict: a.py:A", "run: \"run.py:Runner\""),
            (
                "predict: a.py:A # x\r\ny: 1\r\n",
                "run: \"run.py:Runner\" # x\r\ny: 1\r\n",
            ),
            (
                "{predict: a.py:A, build: {gpu: true}}",
                "{run: \"run.py:Runner\", build: {gpu: true}}",
            ),
            ("\"predict\": \"a.py:A\"\n", "run: \"run.py:Runner\"\n"),
        ] {
            assert_eq!(rename(old).as_deref(), Some(new));
        }
        assert_eq!(rename("run: a.py:A"), None);
        // The mark of the block would be left, and what is written below it not be read as it is meant.
        for block in ["predict: >-\n  a.py:A\n", "predict: |\n  a.py:A\n"] {
            assert_eq!(
                Fields::of(block).text("predict").map(str::trim),
                Some("a.py:A")
            );
            assert_eq!(rename(block), None, "{block}");
        }
        let text = "train: predict.py:train\n";
        assert_eq!(
            Fields::of(text)
                .with_value(text, "train", "run.py:train")
                .as_deref(),
            Some("train: \"run.py:train\"\n")
        );
    }
}
