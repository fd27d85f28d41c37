//! Whether the model says what it returns.

use cog_schema::modernize;

use super::finding::Finding;
use super::subject::{Reference, Subject};

pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let references = subject.references();
    let missing = |reference: &Reference| {
        let Reference { file, name, .. } = reference;
        let survey = modernize::survey(&subject.source(file)?, file).ok()?;
        let (called, line) = survey.unannotated(name, reference.methods())?;
        let message = format!("{called} is missing a return type annotation");
        let finding = Finding::warning(message).at(file, line);
        Some(finding.with_remediation(format!("Add one, such as `-> str`, to {called}")))
    };
    references.iter().filter_map(missing).collect()
}
