//! Whether a document, ours or one handed in, can be served: OpenAPI 3.0, with defaults that fit their own properties.

use serde_json::Value;

/// Why a document can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON.
    #[error("Failed to load model schema JSON: {0}")]
    Unreadable(String),
    /// It is no OpenAPI document, or contradicts itself.
    #[error("Model schema is invalid: {0}")]
    Invalid(String),
}

/// Checks a document.
pub fn validate_document(json: &str) -> Result<(), DocumentError> {
    let document: Value =
        serde_json::from_str(json).map_err(|error| DocumentError::Unreadable(error.to_string()))?;
    let invalid = |message: String| Err(DocumentError::Invalid(message));
    match document["openapi"].as_str() {
        Some(version) if version.starts_with("3.0") => {}
        Some(version) => return invalid(format!("`openapi` is {version}, not 3.0")),
        None => return invalid("`openapi` is missing".into()),
    }
    for field in ["title", "version"] {
        if !document["info"][field].is_string() {
            return invalid(format!("`info.{field}` is missing"));
        }
    }
    if !document["paths"].is_object() {
        return invalid("`paths` is missing".into());
    }
    for component in ["Input", "TrainingInput"] {
        let Some(properties) =
            document["components"]["schemas"][component]["properties"].as_object()
        else {
            continue;
        };
        for (name, property) in properties {
            if let Some(default) = property.get("default")
                && let Err(why) = fits(&document, property, default)
            {
                return invalid(format!("default of `{component}.{name}` is invalid: {why}"));
            }
        }
    }
    Ok(())
}

fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if value.is_null() && schema["nullable"] == true {
        return Ok(());
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, resolved(document, part), value)?;
    }
    if let Some(members) = schema["anyOf"].as_array()
        && !members
            .iter()
            .any(|member| fits(document, resolved(document, member), value).is_ok())
    {
        return Err("it fits no member of the union".into());
    }
    if let Some(kind) = schema["type"].as_str()
        && !is_a(kind, value)
    {
        return Err(format!("value must be of type {kind}"));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        return Err("value is not one of the allowed values".into());
    }
    bounds(schema, value)?;
    for item in value.as_array().into_iter().flatten() {
        fits(document, resolved(document, &schema["items"]), item)?;
    }
    Ok(())
}

fn bounds(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(number) = value.as_f64() {
        if let Some(minimum) = schema["minimum"]
            .as_f64()
            .filter(|minimum| number < *minimum)
        {
            return Err(format!("number must be at least {minimum} (minimum)"));
        }
        if let Some(maximum) = schema["maximum"]
            .as_f64()
            .filter(|maximum| number > *maximum)
        {
            return Err(format!("number must be at most {maximum} (maximum)"));
        }
    }
    if let Some(text) = value.as_str() {
        #[expect(clippy::cast_precision_loss, reason = "no text is that long")]
        let length = text.chars().count() as f64;
        if let Some(limit) = schema["minLength"].as_f64().filter(|limit| length < *limit) {
            return Err(format!("minimum string length is {limit}"));
        }
        if let Some(limit) = schema["maxLength"].as_f64().filter(|limit| length > *limit) {
            return Err(format!("maximum string length is {limit}"));
        }
    }
    Ok(())
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix("#/components/schemas/"))
    {
        Some(name) => &document["components"]["schemas"][name],
        None => schema,
    }
}
