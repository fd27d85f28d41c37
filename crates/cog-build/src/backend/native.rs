//! Our own builder: layers from files, and from containers over the layers below.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cog_image::{Layer, StepKey};

use super::Backend;
use crate::base::is_musl;
use crate::docker::DockerBuilder;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::plan::{BuildPlan, BuildTools, RunStep, Step};
use crate::request::BuildRequest;
use crate::secrets::SecretValue;
use crate::step_output::StepOutput;
use crate::steps::{build_tools, certificates, command, python_packages, runtime, system_packages};

/// Does steps that are not in the store yet.
pub(crate) struct Native<'a> {
    pub(crate) executor: &'a Executor<'a>,
    /// The server's program for this machine, if it is not the one beside this program.
    given_server: Option<&'a Path>,
    /// What commands may mount, by name.
    pub(crate) secrets: &'a BTreeMap<String, SecretValue>,
}

impl<'a> Native<'a> {
    /// What builds the project of `request`.
    pub(crate) fn of(
        request: &BuildRequest<'a>,
        executor: &'a Executor<'a>,
        secrets: &'a BTreeMap<String, SecretValue>,
    ) -> Self {
        Self {
            executor,
            given_server: request.server,
            secrets,
        }
    }

    /// The server's program for what is built for.
    pub(crate) fn server(&self) -> Result<PathBuf> {
        runtime::server_program(self.given_server, self.executor.architecture)
    }
}

impl Backend for Native<'_> {
    type Output = Vec<StepOutput>;

    fn execute(&self, plan: &BuildPlan) -> Result<Self::Output> {
        let mut done = Done {
            native: self,
            plan,
            layers: plan.base.layers.clone(),
            looked_at_base: false,
            ahead: RefCell::default(),
        };
        let steps: Vec<_> = plan.steps.iter().zip(plan.keys()).collect();
        for (step, key) in &steps {
            self.check(step, key)?;
        }
        let numbered = 0..steps.len();
        numbered.map(|number| done.step(&steps, number)).collect()
    }
}

impl Native<'_> {
    /// Refuses a step for which something was not given, before those that come earlier are done.
    fn check(&self, step: &Step, key: &StepKey) -> Result<()> {
        if let Step::Command(run) = step
            && self.executor.recorded(key)?.is_none()
        {
            command::mounted(&run.command, self.secrets)?;
        }
        Ok(())
    }
}

/// A build under way.
struct Done<'a> {
    native: &'a Native<'a>,
    plan: &'a BuildPlan,
    /// The base's, then those of the steps so far.
    layers: Vec<Layer>,
    looked_at_base: bool,
    /// What a daemon has done together with an earlier step, by the steps' keys.
    ahead: RefCell<BTreeMap<String, Result<StepOutput>>>,
}

impl Done<'_> {
    /// Does the step `number` of `steps`.
    fn step(&mut self, steps: &[(&Step, StepKey)], number: usize) -> Result<StepOutput> {
        let (step, key) = &steps[number];
        let executor = self.native.executor;
        let mut looked_at_base = self.looked_at_base;
        let output = executor.step(&step.title(), key, || {
            if !looked_at_base {
                self.check_base()?;
                looked_at_base = true;
            }
            self.work(step, &steps[number..])
        })?;
        self.looked_at_base = looked_at_base;
        self.layers.extend(output.layers.iter().cloned());
        Ok(output)
    }

    /// Does `step`, the first of `rest`.
    fn work(&self, step: &Step, rest: &[(&Step, StepKey)]) -> Result<StepOutput> {
        let executor = self.native.executor;
        let base = &self.plan.base;
        match step {
            Step::Certificates { certificates } => {
                certificates::run(executor, certificates, &self.layers)
            }
            Step::ImpliedPackages(packages) | Step::SystemPackages(packages) => {
                self.needs_container(step)?;
                system_packages::run(executor, packages, &self.layers)
            }
            Step::PythonPackages(packages) => {
                let below = self.with_tools(&packages.tools)?;
                python_packages::run(executor, packages, base, &below)
            }
            Step::Command(run) => {
                self.needs_container(step)?;
                match executor.daemon() {
                    None => {
                        let below = self.with_tools(&run.tools)?;
                        command::run(executor, run, self.native.secrets, &below)
                    }
                    Some(docker) => self.commands(docker, run, rest),
                }
            }
            Step::Runtime {
                interpreter,
                bytecode,
                runtime: locked,
                ..
            } => {
                let server = self.native.server()?;
                runtime::run(executor, interpreter, *bytecode, (locked, &server), base)
            }
        }
    }

    /// Has `docker` do the command `run`, the first of `rest`, together with those that come right after it.
    fn commands(
        &self,
        docker: &DockerBuilder,
        run: &RunStep,
        rest: &[(&Step, StepKey)],
    ) -> Result<StepOutput> {
        let executor = self.native.executor;
        let mut ahead = self.ahead.borrow_mut();
        let mine = rest.first().map(|(_, key)| key.to_string());
        if let Some(done) = mine.as_ref().and_then(|key| ahead.remove(key)) {
            return done;
        }
        let (mut steps, mut keys) = (Vec::new(), Vec::new());
        for (step, key) in rest {
            match step {
                Step::Command(run) if executor.recorded(key)?.is_none() => {
                    steps.push(run);
                    keys.push(key.to_string());
                }
                _ => break,
            }
        }
        let below = self.with_tools(&run.tools)?;
        let outputs =
            command::run_in_daemon(executor, docker, &steps, self.native.secrets, &below)?;
        let mut outputs = outputs.into_iter();
        let first = outputs.next();
        ahead.extend(keys.into_iter().skip(1).zip(outputs));
        first.unwrap_or_else(|| {
            Err(BuildError::NeedsContainer {
                step: run.command.command.clone(),
            })
        })
    }

    /// Refuses a base in which nothing would run, as soon as its layers are needed: steps that run something are.
    fn check_base(&self) -> Result<()> {
        let base = &self.plan.base;
        if base.debian.is_some() || self.native.executor.containers.is_none() {
            return Ok(());
        }
        let root = self.native.executor.store.rootfs(&base.layers)?;
        if is_musl(&root) {
            let base = base.name.clone();
            return Err(BuildError::Musl { base });
        }
        Ok(())
    }

    /// The layers so far, with what is there for building only.
    fn with_tools(&self, tools: &BuildTools) -> Result<Vec<Layer>> {
        build_tools::beneath(self.native.executor, tools, &self.plan.base, &self.layers)
    }

    fn needs_container(&self, step: &Step) -> Result<()> {
        match self.native.executor.containers {
            Some(_) => Ok(()),
            None => Err(BuildError::NeedsContainer { step: step.title() }),
        }
    }
}
