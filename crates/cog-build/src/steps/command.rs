//! Runs a command of `build.run` in a container; what it changed is the layer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cog_debian::APT_SOURCES_PATH;
use cog_image::{Layer, Scratch, trust};

use crate::command::Command;
use crate::container::{HOST_BUNDLE, Job, Mount};
use crate::error::{BuildError, CommandOutput, Result};
use crate::plan::RunStep;
use crate::secrets::SecretValue;
use crate::step_output::StepOutput;
use crate::workshop::Workshop;

/// Where commands run: the base's root, since the project is not there yet.
const WORKING_DIR: &str = "/";

/// Download caches of Python's installers. Everything else stays, also lists of the package manager:
/// the next command may count on them.
const LEFT_OVERS: [&str; 2] = ["root/.cache/pip", "root/.cache/uv"];

/// The layer that the command of `step` makes on top of the layers `below`.
pub(crate) fn run(
    workshop: &Workshop<'_>,
    step: &RunStep,
    secrets: &BTreeMap<String, SecretValue>,
    below: &[Layer],
) -> Result<StepOutput> {
    let command = &step.command;
    let secrets = SecretFiles::write(command, secrets)?;
    let apt = AptSurroundings::write(workshop, step)?;
    let job = Job {
        title: command.command.clone(),
        arguments: ["/bin/sh", "-c", &command.command]
            .map(str::to_owned)
            .to_vec(),
        environment: AptSurroundings::environment(step),
        working_dir: WORKING_DIR.to_owned(),
        mounts: secrets.mounts().into_iter().chain(apt.mounts()).collect(),
        output: CommandOutput::Reported,
    };
    let upper = workshop.run_container(below, &job)?;
    let mut options = workshop.command_layer_options(format!("run: {}", command.command));
    options.exclude = LEFT_OVERS.iter().map(PathBuf::from).collect();
    let layer = workshop
        .store
        .add_layer_from_upper(upper.path(), &options)?;
    Ok(StepOutput::layer(layer))
}

/// Where commands find the package manager's settings.
const APT_CONFIG: &str = "/tmp/.cog-apt.conf";

/// One user exists in the container, so the package manager cannot become another one to download.
const APT_SETTINGS: &str =
    "APT::Sandbox::User \"root\";\nAcquire::Retries \"3\";\nDpkg::Use-Pty \"0\";\n";

/// What lets a command use the distribution's package manager, without leaving a trace in its layer.
struct AptSurroundings {
    folder: Scratch,
    has_sources: bool,
}

impl AptSurroundings {
    fn write(workshop: &Workshop<'_>, step: &RunStep) -> Result<Self> {
        let folder = workshop.store.scratch()?;
        let certificates = if trust::reaches_containers()? {
            format!("Acquire::https::CaInfo \"{HOST_BUNDLE}\";\n")
        } else {
            String::new()
        };
        fs_err::write(
            folder.path().join("apt.conf"),
            format!("{APT_SETTINGS}{certificates}"),
        )?;
        if let Some(release) = &step.tools.release {
            fs_err::write(folder.path().join("sources"), release.apt_sources()?)?;
        }
        Ok(Self {
            folder,
            has_sources: step.tools.release.is_some(),
        })
    }

    fn environment(step: &RunStep) -> Vec<(String, String)> {
        let mut environment = step.environment.clone();
        if !environment.iter().any(|(name, _)| name == "APT_CONFIG") {
            environment.push(("APT_CONFIG".to_owned(), APT_CONFIG.to_owned()));
        }
        environment
    }

    /// A base made of the archive's packages names no mirror, so commands get this machine's for the time.
    fn mounts(&self) -> Vec<Mount> {
        let file = |name: &str| self.folder.path().join(name);
        let mut mounts = vec![Mount::read_only(file("apt.conf"), APT_CONFIG)];
        if self.has_sources {
            mounts.push(Mount::read_only(file("sources"), APT_SOURCES_PATH));
        }
        mounts
    }
}

/// The secrets of a command as files outside of every layer, gone when dropped.
struct SecretFiles {
    folder: Option<tempfile::TempDir>,
    targets: Vec<String>,
}

impl SecretFiles {
    fn write(command: &Command, secrets: &BTreeMap<String, SecretValue>) -> Result<Self> {
        if command.secrets.is_empty() {
            return Ok(Self {
                folder: None,
                targets: Vec::new(),
            });
        }
        let folder = memory_folder()?;
        let mut targets = Vec::new();
        for (number, mount) in command.secrets.iter().enumerate() {
            let value = secrets
                .get(&mount.id)
                .ok_or_else(|| BuildError::MissingSecret {
                    id: mount.id.clone(),
                })?;
            fs_err::write(folder.path().join(number.to_string()), value.expose())?;
            targets.push(absolute(&mount.target));
        }
        Ok(Self {
            folder: Some(folder),
            targets,
        })
    }

    fn mounts(&self) -> Vec<Mount> {
        let Some(folder) = &self.folder else {
            return Vec::new();
        };
        let mount = |(number, target): (usize, &String)| {
            Mount::read_only(folder.path().join(number.to_string()), target.clone())
        };
        self.targets.iter().enumerate().map(mount).collect()
    }
}

/// A folder in memory if the host has one, so that secrets do not reach a disk.
fn memory_folder() -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("cog-secrets-");
    Ok(builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir())?)
}

fn absolute(target: &str) -> String {
    if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{WORKING_DIR}{target}")
    }
}

#[cfg(test)]
mod tests {
    use cog_errors::Hint as _;

    use super::*;
    use crate::command::SecretMount;

    fn command() -> Command {
        let mount = |id: &str, target: &str| SecretMount {
            id: id.into(),
            target: target.into(),
        };
        Command {
            command: "cat secret.txt".into(),
            secrets: vec![mount("a", "secret.txt"), mount("b", "/root/.token")],
        }
    }

    #[test]
    fn secrets_are_files_for_as_long_as_they_are_needed() {
        let secrets = ["a", "b"].map(|id| (id.to_owned(), SecretValue::new(id.as_bytes())));
        let files = SecretFiles::write(&command(), &secrets.into()).expect("written");
        let mounts = files.mounts();
        assert_eq!(mounts[0].target, "/secret.txt");
        assert_eq!(mounts[1].target, "/root/.token");
        let source = mounts[1].source.clone();
        assert_eq!(fs_err::read(&source).expect("readable"), b"b");
        drop(files);
        assert!(!source.exists());
    }

    #[test]
    fn a_secret_that_was_not_given_is_named() {
        let Err(error) = SecretFiles::write(&command(), &BTreeMap::new()) else {
            panic!("no secret was given");
        };
        assert!(error.to_string().contains("`a`"), "{error}");
        assert!(
            error
                .hint()
                .expect("there is one")
                .contains("--secret id=a")
        );
    }
}
