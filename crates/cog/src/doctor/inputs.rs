//! Whether the model's inputs and output can be told from its source, as builds have to.

use cog_schema::{Directory, ErrorKind, Request, SchemaError};

use super::finding::Finding;
use super::subject::Subject;

/// One mistake of each reference: it hides those after it. What other checks say is not said again.
pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let tree = Directory::new(&subject.file.directory);
    let mistake = |reference: super::subject::Reference| {
        let name = format!("{}:{}", reference.file, reference.name);
        let is_trainer = reference.field == "train";
        let request = Request {
            tree: &tree,
            runner: Some(name.as_str()).filter(|_| !is_trainer),
            train: Some(name.as_str()).filter(|_| is_trainer),
            cog_version: cog_build::VERSION,
        };
        let error = cog_schema::generate(&request).err()?;
        is_ours(&error).then(|| finding(&reference.file, error))
    };
    let references = subject.references();
    references.into_iter().filter_map(mistake).collect()
}

fn is_ours(error: &SchemaError) -> bool {
    !matches!(
        error.kind,
        ErrorKind::Parse
            | ErrorKind::PredictorNotFound
            | ErrorKind::MethodNotFound
            | ErrorKind::MissingReturnType
            | ErrorKind::InvalidPredictRef
    )
}

fn finding(file: &str, error: SchemaError) -> Finding {
    let finding = Finding::error(error.message);
    match error.place {
        Some(place) => finding.at(&place.path, place.line),
        None => finding.at(file, None),
    }
}
