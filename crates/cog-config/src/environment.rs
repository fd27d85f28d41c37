//! `environment` entries.

use crate::config::EnvironmentVariable;
use crate::error::Problem;
use crate::parse::Text;

/// Names that the runtime needs for itself; a `*` at the end stands for any rest.
pub(crate) const RESERVED: [&str; 15] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "PYTHONUNBUFFERED",
    "R8_*",
    "REPLICATE_*",
    "LIBRARY_PATH",
    "CUDA_*",
    "NVIDIA_*",
    "NV_*",
    "PGET_*",
    "HF_ENDPOINT",
    "HF_HUB_ENABLE_HF_TRANSFER",
    "KUBERNETES_*",
];

pub(crate) fn read(entries: &[Text], problems: &mut Vec<Problem>) -> Vec<EnvironmentVariable> {
    let mut variables: Vec<EnvironmentVariable> = Vec::new();
    for entry in entries {
        match variable(&entry.text, &variables) {
            Ok(variable) => variables.push(variable),
            Err(message) => problems.push(Problem {
                message: format!("invalid environment: {message}"),
                location: Some(entry.location),
                hint: None,
            }),
        }
    }
    variables
}

fn variable(entry: &str, known: &[EnvironmentVariable]) -> Result<EnvironmentVariable, String> {
    let (name, value) = match entry.split_once('=') {
        Some((name, value)) if !name.is_empty() => (name, value),
        _ => {
            return Err(format!(
                "environment variable \"{entry}\" is not in the KEY=VALUE format"
            ));
        }
    };
    if reserved(name) {
        return Err(format!(
            "environment variable \"{name}\" is not allowed: reserved for internal use"
        ));
    }
    if known.iter().any(|variable| variable.name == name) {
        return Err(format!(
            "environment variable \"{name}\" is already defined"
        ));
    }
    let first = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !first
        || !name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_')
    {
        return Err(format!(
            "environment variable \"{name}\" must be made of letters, digits and underscores"
        ));
    }
    if value.contains('\n') {
        return Err(format!("environment variable \"{name}\" must be one line"));
    }
    Ok(EnvironmentVariable {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

fn reserved(name: &str) -> bool {
    RESERVED
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
}
