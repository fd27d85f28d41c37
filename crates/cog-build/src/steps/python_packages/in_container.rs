//! Resolves and installs in a container, where source distributions may be built: only there may their code run.

use std::path::{Path, PathBuf};

use cog_image::Layer;
use cog_python::requirements::Requirements;
use cog_python::uv::{Target, Uv, UvError, install_arguments, resolve_arguments};

use super::resolution::{self, Resolution};
use super::{Staging, target};
use crate::container::{Job, Mount};
use crate::error::{BuildError, Result};
use crate::plan::{PythonPackages, key, list};
use crate::workshop::Workshop;

/// Where the staging folder is in a container that builds.
const WORK_DIR: &str = "/tmp/cog-build";
const CACHE_DIR: &str = "/tmp/cog-build-cache";
const UV_PROGRAM: &str = "/tmp/cog-build-uv";

/// Resolves `requirements` over the layers `below`. What had to be built for it is kept for [`install`].
pub(super) fn resolve(
    workshop: &Workshop<'_>,
    uv: &Uv,
    interpreter: &str,
    target: &Target,
    requirements: &Requirements,
    below: &[Layer],
) -> Result<Resolution> {
    let staging = Staging::new(workshop, requirements)?;
    let artifacts = Path::new(WORK_DIR).join("artifacts");
    let input = resolution::input(requirements, &target.python, &artifacts);
    fs_err::write(staging.input(), input)?;
    let script = format!(
        "{UV_PROGRAM} {} --python {interpreter} requirements.in --output-file pins.txt >/dev/null\n",
        resolve_arguments().join(" "),
    );
    let cache = build_cache(workshop, target, requirements);
    run(workshop, uv, &staging, &cache, &script, below)?;
    let pins = fs_err::read_to_string(staging.pins())?;
    Ok(Resolution::new(&pins, &artifacts))
}

/// Installs what is locked into the prefix of `staging`. The layers `below` stay as they are.
pub(super) fn install(
    workshop: &Workshop<'_>,
    uv: &Uv,
    step: &PythonPackages,
    staging: &Staging,
    below: &[Layer],
) -> Result<()> {
    let artifacts = Path::new(WORK_DIR).join("artifacts");
    fs_err::write(staging.pins(), step.python.resolution.text(&artifacts))?;
    let script = format!(
        "{UV_PROGRAM} {} --python {} --prefix {WORK_DIR}/prefix -r pins.txt\n\
         chmod -R a+rX {WORK_DIR}/prefix\n",
        install_arguments().join(" "),
        step.interpreter.path,
    );
    let cache = build_cache(workshop, &target(step), &step.python.requirements);
    run(workshop, uv, staging, &cache, &script, below)?;
    // What was built is installed now, and the layers are remembered.
    Ok(fs_err::remove_dir_all(cache)?)
}

/// Where uv keeps what it builds for these requirements, and for no others: built code could leave there what it likes.
fn build_cache(workshop: &Workshop<'_>, target: &Target, requirements: &Requirements) -> PathBuf {
    let key = key("build cache", 1)
        .field("requirements", requirements.text())
        .field("python", &target.python)
        .field("platform", target.platform.as_deref().unwrap_or_default());
    let artifacts = requirements.artifacts.iter().map(|one| &one.sha256);
    let name = list(key, "artifact", artifacts).finish().to_string();
    workshop.store.root().join("uv").join("builds").join(name)
}

fn run(
    workshop: &Workshop<'_>,
    uv: &Uv,
    staging: &Staging,
    cache: &Path,
    script: &str,
    below: &[Layer],
) -> Result<()> {
    fs_err::create_dir_all(cache)?;
    let script = format!("set -e\ncd {WORK_DIR}\n{script}");
    let job = Job {
        title: "building Python packages from source".to_owned(),
        arguments: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
        environment: vec![
            ("HOME".into(), "/root".into()),
            ("UV_CACHE_DIR".into(), CACHE_DIR.into()),
            ("UV_PYTHON_DOWNLOADS".into(), "never".into()),
            ("NO_COLOR".into(), "1".into()),
            ("UV_NO_PROGRESS".into(), "1".into()),
        ],
        working_dir: "/".to_owned(),
        mounts: vec![
            Mount::writable(staging.root(), WORK_DIR),
            Mount::writable(cache, CACHE_DIR),
            Mount::read_only(uv.program(), UV_PROGRAM),
        ],
    };
    workshop.run_container(below, &job).map_err(explain)?;
    Ok(())
}

/// The container's failure in the terms of uv's.
fn explain(error: BuildError) -> BuildError {
    match error {
        BuildError::CommandFailed { output, .. } => UvError::installing(&output.join("\n")).into(),
        other => other,
    }
}
