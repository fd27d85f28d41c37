//! `cog schema`: the OpenAPI document of the project or of an image.

use anyhow::Context as _;
use cog_schema::{Directory, Request, validate_document};
use serde_json::Value;

use crate::args::SchemaArgs;
use crate::outputs::pretty;
use crate::session::{Project, Session};

/// The label that holds an image's document.
pub(super) const SCHEMA_LABEL: &str = "run.cog.openapi_schema";

pub(crate) fn schema(session: &Session<'_>, args: &SchemaArgs) -> anyhow::Result<()> {
    let text = match &args.image {
        Some(name) => {
            let image = session
                .store()?
                .image(name)?
                .with_context(|| format!("image {name}: image not found"))?;
            image
                .config
                .labels
                .get(SCHEMA_LABEL)
                .cloned()
                .with_context(|| format!("image {name}: image is not a Cog model"))?
        }
        None => of_project(session, &session.project(&args.project)?)?,
    };
    let value: Value = serde_json::from_str(&text).context("the document is no JSON")?;
    Ok(session.printer.result(&format!("{}\n", pretty(&value)?))?)
}

fn of_project(session: &Session<'_>, project: &Project) -> anyhow::Result<String> {
    let Document { text, warnings } = document(project)?;
    for warning in &warnings {
        session.printer.warning(warning);
    }
    Ok(text)
}

/// A project's document.
pub(super) struct Document {
    pub(super) text: String,
    /// What is odd about the source. Builds tell it themselves.
    warnings: Vec<String>,
}

/// The project's document: the one that `COG_OPENAPI_SCHEMA` names, else from its source.
pub(super) fn document(project: &Project) -> anyhow::Result<Document> {
    let given = std::env::var("COG_OPENAPI_SCHEMA").ok();
    let mut warnings = Vec::new();
    let text = if let Some(path) = given.filter(|path| !path.is_empty()) {
        fs_err::read_to_string(&path)
            .with_context(|| format!("COG_OPENAPI_SCHEMA: failed to read {path}"))?
    } else {
        let generated = cog_schema::generate(&Request {
            tree: &Directory::new(project.directory()),
            runner: project.config.runner.as_deref(),
            train: project.config.train.as_deref(),
            cog_version: env!("CARGO_PKG_VERSION"),
        })?;
        if let Some(error) = generated.syntax_error {
            return Err(error.into());
        }
        warnings = generated.warnings;
        generated.json
    };
    validate_document(&text)?;
    Ok(Document { text, warnings })
}
