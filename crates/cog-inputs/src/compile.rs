//! From JSON Schema to rules.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

use crate::number::Bound;
use crate::rule::{Demands, Pattern, RuleId, Rules};
use crate::types::Type;

const COMPONENTS: &str = "#/components/schemas/";

/// Something in a document that is not understood, and so not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchecked {
    /// A reference to what is not in the document.
    Reference(String),
    /// A pattern with look-around or back references: matching these can take exponential time.
    Pattern(String),
}

/// The schemas of a document by their names.
pub fn components(document: &Value) -> Option<&Map<String, Value>> {
    document.pointer("/components/schemas")?.as_object()
}

/// The schema that `$ref` names.
pub fn referenced<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    components(document)?.get(reference.strip_prefix(COMPONENTS)?)
}

/// Compiles schemas of one document.
pub(crate) struct Compiler<'a> {
    document: &'a Value,
    rules: Rules,
    references: HashMap<&'a str, RuleId>,
    /// Schemas that were referred to, and are still to be compiled.
    waiting: Vec<(RuleId, &'a Value)>,
    unchecked: Vec<Unchecked>,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(document: &'a Value) -> Self {
        Self {
            document,
            rules: Rules::default(),
            references: HashMap::new(),
            waiting: Vec::new(),
            unchecked: Vec::new(),
        }
    }

    pub(crate) fn finish(mut self) -> (Rules, Vec<Unchecked>) {
        while let Some((id, schema)) = self.waiting.pop() {
            self.fill(id, schema);
        }
        (self.rules, self.unchecked)
    }

    /// The rule of a schema; of one that is only a reference, the rule of what it refers to.
    pub(crate) fn compile(&mut self, schema: &'a Value) -> RuleId {
        let object = schema.as_object().filter(|schema| schema.len() == 1);
        let reference = object.and_then(|schema| schema.get("$ref")?.as_str());
        if let Some(id) = reference.and_then(|reference| self.resolve(reference)) {
            return id;
        }
        let id = self.reserve();
        if reference.is_none() {
            self.fill(id, schema);
        }
        id
    }

    fn reserve(&mut self) -> RuleId {
        self.rules.all.push(Demands::default());
        RuleId(self.rules.all.len() - 1)
    }

    fn fill(&mut self, id: RuleId, schema: &'a Value) {
        let Some(schema) = schema.as_object() else {
            return;
        };
        let bound = |keyword: &str| schema.get(keyword)?.as_number().map(Bound::new);
        let mut demands = Demands {
            types: Type::all_of(schema.get("type")),
            nullable: schema.get("nullable") == Some(&Value::Bool(true)),
            minimum: bound("minimum"),
            maximum: bound("maximum"),
            min_length: length(schema, "minLength"),
            max_length: length(schema, "maxLength"),
            pattern: schema
                .get("pattern")
                .and_then(Value::as_str)
                .and_then(|text| self.pattern(text)),
            choices: schema.get("enum").and_then(Value::as_array).cloned(),
            all_of: self.compile_each(schema, "allOf"),
            any_of: self.compile_each(schema, "anyOf"),
            items: schema.get("items").map(|items| self.compile(items)),
            properties: self.compile_properties(schema),
            required: required(schema),
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            demands.all_of.extend(self.resolve(reference));
        }
        self.rules.all[id.0] = demands;
    }

    /// The rule of a component, reserved at its first mention.
    fn resolve(&mut self, reference: &'a str) -> Option<RuleId> {
        if let Some(id) = self.references.get(reference) {
            return Some(*id);
        }
        let Some(schema) = referenced(self.document, reference) else {
            self.unchecked
                .push(Unchecked::Reference(reference.to_owned()));
            return None;
        };
        let id = self.reserve();
        self.references.insert(reference, id);
        self.waiting.push((id, schema));
        Some(id)
    }

    fn pattern(&mut self, text: &str) -> Option<Pattern> {
        let Ok(regex) = Regex::new(text) else {
            self.unchecked.push(Unchecked::Pattern(text.to_owned()));
            return None;
        };
        Some(Pattern {
            text: text.to_owned(),
            regex,
        })
    }

    fn compile_each(&mut self, schema: &'a Map<String, Value>, keyword: &str) -> Vec<RuleId> {
        let members = schema.get(keyword).and_then(Value::as_array);
        members
            .into_iter()
            .flatten()
            .map(|member| self.compile(member))
            .collect()
    }

    fn compile_properties(&mut self, schema: &'a Map<String, Value>) -> Vec<(String, RuleId)> {
        let properties = schema.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), self.compile(schema)))
            .collect()
    }
}

pub(crate) fn required(schema: &Map<String, Value>) -> Vec<String> {
    let names = schema.get("required").and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn length(schema: &Map<String, Value>, keyword: &str) -> Option<usize> {
    schema.get(keyword)?.as_u64()?.try_into().ok()
}
