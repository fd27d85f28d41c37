//! What a user gives as inputs, made into JSON and checked against the model's document before anything starts.
//!
//! `parse` reads flags and JSON, `check` holds the result against the schema. Nothing here downloads: URLs are text.

mod check;
mod parse;
mod schema;

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// What was given on the command line.
pub(crate) struct Given<'a> {
    /// `-i name=value`, in order.
    pub(crate) flags: &'a [String],
    /// `--json`.
    pub(crate) json: Option<&'a str>,
}

/// Where `@file` and `-` come from.
pub(crate) trait Files {
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    fn stdin(&self) -> io::Result<Vec<u8>>;
}

/// The real ones; a leading `~` is the user's home.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs_err::read(expanded(path))
    }

    fn stdin(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::stdin().lock(), &mut content)?;
        Ok(content)
    }
}

/// The path with a leading `~` replaced by the home directory.
pub(crate) fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// Inputs that can't be used. The texts are what users of the reference know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("Failed to parse input '{0}', expected format is 'name=value'")]
    NoValue(String),
    #[error("Must use one of --json or --input to provide model inputs")]
    Both,
    #[error("Failed to read JSON from file \"{file}\": {source}")]
    JsonFile { file: String, source: io::Error },
    #[error("Failed to parse JSON: {0}")]
    Json(String),
    #[error("input \"{name}\": {source}")]
    File { name: String, source: io::Error },
    #[error("input \"{name}\": failed to read file \"{file}\": {source}")]
    JsonValueFile {
        name: String,
        file: String,
        source: io::Error,
    },
    #[error("{0}")]
    Unknown(String),
    #[error("OpenAPI schema {0}")]
    Schema(String),
    #[error("{}", list(.0))]
    Invalid(Vec<String>),
}

fn list(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        several => format!("input validation failed:\n- {}", several.join("\n- ")),
    }
}

/// The inputs as the server takes them. Names are checked first, then files are read, then values are checked.
pub(crate) fn resolve(
    given: &Given<'_>,
    document: &Value,
    component: &str,
    files: &dyn Files,
) -> Result<Map<String, Value>, InputError> {
    let schema = schema::Inputs::of(document, component)?;
    let inputs = match (given.json, given.flags) {
        (Some(_), [_, ..]) => return Err(InputError::Both),
        (Some(json), []) => parse::json(json, &schema, files)?,
        (None, flags) => parse::flags(flags, &schema, files)?,
    };
    check::values(&inputs, &schema)?;
    Ok(inputs)
}

#[cfg(test)]
mod tests;
