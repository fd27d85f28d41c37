//! An environment on this machine, for running a project without a container.

mod python;

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use cog_config::Config;

use self::python::HostPython;
use crate::architecture::Architecture;
use crate::environment::open_project;
use crate::error::Result;
use crate::executor::Cache;
use crate::lock_file::Inputs;
use crate::locking;
use crate::plan::{key, list};
use crate::request::BuildRequest;
use crate::steps::python_packages::lock_for_host;
use crate::steps::runtime::{server_program, write_sdk};
use cog_python::reproducible;
use cog_python::uv::{Refresh, Staged, minor_version};

/// Raise it whenever the same inputs give another environment.
const RECIPE: u32 = 1;

/// A virtual environment on this machine with a project's packages and the SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEnvironment {
    /// The environment's folder; programs are in `bin`.
    pub path: PathBuf,
    /// The environment's interpreter.
    pub python: PathBuf,
    /// The server's program.
    pub coglet: PathBuf,
    /// Variables of the project and its model.
    pub env: Vec<(String, String)>,
    /// The model's interface.
    pub schema: Option<String>,
}

/// The environment for the project of `request`, made if it is not there yet.
///
/// The host's Python that fits the configured version best is used, with a warning if it is another one.
/// System packages and commands of `build.run` are left out, with a warning: they are for images.
pub fn host_environment(request: &BuildRequest<'_>) -> Result<HostEnvironment> {
    request.check()?;
    let _lease = request.store.lease()?;
    let (_project, model) = open_project(request)?;
    let mut env = request.config.variables();
    request.model_variables(&model).add(&mut env);
    let executor = request.executor();
    let coglet = server_program(request.server, Architecture::host())?;
    if let Some(message) = not_applied(request.config) {
        executor.warn(&message);
    }
    let completed = request.complete()?;
    let requirements = request.requirements(&completed, &executor)?;
    let inputs = Inputs::of(request, &completed, &requirements);
    let preferred = locking::preferred(request, &inputs)?;
    let python = HostPython::find(&executor, &completed)?;

    let key = key("host environment", RECIPE)
        .field("python", python.path.as_os_str().as_bytes())
        .field("version", &python.version)
        .field("requirements", requirements.text())
        .field("sdk", crate::sdk::digest());
    let key = list(key, "artifact", requirements.content());
    let pins = preferred.iter();
    let pins = pins.map(|one| format!("{}=={}", one.name, one.version));
    let key = pins.fold(key, |key, pin| key.field("preferred", pin));
    let name = key.finish().to_string();
    let environments = request.store.root().join("environments");
    let path = environments.join(&name);
    let environment = HostEnvironment {
        python: path.join("bin/python"),
        path,
        coglet,
        env,
        schema: model.schema,
    };

    let _lock = request.store.lock(&format!("environment-{}", &name[..2]))?;
    if environment.python.exists() && request.cache == Cache::Use {
        return Ok(environment);
    }
    let title = format!("environment for {python}");
    executor.timed(&title, || {
        let locked = lock_for_host(&executor, &python.version, &requirements, &preferred)?;
        let uv = executor.uv()?;
        let staging = request.store.scratch()?;
        let artifacts = staging.path().join("artifacts");
        requirements.stage(
            request.project_dir,
            &artifacts,
            reproducible::date(executor.timestamp),
        )?;
        let wanted = Staged {
            requirements: &requirements,
            artifacts: &artifacts,
            preferred: &[],
            refresh: Refresh::Nothing,
        };
        let venv = staging.path().join("venv");
        uv.create_environment(&venv, &python.path)?;
        uv.install_into(&wanted, &locked.resolution, &venv.join("bin/python"))?;
        write_sdk(
            &venv
                .join("lib")
                .join(format!("python{}", minor_version(&python.version)))
                .join("site-packages"),
        )?;
        fs_err::create_dir_all(environments)?;
        Ok(request.store.publish(&venv, &environment.path)?)
    })?;
    Ok(environment)
}

/// What of cog.yaml changes an image and nothing on this machine.
fn not_applied(config: &Config) -> Option<String> {
    let mut parts = Vec::new();
    if !config.system_packages().is_empty() {
        let names = config.system_packages().join(", ");
        parts.push(format!(
            "`build.system_packages` ({names}) is not installed"
        ));
    }
    match config.commands().len() {
        0 => {}
        1 => parts.push("the command of `build.run` is not run".to_owned()),
        count => parts.push(format!("the {count} commands of `build.run` are not run")),
    }
    (!parts.is_empty()).then(|| {
        format!(
            "{} without a container: do on this machine what the model needs of it, or use `--engine embedded`",
            parts.join(", and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use cog_config::{Build, RunCommand};

    use super::*;

    #[test]
    fn what_is_not_applied_is_named() {
        let config = |packages: &[&str], commands: &[&str]| Config {
            build: Some(Build {
                system_packages: packages.iter().map(|&name| name.to_owned()).collect(),
                run: commands
                    .iter()
                    .map(|&command| RunCommand {
                        command: command.to_owned(),
                        mounts: Vec::new(),
                    })
                    .collect(),
                ..Build::default()
            }),
            ..Config::default()
        };
        assert_eq!(not_applied(&config(&[], &[])), None);
        let message = not_applied(&config(&["ffmpeg", "sox"], &["echo a"])).expect("two parts");
        assert!(
            message.starts_with(
                "`build.system_packages` (ffmpeg, sox) is not installed, and the command of `build.run` is not run"
            ),
            "{message}"
        );
        let message = not_applied(&config(&[], &["echo a", "echo b"])).expect("one part");
        assert!(message.starts_with("the 2 commands"), "{message}");
    }
}
