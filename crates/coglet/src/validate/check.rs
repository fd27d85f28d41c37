//! A value against a rule, on the text of the value.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::Violation;
use super::compile::{Rule, RuleId, Rules, Type};

/// Values are quoted in messages up to this length.
const MAX_QUOTE: usize = 1000;
/// Rules applied to one and the same value, one inside the other. Honest schemas need three; one that
/// refers to itself would never end.
const MAX_COMBINATION_DEPTH: usize = 16;

/// Collects the violations of one input.
pub(super) struct Checker<'a> {
    pub(super) rules: &'a Rules,
    pub(super) violations: Vec<Violation>,
    combination_depth: usize,
}

/// Where a value is: the name of the input, then the way into it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Checker<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            violations: Vec::new(),
            combination_depth: 0,
        }
    }

    pub(super) fn check(&mut self, id: RuleId, value: &RawValue, place: &Place<'_>) {
        let rules = self.rules;
        let rule = rules.rule(id);
        let text = value.get();
        let mut violate = |message: String| {
            self.violations
                .push(Violation::in_input(place.path(), message));
        };
        if let Some(message) = type_violation(&rule.types, text) {
            violate(message);
        }
        match text.as_bytes().first() {
            Some(b'"') if rule.looks_into_strings() => {
                string_violations(rule, text).into_iter().for_each(violate);
            }
            Some(b'-' | b'0'..=b'9') if rule.minimum.is_some() || rule.maximum.is_some() => {
                number_violations(rule, text).into_iter().for_each(violate);
            }
            _ => {}
        }
        if let Some(choices) = &rule.choices
            && !choices.iter().any(|choice| equal(choice, text))
        {
            let choices = Value::Array(choices.clone()).to_string();
            self.violate(place, format!("{} is not one of {choices}", quote(text)));
        }
        self.check_combinations(rule, value, place);
        if text.starts_with('[')
            && let Some(items) = rule.items
        {
            self.check_items(items, text, place);
        }
        if text.starts_with('{') && !(rule.properties.is_empty() && rule.required.is_empty()) {
            self.check_members(rule, text, place);
        }
    }

    fn violate(&mut self, place: &Place<'_>, message: String) {
        self.violations
            .push(Violation::in_input(place.path(), message));
    }

    fn check_combinations(&mut self, rule: &Rule, value: &RawValue, place: &Place<'_>) {
        if self.combination_depth == MAX_COMBINATION_DEPTH {
            return;
        }
        self.combination_depth += 1;
        for part in &rule.all_of {
            self.check(*part, value, place);
        }
        if !rule.any_of.is_empty()
            && !rule
                .any_of
                .iter()
                .any(|alternative| self.accepts(*alternative, value))
        {
            let quoted = quote(value.get());
            let message = format!(
                "{quoted} is not valid under any of the schemas listed in the 'anyOf' keyword"
            );
            self.violate(place, message);
        }
        self.combination_depth -= 1;
    }

    fn accepts(&self, rule: RuleId, value: &RawValue) -> bool {
        let mut trial = Checker {
            combination_depth: self.combination_depth,
            ..Checker::new(self.rules)
        };
        trial.check(rule, value, &Place::input(""));
        trial.violations.is_empty()
    }

    fn check_items(&mut self, rule: RuleId, text: &str, place: &Place<'_>) {
        let items: Vec<&RawValue> =
            serde_json::from_str(text).expect("checked to be an array in JSON");
        let depth = std::mem::take(&mut self.combination_depth);
        for (index, item) in items.into_iter().enumerate() {
            self.check(rule, item, &place.item(index));
        }
        self.combination_depth = depth;
    }

    fn check_members(&mut self, rule: &Rule, text: &str, place: &Place<'_>) {
        let members: std::collections::HashMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(text).expect("checked to be an object in JSON");
        let depth = std::mem::take(&mut self.combination_depth);
        for (name, property) in &rule.properties {
            if let Some(value) = members.get(name.as_str()) {
                self.check(*property, value, &place.member(name));
            }
        }
        self.combination_depth = depth;
        for name in rule
            .required
            .iter()
            .filter(|name| !members.contains_key(name.as_str()))
        {
            self.violations
                .push(Violation::missing(place.member(name).path()));
        }
    }
}

impl<'a> Place<'a> {
    pub(super) fn input(name: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Name(name),
        }
    }

    fn item(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    fn member(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Name(name),
        }
    }

    fn path(&self) -> String {
        let step = match self.step {
            Step::Name(name) => name.to_owned(),
            Step::Index(index) => index.to_string(),
        };
        self.parent
            .map_or(step.clone(), |parent| format!("{}/{step}", parent.path()))
    }
}

impl Rule {
    fn looks_into_strings(&self) -> bool {
        self.min_length.is_some() || self.max_length.is_some() || self.pattern.is_some()
    }
}

/// The violation of "must be of that type", for whoever knows only the text.
pub(super) fn type_violation(types: &[Type], text: &str) -> Option<String> {
    match types {
        [] => None,
        _ if types.iter().any(|kind| is_of_type(*kind, text)) => None,
        [only] => Some(format!(
            "{} is not of type \"{}\"",
            quote(text),
            only.name()
        )),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|kind| format!("\"{}\"", kind.name()))
                .collect();
            Some(format!(
                "{} is not of types {}",
                quote(text),
                names.join(", ")
            ))
        }
    }
}

fn is_of_type(kind: Type, text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'"') => kind == Type::String,
        Some(b'[') => kind == Type::Array,
        Some(b'{') => kind == Type::Object,
        Some(b't' | b'f') => kind == Type::Boolean,
        Some(b'n') => kind == Type::Null,
        _ => kind == Type::Number || (kind == Type::Integer && is_integer(text)),
    }
}

/// `1.0` and `1e2` are integers in JSON Schema.
fn is_integer(text: &str) -> bool {
    let digits_only = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    digits_only
        || text
            .parse::<f64>()
            .is_ok_and(|number| number.is_finite() && number.fract() == 0.0)
}

fn string_violations(rule: &Rule, text: &str) -> Vec<String> {
    let string: Cow<'_, str> = {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        String::deserialize(&mut deserializer).map_or_else(|_| Cow::Borrowed(text), Cow::Owned)
    };
    let length = string.chars().count();
    let mut messages = Vec::new();
    if let Some(minimum) = rule.min_length.filter(|minimum| length < *minimum) {
        messages.push(format!(
            "{} is shorter than {minimum} character{}",
            quote(text),
            plural(minimum)
        ));
    }
    if let Some(maximum) = rule.max_length.filter(|maximum| length > *maximum) {
        messages.push(format!(
            "{} is longer than {maximum} character{}",
            quote(text),
            plural(maximum)
        ));
    }
    if let Some(pattern) = rule
        .pattern
        .as_ref()
        .filter(|pattern| !pattern.regex.is_match(&string))
    {
        messages.push(format!(
            "{} does not match \"{}\"",
            quote(text),
            pattern.text
        ));
    }
    messages
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn number_violations(rule: &Rule, text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if let Some(minimum) = &rule.minimum
        && less(text, &minimum.to_string())
    {
        messages.push(format!(
            "{} is less than the minimum of {minimum}",
            quote(text)
        ));
    }
    if let Some(maximum) = &rule.maximum
        && less(&maximum.to_string(), text)
    {
        messages.push(format!(
            "{} is greater than the maximum of {maximum}",
            quote(text)
        ));
    }
    messages
}

/// Compares two numbers by their text: exactly if both are integers, else as floats.
fn less(left: &str, right: &str) -> bool {
    match (left.parse::<i128>(), right.parse::<i128>()) {
        (Ok(left), Ok(right)) => left < right,
        _ => match (left.parse::<f64>(), right.parse::<f64>()) {
            (Ok(left), Ok(right)) => left < right,
            _ => false,
        },
    }
}

fn equal(choice: &Value, text: &str) -> bool {
    match (choice, serde_json::from_str::<Value>(text)) {
        (Value::Number(choice), Ok(Value::Number(value))) => same_number(choice, &value),
        (choice, Ok(value)) => *choice == value,
        (_, Err(_)) => false,
    }
}

fn same_number(left: &Number, right: &Number) -> bool {
    let (left, right) = (left.to_string(), right.to_string());
    !less(&left, &right) && !less(&right, &left)
}

/// The value as it appears in a message: compact, and not all of it if it is long.
fn quote(text: &str) -> String {
    let compact = match text.as_bytes().first() {
        // Strings and atoms have no white space to remove.
        Some(b'[' | b'{') => {
            serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |v| v.to_string())
        }
        _ => text.to_owned(),
    };
    if compact.len() <= MAX_QUOTE {
        return compact;
    }
    let end = compact.floor_char_boundary(MAX_QUOTE);
    format!("{}… ({} bytes)", &compact[..end], compact.len())
}
