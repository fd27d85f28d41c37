//! Everything of an image but the source: what `run`, `serve` and `exec` of a project need, and
//! what a build puts the source on.

use std::path::PathBuf;

use cog_image::{Layer, StepRecord};

use crate::base::{self, Base, DebianFacts};
use crate::certificate::{BUNDLE, COG_CA_CERT, Certificates};
use crate::error::{BuildError, Result};
use crate::lock::ProjectLock;
use crate::model::Model;
use crate::plan::{BuildPlan, Facts, Step, Work};
use crate::project::BuildRequest;
use crate::reporter::Event;
use crate::steps::python_packages::{self, Packages};
use crate::steps::{certificates, command, runtime, system_packages};
use crate::variables::{Variables, build_variables};
use crate::workshop::Workshop;
use cog_python::freeze::{self, Freeze};

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
    pub(crate) base: Base,
}

/// Name of the schema in the project's folder `.cog`.
const SCHEMA_FILE: &str = "openapi_schema.json";

/// Registries and overlay mounts take no more layers than a bit over a hundred.
const MAX_LAYERS: usize = 100;

/// Makes the environment of the project of `request`, and leaves the schema in the project.
pub fn prepare(request: &BuildRequest<'_>) -> Result<Environment> {
    request.check()?;
    let (_lock, model) = open_project(request)?;
    let _lease = request.store.lease()?;
    let workshop = request.workshop();
    let mut environment = make(request, &workshop)?;
    request.model_variables(&model).add(&mut environment.env);
    environment.schema = model.schema;
    Ok(environment)
}

/// Takes the project's lock, finds the schema, and leaves it in the project too, where a server that
/// has the project mounted reads it.
pub(crate) fn open_project(request: &BuildRequest<'_>) -> Result<(ProjectLock, Model)> {
    let lock = ProjectLock::take(request.project_dir, || {
        let message = "waiting for another build of this project to finish";
        request.reporter.report(Event::Notice { message });
    })?;
    let model = Model::read(request)?;
    match &model.schema {
        Some(schema) => lock.write(SCHEMA_FILE, schema.as_bytes())?,
        None => lock.remove(SCHEMA_FILE)?,
    }
    Ok((lock, model))
}

/// Does the steps below the source.
pub(crate) fn make(request: &BuildRequest<'_>, workshop: &Workshop<'_>) -> Result<Environment> {
    let wishes = request.wishes();
    let server = runtime::server_program()?;
    let requirements = request.requirements(workshop)?;
    let certificates = Certificates::read(&std::env::var(COG_CA_CERT).unwrap_or_default())?;
    let base = base::resolve(workshop, &request.base, request.python_version())?;
    let facts = Facts {
        base_id: base.id(),
        interpreter: base.facts.interpreter.clone(),
        python_platform: base.facts.python_platform.clone(),
        containers: workshop.containers(),
        certificates,
        requirements,
        runtime_id: runtime::id(workshop, &server)?,
        compression: workshop.compression,
        timestamp: workshop.timestamp,
    };
    let plan = BuildPlan::new(&wishes, &facts)?;
    let variables = Variables {
        user: &wishes.environment,
        certificate_bundle: facts.certificates.as_ref().map(|_| BUNDLE),
        triplet: base::triplet(),
    };
    let env = build_variables(&base.facts.env, &variables);
    let mut bench = Bench {
        request,
        workshop,
        facts: &facts,
        base: &base.layers,
        debian: base.facts.debian.as_ref(),
        env: &env,
        server,
        layer_limit: layer_limit(base.layers.len(), plan.steps.len()),
        layers: base.layers.clone(),
        freeze: runtime::installed().to_vec(),
    };
    for step in &plan.steps {
        bench.step(step)?;
    }
    let (layers, pip_freeze) = (bench.layers, freeze::text(&bench.freeze));
    Ok(Environment {
        layers,
        env,
        working_dir: "/src".to_owned(),
        command: vec!["coglet".to_owned()],
        pip_freeze,
        schema: None,
        base,
    })
}

/// How many layers Python packages may take: what is left besides the base, one for each step and
/// the source.
fn layer_limit(base: usize, steps: usize) -> usize {
    MAX_LAYERS.saturating_sub(base + steps + 1).max(1)
}

/// The layers so far, and what the next step needs.
struct Bench<'a> {
    request: &'a BuildRequest<'a>,
    workshop: &'a Workshop<'a>,
    facts: &'a Facts,
    base: &'a [Layer],
    debian: Option<&'a DebianFacts>,
    env: &'a [(String, String)],
    server: PathBuf,
    layer_limit: usize,
    layers: Vec<Layer>,
    freeze: Vec<Freeze>,
}

impl Bench<'_> {
    fn step(&mut self, step: &Step) -> Result<()> {
        let record = self
            .workshop
            .step(&step.title, &step.key, || self.work(step))?;
        if let Work::PythonPackages(_) = &step.work
            && let Ok(facts) =
                serde_json::from_value::<python_packages::Facts>(record.facts.clone())
        {
            self.freeze.extend(facts.freeze);
        }
        self.layers.extend(record.layers);
        Ok(())
    }

    fn work(&self, step: &Step) -> Result<StepRecord> {
        let (workshop, below) = (self.workshop, self.layers.as_slice());
        match &step.work {
            Work::Certificates(pem) => certificates::run(workshop, pem, below),
            Work::SystemPackages(packages) => {
                self.needs_container(step)?;
                system_packages::run(workshop, packages, self.env, self.debian, below)
            }
            Work::PythonPackages(requirements) => {
                let packages = Packages {
                    requirements,
                    interpreter: &self.facts.interpreter,
                    platform: &self.facts.python_platform,
                    base: self.base,
                    base_id: &self.facts.base_id,
                    layer_limit: self.layer_limit,
                };
                python_packages::run(workshop, &packages, below)
            }
            Work::Command(one) => {
                self.needs_container(step)?;
                command::run(
                    workshop,
                    one,
                    self.env,
                    &self.request.secret_values(one)?,
                    below,
                )
            }
            Work::Runtime => {
                runtime::run(workshop, &self.facts.interpreter, &self.server, self.base)
            }
        }
    }

    fn needs_container(&self, step: &Step) -> Result<()> {
        match self.workshop.engine {
            Some(_) => Ok(()),
            None => Err(BuildError::NeedsContainer {
                step: step.title.clone(),
            }),
        }
    }
}
