//! Imports that fail with newer versions of the SDK.

use cog_schema::modernize;

use super::finding::Finding;
use super::subject::Subject;

pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, source) in subject.sources() {
        for import in modernize::expired_imports(&source, &file).unwrap_or_default() {
            let message = format!(
                "{} was removed in cog 0.17; current_scope().record_metric() is no longer experimental",
                import.name
            );
            let finding = Finding::error(message).at(&file, import.line);
            found.push(finding.with_remediation("Remove the import and what uses it"));
        }
    }
    found
}

pub(super) fn fix(subject: &Subject) -> anyhow::Result<()> {
    for (file, _) in subject.sources() {
        subject.rewrite(&file, |source| {
            Ok(modernize::without_expired_imports(source, &file)?)
        })?;
    }
    Ok(())
}
