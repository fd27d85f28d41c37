//! The inputs that a document declares.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::check::{Checker, Context, Nulls};
use crate::compile::{Compiler, Unchecked, components, referenced, required};
use crate::finding::{Finding, Place};
use crate::rule::{Rule, RuleId, Rules};

/// What a document says of the inputs of each kind of request.
#[derive(Debug)]
pub struct ModelInputs {
    prediction: Option<Inputs>,
    training: Option<Inputs>,
}

/// Which of the two kinds of request an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The component `Input`.
    Prediction,
    /// The component `TrainingInput`, or `Input` if there is none.
    Training,
}

/// The inputs of one kind of request, in the order of the document.
#[derive(Debug)]
pub struct Inputs {
    rules: Rules,
    fields: Vec<Declared>,
    by_name: HashMap<String, usize>,
    required: Vec<String>,
    unchecked: Vec<Unchecked>,
}

#[derive(Debug)]
struct Declared {
    name: String,
    rule: RuleId,
    absence: Absence,
    default: Option<Value>,
    takes_files: bool,
    is_secret: bool,
}

/// What it means that an input is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    Refused,
    /// It may be left out and has no default.
    Null,
    /// The model's default counts.
    Default,
}

/// One input.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    rules: &'a Rules,
    declared: &'a Declared,
}

impl ModelInputs {
    /// What `document` says.
    pub fn of(document: &Value) -> Self {
        let schemas = components(document);
        let inputs = |name: &str| {
            let component = schemas?.get(name)?.as_object()?;
            Some(Inputs::compile(component, document))
        };
        Self {
            prediction: inputs("Input"),
            training: inputs("TrainingInput"),
        }
    }

    /// The inputs of a request; none if the document does not declare any, and so anything will do.
    pub fn inputs(&self, kind: Kind) -> Option<&Inputs> {
        match kind {
            Kind::Prediction => self.prediction.as_ref(),
            Kind::Training => self.training.as_ref().or(self.prediction.as_ref()),
        }
    }

    /// Whether trainings have inputs of their own.
    pub fn supports_training(&self) -> bool {
        self.training.is_some()
    }

    /// All that is declared, `Input` first.
    pub fn each(&self) -> impl Iterator<Item = &Inputs> {
        self.prediction.iter().chain(&self.training)
    }
}

impl Inputs {
    fn compile(component: &Map<String, Value>, document: &Value) -> Self {
        let mut compiler = Compiler::new(document);
        let required = required(component);
        let properties = component.get("properties").and_then(Value::as_object);
        let fields: Vec<_> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| Declared {
                name: name.clone(),
                rule: compiler.compile(schema),
                absence: Absence::of(schema, required.contains(name)),
                default: schema.get("default").cloned(),
                takes_files: holds(schema, document, has_files),
                is_secret: holds(schema, document, has_secrets),
            })
            .collect();
        let names = fields.iter().map(|field| field.name.clone());
        let by_name = names.zip(0..).collect();
        let (rules, unchecked) = compiler.finish();
        Self {
            rules,
            fields,
            by_name,
            required,
            unchecked,
        }
    }

    /// Every input.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.fields.iter().map(|declared| self.handle(declared))
    }

    /// The input of that name.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        let position = self.position(name)?;
        Some(self.handle(&self.fields[position]))
    }

    /// Where the input of that name is among [`Self::fields`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The names that have to be given. What is no input among them cannot be given: nothing satisfies it.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.required.iter().map(String::as_str)
    }

    /// What of the schemas is not checked.
    pub fn unchecked(&self) -> &[Unchecked] {
        &self.unchecked
    }

    fn handle<'a>(&'a self, declared: &'a Declared) -> Field<'a> {
        Field {
            rules: &self.rules,
            declared,
        }
    }
}

impl Absence {
    fn of(schema: &Value, is_required: bool) -> Self {
        let is_nullable = schema.get("nullable") == Some(&Value::Bool(true));
        match (is_required, schema.get("default")) {
            (true, _) => Self::Refused,
            (false, None) if is_nullable => Self::Null,
            (false, _) => Self::Default,
        }
    }
}

impl<'a> Field<'a> {
    /// As requests name it.
    pub fn name(self) -> &'a str {
        &self.declared.name
    }

    /// Whether it has to be given.
    pub fn is_required(self) -> bool {
        self.declared.absence == Absence::Refused
    }

    /// Whether a model gets null if it is not given: it may be left out and has no default. An explicit null is not
    /// allowed by that.
    pub fn is_null_if_absent(self) -> bool {
        self.declared.absence == Absence::Null
    }

    /// Whether values, or elements of them, can be files.
    pub fn takes_files(self) -> bool {
        self.declared.takes_files
    }

    /// Whether values, or parts of them, are not to be shown.
    pub fn is_secret(self) -> bool {
        self.declared.is_secret
    }

    /// What a value has to be.
    pub fn rule(self) -> Rule<'a> {
        self.rules.rule(self.declared.rule)
    }

    /// Reports all that is wrong with a value, until the report breaks off.
    pub fn check(self, value: &RawValue, report: &mut dyn FnMut(&Finding<'_>) -> ControlFlow<()>) {
        self.check_with(Nulls::Refused, value, report);
    }

    /// Reports what is wrong with the default, if there is one. Other than in requests, null is a value of a nullable
    /// input there.
    pub fn check_default(self, report: &mut dyn FnMut(&Finding<'_>) -> ControlFlow<()>) {
        let default = self.declared.default.as_ref();
        // A value that was read from JSON can be written as JSON.
        if let Some(default) = default.and_then(|default| to_raw_value(default).ok()) {
            self.check_with(Nulls::Fit, &default, report);
        }
    }

    fn check_with(
        self,
        nulls: Nulls,
        value: &RawValue,
        report: &mut dyn FnMut(&Finding<'_>) -> ControlFlow<()>,
    ) {
        let place = Place::input(&self.declared.name);
        let context = Context::new(self.rules, nulls);
        Checker::new(context, report).check(self.declared.rule, value, &place);
    }
}

fn has_files(schema: &Map<String, Value>) -> bool {
    schema.get("format").and_then(Value::as_str) == Some("uri")
}

fn has_secrets(schema: &Map<String, Value>) -> bool {
    schema.get("x-cog-secret") == Some(&Value::Bool(true))
        || schema.get("format").and_then(Value::as_str) == Some("password")
}

/// Whether a schema, anything in it or anything that it refers to is marked.
fn holds(
    schema: &Value,
    document: &Value,
    is_marked: impl Fn(&Map<String, Value>) -> bool,
) -> bool {
    let mut waiting = vec![schema];
    let mut followed = HashSet::new();
    while let Some(schema) = waiting.pop() {
        match schema {
            Value::Object(members) => {
                if is_marked(members) {
                    return true;
                }
                let reference = members.get("$ref").and_then(Value::as_str);
                if let Some(reference) = reference.filter(|reference| followed.insert(*reference)) {
                    waiting.extend(referenced(document, reference));
                }
                waiting.extend(members.values());
            }
            Value::Array(elements) => waiting.extend(elements),
            _ => {}
        }
    }
    false
}
