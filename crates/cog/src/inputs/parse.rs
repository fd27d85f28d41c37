//! From flags and JSON text to values. The declared type of an input decides how its text is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::schema::Inputs;
use super::{Files, InputError, check};

pub(super) fn flags(
    flags: &[String],
    schema: &Inputs<'_>,
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
    check::names(given.iter().map(|(name, _)| *name), schema)?;
    given
        .into_iter()
        .map(|(name, values)| {
            let property = schema.property(name).unwrap_or(&Value::Null);
            let failed = |source| InputError::File {
                name: name.to_owned(),
                source,
            };
            let value = match values.as_slice() {
                [one] => value(one, property, schema, files).map_err(failed)?,
                several => {
                    let items = schema.items(property).unwrap_or(&Value::Null);
                    let read = several.iter().map(|one| item(one, items, schema, files));
                    Value::Array(read.collect::<Result<_, _>>().map_err(failed)?)
                }
            };
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn value(
    text: &str,
    schema: &Value,
    inputs: &Inputs<'_>,
    files: &dyn Files,
) -> std::io::Result<Value> {
    if let Some(path) = text.strip_prefix('@') {
        let url = Value::from(url(path, schema, inputs, files)?);
        return Ok(match inputs.leading_type(schema) {
            Some("array") => Value::Array(vec![url]),
            _ => url,
        });
    }
    Ok(match inputs.leading_type(schema) {
        Some("object") => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Some("array") => match serde_json::from_str::<Value>(text) {
            Ok(list @ Value::Array(_)) => list,
            _ if inputs.accepts(schema, "string") => text.into(),
            _ => Value::Array(vec![scalar(
                text,
                inputs.items(schema).unwrap_or(&Value::Null),
                inputs,
            )]),
        },
        _ => scalar(text, schema, inputs),
    })
}

fn item(
    text: &str,
    schema: &Value,
    inputs: &Inputs<'_>,
    files: &dyn Files,
) -> std::io::Result<Value> {
    match text.strip_prefix('@') {
        Some(path) => Ok(url(path, schema, inputs, files)?.into()),
        None => Ok(scalar(text, schema, inputs)),
    }
}

/// Booleans and numbers where the type takes them; where it takes text too, only if the value then fits.
fn scalar(text: &str, schema: &Value, inputs: &Inputs<'_>) -> Value {
    let coerced = coerce(text, schema, inputs);
    match coerced {
        Some(value) if !inputs.accepts(schema, "string") || check::fits(&value, schema, inputs) => {
            value
        }
        _ => text.into(),
    }
}

fn coerce(text: &str, schema: &Value, inputs: &Inputs<'_>) -> Option<Value> {
    if inputs.accepts(schema, "boolean") && ["true", "false"].contains(&text) {
        return Some(Value::Bool(text == "true"));
    }
    let takes_numbers = inputs.accepts(schema, "number");
    if takes_numbers || inputs.accepts(schema, "integer") {
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
    schema: &Inputs<'_>,
    files: &dyn Files,
) -> Result<Map<String, Value>, InputError> {
    let from_file = |file: &str, read: std::io::Result<Vec<u8>>| {
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
    let mut inputs: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| InputError::Json(error.to_string()))?;
    check::names(inputs.keys().map(String::as_str), schema)?;
    for (name, value) in &mut inputs {
        let Some(path) = value
            .as_str()
            .and_then(|text| text.strip_prefix('@'))
            .map(str::to_owned)
        else {
            continue;
        };
        let property = schema.property(name).unwrap_or(&Value::Null);
        let url = url(&path, property, schema, files);
        *value = url
            .map_err(|source| InputError::JsonValueFile {
                name: name.clone(),
                file: path.clone(),
                source,
            })?
            .into();
    }
    Ok(inputs)
}

/// How the model's server gets a file: in the request, or for a large one of an input that takes files, from us.
fn url(
    path: &str,
    schema: &Value,
    inputs: &Inputs<'_>,
    files: &dyn Files,
) -> std::io::Result<String> {
    if inputs.takes_files(schema)
        && let Some(url) = files.url(path)?
    {
        return Ok(url);
    }
    Ok(data_url(path, &files.read(path)?))
}

fn data_url(path: &str, content: &[u8]) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    format!("data:{mime};base64,{}", STANDARD.encode(content))
}
