//! Models of pydantic that allow any type, which cog's own do by themselves.

use cog_schema::modernize;

use super::finding::Finding;
use super::subject::Subject;

pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, source) in subject.sources() {
        for model in modernize::pydantic_models(&source, &file).unwrap_or_default() {
            let message = format!(
                "{} inherits from pydantic.BaseModel with arbitrary_types_allowed; use cog.BaseModel instead",
                model.class
            );
            let finding = Finding::error(message).at(&file, model.line);
            found.push(finding.with_remediation("Inherit from cog.BaseModel"));
        }
    }
    found
}

pub(super) fn fix(subject: &Subject) -> anyhow::Result<()> {
    for (file, _) in subject.sources() {
        subject.rewrite(&file, |source| {
            Ok(modernize::with_cog_models(source, &file)?)
        })?;
    }
    Ok(())
}
