//! cog.yaml as a JSON schema, for editors. What `cog` itself accepts is decided by `parse` and `validate`, which take a
//! little more than it (numbers for text) and know rules that no schema can say.

use serde_json::{Map, Value, json};

use crate::environment::RESERVED;
use crate::keys;

/// Python 3.10 or newer, with or without a patch.
const PYTHON: &str = r"^\s*(3\.([1-9][0-9]+)|([4-9]|[1-9][0-9]+)\.[0-9]+)(\.|\s*$)";
/// CUDA 11 or newer, with a minor version; nothing is as good as no field.
const CUDA: &str = r"^(([1-9][0-9]{2,}|[2-9][0-9]|1[1-9])\.|$)";
/// Neither a tag nor a digest, and in small letters but for the registry.
const REPOSITORY: &str = "^([^/@]+/)*[^/@:A-Z]*$";
/// A pattern of weights: not empty, not turned round, with forward slashes.
const FILES: &str = r"^\s*[^!\s\\][^\\]*$";

/// The schema's document.
pub fn json_schema() -> Value {
    let mut schema = object(&keys::TOP, top, &[]);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("cog.yaml");
    schema["description"] = json!("What an image of a model is made of, and where the model is.");
    let with_weights = json!({
        "if": both(&[("weights", "minItems")]),
        "then": { "required": ["model"] },
    });
    schema["allOf"] = json!([
        { "not": both(&[("run", "minLength"), ("predict", "minLength")]) },
        { "not": both(&[("model", "minLength"), ("image", "minLength")]) },
        with_weights,
    ]);
    schema
}

/// What has all of these fields, none of them empty; with the word for the least that it holds.
fn both(fields: &[(&str, &str)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let filled: Map<String, Value> = fields
        .iter()
        .map(|(name, least)| ((*name).to_owned(), json!({ (*least): 1 })))
        .collect();
    json!({ "required": names, "properties": filled })
}

/// An object that has these fields and no others.
fn object(fields: &[&str], of: fn(&str) -> Value, required: &[&str]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| ((*field).to_owned(), of(field)))
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn top(field: &str) -> Value {
    match field {
        "build" => {
            let mut build = object(&keys::BUILD, build, &["python_version"]);
            build["description"] = json!("The environment of the image.");
            build["not"] = both(&[
                ("python_packages", "minItems"),
                ("python_requirements", "minLength"),
            ]);
            json!({ "anyOf": [build, { "type": "null" }] })
        }
        "image" => text("Name of the image, and where `cog push` sends it."),
        "model" => {
            let mut model =
                text("Repository for image and weights, without a tag: `registry/owner/name`.");
            model["pattern"] = json!(REPOSITORY);
            model
        }
        "run" => reference("The model, as `run.py:Runner`."),
        "predict" => deprecated(reference("The older name of `run`."), "run"),
        "train" => reference("The trainer, as `train.py:Trainer`."),
        "concurrency" => {
            let mapping = object(&keys::CONCURRENCY, concurrency, &["max"]);
            let either = json!({ "anyOf": [mapping, { "type": "integer", "minimum": 1 }] });
            deprecated(either, "@cog.concurrent(max=...)")
        }
        "environment" => {
            let mut variables = list(&json!({
                "type": "string",
                "pattern": format!("^(?!({})=)[A-Za-z_][A-Za-z0-9_]*=.*$", RESERVED.join("|").replace('*', ".*")),
            }));
            variables["description"] =
                json!("Variables of the image, as `NAME=value`; build commands see them, too.");
            variables
        }
        "weights" => {
            let mut weights = list(&object(
                &keys::WEIGHTS,
                weights,
                &["name", "target", "source"],
            ));
            weights["description"] = json!("Managed weights.");
            weights
        }
        _ => Value::Bool(true),
    }
}

fn build(field: &str) -> Value {
    match field {
        "python_version" => json!({
            "type": ["string", "number"],
            "pattern": PYTHON,
            "description": "Version of Python, as \"3.13\" or \"3.13.1\"; 3.10 or newer.",
        }),
        "gpu" => json!({
            "type": "boolean",
            "default": false,
            "description": "Whether the model needs a GPU.",
        }),
        "cuda" => {
            let mut cuda = number_or_text(
                "Version of CUDA, as \"12.8\"; by default the one that the requirements need.",
            );
            cuda["pattern"] = json!(CUDA);
            cuda["minimum"] = json!(11);
            cuda
        }
        "cudnn" => number_or_text("Major version of cuDNN, as \"9\"."),
        "python_requirements" => {
            text("File with the Python packages: requirements.txt, or a pyproject.toml.")
        }
        "python_packages" => deprecated(list(&plain_text()), "python_requirements"),
        "system_packages" => {
            let mut packages = list(&plain_text());
            packages["description"] = json!("Debian packages to install.");
            packages
        }
        "run" => {
            let command = object(&keys::COMMAND, command, &["command"]);
            let mut commands = list(&json!({ "anyOf": [plain_text(), command] }));
            commands["description"] = json!("Commands that run when packages are installed.");
            commands
        }
        "pre_install" => deprecated(list(&plain_text()), "run"),
        "sdk_version" => {
            number_or_text("Version of the SDK that the published tool would install.")
        }
        _ => Value::Bool(true),
    }
}

fn command(field: &str) -> Value {
    match field {
        "mounts" => list(&object(&keys::MOUNT, mount, &keys::MOUNT)),
        _ => plain_text(),
    }
}

fn mount(field: &str) -> Value {
    match field {
        "type" => json!({ "const": "secret" }),
        _ => plain_text(),
    }
}

fn concurrency(_: &str) -> Value {
    json!({ "type": "integer", "minimum": 1 })
}

fn weights(field: &str) -> Value {
    match field {
        "name" => json!({ "type": "string", "pattern": "^[a-z0-9]+(?:[._-][a-z0-9]+)*$" }),
        "source" => {
            let one = object(&keys::SOURCE, source, &["uri"]);
            let several = json!({ "type": "array", "minItems": 1, "items": one });
            json!({ "anyOf": [one, several] })
        }
        _ => json!({ "type": "string", "pattern": "^/." }),
    }
}

fn source(field: &str) -> Value {
    match field {
        "uri" => plain_text(),
        _ => list(&json!({ "type": "string", "pattern": FILES })),
    }
}

fn plain_text() -> Value {
    json!({ "type": "string" })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn number_or_text(description: &str) -> Value {
    json!({ "type": ["string", "number"], "description": description })
}

fn reference(description: &str) -> Value {
    json!({ "type": "string", "pattern": "^$|\\.py:", "description": description })
}

/// A list; nothing counts as an empty one.
fn list(items: &Value) -> Value {
    json!({ "type": ["array", "null"], "items": items })
}

fn deprecated(mut schema: Value, successor: &str) -> Value {
    schema["deprecated"] = json!(true);
    schema["description"] = json!(format!("Deprecated: use `{successor}`."));
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_says_what_it_takes() {
        let schema = json_schema();
        let build = &schema["properties"]["build"]["anyOf"][0];
        for (object, fields) in [(&schema, &keys::TOP[..]), (build, &keys::BUILD)] {
            let properties = object["properties"].as_object().unwrap();
            let names: Vec<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(names, fields);
            for (name, property) in properties {
                assert!(property.is_object(), "{name} takes anything");
            }
        }
        assert_eq!(schema["properties"]["predict"]["deprecated"], true);
    }
}
