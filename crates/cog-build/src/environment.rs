//! Everything of an image but the source: what `run`, `serve` and `exec` of a project need, and
//! what a build puts the source on.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use cog_config::Completed;
use cog_image::Layer;
use cog_python::freeze::{self, Freeze};
use cog_python::requirements::normalise;

use crate::after_commands;
use crate::backend::{Backend as _, Native};
use crate::docker::OwnImage;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::implied::Sources;
use crate::lock::Lock;
use crate::locking;
use crate::model::Model;
use crate::plan::BuildPlan;
use crate::project_lock::ProjectLock;
use crate::reporter::Event;
use crate::request::BuildRequest;
use crate::resolve::Question;
use crate::secret_files::remove_stale_secrets_in_memory;
use crate::secrets::SecretValue;
use crate::steps::runtime;

/// An image without its source, ready to run with the project mounted at its working directory.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// All environment variables.
    pub env: Vec<(String, String)>,
    /// Where the project belongs.
    pub working_dir: String,
    /// What an image runs.
    pub command: Vec<String>,
    /// What `pip freeze` says in it.
    pub pip_freeze: String,
    /// The model's interface, if it was asked for.
    pub schema: Option<String>,
}

/// The same with what it was made from.
pub(crate) struct LockedEnvironment {
    pub(crate) environment: Environment,
    pub(crate) lock: Lock,
}

/// Where a project is in its image.
pub(crate) const WORKING_DIR: &str = "/src";
/// Name of the schema in the project's folder `.cog`.
const SCHEMA_FILE: &str = "openapi_schema.json";

/// Makes the environment of the project of `request`, and leaves the schema in the project.
pub fn prepare(request: &BuildRequest<'_>) -> Result<Environment> {
    request.check()?;
    let (_lock, model) = open_project(request)?;
    let _lease = request.store.lease()?;
    let executor = request.executor();
    let mut environment = match (request.docker, request.dockerfile) {
        (Some(docker), Some(dockerfile)) => {
            OwnImage::build(request, &executor, docker, dockerfile)?.environment()
        }
        _ => make(request, &executor)?,
    };
    request.model_variables(&model).add(&mut environment.env);
    environment.schema = model.schema;
    Ok(environment)
}

/// Makes what is below the source of the project of `request`.
fn make(request: &BuildRequest<'_>, executor: &Executor<'_>) -> Result<Environment> {
    let (completed, secrets) = (request.complete()?, request.secret_values()?);
    let planned = plan(request, &completed, &secrets, executor)?;
    Ok(planned.make()?.environment)
}

/// Takes the project's lock (which may be in the store: the caller has a lease on that), and leaves the schema in the
/// project too, where a server that has the project mounted reads it.
pub(crate) fn open_project(request: &BuildRequest<'_>) -> Result<(ProjectLock, Model)> {
    remove_stale_secrets_in_memory();
    let model = Model::of(request)?;
    let lock = take_project(request)?;
    match &model.schema {
        Some(schema) => lock.write(SCHEMA_FILE, schema.as_bytes())?,
        None => lock.remove(SCHEMA_FILE)?,
    }
    Ok((lock, model))
}

/// Takes the project's lock, and tells if that has to wait.
pub(crate) fn take_project(request: &BuildRequest<'_>) -> Result<ProjectLock> {
    let lock = ProjectLock::take(request.project_dir, request.store.root(), || {
        let message = "waiting for another build of this project to finish";
        request.reporter.report(Event::Notice { message });
    })?;
    Ok(lock)
}

/// A build that is ready to be carried out.
pub(crate) struct Planned<'a> {
    pub(crate) native: Native<'a>,
    pub(crate) lock: Lock,
    pub(crate) plan: BuildPlan,
}

/// Asks for all that a build depends on, and plans it.
pub(crate) fn plan<'a>(
    request: &'a BuildRequest<'a>,
    completed: &Completed,
    secrets: &'a BTreeMap<String, SecretValue>,
    executor: &'a Executor<'a>,
) -> Result<Planned<'a>> {
    let planned = plan_all(request, completed, secrets, std::slice::from_ref(executor))?;
    planned.into_iter().next().ok_or(BuildError::NoPlatform)
}

/// The same for several platforms, of which each has one of `executors`.
pub(crate) fn plan_all<'a>(
    request: &'a BuildRequest<'a>,
    completed: &Completed,
    secrets: &'a BTreeMap<String, SecretValue>,
    executors: &'a [Executor<'a>],
) -> Result<Vec<Planned<'a>>> {
    let Some(first) = executors.first() else {
        return Ok(Vec::new());
    };
    let natives = executors.iter();
    let natives: Vec<Native<'a>> = natives
        .map(|executor| Native::of(request, executor, secrets))
        .collect();
    // Needed last, but one that is missing should not cost a build.
    let servers = natives.iter().map(Native::server);
    let servers: Vec<PathBuf> = servers.collect::<Result<_>>()?;
    let requirements = request.requirements(completed, first)?;
    let sources = Sources::default();
    let question = |native| Question {
        request,
        completed,
        native,
        requirements: &requirements,
        sources: &sources,
    };
    let questions: Vec<Question<'_>> = natives.iter().map(question).collect();
    let answers = locking::answers(&questions)?;
    let made = natives.into_iter().zip(servers).zip(answers);
    let planned = made.map(|((native, server), (answers, implied))| {
        let executor = native.executor;
        let lock = answers.with(runtime::lock(executor, &server)?);
        let settings = executor.plan_settings_on(&lock.base);
        let plan = BuildPlan::new(request.config, &lock, &implied, settings)?;
        Ok(Planned { native, lock, plan })
    });
    planned.collect()
}

impl Planned<'_> {
    /// Does the steps below the source.
    pub(crate) fn make(self) -> Result<LockedEnvironment> {
        let Self { native, lock, plan } = self;
        let outputs = native.execute(&plan)?;
        let above = outputs.iter().flat_map(|output| &output.layers);
        let layers: Vec<Layer> = plan.base.layers.iter().chain(above).cloned().collect();
        let mut packages = runtime::installed().to_vec();
        if plan.has_commands() {
            let interpreter = &plan.base.interpreter;
            let found = after_commands::packages(native.executor, interpreter, &layers)?;
            hide_below(&mut packages, found);
        } else {
            packages.extend(outputs.into_iter().flat_map(|output| output.packages));
            let below = plan.base.installed.iter().map(|one| one.freeze.clone());
            hide_below(&mut packages, below);
        }
        let pip_freeze = freeze::text(&packages);
        let environment = Environment {
            layers,
            env: plan.environment,
            working_dir: WORKING_DIR.to_owned(),
            command: vec!["coglet".to_owned()],
            pip_freeze,
            schema: None,
        };
        Ok(LockedEnvironment { environment, lock })
    }
}

/// Adds those that `packages` has none of the same name of: of two, the first is found.
pub(crate) fn hide_below(packages: &mut Vec<Freeze>, below: impl IntoIterator<Item = Freeze>) {
    let there: HashSet<String> = packages.iter().map(|one| normalise(&one.name)).collect();
    let below = below.into_iter();
    packages.extend(below.filter(|one| !there.contains(&normalise(&one.name))));
}
