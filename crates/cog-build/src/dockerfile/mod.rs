//! The Dockerfile that the published tool would have generated for a project. Pure: from the configuration and what
//! was completed of it, no file or network is asked.
//!
//! [`dockerfile`] is the recipe, in order; each of its steps is a function of a module here. Three points are better
//! than there, and change nothing for projects that build there: values of `environment` are quoted where they need
//! it; texts (requirements, certificates) are in the Dockerfile itself; other files that are not the project's source
//! come from a named build context, [`STAGED`], which [`Dockerfile::staged`] lists.

mod python;
mod recipe;
mod system;
mod weights;

use std::path::PathBuf;

use cog_config::{BaseKind, CompleteError, Completed, Config};
use cog_python::requirements::RequirementError;

use crate::certificate::Certificates;
use crate::command::{Command, CommandError, SecretMount};
use crate::sdk_source::SdkSources;

use self::python::Packages;
use self::recipe::Recipe;
pub use self::weights::{SeparatedWeights, weights_dockerfile};

/// The build context with the files that are neither the project's nor text.
pub const STAGED: &str = "staged";

/// What the project does not say.
#[derive(Debug, Clone, Default)]
pub struct DockerfileOptions {
    /// The project, for requirement lines with absolute paths.
    pub project_dir: PathBuf,
    /// Name of the configuration file; empty for `cog.yaml`.
    pub config_file_name: String,
    /// Where SDK and server come from.
    pub sdk: SdkSources,
    /// Certificates that the image trusts.
    pub certificates: Option<Certificates>,
    /// `--precompile`: whether Python files are compiled.
    pub precompile: bool,
    /// `--strip`: whether debugging symbols are removed from shared libraries.
    pub strip: bool,
    /// `--separate-weights`: what comes from an image of its own.
    pub separated: Option<SeparatedWeights>,
}

/// A generated Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its text.
    pub text: String,
    /// What has to be in the build context [`STAGED`].
    pub staged: Vec<StagedFile>,
    /// What the user should know, in order.
    pub warnings: Vec<String>,
}

/// A file of the build context [`STAGED`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedFile {
    /// The file on this machine; a relative path starts at the project.
    pub source: PathBuf,
    /// Its path in the context.
    pub path: String,
}

/// A project that has no Dockerfile.
#[derive(Debug, thiserror::Error)]
pub enum DockerfileError {
    /// There is nothing to build on.
    #[error(transparent)]
    Base(#[from] CompleteError),
    /// A command can't be an instruction.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A requirement can't be installed.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// A value that would end its instruction.
    #[error("{what} has a line break: `{}`", value.escape_debug())]
    LineBreak {
        /// What it is.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The older server installs itself for one release of Python.
    #[error("Python version must be <major>.<minor> for coglet")]
    PythonPatch,
}

type Result<T> = std::result::Result<T, DockerfileError>;

/// The Dockerfile of a project.
pub fn dockerfile(
    config: &Config,
    completed: &Completed,
    options: &DockerfileOptions,
) -> Result<Dockerfile> {
    let base = completed.base()?;
    let packages = Packages {
        config,
        completed,
        options,
        uv_python: base.uv_python,
    };
    let mut recipe = Recipe::new();
    if let Some(separated) = &options.separated {
        weights::stage(&mut recipe, separated)?;
    }
    let reference = base.reference.as_deref().unwrap_or_default();
    recipe.instruction("FROM", reference);
    match base.kind {
        BaseKind::CogBase => {
            system::certificate(&mut recipe, options.certificates.as_ref());
            system::environment(&mut recipe, &config.environment);
            system::apt(&mut recipe, config.system_packages(), &base.system_packages)?;
            system::uv(&mut recipe);
            if base.uv_python {
                system::link_python(&mut recipe);
            }
            packages.install(&mut recipe)?;
        }
        BaseKind::Cuda | BaseKind::Slim => {
            system::preamble(&mut recipe);
            system::certificate(&mut recipe, options.certificates.as_ref());
            system::tini(&mut recipe);
            system::environment(&mut recipe, &config.environment);
            system::apt(&mut recipe, config.system_packages(), &base.system_packages)?;
            if base.kind == BaseKind::Cuda {
                system::tools(&mut recipe);
                system::uv(&mut recipe);
                system::uv_python(&mut recipe, &completed.python.version);
            } else {
                system::uv(&mut recipe);
            }
            packages.install(&mut recipe)?;
            system::linker_cache(&mut recipe);
        }
    }
    commands(&mut recipe, config)?;
    if let Some(separated) = &options.separated {
        weights::copy(&mut recipe, separated)?;
    }
    model(&mut recipe, config, completed, options)?;
    Ok(recipe.finish())
}

/// `build.run`, then `build.pre_install`.
fn commands(recipe: &mut Recipe, config: &Config) -> Result<()> {
    for command in config.commands() {
        let secrets = command.mounts.into_iter().map(|mount| SecretMount {
            id: mount.id,
            target: mount.target,
        });
        let command = Command {
            command: command.command,
            secrets: secrets.collect(),
        };
        let Command { command, secrets } = command.checked()?;
        let mounts = secrets.iter().map(|SecretMount { id, target }| {
            let mount = format!("--mount=type=secret,id={id},target={target} ");
            recipe::one_line("a secret mount", &mount)?;
            Ok(mount)
        });
        let mounts: String = mounts.collect::<Result<_>>()?;
        recipe.instruction("RUN", format!("{mounts}{command}"));
    }
    Ok(())
}

/// What runs, and the source, which changes most often.
fn model(
    recipe: &mut Recipe,
    config: &Config,
    completed: &Completed,
    options: &DockerfileOptions,
) -> Result<()> {
    recipe.instruction("WORKDIR", "/src");
    recipe.instruction("EXPOSE", "5000");
    if let Some(runner) = &config.runner {
        recipe.variables([("COG_PREDICT_TYPE_STUB", runner.as_str())]);
    }
    if let Some(train) = &config.train {
        recipe.variables([("COG_TRAIN_TYPE_STUB", train.as_str())]);
    }
    if let Some(max) = completed.concurrency {
        recipe.variables([("COG_MAX_CONCURRENCY", max.to_string().as_str())]);
    }
    recipe.instruction("CMD", r#"["python", "-m", "cog.server.http"]"#);
    recipe.instruction("COPY", ". /src");
    let name = options.config_file_name.as_str();
    if !name.is_empty() && name != "cog.yaml" {
        recipe::one_line("the name of the config file", name)?;
        let from = recipe::shell_word(&format!("/src/{name}"));
        recipe.instruction("RUN", format!("cp {from} /src/cog.yaml"));
    }
    Ok(())
}
