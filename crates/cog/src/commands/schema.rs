//! `cog schema`: the OpenAPI document of the project or of an image.

use anyhow::Context as _;
use cog_build::SchemaSource;
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
        None => of_project(session, session.project(&args.project)?)?,
    };
    let value: Value = serde_json::from_str(&text).context("the document is no JSON")?;
    Ok(session.printer.result(format!("{}\n", pretty(&value)?))?)
}

fn of_project(session: &Session<'_>, project: Project) -> anyhow::Result<String> {
    let project = session.with_model(project, &SchemaSource::Generate)?;
    Ok(project.interface.schema.unwrap_or_default())
}
