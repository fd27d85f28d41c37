//! Values against the schema, in the reference's words.

use regex::Regex;
use serde_json::{Map, Value};

use super::InputError;
use super::schema::Inputs;

pub(super) fn names<'n>(
    given: impl Iterator<Item = &'n str>,
    schema: &Inputs<'_>,
) -> Result<(), InputError> {
    let known = schema.names();
    let mut unknown: Vec<String> = given
        .filter(|name| !known.contains(name))
        .map(|name| format!("\"{name}\""))
        .collect();
    unknown.sort();
    if unknown.is_empty() {
        return Ok(());
    }
    let plural = if unknown.len() == 1 {
        "input"
    } else {
        "inputs"
    };
    let valid = match known.as_slice() {
        [] => "model does not accept inputs".to_owned(),
        known => format!("valid inputs are: {}", known.join(", ")),
    };
    Err(InputError::Unknown(format!(
        "unknown {plural} {}; {valid}",
        unknown.join(", ")
    )))
}

pub(super) fn values(inputs: &Map<String, Value>, schema: &Inputs<'_>) -> Result<(), InputError> {
    let given = inputs
        .iter()
        .filter_map(|(name, value)| Some((name, value, schema.property(name)?)));
    let nulls: Vec<String> = given
        .clone()
        .filter(|(_, value, property)| has_null(value, property, schema))
        .map(|(name, ..)| {
            format!(
                "invalid input \"{name}\": must not be null (omit the input to use its default)"
            )
        })
        .collect();
    if !nulls.is_empty() {
        return Err(InputError::Invalid(nulls));
    }
    let missing = schema
        .required()
        .filter(|name| !inputs.contains_key(*name))
        .map(|name| format!("missing required input \"{name}\""));
    let wrong = given.filter_map(|(name, value, property)| {
        problem(value, property, schema).map(|why| format!("invalid input \"{name}\": {why}"))
    });
    let problems: Vec<String> = missing.chain(wrong).collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(InputError::Invalid(problems))
    }
}

/// A null where the schema, `nullable` ignored, has no place for it. What is in an opaque object is not looked at.
fn has_null(value: &Value, schema: &Value, inputs: &Inputs<'_>) -> bool {
    match value {
        Value::Null => inputs.leading_type(schema).is_some(),
        Value::Array(items) => inputs
            .items(schema)
            .is_some_and(|schema| items.iter().any(|item| has_null(item, schema, inputs))),
        _ => false,
    }
}

pub(super) fn fits(value: &Value, schema: &Value, inputs: &Inputs<'_>) -> bool {
    problem(value, schema, inputs).is_none()
}

fn problem(value: &Value, schema: &Value, inputs: &Inputs<'_>) -> Option<String> {
    let own = (!schema["type"].is_null())
        .then(|| single(value, schema, inputs))
        .flatten();
    if own.is_some() {
        return own;
    }
    if let Some(members) = schema["allOf"].as_array() {
        return members
            .iter()
            .find_map(|member| problem(value, inputs.resolved(member), inputs));
    }
    let members: Vec<&Value> = schema["anyOf"]
        .as_array()?
        .iter()
        .map(|member| inputs.resolved(member))
        .collect();
    if members.iter().any(|member| fits(value, member, inputs)) {
        return None;
    }
    let expected: Vec<&str> = members
        .iter()
        .filter_map(|member| member["type"].as_str())
        .collect();
    let of_type = members.iter().find(|member| {
        member["type"]
            .as_str()
            .is_some_and(|kind| is_a(value, kind))
    });
    match of_type {
        Some(member) => problem(value, member, inputs),
        None => Some(format!(
            "expected {}, got {}",
            alternatives(&expected),
            kind(value)
        )),
    }
}

fn single(value: &Value, schema: &Value, inputs: &Inputs<'_>) -> Option<String> {
    let expected = schema["type"].as_str()?;
    if !is_a(value, expected) {
        return Some(format!("expected {expected}, got {}", kind(value)));
    }
    if let Some(choices) = schema["enum"]
        .as_array()
        .filter(|choices| !choices.contains(value))
    {
        let shown: Vec<String> = choices
            .iter()
            .map(|choice| {
                choice
                    .as_str()
                    .map_or_else(|| choice.to_string(), str::to_owned)
            })
            .collect();
        return Some(format!("must be one of: {}", shown.join(", ")));
    }
    match value {
        Value::Number(number) => number_problem(number.as_f64()?, schema),
        Value::String(text) => text_problem(text, schema),
        Value::Array(items) => {
            let schema = schema.get("items").map(|schema| inputs.resolved(schema))?;
            items.iter().find_map(|item| problem(item, schema, inputs))
        }
        _ => None,
    }
}

fn number_problem(number: f64, schema: &Value) -> Option<String> {
    let minimum = schema["minimum"]
        .as_f64()
        .filter(|minimum| number < *minimum);
    let maximum = schema["maximum"]
        .as_f64()
        .filter(|maximum| number > *maximum);
    minimum
        .map(|minimum| format!("number must be at least {minimum}"))
        .or_else(|| maximum.map(|maximum| format!("number must be at most {maximum}")))
}

fn text_problem(text: &str, schema: &Value) -> Option<String> {
    let length = text.chars().count();
    let limit = |key: &str| schema[key].as_f64();
    #[expect(clippy::cast_precision_loss, reason = "no text is that long")]
    let length = length as f64;
    if let Some(minimum) = limit("minLength").filter(|minimum| length < *minimum) {
        return Some(format!("minimum string length is {minimum}"));
    }
    if let Some(maximum) = limit("maxLength").filter(|maximum| length > *maximum) {
        return Some(format!("maximum string length is {maximum}"));
    }
    let pattern = schema["pattern"].as_str()?;
    // A pattern that only Python understands is left to the server.
    let pattern_fails = Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text));
    pattern_fails.then(|| format!("string doesn't match the regular expression \"{pattern}\""))
}

fn is_a(value: &Value, expected: &str) -> bool {
    match expected {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        expected => kind(value) == expected,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(names: &[&str]) -> String {
    match names {
        [] => "another type".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
