//! The top level of an input: known keys kept, unknown ones dropped, missing ones reported or made
//! null.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use cog_inputs::{Field, Inputs, Type, each_member};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Violation;
use super::messages::{Violations, type_message};
use crate::json::slice_of;

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

/// Checks the text of an input, which must be valid JSON, and brings it into the form that the
/// worker gets.
pub(super) fn accept(
    inputs: &Inputs,
    input: &Bytes,
    secrets: &HashSet<String>,
) -> Result<Accepted, Vec<Violation>> {
    let text = object_text(input)?;
    let members: Members<'_> = {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        MembersSeed(inputs)
            .deserialize(&mut deserializer)
            .map_err(|error| vec![Violation::in_input("__root__", error.to_string())])?
    };
    let violations = violations(inputs, &members, secrets);
    if violations.is_empty() {
        Ok(rebuild(inputs, input, members))
    } else {
        Err(violations)
    }
}

fn violations(inputs: &Inputs, members: &Members<'_>, secrets: &HashSet<String>) -> Vec<Violation> {
    let mut violations = Violations::default();
    for (field, value) in inputs.fields().zip(&members.known) {
        match value {
            Some(value) => field.check(value, &mut |finding| {
                if field.is_secret() || secrets.contains(field.name()) {
                    violations.found_in_secret(finding);
                } else {
                    violations.found(finding);
                }
                ControlFlow::Continue(())
            }),
            None if field.is_required() => violations.missing(field.name()),
            None => {}
        }
    }
    // Unknown keys are dropped, so one that is required is missing, sent or not.
    let unknown = |name: &&str| inputs.position(name).is_none();
    for name in inputs.required().filter(unknown) {
        violations.missing(name);
    }
    violations.finish()
}

fn rebuild(inputs: &Inputs, input: &Bytes, members: Members<'_>) -> Accepted {
    let known = || inputs.fields().zip(&members.known);
    let becomes_null =
        |(field, value): (Field<'_>, &Option<_>)| value.is_none() && field.is_null_if_absent();
    if members.dropped.is_empty() && !members.repeated && !known().any(becomes_null) {
        return Accepted {
            input: input.clone(),
            dropped: members.dropped,
        };
    }
    let mut text = String::with_capacity(input.len() + 32);
    for (field, value) in known() {
        let value = match value {
            Some(value) => value.get(),
            None if field.is_null_if_absent() => "null",
            None => continue,
        };
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&Value::from(field.name()).to_string());
        text.push(':');
        text.push_str(value);
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    Accepted {
        input: text.into(),
        dropped: members.dropped,
    }
}

/// Without a schema: any object will do.
pub(crate) fn accept_any_object(input: &Bytes) -> Result<Accepted, Vec<Violation>> {
    object_text(input)?;
    Ok(Accepted {
        input: input.clone(),
        dropped: Dropped::default(),
    })
}

fn object_text(input: &Bytes) -> Result<&str, Vec<Violation>> {
    let text = std::str::from_utf8(input).unwrap_or_default();
    let value = text.trim_ascii();
    if Type::Object.is_of(value) {
        return Ok(text);
    }
    let message = type_message(&[Type::Object], value);
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
    /// In the order of the declared inputs.
    known: Vec<Option<&'a RawValue>>,
    dropped: Dropped,
    repeated: bool,
}

struct MembersSeed<'s>(&'s Inputs);

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
            known: vec![None; self.0.fields().len()],
            dropped: Dropped::default(),
            repeated: false,
        };
        loop {
            let name = NameSeed(self.0, &mut members.dropped);
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
struct NameSeed<'s>(&'s Inputs, &'s mut Dropped);

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
        let known = self.0.position(name);
        if known.is_none() {
            self.1.add(name);
        }
        Ok(known)
    }
}
