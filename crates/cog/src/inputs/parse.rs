//! From flags and JSON text to values. The declared type of an input decides how its text is read.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cog_inputs::{Field, Inputs, Rule, Type};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use super::served::escaped;
use super::{Files, InputError, Opened, check};
use crate::outputs::mime_of;

pub(super) fn flags(
    flags: &[String],
    inputs: &Inputs,
    files: &dyn Files,
) -> Result<Map<String, Value>, InputError> {
    let mut given: Vec<(&str, Vec<&str>)> = Vec::new();
    for flag in flags {
        let (name, value) = flag
            .split_once('=')
            .ok_or_else(|| InputError::NoValue(flag.clone()))?;
        let value = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(value);
        match given.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => given.push((name, vec![value])),
        }
    }
    check::names(given.iter().map(|(name, _)| *name), inputs)?;
    let mut values = Map::new();
    for (name, texts) in given {
        let Some(field) = inputs.field(name) else {
            continue;
        };
        let read = match texts.as_slice() {
            [one] => value(one, field, files),
            several => {
                let items = several.iter().map(|one| item(one, field, files));
                items.collect::<io::Result<_>>().map(Value::Array)
            }
        };
        let value = read.map_err(|source| InputError::File {
            name: name.to_owned(),
            source,
        })?;
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

fn value(text: &str, field: Field<'_>, files: &dyn Files) -> io::Result<Value> {
    let rule = field.rule();
    let leading = rule.leading_type();
    if let Some(path) = text.strip_prefix('@') {
        let url = Value::from(url(path, field, files)?);
        return Ok(match leading {
            Some(Type::Array) => Value::Array(vec![url]),
            _ => url,
        });
    }
    Ok(match leading {
        Some(Type::Object) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Some(Type::Array) => match serde_json::from_str::<Value>(text) {
            Ok(list @ Value::Array(_)) => list,
            _ if rule.accepts(Type::String) => text.into(),
            _ => Value::Array(vec![element(text, field)]),
        },
        _ => scalar(text, rule),
    })
}

/// One of several values of an input.
fn item(text: &str, field: Field<'_>, files: &dyn Files) -> io::Result<Value> {
    match text.strip_prefix('@') {
        Some(path) => Ok(url(path, field, files)?.into()),
        None => Ok(element(text, field)),
    }
}

fn element(text: &str, field: Field<'_>) -> Value {
    let items = field.rule().items();
    items.map_or_else(|| text.into(), |items| scalar(text, items))
}

/// Booleans and numbers where the type takes them; where it takes text too, only if the value then fits.
fn scalar(text: &str, rule: Rule<'_>) -> Value {
    match coerce(text, rule) {
        Some(value) if !rule.accepts(Type::String) || fits(&value, rule) => value,
        _ => text.into(),
    }
}

fn fits(value: &Value, rule: Rule<'_>) -> bool {
    to_raw_value(value).is_ok_and(|value| rule.fits(&value))
}

fn coerce(text: &str, rule: Rule<'_>) -> Option<Value> {
    if rule.accepts(Type::Boolean) && ["true", "false"].contains(&text) {
        return Some(Value::Bool(text == "true"));
    }
    let takes_numbers = rule.accepts(Type::Number);
    if takes_numbers || rule.accepts(Type::Integer) {
        if let Ok(integer) = text.parse::<i64>() {
            return Some(integer.into());
        }
        if takes_numbers && let Ok(number) = text.parse::<f64>() {
            return serde_json::Number::from_f64(number).map(Value::Number);
        }
    }
    None
}

pub(super) fn json(
    text: &str,
    inputs: &Inputs,
    files: &dyn Files,
) -> Result<Map<String, Value>, InputError> {
    let from_file = |file: &str, read: io::Result<Vec<u8>>| {
        let content = read.map_err(|source| InputError::JsonFile {
            file: file.to_owned(),
            source,
        })?;
        String::from_utf8(content).map_err(|error| InputError::Json(error.to_string()))
    };
    let text = match text.strip_prefix('@') {
        _ if text == "-" => from_file("-", files.stdin())?,
        Some("-") => from_file("-", files.stdin())?,
        Some(path) => from_file(path, files.read(path))?,
        None => text.to_owned(),
    };
    let mut values: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| InputError::Json(error.to_string()))?;
    check::names(values.keys().map(String::as_str), inputs)?;
    for (name, value) in &mut values {
        let Some(path) = value
            .as_str()
            .and_then(|text| text.strip_prefix('@'))
            .map(str::to_owned)
        else {
            continue;
        };
        let Some(field) = inputs.field(name) else {
            continue;
        };
        *value = url(&path, field, files)
            .map_err(|source| InputError::JsonValueFile {
                name: name.clone(),
                file: path.clone(),
                source,
            })?
            .into();
    }
    Ok(values)
}

/// How the model's server gets a file: in the request, or for a large one of an input that takes files, from us. Where a
/// text is expected, it is a plain data URL; where a file is, the model sees the name that it has here.
fn url(path: &str, field: Field<'_>, files: &dyn Files) -> io::Result<String> {
    if !field.takes_files() {
        return Ok(data_url(path, None, &files.read(path)?));
    }
    Ok(match files.open(path)? {
        Opened::Large(url) => url,
        Opened::Small { name, content } => data_url(path, name.as_deref(), &content),
    })
}

fn data_url(path: &str, name: Option<&str>, content: &[u8]) -> String {
    let name = name.map_or_else(String::new, |name| format!(";name={}", escaped(name)));
    let mime = mime_of(path);
    format!("data:{mime}{name};base64,{}", STANDARD.encode(content))
}
