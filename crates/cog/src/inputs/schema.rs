//! The part of the document that inputs are held against.

use serde_json::{Map, Value};

use super::InputError;

pub(super) struct Inputs<'a> {
    document: &'a Value,
    component: &'a Map<String, Value>,
}

impl<'a> Inputs<'a> {
    pub(super) fn of(document: &'a Value, component: &str) -> Result<Self, InputError> {
        let missing = |what: &str| InputError::Schema(format!("is missing {what}"));
        let schemas = document["components"]["schemas"]
            .as_object()
            .ok_or_else(|| missing("components"))?;
        let found = schemas.get(component).or_else(|| schemas.get("Input"));
        let component = found
            .and_then(Value::as_object)
            .ok_or_else(|| missing("Input component"))?;
        Ok(Self {
            document,
            component,
        })
    }

    pub(super) fn names(&self) -> Vec<&'a str> {
        let properties = self.component.get("properties").and_then(Value::as_object);
        let mut names: Vec<&str> = properties
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn property(&self, name: &str) -> Option<&'a Value> {
        self.component.get("properties")?.get(name)
    }

    pub(super) fn required(&self) -> impl Iterator<Item = &'a str> {
        self.component
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// Whether values, or the elements of a list, are files.
    pub(super) fn takes_files(&self, schema: &'a Value) -> bool {
        let schema = self.resolved(schema);
        let members = ["anyOf", "allOf"]
            .iter()
            .filter_map(|name| schema[name].as_array())
            .flatten();
        schema["format"] == "uri"
            || self
                .items(schema)
                .is_some_and(|items| self.resolved(items)["format"] == "uri")
            || members
                .clone()
                .any(|member| self.resolved(member)["format"] == "uri")
    }

    /// The schema itself, or what it refers to.
    pub(super) fn resolved(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix("#/components/schemas/"))
        {
            Some(name) => &self.document["components"]["schemas"][name],
            None => schema,
        }
    }

    /// The schemas of which a value must fit one: the members of `anyOf`, else `allOf`, else the schema itself.
    pub(super) fn variants(&self, schema: &'a Value) -> Vec<&'a Value> {
        let members = |key: &str| {
            schema[key]
                .as_array()
                .map(|all| all.iter().map(|one| self.resolved(one)).collect())
        };
        members("anyOf")
            .or_else(|| members("allOf"))
            .unwrap_or_else(|| vec![self.resolved(schema)])
    }

    /// Whether a value of this type could fit.
    pub(super) fn accepts(&self, schema: &'a Value, kind: &str) -> bool {
        self.variants(schema)
            .iter()
            .any(|variant| variant["type"] == kind)
    }

    /// The type that decides how a flag's text is read.
    pub(super) fn leading_type(&self, schema: &'a Value) -> Option<&'a str> {
        self.variants(schema)
            .into_iter()
            .find_map(|variant| variant["type"].as_str())
    }

    /// The schema of an array's items.
    pub(super) fn items(&self, schema: &'a Value) -> Option<&'a Value> {
        let array = self
            .variants(schema)
            .into_iter()
            .find(|variant| variant["type"] == "array")?;
        array.get("items").map(|items| self.resolved(items))
    }
}
