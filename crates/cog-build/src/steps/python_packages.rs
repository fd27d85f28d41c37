//! Makes the virtual environment: resolves the requirements, installs wheels into a staging folder
//! without running anything of the image, and splits the result into layers.

mod compile;
mod layers;
mod resolution;
mod skeleton;

use std::path::{Path, PathBuf};

use cog_image::{Layer, Scratch, StepRecord};
use serde::{Deserialize, Serialize};

pub(crate) use compile::{CompileJob, compile};
pub(crate) use layers::entry;
pub(crate) use resolution::resolve;

use crate::container::{Job, Mount};
use crate::error::{BuildError, Result};
use crate::workshop::Workshop;
use cog_python::distribution::Prefix;
use cog_python::freeze::Freeze;
use cog_python::requirements::Requirements;
use cog_python::resolution::Resolution;
use cog_python::uv::{
    Builds, Context, Staged, Target, Uv, UvError, install_arguments, passed_on,
    prerelease_arguments, resolve_arguments,
};
use cog_python::venv::Interpreter;

/// What is to be installed, and for which Python.
pub(crate) struct Packages<'a> {
    pub(crate) requirements: &'a Requirements,
    pub(crate) interpreter: &'a Interpreter,
    /// By uv's name.
    pub(crate) platform: &'a str,
    /// The layers that bring the interpreter.
    pub(crate) base: &'a [Layer],
    /// Identifies them, and with them the exact Python.
    pub(crate) base_id: &'a str,
    /// The most layers that this step may make.
    pub(crate) layer_limit: usize,
}

/// What later steps need to know of this one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Everything that was installed.
    pub(crate) freeze: Vec<Freeze>,
}

/// The layers of the environment, on top of the layers `below`.
pub(crate) fn run(
    workshop: &Workshop<'_>,
    packages: &Packages<'_>,
    below: &[Layer],
) -> Result<StepRecord> {
    let uv = workshop.uv()?;
    let staging = Staging::new(workshop, packages.requirements)?;
    let target = Target {
        python: packages.interpreter.minor.clone(),
        platform: Some(packages.platform.to_owned()),
    };
    let wanted = staging.wanted(packages.requirements);
    let resolution = match resolve(workshop, &uv, &wanted, &target, Builds::Never) {
        Ok(resolution) => {
            uv.install(&wanted, &resolution, &target, &staging.prefix())?;
            resolution
        }
        // Only a container may run the code of source distributions.
        Err(BuildError::Uv(error @ UvError::NeedsBuild(_))) => {
            if workshop.engine.is_none() {
                return Err(error.into());
            }
            install_in_container(workshop, &uv, packages, &staging, below)?
        }
        Err(error) => return Err(error),
    };
    let prefix = Prefix::open(&staging.prefix(), staging.artifacts(), packages.interpreter)?;
    let distributions = prefix.distributions()?;
    let freeze = distributions.iter().map(|one| one.freeze.clone()).collect();
    let layers = layers::make(workshop, packages, &resolution, &staging, &distributions)?;
    let facts = serde_json::to_value(Facts { freeze }).expect("names and versions are text");
    Ok(StepRecord { layers, facts })
}

/// A folder of the store in which packages are installed.
pub(crate) struct Staging {
    scratch: Scratch,
    artifacts: PathBuf,
}

impl Staging {
    fn new(workshop: &Workshop<'_>, requirements: &Requirements) -> Result<Self> {
        let scratch = workshop.store.scratch()?;
        let artifacts = scratch.path().join("artifacts");
        fs_err::create_dir(&artifacts)?;
        for artifact in &requirements.artifacts {
            artifact.stage(&artifacts)?;
        }
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
        }
    }
}

/// Where the staging folder is in a container that builds.
const WORK_DIR: &str = "/tmp/cog-build";
const UV_PROGRAM: &str = "/tmp/cog-build-uv";

/// Resolves and installs in a container over the layers `below`, where source distributions may be
/// built. The layers stay as they are; the result is in the staging folder.
fn install_in_container(
    workshop: &Workshop<'_>,
    uv: &Uv<'_>,
    packages: &Packages<'_>,
    staging: &Staging,
    below: &[Layer],
) -> Result<Resolution> {
    const ANSWER: &str = "pylock.toml";
    let artifacts = Path::new(WORK_DIR).join("artifacts");
    let wanted = staging.wanted(packages.requirements);
    let context = Context {
        file: &wanted.requirements.source,
        lines: &wanted.requirements.options,
    };
    let run = |title: &str, script: &str| {
        let job = container_job(uv, staging, title, script);
        let ran = workshop.run_container(below, &job);
        ran.map_err(|error| explain_build(error, &context))
    };
    let python = &packages.interpreter.path;
    let input = wanted.write_input(&packages.interpreter.minor, &artifacts)?;
    let resolve = [
        resolve_arguments().join(" "),
        prerelease_arguments(wanted.requirements).join(" "),
    ]
    .join(" ");
    run(
        "resolving Python packages that are built from source",
        &format!(
            "{UV_PROGRAM} {resolve} --python {python} {input} --output-file {ANSWER} >/dev/null"
        ),
    )?;
    let answer = fs_err::read_to_string(staging.root().join(ANSWER))?;
    let resolution = wanted.read_answer(&answer, &artifacts)?;
    let pins = wanted.write_pins(&resolution, &artifacts)?;
    let install = install_arguments().join(" ");
    run(
        "building Python packages from source",
        &format!(
            "{UV_PROGRAM} {install} --python {python} --prefix {WORK_DIR}/prefix -r {pins}\n\
             chmod -R a+rX {WORK_DIR}/prefix"
        ),
    )?;
    Ok(resolution)
}

/// Runs `script` in the staging folder.
fn container_job(uv: &Uv<'_>, staging: &Staging, title: &str, script: &str) -> Job {
    let script = format!("set -e\ncd {WORK_DIR}\n{script}\n");
    let own = [
        ("HOME", "/root"),
        ("UV_CACHE_DIR", "/tmp/cog-build/cache"),
        ("UV_PYTHON_DOWNLOADS", "never"),
        ("NO_COLOR", "1"),
        ("UV_NO_PROGRESS", "1"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Job {
        title: title.to_owned(),
        arguments: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
        environment: passed_on().into_iter().chain(own).collect(),
        working_dir: "/".to_owned(),
        mounts: vec![
            Mount::writable(staging.root(), WORK_DIR),
            Mount::read_only(uv.program(), UV_PROGRAM),
        ],
    }
}

/// The container's failure in the terms of uv's.
fn explain_build(error: BuildError, context: &Context<'_>) -> BuildError {
    match error {
        BuildError::CommandFailed { output, .. } => {
            UvError::resolving(&output.join("\n"), context).into()
        }
        other => other,
    }
}
