//! `cog schema`: the OpenAPI document of the project or of an image.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cog_build::SchemaSource;
use cog_config::Labels;
use cog_image::Store;
use serde_json::Value;

use super::inspect::in_registry;
use crate::args::SchemaArgs;
use crate::image_argument;
use crate::outputs::pretty;
use crate::session::{Project, Session};

pub(crate) fn schema(session: &Session<'_>, args: &SchemaArgs) -> anyhow::Result<()> {
    let document = match &args.image {
        Some(image) => of_image(session.store()?, image)?,
        None => of_project(session, session.project(&args.project)?)?,
    };
    let text = pretty(&document)?;
    Ok(session.printer.result("the schema", format!("{text}\n"))?)
}

/// The document of an image in the store, else in its registry.
fn of_image(store: &Store, image: &str) -> anyhow::Result<Value> {
    let name = image_argument::name(store, image)?;
    match store.image(&name)? {
        Some(image) => of_labels(&name, &image.config.labels),
        None => of_labels(&name, &in_registry(store, &name, None)?.config.labels),
    }
}

/// The document in the labels of image `name`.
pub(super) fn of_labels(name: &str, labels: &BTreeMap<String, String>) -> anyhow::Result<Value> {
    let schema = Labels::of(labels).schema();
    schema.with_context(|| format!("image {name}"))
}

/// The document of the project, made from its source.
fn of_project(session: &Session<'_>, project: Project) -> anyhow::Result<Value> {
    let project = session.with_model(project, &SchemaSource::Generate)?;
    let text = project.interface.schema.unwrap_or_default();
    serde_json::from_str(&text).context("the document is no JSON")
}
