//! An environment on this machine, for running a project without a container.

use std::path::{Path, PathBuf};

use crate::error::{BuildError, Result};
use crate::plan::{key, list};
use crate::project::BuildRequest;
use crate::steps::python_packages::resolve_for_host;
use crate::steps::runtime::{server_program, write_sdk};
use crate::uv::{Target, Uv, minor_version};
use crate::workshop::{Cache, Workshop};

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
}

/// The environment for the project of `request`, made if it is not there yet.
///
/// The host's Python of the configured version is used, else the nearest one, with a warning.
/// System packages and commands of `build.run` are left out: they are for images.
pub fn host_environment(request: &BuildRequest<'_>) -> Result<HostEnvironment> {
    request.check()?;
    let workshop = request.workshop();
    let coglet = server_program()?;
    let requirements = request.requirements(&workshop)?;
    let uv = Uv::find(request.store.root(), request.reporter)?;
    let python = find_python(&workshop, &uv, request.python_version())?;
    let version = python_version(&python)?;

    let key = key("host environment", RECIPE)
        .field("python", python.as_os_str().as_encoded_bytes())
        .field("version", &version)
        .field("requirements", requirements.text())
        .field("sdk", crate::sdk::digest());
    let artifacts = requirements
        .artifacts
        .iter()
        .map(|artifact| &artifact.sha256);
    let name = list(key, "artifact", artifacts).finish().to_string();
    let path = request.store.root().join("environments").join(&name);
    let environment = HostEnvironment {
        python: path.join("bin/python"),
        path,
        coglet,
    };

    let _lock = request.store.lock(&format!("environment-{}", &name[..2]))?;
    if environment.python.exists() && request.cache == Cache::Use {
        return Ok(environment);
    }
    let title = format!("environment for Python {version}");
    workshop.timed(&title, || {
        let target = Target {
            python: version.clone(),
            platform: None,
        };
        let staging = request.store.scratch()?;
        let pins = resolve_for_host(&workshop, &uv, &target, &requirements, staging.path())?;
        let venv = staging.path().join("venv");
        uv.create_environment(&venv, &python)?;
        let pins_file = staging.path().join("pins.txt");
        fs_err::write(&pins_file, pins)?;
        uv.install_into(&pins_file, &venv.join("bin/python"))?;
        write_sdk(
            &venv
                .join("lib")
                .join(format!("python{}", minor_version(&version)))
                .join("site-packages"),
        )?;
        publish(&venv, &environment.path)
    })?;
    Ok(environment)
}

/// Puts the finished environment in its place; one that was there is replaced.
fn publish(venv: &Path, path: &Path) -> Result<()> {
    fs_err::create_dir_all(path.parent().unwrap_or(path))?;
    if path.exists() {
        fs_err::remove_dir_all(path)?;
    }
    Ok(fs_err::rename(venv, path)?)
}

/// The host's Python `version`, else any that the SDK supports.
fn find_python(workshop: &Workshop<'_>, uv: &Uv, version: &str) -> Result<PathBuf> {
    let minor = minor_version(version);
    if let Some(python) = uv.find_python(&minor)? {
        return Ok(python);
    }
    let python = uv.find_python(">=3.10")?.ok_or(BuildError::NoHostPython)?;
    workshop.warn(&format!(
        "this machine has no Python {minor}, using {} at `{}`",
        python_version(&python)?,
        python.display()
    ));
    Ok(python)
}

/// Asks the interpreter for its version: major, minor and patch.
fn python_version(python: &Path) -> Result<String> {
    let output = std::process::Command::new(python)
        .args([
            "-I",
            "-c",
            "import platform; print(platform.python_version())",
        ])
        .output()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && version.starts_with("3.") {
        Ok(version)
    } else {
        Err(BuildError::NoHostPython)
    }
}
