//! Whether what cog.yaml names as the model is there.

use cog_schema::modernize;

use super::finding::Finding;
use super::subject::{Reference, Subject};

pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let references = subject.references();
    let mut found: Vec<Finding> = references
        .iter()
        .filter_map(|reference| check(subject, reference))
        .collect();
    found.extend(malformed(subject));
    found
}

/// A reference that says a file, and nothing in it. Others are no valid cog.yaml at all.
fn malformed(subject: &Subject) -> Vec<Finding> {
    let examples = [
        ("run", "run.py:Runner"),
        ("predict", "predict.py:Predictor"),
        ("train", "train.py:Trainer"),
    ];
    if subject.loaded.is_err() {
        return Vec::new();
    }
    let is_malformed = |field: &str| {
        let text = subject.fields.text(field).unwrap_or_default();
        let known = subject.references();
        !text.is_empty() && !known.iter().any(|reference| reference.field == field)
    };
    let of = examples
        .into_iter()
        .filter(|(field, _)| is_malformed(field));
    of.map(|(field, example)| {
        let message = format!("{field} must be in the form 'file.py:ClassName'");
        let finding = Finding::error(message).at(subject.config_name(), subject.line(field));
        finding.with_remediation(format!("Write {field}: \"{example}\", with your names"))
    })
    .collect()
}

fn check(subject: &Subject, reference: &Reference) -> Option<Finding> {
    let Reference {
        field, file, name, ..
    } = reference;
    let config = subject.config_name();
    let Some(source) = subject.source(file) else {
        let remediation = format!("Create {file} or update the {field} field in {config}");
        let finding = Finding::error(format!("{file} not found")).at(config, reference.line);
        return Some(finding.with_remediation(remediation));
    };
    let survey = match modernize::survey(&source, file) {
        Ok(survey) => survey,
        Err(error) => return Some(Finding::error(error.to_string()).at(file, None)),
    };
    if let Some(error) = survey.syntax_error {
        return Some(Finding::error(error.to_string()).at(file, None));
    }
    if survey.defines(name) {
        return None;
    }
    let known = match survey.classes.as_slice() {
        [] => String::new(),
        classes => format!("; found: {}", classes.join(", ")),
    };
    let message = format!("class \"{name}\" not found in {file}{known}");
    let finding = Finding::error(message).at(config, reference.line);
    Some(finding.with_remediation(format!(
        "Name a class of {file} in the {field} field in {config}"
    )))
}
