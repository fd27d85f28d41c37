//! Resolves and installs in a container, where source distributions may be built: only there may their code run.

use std::path::{Path, PathBuf};

use cog_files::Folder;
use cog_image::Layer;
use cog_python::reproducible;
use cog_python::requirements::Requirements;
use cog_python::resolution::Resolution;
use cog_python::uv::{
    ANSWER, Linking, Staged, Target, Uv, UvError, install_arguments, passed_on,
    prerelease_arguments, resolve_arguments,
};

use super::{Earlier, Staging, target};
use crate::container::{Job, Mount};
use crate::error::{BuildError, CommandOutput, Result};
use crate::executor::Executor;
use crate::plan::{PythonPackages, key, list};

/// Where the staging folder is in a container that builds.
const WORK_DIR: &str = "/tmp/cog-build";
const COMPILERS: &str = "/tmp/cog-build-compilers";
const CACHE_DIR: &str = "/tmp/cog-build-cache";
const UV_PROGRAM: &str = "/tmp/cog-build-uv";

/// Where the files of the project are in it.
pub(super) fn artifacts() -> PathBuf {
    Path::new(WORK_DIR).join("artifacts")
}

/// Resolves `requirements` over the layers `below`. What had to be built for it is kept for [`install`].
pub(super) fn resolve(
    executor: &Executor<'_>,
    uv: &Uv<'_>,
    interpreter: &str,
    target: &Target,
    requirements: &Requirements,
    earlier: Earlier<'_>,
    below: &[Layer],
) -> Result<Resolution> {
    let staging = Staging::new(executor, requirements)?;
    let artifacts = artifacts();
    let wanted = Staged {
        preferred: earlier.preferred,
        refresh: earlier.refresh,
        ..staging.wanted(requirements)
    };
    if !wanted.preferred.is_empty() {
        wanted.write_preferred()?;
    }
    let input = wanted.write_input(&target.python, &artifacts)?;
    let arguments = [
        resolve_arguments().join(" "),
        prerelease_arguments(requirements).join(" "),
        wanted.refresh.arguments().join(" "),
    ];
    let script = format!(
        "{UV_PROGRAM} {} --python {interpreter} {input} --output-file {ANSWER} >/dev/null\n",
        arguments.join(" "),
    );
    let cache = build_cache(executor, target, requirements);
    run(executor, uv, &staging, &cache, &script, below)
        .map_err(|error| explain(error, |said| UvError::resolving(said, &wanted.context())))?;
    // Code of packages ran there.
    let answer = Folder::open(staging.root())?.text(Path::new(ANSWER))?;
    let answer = answer.unwrap_or_default();
    Ok(wanted.read_answer(&answer, &artifacts)?)
}

/// Installs what is locked into the prefix of `staging`. The layers `below` stay as they are.
pub(super) fn install(
    executor: &Executor<'_>,
    uv: &Uv<'_>,
    step: &PythonPackages,
    staging: &Staging,
    below: &[Layer],
) -> Result<()> {
    let artifacts = artifacts();
    let wanted = staging.wanted(&step.python.requirements);
    let pins = wanted.write_pins(&step.python.resolution, &artifacts)?;
    let script = format!(
        "{UV_PROGRAM} {} --python {} --prefix {WORK_DIR}/prefix -r {pins}\n\
         chmod -R a+rX {WORK_DIR}/prefix\n",
        install_arguments(Linking::Copy).join(" "),
        step.interpreter.path,
    );
    let cache = build_cache(executor, &target(step), &step.python.requirements);
    run(executor, uv, staging, &cache, &script, below)
        .map_err(|error| explain(error, |said| UvError::installing(said, &wanted.context())))?;
    // What was built is installed now. It goes out of the way at once: half of it, left by a build that was killed
    // here, would break the next one.
    let spent = executor.store.scratch()?;
    Ok(fs_err::rename(cache, spent.path().join("cache"))?)
}

/// Where uv keeps what it builds for these requirements, and for no others: built code could leave there what it likes.
fn build_cache(executor: &Executor<'_>, target: &Target, requirements: &Requirements) -> PathBuf {
    let key = key("build cache", 1)
        .field("requirements", requirements.text())
        .field("timestamp", executor.timestamp.to_string())
        .field("python", &target.python)
        .field("platform", target.platform.as_deref().unwrap_or_default());
    let name = list(key, "artifact", requirements.content())
        .finish()
        .to_string();
    executor.store.root().join("uv").join("builds").join(name)
}

fn run(
    executor: &Executor<'_>,
    uv: &Uv<'_>,
    staging: &Staging,
    cache: &Path,
    script: &str,
    below: &[Layer],
) -> Result<()> {
    fs_err::create_dir_all(cache)?;
    let prelude = reproducible::prelude(COMPILERS, CACHE_DIR);
    let script = format!("set -e\n{prelude}cd {WORK_DIR}\n{script}");
    let own = [
        ("HOME", "/root"),
        ("UV_CACHE_DIR", CACHE_DIR),
        ("UV_PYTHON_DOWNLOADS", "never"),
        ("NO_COLOR", "1"),
        ("UV_NO_PROGRESS", "1"),
    ];
    let settings = settings(uv, staging)?;
    let own = own.into_iter().chain([(settings.0, &*settings.1)]);
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let job = Job {
        title: "building Python packages from source".to_owned(),
        arguments: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
        environment: passed_on()
            .into_iter()
            .chain(reproducible::environment(executor.timestamp))
            .chain(own)
            .collect(),
        working_dir: "/".to_owned(),
        mounts: vec![
            Mount::writable(staging.root(), WORK_DIR),
            Mount::writable(cache, CACHE_DIR),
            Mount::read_only(uv.program(), UV_PROGRAM),
        ],
        output: CommandOutput::Kept,
    };
    executor.run_container(below, &job)?;
    Ok(())
}

/// The variable that gives uv the caller's settings there, and none of the base's.
fn settings(uv: &Uv<'_>, staging: &Staging) -> Result<(&'static str, String)> {
    const NAME: &str = "settings.toml";
    let Some(text) = uv.settings().text_elsewhere() else {
        return Ok(("UV_NO_CONFIG", "1".to_owned()));
    };
    // There may be passwords in it. The folder goes when this is done, and nobody else may look into it.
    fs_err::write(staging.root().join(NAME), text)?;
    Ok(("UV_CONFIG_FILE", format!("{WORK_DIR}/{NAME}")))
}

/// The container's failure in the terms of uv's.
fn explain(error: BuildError, meaning: impl FnOnce(&str) -> UvError) -> BuildError {
    match error {
        BuildError::CommandFailed { lines, .. } => meaning(&lines.join("\n")).into(),
        other => other,
    }
}
