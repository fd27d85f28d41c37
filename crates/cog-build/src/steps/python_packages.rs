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
pub(crate) use resolution::{Resolution, resolve_for_host};

use crate::container::{Job, Mount};
use crate::error::{BuildError, Result};
use crate::workshop::Workshop;
use cog_python::distribution::Prefix;
use cog_python::freeze::Freeze;
use cog_python::requirements::Requirements;
use cog_python::uv::{Target, Uv, UvError, install_arguments, resolve_arguments};
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
    let resolution =
        match resolution::resolve(workshop, &uv, &target, packages.requirements, &staging) {
            Ok(resolution) => {
                staging.write_pins(&resolution)?;
                uv.install(&staging.pins(), &target, &staging.prefix())?;
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
    let prefix = Prefix::open(
        &staging.prefix(),
        &staging.artifacts(),
        packages.interpreter,
    )?;
    let distributions = prefix.distributions()?;
    let freeze = distributions.iter().map(|one| one.freeze.clone()).collect();
    let layers = layers::make(workshop, packages, &resolution, &staging, &distributions)?;
    let facts = serde_json::to_value(Facts { freeze }).expect("names and versions are text");
    Ok(StepRecord { layers, facts })
}

/// A folder of the store in which packages are installed.
pub(crate) struct Staging {
    scratch: Scratch,
}

impl Staging {
    fn new(workshop: &Workshop<'_>, requirements: &Requirements) -> Result<Self> {
        let staging = Self {
            scratch: workshop.store.scratch()?,
        };
        fs_err::create_dir(staging.artifacts())?;
        for artifact in &requirements.artifacts {
            artifact.stage(&staging.artifacts())?;
        }
        Ok(staging)
    }

    fn root(&self) -> &Path {
        self.scratch.path()
    }

    fn artifacts(&self) -> PathBuf {
        self.root().join("artifacts")
    }

    fn input(&self) -> PathBuf {
        self.root().join("requirements.in")
    }

    fn pins(&self) -> PathBuf {
        self.root().join("pins.txt")
    }

    fn prefix(&self) -> PathBuf {
        self.root().join("prefix")
    }

    fn write_pins(&self, resolution: &Resolution) -> Result<()> {
        Ok(fs_err::write(
            self.pins(),
            resolution.text(&self.artifacts()),
        )?)
    }
}

/// Where the staging folder is in a container that builds.
const WORK_DIR: &str = "/tmp/cog-build";
const UV_PROGRAM: &str = "/tmp/cog-build-uv";

/// Resolves and installs in a container over the layers `below`, where source distributions may be
/// built. The layers stay as they are; the result is in the staging folder.
fn install_in_container(
    workshop: &Workshop<'_>,
    uv: &Uv,
    packages: &Packages<'_>,
    staging: &Staging,
    below: &[Layer],
) -> Result<Resolution> {
    let artifacts = Path::new(WORK_DIR).join("artifacts");
    let input = resolution::input(
        packages.requirements,
        &packages.interpreter.minor,
        &artifacts,
    );
    fs_err::write(staging.input(), input)?;
    let script = format!(
        "set -e\ncd {WORK_DIR}\n\
         {UV_PROGRAM} {} --python {python} requirements.in --output-file pins.txt >/dev/null\n\
         {UV_PROGRAM} {} --python {python} --prefix {WORK_DIR}/prefix -r pins.txt\n\
         chmod -R a+rX {WORK_DIR}/prefix\n",
        resolve_arguments().join(" "),
        install_arguments().join(" "),
        python = packages.interpreter.path,
    );
    let job = Job {
        title: "building Python packages from source".to_owned(),
        arguments: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
        environment: vec![
            ("HOME".into(), "/root".into()),
            ("UV_CACHE_DIR".into(), format!("{WORK_DIR}/cache")),
            ("UV_PYTHON_DOWNLOADS".into(), "never".into()),
            ("NO_COLOR".into(), "1".into()),
            ("UV_NO_PROGRESS".into(), "1".into()),
        ],
        working_dir: "/".to_owned(),
        mounts: vec![
            Mount::writable(staging.root(), WORK_DIR),
            Mount::read_only(uv.program(), UV_PROGRAM),
        ],
    };
    workshop.run_container(below, &job).map_err(explain_build)?;
    let pins = fs_err::read_to_string(staging.pins())?;
    Ok(Resolution::new(&pins, &artifacts))
}

/// The container's failure in the terms of uv's.
fn explain_build(error: BuildError) -> BuildError {
    match error {
        BuildError::CommandFailed { output, .. } => UvError::installing(&output.join("\n")).into(),
        other => other,
    }
}
