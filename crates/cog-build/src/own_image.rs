//! An image of the user's own Dockerfile: what it made, with the model's document, and labels as any other image has them.

use std::path::Path;

use cog_config::ImageLabels;
use cog_image::{Entry, EntryKind, Layer};

use crate::context::directory;
use crate::docker::{DockerBuilder, OwnImage};
use crate::environment;
use crate::error::Result;
use crate::executor::Executor;
use crate::git;
use crate::image::{BuiltImage, variable};
use crate::request::BuildRequest;
use crate::sdk::VERSION;

/// Tells the server how many predictions run at once.
const COG_MAX_CONCURRENCY: &str = "COG_MAX_CONCURRENCY";

/// Builds `dockerfile` into the image called `name`.
pub(crate) fn build(
    request: &BuildRequest<'_>,
    name: &str,
    docker: &DockerBuilder,
    dockerfile: &Path,
) -> Result<BuiltImage> {
    let _lease = request.store.lease()?;
    let (_lock, model) = environment::open_project(request)?;
    let completed = request.complete()?;
    let executor = request.executor();
    let checkout = git::checkout(request.project_dir, variable);
    checkout.tell(&executor)?;
    let own = OwnImage::build(request, &executor, docker, dockerfile)?;
    let mut config = own.config;
    if let Some(max) = model.concurrency {
        config.set_env(COG_MAX_CONCURRENCY, max.to_string());
    }
    if let Some(user) = &request.user {
        config.user = Some(user.clone());
    }
    config.created = request
        .timestamp
        .or(checkout.date)
        .unwrap_or(config.created);
    let mut layers = own.layers;
    if let Some(schema) = &model.schema {
        let folder = config.working_dir.as_deref().unwrap_or("/");
        layers.push(document(&executor, folder, schema)?);
    }
    let labels = ImageLabels {
        version: VERSION.to_owned(),
        config: request.final_config(&completed, &model),
        schema: model.schema.clone(),
        pip_freeze: own.pip_freeze,
        // Which of its layers are a base's, nobody knows.
        base: None,
        revision: checkout.revision,
        push_id: request.push_id.clone(),
    };
    config.labels.extend(labels.to_map());
    if let Some(compression) = request.compression {
        layers = request.store.recompress(&layers, compression)?;
    }
    let image = request.store.put_image(name, &config, &layers)?;
    Ok(BuiltImage {
        image,
        index: None,
        schema: model.schema,
    })
}

/// The layer with the model's document, where the server looks for it: beside the source.
fn document(executor: &Executor<'_>, working_dir: &str, schema: &str) -> Result<Layer> {
    let folder = format!("{}/.cog", working_dir.trim_matches('/'));
    let folder = folder.trim_start_matches('/');
    let file = Entry {
        path: format!("{folder}/openapi_schema.json").into(),
        kind: EntryKind::Bytes(schema.into()),
        mode: 0o644,
    };
    let options = executor.layer_options("cog: schema");
    let entries = vec![directory(folder), file];
    Ok(executor.store.add_layer_from_entries(entries, &options)?)
}
