//! YAML as a tree with places. Scalars keep their text, so that `3.10` stays `3.10`.
//!
//! Aliases are expanded within a budget: a few lines of YAML can otherwise stand for gigabytes.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::error::Location;

const MAX_NODES: usize = 50_000;
const MAX_DEPTH: usize = 64;

/// The key whose value is a mapping, or a list of them, to take members from.
const MERGE: &str = "<<";

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) location: Location,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In order, each key once.
    Mapping(Vec<(String, Node)>),
}

/// What a scalar is by YAML's core schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    List,
    Mapping,
}

#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) detail: String,
    pub(crate) location: Option<Location>,
}

impl Node {
    pub(crate) fn kind(&self) -> Kind {
        match &self.value {
            Value::List(_) => Kind::List,
            Value::Mapping(_) => Kind::Mapping,
            Value::Scalar { plain: false, .. } => Kind::String,
            Value::Scalar { text, plain: true } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Boolean,
                text if text.parse::<i64>().is_ok() => Kind::Integer,
                text if text
                    .starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
                    && text.parse::<f64>().is_ok() =>
                {
                    Kind::Number
                }
                _ => Kind::String,
            },
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// The file's first document; `None` if it is empty.
pub(crate) fn read(text: &str) -> Result<Option<Node>, SyntaxError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    loop {
        match reader.next()? {
            None | Some((Event::StreamEnd, _)) => return Ok(None),
            Some((
                event @ (Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::MappingStart(..)
                | Event::Alias(_)),
                span,
            )) => {
                let node = reader.node(event, span, 0)?;
                reader.finish()?;
                return Ok(Some(node));
            }
            Some(_) => {}
        }
    }
}

struct Reader<'text> {
    parser: Parser<'text, granit_parser::StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'text> Reader<'text> {
    /// The next event that is no comment.
    fn next(&mut self) -> Result<Option<(Event<'text>, Span)>, SyntaxError> {
        loop {
            let event = self
                .parser
                .next_event()
                .transpose()
                .map_err(|error| syntax(&error))?;
            if !matches!(event, Some((Event::Comment(..), _))) {
                return Ok(event);
            }
        }
    }

    /// What comes after the document must be YAML too.
    fn finish(&mut self) -> Result<(), SyntaxError> {
        while self.next()?.is_some() {}
        Ok(())
    }

    fn node(&mut self, event: Event<'text>, span: Span, depth: usize) -> Result<Node, SyntaxError> {
        let location = location(span);
        self.spend(1, location)?;
        if depth > MAX_DEPTH {
            return Err(SyntaxError {
                detail: "it is nested too deeply".into(),
                location: Some(location),
            });
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (
                Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                },
                anchor,
            ),
            Event::SequenceStart(_, anchor, _) => (Value::List(self.items(depth)?), anchor),
            Event::MappingStart(_, anchor, _) => (Value::Mapping(self.members(depth)?), anchor),
            Event::Alias(anchor) => return self.alias(anchor, location),
            _ => {
                return Err(SyntaxError {
                    detail: "a value is missing".into(),
                    location: Some(location),
                });
            }
        };
        let node = Node { value, location };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(items)
    }

    fn members(&mut self, depth: usize) -> Result<Vec<(String, Node)>, SyntaxError> {
        let mut members: Vec<(String, Node)> = Vec::new();
        let mut places: HashMap<String, Location> = HashMap::new();
        let mut merged = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let Some(name) = key.text().map(str::to_owned) else {
                return Err(SyntaxError {
                    detail: "a key must be text".into(),
                    location: Some(key.location),
                });
            };
            if let Some(first) = places.insert(name.clone(), key.location) {
                return Err(SyntaxError {
                    detail: format!("`{name}` is already there in line {}", first.line),
                    location: Some(key.location),
                });
            }
            let Some((event, span)) = self.next()? else {
                break;
            };
            let value = self.node(event, span, depth + 1)?;
            match key.value {
                Value::Scalar { plain: true, .. } if name == MERGE => merged.push(value),
                _ => members.push((name, value)),
            }
        }
        merge(&mut members, merged);
        Ok(members)
    }

    fn alias(&mut self, anchor: usize, location: Location) -> Result<Node, SyntaxError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(SyntaxError {
                detail: "an alias refers to itself".into(),
                location: Some(location),
            });
        };
        let node = node.clone();
        self.spend(size(&node), location)?;
        Ok(node)
    }

    fn spend(&mut self, nodes: usize, location: Location) -> Result<(), SyntaxError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(SyntaxError {
                detail: "it has too many values".into(),
                location: Some(location),
            });
        }
        Ok(())
    }
}

/// Adds the members of other mappings that are not there yet: the first that has one gives it.
fn merge(members: &mut Vec<(String, Node)>, others: Vec<Node>) {
    for other in others {
        match other.value {
            Value::Mapping(inherited) => {
                for (name, node) in inherited {
                    if !members.iter().any(|(known, _)| *known == name) {
                        members.push((name, node));
                    }
                }
            }
            Value::List(items) => merge(members, items),
            Value::Scalar { .. } => {}
        }
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Mapping(members) => members.iter().map(|(_, value)| 1 + size(value)).sum(),
    }
}

fn location(span: Span) -> Location {
    Location {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn syntax(error: &ScanError) -> SyntaxError {
    let marker = error.marker();
    SyntaxError {
        detail: error.info().clone(),
        location: Some(Location {
            line: marker.line(),
            column: marker.col() + 1,
        }),
    }
}
