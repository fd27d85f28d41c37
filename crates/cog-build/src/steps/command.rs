//! Runs a command of `build.run` in a container; what it changed is the layer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cog_debian::APT_SOURCES_PATH;
use cog_image::{Layer, Scratch, trust};

use crate::command::{Command, SecretMount};
use crate::container::{HOST_BUNDLE, Job, Mount, Upper};
use crate::docker::DockerBuilder;
use crate::error::{BuildError, CommandOutput, Result};
use crate::executor::Executor;
use crate::plan::RunStep;
use crate::secret_files::SecretFiles;
use crate::secrets::SecretValue;
use crate::step_output::StepOutput;

/// Where commands run: the base's root, since the project is not there yet.
const WORKING_DIR: &str = "/";

/// Download caches of Python's installers. Everything else stays, also lists of the package manager:
/// the next command may count on them.
const LEFT_OVERS: [&str; 2] = ["root/.cache/pip", "root/.cache/uv"];

/// The layer that the command of `step` makes on top of the layers `below`.
pub(crate) fn run(
    executor: &Executor<'_>,
    step: &RunStep,
    secrets: &BTreeMap<String, SecretValue>,
    below: &[Layer],
) -> Result<StepOutput> {
    let prepared = Prepared::new(executor, step, secrets)?;
    let upper = executor.run_container(below, &prepared.job)?;
    layer(executor, step, &upper)
}

/// The layers that the commands of `steps` make, each on top of the one before and the first on the layers `below`, up
/// to the first that fails: a daemon does them all in one build.
pub(crate) fn run_in_daemon(
    executor: &Executor<'_>,
    docker: &DockerBuilder,
    steps: &[&RunStep],
    secrets: &BTreeMap<String, SecretValue>,
    below: &[Layer],
) -> Result<Vec<Result<StepOutput>>> {
    let prepared = steps
        .iter()
        .map(|step| Prepared::new(executor, step, secrets));
    let prepared: Vec<Prepared> = prepared.collect::<Result<_>>()?;
    let jobs = prepared.iter().map(|prepared| prepared.job.clone());
    let uppers = executor.run_in_daemon(docker, below, jobs.collect())?;
    let outputs = steps.iter().zip(uppers);
    Ok(outputs
        .map(|(step, upper)| layer(executor, step, &upper?))
        .collect())
}

/// A command that is ready to be run, with what it mounts.
struct Prepared {
    job: Job,
    _secrets: SecretFiles,
    _apt: AptFiles,
}

impl Prepared {
    fn new(
        executor: &Executor<'_>,
        step: &RunStep,
        secrets: &BTreeMap<String, SecretValue>,
    ) -> Result<Self> {
        let command = &step.command;
        let secrets = SecretFiles::write(&mounted(command, secrets)?)?;
        let apt = AptFiles::write(executor, step)?;
        let job = Job {
            title: command.command.clone(),
            arguments: ["/bin/sh", "-c", &command.command]
                .map(str::to_owned)
                .to_vec(),
            environment: AptFiles::environment(step),
            working_dir: WORKING_DIR.to_owned(),
            mounts: secrets.mounts().into_iter().chain(apt.mounts()).collect(),
            output: CommandOutput::Reported,
        };
        Ok(Self {
            job,
            _secrets: secrets,
            _apt: apt,
        })
    }
}

fn layer(executor: &Executor<'_>, step: &RunStep, upper: &Upper) -> Result<StepOutput> {
    let command = &step.command;
    let mut options = executor.command_layer_options(format!("run: {}", command.command));
    options.exclude = LEFT_OVERS.iter().map(PathBuf::from).collect();
    let layer = executor
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
struct AptFiles {
    folder: Scratch,
    has_sources: bool,
}

impl AptFiles {
    fn write(executor: &Executor<'_>, step: &RunStep) -> Result<Self> {
        let folder = executor.store.scratch()?;
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

/// The secrets that `command` mounts, by the paths that it finds them at.
pub(crate) fn mounted<'a>(
    command: &Command,
    secrets: &'a BTreeMap<String, SecretValue>,
) -> Result<BTreeMap<String, &'a [u8]>> {
    let pair = |mount: &SecretMount| match secrets.get(&mount.id) {
        Some(value) => Ok((absolute(&mount.target), value.expose())),
        None => Err(BuildError::MissingSecret {
            id: mount.id.clone(),
        }),
    };
    command.secrets.iter().map(pair).collect()
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
    fn secrets_are_where_the_command_looks_for_them() {
        let secrets = ["a", "b"].map(|id| (id.to_owned(), SecretValue::new(id.as_bytes())));
        let secrets = secrets.into();
        let found = mounted(&command(), &secrets).expect("they are given");
        let expected = [("/root/.token", "b"), ("/secret.txt", "a")];
        let expected = expected.map(|(target, value)| (target.to_owned(), value.as_bytes()));
        assert_eq!(found, expected.into());
    }

    #[test]
    fn a_secret_that_was_not_given_is_named() {
        let Err(error) = mounted(&command(), &BTreeMap::new()) else {
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
