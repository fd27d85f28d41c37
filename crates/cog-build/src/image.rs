//! From project to image: the environment, the source on top, and the image's configuration.

use std::collections::BTreeMap;

use cog_config::{BaseLayer, Completed, ImageLabels};
use cog_image::{ImageConfig, ImageRef, Layer, Platform, Store, StoredImage, StoredIndex};

use crate::attest::{self, Attestations, Recipe};
use crate::context;
use crate::dockerignore::Dockerignore;
use crate::environment::{self, Environment, LockedEnvironment, Planned};
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::git::{self, Checkout};
use crate::lock::Lock;
use crate::model::Model;
use crate::own_image;
use crate::plan;
use crate::reporter::ToldOnce;
use crate::request::BuildRequest;
use crate::sdk::VERSION;
use crate::secrets::SecretValue;
use crate::steps::source::{self, Source};

/// The port the server listens on.
const PORT: &str = "5000/tcp";

/// A finished image, or images for several platforms.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The image in the store; of several the one for this machine, or else the first.
    pub image: StoredImage,
    /// All of them, where there are several.
    pub index: Option<StoredIndex>,
    /// The schema, if it has one.
    pub schema: Option<String>,
}

/// Builds the project of `request` into the image called `name`, or into images for several platforms of this name.
pub fn build(request: &BuildRequest<'_>, name: &str) -> Result<BuiltImage> {
    request.check()?;
    // A name that is none should not cost a build.
    let _: ImageRef = name.parse()?;
    if !request.has_model() {
        return Err(BuildError::NoModel);
    }
    if let (Some(docker), Some(dockerfile)) = (request.docker, request.dockerfile) {
        return own_image::build(request, name, docker, dockerfile);
    }
    // What gives one may give it only once.
    let secrets = request.secret_values()?;
    // Needed last, but a mistake in it should not cost a build.
    let ignore = context::ignore_for(request.project_dir, request.config)?;
    let _lease = request.store.lease()?;
    let (_lock, model) = environment::open_project(request)?;
    let project = Project {
        request,
        name,
        completed: request.complete()?,
        ignore,
        model,
        secrets,
    };
    let told = ToldOnce::new(request.reporter);
    let executors = request.architectures.iter().map(|one| Executor {
        reporter: &told,
        ..request.executor_for(*one)
    });
    let executors: Vec<Executor<'_>> = executors.collect();
    // Asking Git takes some milliseconds, in which the rest can be done.
    let (checkout, environments) = std::thread::scope(|scope| {
        let checkout = scope.spawn(|| git::checkout(request.project_dir, variable));
        let environments = project.environments(&executors);
        (checkout.join().unwrap_or_default(), environments)
    });
    if let Some(first) = executors.first() {
        checkout.tell(first)?;
    }
    let images = executors.iter().zip(environments?);
    let images = images.map(|(executor, made)| project.image(executor, made, &checkout));
    let images: Vec<StoredImage> = images.collect::<Result<_>>()?;
    named(request.store, name, images, project.model.schema)
}

/// Gives `images` their name.
fn named(
    store: &Store,
    name: &str,
    images: Vec<StoredImage>,
    schema: Option<String>,
) -> Result<BuiltImage> {
    let here = |image: &&StoredImage| image.platform() == Platform::host();
    let shown = images.iter().find(here).or(images.first());
    let image = shown.ok_or(BuildError::NoPlatform)?.clone();
    let index = if images.len() == 1 {
        store.name_image(&image)?;
        None
    } else {
        Some(store.put_index(name, images)?)
    };
    Ok(BuiltImage {
        image,
        index,
        schema,
    })
}

/// A project that is being built.
struct Project<'a> {
    request: &'a BuildRequest<'a>,
    name: &'a str,
    completed: Completed,
    ignore: Dockerignore,
    model: Model,
    secrets: BTreeMap<String, SecretValue>,
}

impl Project<'_> {
    /// What is below the source, for the platform of each of `executors`. All are planned before anything is made for one:
    /// what cannot be done for one of them should not cost a build for the others. The source comes after that, as the lock
    /// file, which is one of the project's files, may get a part for each.
    fn environments(&self, executors: &[Executor<'_>]) -> Result<Vec<LockedEnvironment>> {
        let Self {
            request,
            completed,
            secrets,
            ..
        } = self;
        let planned = environment::plan_all(request, completed, secrets, executors)?;
        let make = |planned: Planned<'_>| {
            let executor = planned.native.executor;
            if executors.len() > 1 || !executor.architecture.is_host() {
                executor.notice(&format!("building for {}", executor.architecture));
            }
            planned.make()
        };
        planned.into_iter().map(make).collect()
    }

    /// Makes the image on top of what is below its source. It has no name yet.
    fn image(
        &self,
        executor: &Executor<'_>,
        made: LockedEnvironment,
        checkout: &Checkout,
    ) -> Result<StoredImage> {
        let Self {
            request,
            completed,
            model,
            ..
        } = self;
        let LockedEnvironment {
            mut environment,
            lock,
        } = made;
        request.model_variables(model).add(&mut environment.env);
        let source = Source {
            ignore: &self.ignore,
            config_file_name: request.config_file_name,
            schema: model.schema.as_deref(),
            layers: request.source_layers,
            limit: plan::source_limit(environment.layers.len()),
        };
        let source = executor.timed("source", || source::run(executor, &source))?;
        request.interface.check(executor.project_dir)?;
        let config = image_config(request, completed, (&environment, &lock), model, checkout);
        let mut layers: Vec<Layer> = environment.layers.iter().cloned().chain(source).collect();
        if let Some(compression) = request.compression {
            let convert = || Ok(request.store.recompress(&layers, compression)?);
            layers = executor.timed("compressing layers", convert)?;
        }
        let image = request.store.write_image(self.name, &config, &layers)?;
        if request.attestations != Attestations::default() {
            let recipe = Recipe {
                config: request.final_config(completed, model),
                revision: checkout.revision.clone(),
                lock,
            };
            executor.timed("bill of materials", || {
                attest::attach(request.store, &image, request.attestations, &recipe)
            })?;
        }
        Ok(image)
    }
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn image_config(
    request: &BuildRequest<'_>,
    completed: &Completed,
    (environment, lock): (&Environment, &Lock),
    model: &Model,
    checkout: &Checkout,
) -> ImageConfig {
    let base = &lock.base;
    let mut config = base.image_config();
    config.env.clone_from(&environment.env);
    config.cmd = Some(environment.command.clone());
    config.entrypoint = None;
    config.working_dir = Some(environment.working_dir.clone());
    config.exposed_ports.insert(PORT.to_owned());
    if let Some(user) = &request.user {
        config.user = Some(user.clone());
    }
    config.created = request.timestamp.or(checkout.date).unwrap_or(0);
    let labels = ImageLabels {
        version: VERSION.to_owned(),
        config: request.final_config(completed, model),
        schema: model.schema.clone(),
        pip_freeze: environment.pip_freeze.clone(),
        base: base.layers.last().map(|last| BaseLayer {
            name: base.name.clone(),
            diff_id: last.diff_id.to_string(),
            index: base.layers.len() - 1,
        }),
        revision: checkout.revision.clone(),
        push_id: request.push_id.clone(),
    };
    config.labels.extend(labels.to_map());
    config
}

#[cfg(test)]
mod tests;
