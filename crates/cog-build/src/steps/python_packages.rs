//! Makes the virtual environment: installs the locked packages into a staging folder, wheels without running anything
//! of the image, and splits the result into layers. `resolution` makes the lock.

mod compile;
mod in_container;
mod layers;
mod resolution;
mod skeleton;

use std::path::{Path, PathBuf};

use cog_image::{Layer, Scratch};
use cog_python::distribution::Prefix;
use cog_python::reproducible;
use cog_python::requirements::Requirements;
use cog_python::uv::{Refresh, Staged, Target};

pub(crate) use compile::{CompileJob, compile, compile_folder};
pub(crate) use layers::entry;
pub(crate) use resolution::{Earlier, lock_for_host, lock_for_image};

use crate::base::LockedBase;
use crate::error::Result;
use crate::executor::Executor;
use crate::lock::PackageSource;
use crate::plan::{PythonPackages, Symbols};
use crate::step_output::StepOutput;

/// What is to be installed, and over which base.
#[derive(Clone, Copy)]
pub(crate) struct Packages<'a> {
    pub(crate) step: &'a PythonPackages,
    pub(crate) base: &'a LockedBase,
}

/// The layers of the environment, on top of the layers `below`.
pub(crate) fn run(
    executor: &Executor<'_>,
    step: &PythonPackages,
    base: &LockedBase,
    below: &[Layer],
) -> Result<StepOutput> {
    let uv = executor.uv()?;
    let packages = Packages { step, base };
    let staging = Staging::new(executor, &step.python.requirements)?;
    let artifacts = match step.python.source {
        PackageSource::Wheels => {
            let wanted = staging.wanted(&step.python.requirements);
            uv.install(
                &wanted,
                &step.python.resolution,
                &target(step),
                &staging.prefix(),
            )?;
            staging.artifacts().to_owned()
        }
        PackageSource::SourceDistributions => {
            in_container::install(executor, &uv, step, &staging, below)?;
            in_container::artifacts()
        }
    };
    let mut prefix = Prefix::open(&staging.prefix(), &artifacts, &step.interpreter)?;
    if step.symbols == Symbols::Stripped {
        prefix = prefix.stripped_into(staging.root().join("stripped"));
    }
    executor.doing("reading the packages");
    let distributions = prefix.distributions()?;
    Ok(StepOutput {
        layers: layers::make(executor, &packages, &staging, &distributions)?,
        packages: distributions.iter().map(|one| one.freeze.clone()).collect(),
        ..StepOutput::default()
    })
}

fn target(step: &PythonPackages) -> Target {
    Target {
        python: step.interpreter.minor.clone(),
        platform: Some(step.platform.clone()),
    }
}

/// A folder of the store in which packages are installed.
pub(crate) struct Staging {
    scratch: Scratch,
    artifacts: PathBuf,
}

impl Staging {
    fn new(executor: &Executor<'_>, requirements: &Requirements) -> Result<Self> {
        let scratch = executor.store.scratch()?;
        let artifacts = scratch.path().join("artifacts");
        let date = reproducible::date(executor.timestamp);
        requirements.stage(executor.project_dir, &artifacts, date)?;
        Ok(Self { scratch, artifacts })
    }

    fn root(&self) -> &Path {
        self.scratch.path()
    }

    fn artifacts(&self) -> &Path {
        &self.artifacts
    }

    fn prefix(&self) -> PathBuf {
        self.root().join("prefix")
    }

    fn wanted<'a>(&'a self, requirements: &'a Requirements) -> Staged<'a> {
        Staged {
            requirements,
            artifacts: self.artifacts(),
            preferred: &[],
            refresh: Refresh::Nothing,
        }
    }
}
