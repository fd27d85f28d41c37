//! What compatible schemas look like, case by case. The numbers are those of the specification's list.

mod inputs;
mod outputs;
mod runners;
mod values;

use serde_json::Value;

use super::tests::{IMPORTS, files, run, signature};
use crate::{Request, Schema, SchemaError, generate};

fn class(body: &str) -> String {
    format!("{IMPORTS}class Runner(BaseRunner):\n{body}\n")
}

fn parsed(schema: Result<Schema, SchemaError>) -> Value {
    let schema = schema.unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&schema.json).expect("a JSON document")
}

/// The components of a runner with this signature, after `prelude`.
fn with(prelude: &str, signature_text: &str) -> Value {
    let source = format!(
        "{IMPORTS}{prelude}\nclass Runner(BaseRunner):\n    def run{signature_text}: ...\n"
    );
    parsed(run(&source))["components"]["schemas"].clone()
}

fn text(schema: &Value) -> String {
    serde_json::to_string(schema).expect("JSON")
}

/// The document's own text, in which the order of keys counts.
fn raw(signature_text: &str) -> String {
    run(&signature(signature_text))
        .unwrap_or_else(|error| panic!("{error}"))
        .json
}

fn reference(reference: &str, source: &str) -> Result<Schema, SchemaError> {
    let tree = files(&[("run.py", source)]);
    generate(&Request {
        tree: &tree,
        runner: Some(reference),
        train: None,
        cog_version: "0.22.0",
    })
}
