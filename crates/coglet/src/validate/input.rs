//! The top level of an input: known keys kept, unknown ones dropped, missing ones reported or made
//! null.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Violation;
use super::check::{Checker, Place, is_of_types, type_message};
use super::compile::{Compiler, RuleId, Rules, Type, required};
use super::walk::each_member;
use crate::json::slice_of;

/// The compiled component `Input` or `TrainingInput`.
#[derive(Debug)]
pub(crate) struct InputSchema {
    rules: Rules,
    properties: Vec<Property>,
    by_name: HashMap<String, usize>,
    /// Required, but not among the properties: nothing can satisfy it, as unknown keys are dropped.
    unknown_required: Vec<String>,
}

#[derive(Debug)]
struct Property {
    name: String,
    rule: RuleId,
    required: bool,
    /// Absent means null: nullable, not required, no default.
    null_if_absent: bool,
}

/// An input that the model can have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// A JSON object as text. A slice of the request if nothing had to be changed.
    pub(crate) input: Bytes,
    pub(crate) dropped: Dropped,
}

/// Keys that are no properties. There may be millions of them: the first are kept, to be named.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(super) names: Vec<String>,
    pub(super) more: usize,
}

impl InputSchema {
    pub(super) fn compile(schema: &Value, document: &Value) -> Self {
        let mut compiler = Compiler::new(document);
        let empty = serde_json::Map::new();
        let object = schema.as_object().unwrap_or(&empty);
        let required = required(object);
        let declared = object
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let properties: Vec<_> = declared
            .iter()
            .map(|(name, schema)| {
                let is_required = required.contains(name);
                let nullable = schema.get("nullable") == Some(&Value::Bool(true));
                Property {
                    name: name.clone(),
                    rule: compiler.compile(schema),
                    required: is_required,
                    null_if_absent: nullable && !is_required && schema.get("default").is_none(),
                }
            })
            .collect();
        let by_name = properties
            .iter()
            .enumerate()
            .map(|(index, property)| (property.name.clone(), index))
            .collect();
        let unknown_required = required
            .into_iter()
            .filter(|name| !declared.contains_key(name))
            .collect();
        Self {
            rules: compiler.finish(),
            properties,
            by_name,
            unknown_required,
        }
    }

    /// Checks the text of an input, which must be valid JSON, and brings it into the form that the
    /// worker gets.
    pub(crate) fn accept(&self, input: &Bytes) -> Result<Accepted, Vec<Violation>> {
        let text = object_text(input)?;
        let members: Members<'_> = {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            MembersSeed(self)
                .deserialize(&mut deserializer)
                .map_err(|error| vec![Violation::in_input("__root__", error.to_string())])?
        };
        let violations = self.violations(&members);
        if violations.is_empty() {
            Ok(self.rebuild(input, members))
        } else {
            Err(violations)
        }
    }

    fn violations(&self, members: &Members<'_>) -> Vec<Violation> {
        let mut checker = Checker::new(&self.rules);
        for (property, value) in self.properties.iter().zip(&members.known) {
            match value {
                Some(value) => checker.check(property.rule, value, &Place::input(&property.name)),
                None if property.required => checker.missing(&property.name),
                None => {}
            }
        }
        for name in &self.unknown_required {
            checker.missing(name);
        }
        checker.finish()
    }

    fn rebuild(&self, input: &Bytes, members: Members<'_>) -> Accepted {
        let absent =
            |(property, value): (&Property, &Option<_>)| property.null_if_absent && value.is_none();
        let adds_null = self.properties.iter().zip(&members.known).any(absent);
        if members.dropped.is_empty() && !members.repeated && !adds_null {
            return Accepted {
                input: input.clone(),
                dropped: members.dropped,
            };
        }
        let mut text = String::with_capacity(input.len() + 32);
        for (property, value) in self.properties.iter().zip(&members.known) {
            let value = match value {
                Some(value) => value.get(),
                None if property.null_if_absent => "null",
                None => continue,
            };
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&Value::from(property.name.as_str()).to_string());
            text.push(':');
            text.push_str(value);
        }
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        Accepted {
            input: text.into(),
            dropped: members.dropped,
        }
    }
}

/// Without a schema: any object will do.
pub(crate) fn accept_any_object(input: Bytes) -> Result<Accepted, Vec<Violation>> {
    object_text(&input)?;
    Ok(Accepted {
        input,
        dropped: Dropped::default(),
    })
}

fn object_text(input: &Bytes) -> Result<&str, Vec<Violation>> {
    let text = std::str::from_utf8(input).unwrap_or_default();
    let (types, value) = ([Type::Object], text.trim_ascii());
    if is_of_types(&types, value) {
        return Ok(text);
    }
    let message = type_message(&types, value);
    Err(vec![Violation::in_input("__root__", message)])
}

/// Reads those members of an object that are wanted, as slices of `text`, in order.
pub(crate) fn members(text: &Bytes, wanted: impl Fn(&str) -> bool) -> Vec<(String, Bytes)> {
    let mut members = Vec::new();
    each_member(
        std::str::from_utf8(text).unwrap_or_default(),
        |name, value| {
            if wanted(name) {
                members.push((name.to_owned(), slice_of(text, value)));
            }
        },
    );
    members
}

impl Dropped {
    /// A line in the log should stay one that can be read.
    const NAMED: usize = 20;
    const LONGEST_NAME: usize = 100;

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn add(&mut self, name: &str) {
        if self.names.len() == Self::NAMED {
            self.more += 1;
            return;
        }
        let end = name.floor_char_boundary(Self::LONGEST_NAME);
        let cut = if end < name.len() { "…" } else { "" };
        self.names.push(format!("{}{cut}", &name[..end]));
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The members of an input, sorted out by name.
struct Members<'a> {
    /// In the order of the schema's properties.
    known: Vec<Option<&'a RawValue>>,
    dropped: Dropped,
    repeated: bool,
}

struct MembersSeed<'s>(&'s InputSchema);

impl<'de> DeserializeSeed<'de> for MembersSeed<'_> {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MembersSeed<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members {
            known: vec![None; self.0.properties.len()],
            dropped: Dropped::default(),
            repeated: false,
        };
        loop {
            let name = NameSeed(&self.0.by_name, &mut members.dropped);
            let Some(known) = map.next_key_seed(name)? else {
                break;
            };
            let value: &RawValue = map.next_value()?;
            if let Some(index) = known {
                members.repeated |= members.known[index].replace(value).is_some();
            }
        }
        Ok(members)
    }
}

/// Reads a key as the index of its property, or notes that there is none; known keys cost no allocation.
struct NameSeed<'s>(&'s HashMap<String, usize>, &'s mut Dropped);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let known = self.0.get(name).copied();
        if known.is_none() {
            self.1.add(name);
        }
        Ok(known)
    }
}
