//! The top level of an input: known keys kept, unknown ones dropped, missing ones reported or made
//! null.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Violation;
use super::check::{Checker, Place, type_violation};
use super::compile::{Compiler, RuleId, Rules, Type, required};
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
    pub(crate) dropped: Vec<String>,
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
                None if property.required => {
                    checker.violations.push(Violation::missing(&property.name));
                }
                None => {}
            }
        }
        checker
            .violations
            .extend(self.unknown_required.iter().map(Violation::missing));
        checker.violations
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
        dropped: Vec::new(),
    })
}

fn object_text(input: &Bytes) -> Result<&str, Vec<Violation>> {
    let text = std::str::from_utf8(input).unwrap_or_default();
    match type_violation(&[Type::Object], text.trim_ascii()) {
        Some(message) => Err(vec![Violation::in_input("__root__", message)]),
        None => Ok(text),
    }
}

/// Reads the members of an object as slices of `text`, in order.
pub(crate) fn members(text: &Bytes) -> Vec<(String, Bytes)> {
    let parsed: RawMembers<'_> = serde_json::from_slice(text).unwrap_or_default();
    parsed
        .0
        .into_iter()
        .map(|(name, value)| (name, slice_of(text, value)))
        .collect()
}

#[derive(Default)]
struct RawMembers<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(RawMembers(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The members of an input, sorted out by name.
struct Members<'a> {
    /// In the order of the schema's properties.
    known: Vec<Option<&'a RawValue>>,
    dropped: Vec<String>,
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
            dropped: Vec::new(),
            repeated: false,
        };
        while let Some(name) = map.next_key_seed(NameSeed(&self.0.by_name))? {
            let value: &RawValue = map.next_value()?;
            match name {
                Ok(index) => members.repeated |= members.known[index].replace(value).is_some(),
                Err(unknown) => members.dropped.push(unknown),
            }
        }
        Ok(members)
    }
}

/// Reads a key as the index of its property, or as text if there is none; known keys cost no
/// allocation.
struct NameSeed<'s>(&'s HashMap<String, usize>);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(name).copied().ok_or_else(|| name.to_owned()))
    }
}
