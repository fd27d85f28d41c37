//! A value against a rule, on the text of the value.
//!
//! What is wrong can be as long as what was sent, and is worth a thousand times the memory as messages:
//! so only the first findings become messages, and nothing is built of a value's parts.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::Violation;
use super::compile::{Rule, RuleId, Rules, Type};
use super::walk::{each_element, each_member};
use crate::json::compact_start;

/// Values are quoted in messages up to this length.
const MAX_QUOTE: usize = 1000;
/// As many findings are listed; the others are counted.
const MAX_FINDINGS: usize = 100;
/// An array or an object that is longer than this equals no choice of an honest schema: it is not built
/// in memory to be compared with one.
const MAX_COMPARED: usize = 64 << 10;
/// Rules applied to one and the same value, one inside the other. Honest schemas need three; one that
/// refers to itself would never end.
const MAX_COMBINATION_DEPTH: usize = 16;

/// Collects the violations of one input.
pub(super) struct Checker<'a> {
    rules: &'a Rules,
    findings: Findings,
    combination_depth: usize,
}

/// The first violations, and how many there are beside them.
#[derive(Default)]
struct Findings {
    listed: Vec<Violation>,
    /// 0 for one who only asks whether there are any.
    room: usize,
    left_out: usize,
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

impl Findings {
    /// Counts a violation, and makes it only if there is room for it.
    fn add(&mut self, violation: impl FnOnce() -> Violation) {
        if self.listed.len() < self.room {
            self.listed.push(violation());
        } else {
            self.left_out += 1;
        }
    }

    /// The answer is known: nothing that is found from now on would change it.
    fn is_decided(&self) -> bool {
        self.room == 0 && self.left_out > 0
    }

    fn into_violations(mut self) -> Vec<Violation> {
        if self.left_out > 0 {
            self.listed.push(Violation::left_out(self.left_out));
        }
        self.listed
    }
}

impl<'a> Checker<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        Self::with_room(rules, MAX_FINDINGS)
    }

    fn with_room(rules: &'a Rules, room: usize) -> Self {
        Self {
            rules,
            findings: Findings {
                room,
                ..Findings::default()
            },
            combination_depth: 0,
        }
    }

    /// What was found, in order, and how much is not listed.
    pub(super) fn finish(self) -> Vec<Violation> {
        self.findings.into_violations()
    }

    /// A required member of the input is not there.
    pub(super) fn missing(&mut self, name: &str) {
        self.findings.add(|| Violation::missing(name));
    }

    pub(super) fn check(&mut self, id: RuleId, value: &RawValue, place: &Place<'_>) {
        if self.findings.is_decided() {
            return;
        }
        let rules = self.rules;
        let rule = rules.rule(id);
        let text = value.get();
        if !is_of_types(&rule.types, text) {
            self.violate(place, || type_message(&rule.types, text));
        }
        match text.as_bytes().first() {
            Some(b'"') if rule.looks_into_strings() => self.check_string(rule, text, place),
            Some(b'-' | b'0'..=b'9') => self.check_number(rule, text, place),
            _ => {}
        }
        if let Some(choices) = &rule.choices
            && !is_among(choices, text)
        {
            self.violate(place, || {
                let choices = Value::Array(choices.clone()).to_string();
                format!("{} is not one of {choices}", quote(text))
            });
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

    fn violate(&mut self, place: &Place<'_>, message: impl FnOnce() -> String) {
        self.findings
            .add(|| Violation::in_input(place.path(), message()));
    }

    fn check_string(&mut self, rule: &Rule, text: &str, place: &Place<'_>) {
        let inner = text.trim_matches('"');
        let string: Cow<'_, str> = if inner.contains('\\') {
            serde_json::from_str(text).map_or(Cow::Borrowed(inner), Cow::Owned)
        } else {
            Cow::Borrowed(inner)
        };
        let length = string.chars().count();
        if let Some(minimum) = rule.min_length.filter(|minimum| length < *minimum) {
            self.violate(place, || {
                let (quoted, plural) = (quote(text), plural(minimum));
                format!("{quoted} is shorter than {minimum} character{plural}")
            });
        }
        if let Some(maximum) = rule.max_length.filter(|maximum| length > *maximum) {
            self.violate(place, || {
                let (quoted, plural) = (quote(text), plural(maximum));
                format!("{quoted} is longer than {maximum} character{plural}")
            });
        }
        if let Some(pattern) = &rule.pattern
            && !pattern.regex.is_match(&string)
        {
            self.violate(place, || {
                format!("{} does not match \"{}\"", quote(text), pattern.text)
            });
        }
    }

    fn check_number(&mut self, rule: &Rule, text: &str, place: &Place<'_>) {
        if let Some(minimum) = &rule.minimum
            && less(text, &minimum.to_string())
        {
            self.violate(place, || {
                format!("{} is less than the minimum of {minimum}", quote(text))
            });
        }
        if let Some(maximum) = &rule.maximum
            && less(&maximum.to_string(), text)
        {
            self.violate(place, || {
                format!("{} is greater than the maximum of {maximum}", quote(text))
            });
        }
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
            self.violate(place, || {
                let quoted = quote(value.get());
                format!(
                    "{quoted} is not valid under any of the schemas listed in the 'anyOf' keyword"
                )
            });
        }
        self.combination_depth -= 1;
    }

    fn accepts(&self, rule: RuleId, value: &RawValue) -> bool {
        let mut trial = Checker {
            combination_depth: self.combination_depth,
            ..Checker::with_room(self.rules, 0)
        };
        trial.check(rule, value, &Place::input(""));
        !trial.findings.is_decided()
    }

    fn check_items(&mut self, rule: RuleId, text: &str, place: &Place<'_>) {
        let depth = std::mem::take(&mut self.combination_depth);
        let mut index = 0;
        each_element(text, |item| {
            self.check(rule, item, &place.item(index));
            index += 1;
        });
        self.combination_depth = depth;
    }

    fn check_members(&mut self, rule: &Rule, text: &str, place: &Place<'_>) {
        // Of members with the same name the last one counts, for Python too.
        let mut properties = vec![None; rule.properties.len()];
        let mut present = vec![false; rule.required.len()];
        each_member(text, |name, value| {
            for ((property, _), found) in rule.properties.iter().zip(&mut properties) {
                if property == name {
                    *found = Some(value);
                }
            }
            for (required, is_there) in rule.required.iter().zip(&mut present) {
                *is_there |= required == name;
            }
        });
        let depth = std::mem::take(&mut self.combination_depth);
        for ((name, property), value) in rule.properties.iter().zip(properties) {
            if let Some(value) = value {
                self.check(*property, value, &place.member(name));
            }
        }
        self.combination_depth = depth;
        for (name, is_there) in rule.required.iter().zip(present) {
            if !is_there {
                self.findings
                    .add(|| Violation::missing(place.member(name).path()));
            }
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

/// Whether a text is of one of these types; no types allow all.
pub(super) fn is_of_types(types: &[Type], text: &str) -> bool {
    types.is_empty() || types.iter().any(|kind| is_of_type(*kind, text))
}

/// What is said of a text that is not.
pub(super) fn type_message(types: &[Type], text: &str) -> String {
    let names: Vec<_> = types
        .iter()
        .map(|kind| format!("\"{}\"", kind.name()))
        .collect();
    let noun = if names.len() == 1 { "type" } else { "types" };
    format!("{} is not of {noun} {}", quote(text), names.join(", "))
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

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
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

fn is_among(choices: &[Value], text: &str) -> bool {
    let parsed = OnceCell::new();
    choices.iter().any(|choice| equal(choice, text, &parsed))
}

/// `parsed` becomes the text's value if that is needed.
fn equal(choice: &Value, text: &str, parsed: &OnceCell<Option<Value>>) -> bool {
    let is_composed = text.starts_with(['[', '{']);
    if is_composed && (!(choice.is_array() || choice.is_object()) || text.len() > MAX_COMPARED) {
        return false;
    }
    match (
        choice,
        parsed.get_or_init(|| serde_json::from_str(text).ok()),
    ) {
        (Value::Number(choice), Some(Value::Number(value))) => same_number(choice, value),
        (choice, Some(value)) => choice == value,
        (_, None) => false,
    }
}

fn same_number(left: &Number, right: &Number) -> bool {
    let (left, right) = (left.to_string(), right.to_string());
    !less(&left, &right) && !less(&right, &left)
}

/// The value as it appears in a message: compact, and not all of it if it is long.
fn quote(text: &str) -> String {
    let mut quoted = compact_start(text, MAX_QUOTE + 1);
    if quoted.len() > MAX_QUOTE {
        quoted.truncate(quoted.floor_char_boundary(MAX_QUOTE));
        return format!("{quoted}… ({} bytes)", text.len());
    }
    quoted
}
