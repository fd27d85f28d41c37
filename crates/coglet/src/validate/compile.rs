//! From JSON Schema to rules.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Number, Value};

/// Rules of all schemas of one document, each stored once, so that schemas may refer to each other
/// and even to themselves.
#[derive(Debug, Default)]
pub(super) struct Rules {
    all: Vec<Rule>,
}

/// Place of a rule in [`Rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RuleId(usize);

/// What one schema demands of a value.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) types: Vec<Type>,
    pub(super) minimum: Option<Number>,
    pub(super) maximum: Option<Number>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) pattern: Option<Pattern>,
    pub(super) choices: Option<Vec<Value>>,
    pub(super) all_of: Vec<RuleId>,
    pub(super) any_of: Vec<RuleId>,
    pub(super) items: Option<RuleId>,
    pub(super) properties: Vec<(String, RuleId)>,
    pub(super) required: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) text: String,
    pub(super) regex: Regex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// Compiles the schemas of one document.
pub(super) struct Compiler<'a> {
    document: &'a Value,
    rules: Rules,
    references: HashMap<&'a str, RuleId>,
}

impl Rules {
    pub(super) fn rule(&self, id: RuleId) -> &Rule {
        &self.all[id.0]
    }
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    fn parse(name: &Value) -> Option<Self> {
        let all = [
            Self::Null,
            Self::Boolean,
            Self::Integer,
            Self::Number,
            Self::String,
            Self::Array,
            Self::Object,
        ];
        all.into_iter()
            .find(|kind| Some(kind.name()) == name.as_str())
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn new(document: &'a Value) -> Self {
        Self {
            document,
            rules: Rules::default(),
            references: HashMap::new(),
        }
    }

    pub(super) fn finish(self) -> Rules {
        self.rules
    }

    pub(super) fn compile(&mut self, schema: &'a Value) -> RuleId {
        let id = self.reserve();
        self.fill(id, schema);
        id
    }

    fn reserve(&mut self) -> RuleId {
        self.rules.all.push(Rule::default());
        RuleId(self.rules.all.len() - 1)
    }

    fn fill(&mut self, id: RuleId, schema: &'a Value) {
        let Some(schema) = schema.as_object() else {
            return;
        };
        let mut rule = Rule {
            types: types(schema),
            minimum: schema.get("minimum").and_then(Value::as_number).cloned(),
            maximum: schema.get("maximum").and_then(Value::as_number).cloned(),
            min_length: length(schema, "minLength"),
            max_length: length(schema, "maxLength"),
            pattern: schema
                .get("pattern")
                .and_then(Value::as_str)
                .and_then(pattern),
            choices: schema.get("enum").and_then(Value::as_array).cloned(),
            all_of: self.compile_each(schema, "allOf"),
            any_of: self.compile_each(schema, "anyOf"),
            items: schema.get("items").map(|items| self.compile(items)),
            properties: self.compile_properties(schema),
            required: required(schema),
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            rule.all_of.extend(self.resolve(reference));
        }
        self.rules.all[id.0] = rule;
    }

    /// The rule of a component, compiled at its first mention.
    fn resolve(&mut self, reference: &'a str) -> Option<RuleId> {
        if let Some(id) = self.references.get(reference) {
            return Some(*id);
        }
        let name = reference.strip_prefix("#/components/schemas/");
        let schemas = self.document.pointer("/components/schemas");
        let Some(schema) = name.and_then(|name| schemas?.get(name)) else {
            tracing::warn!(
                "The schema refers to `{reference}`, which it does not contain: not checked"
            );
            return None;
        };
        let id = self.reserve();
        self.references.insert(reference, id);
        self.fill(id, schema);
        Some(id)
    }

    fn compile_each(&mut self, schema: &'a Map<String, Value>, keyword: &str) -> Vec<RuleId> {
        let alternatives = schema.get(keyword).and_then(Value::as_array);
        alternatives
            .into_iter()
            .flatten()
            .map(|alternative| self.compile(alternative))
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

pub(super) fn required(schema: &Map<String, Value>) -> Vec<String> {
    let names = schema.get("required").and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn types(schema: &Map<String, Value>) -> Vec<Type> {
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().filter_map(Type::parse).collect(),
        Some(name) => Type::parse(name).into_iter().collect(),
        None => Vec::new(),
    }
}

fn length(schema: &Map<String, Value>, keyword: &str) -> Option<usize> {
    schema
        .get(keyword)
        .and_then(Value::as_u64)
        .and_then(|length| length.try_into().ok())
}

fn pattern(text: &str) -> Option<Pattern> {
    let Ok(regex) = Regex::new(text) else {
        // Look-around and back references: matching them can take exponential time.
        tracing::warn!(
            "The pattern `{text}` is beyond this server's regular expressions: not checked"
        );
        return None;
    };
    Some(Pattern {
        text: text.to_owned(),
        regex,
    })
}
