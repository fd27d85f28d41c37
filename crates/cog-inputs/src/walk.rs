//! The parts of a value, one after the other: nothing is kept of those that were looked at.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Shows each element of a list. Text that is no list has none.
pub fn each_element<'a>(text: &'a str, look: impl FnMut(&'a RawValue)) {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // An error can only be the end of a text that was not checked before.
    let _ = Elements(look).deserialize(&mut deserializer);
}

/// Shows each member of an object. Text that is no object has none.
pub fn each_member<'a>(text: &'a str, look: impl FnMut(&str, &'a RawValue)) {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let _ = Members(look).deserialize(&mut deserializer);
}

struct Elements<F>(F);

struct Members<F>(F);

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, F: FnMut(&'de RawValue)> DeserializeSeed<'de> for Elements<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            (self.0)(element);
        }
        Ok(())
    }
}

impl<'de, F: FnMut(&str, &'de RawValue)> DeserializeSeed<'de> for Members<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some((Key(name), value)) = object.next_entry()? {
            (self.0)(&name, value);
        }
        Ok(())
    }
}
