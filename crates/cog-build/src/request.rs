//! A project with its configuration: what is built, and from what.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use cog_config::{Completed, Config, Options};
use cog_engine::{Engine, Isolation};
use cog_files::read_project_file;
use cog_image::{Compression, Store};

use crate::architecture::Architecture;
use crate::attest::Attestations;
use crate::base::BaseChoice;
use crate::container::Containers;
use crate::docker::DockerBuilder;
use crate::error::{BuildError, Result};
use crate::executor::{Cache, Executor};
use crate::implied::ImpliedPolicy;
use crate::locking::LockPolicy;
use crate::model::{Interface, Model};
use crate::plan::Symbols;
use crate::reporter::{Event, Reporter};
use crate::sdk_source;
use crate::secrets::{Secret, SecretValue};
use crate::separated::SourceLayers;
use crate::variables::ModelVariables;
use cog_python::requirements::{Requirements, flatten};

/// Everything that decides a build.
pub struct BuildRequest<'a> {
    /// The folder with the configuration file.
    pub project_dir: &'a Path,
    /// Name of the configuration file in it.
    pub config_file_name: &'a str,
    /// The configuration, validated and completed.
    pub config: &'a Config,
    /// Where layers and images are kept.
    pub store: &'a Store,
    /// What runs containers, if anything can.
    pub engine: Option<&'a dyn Engine>,
    /// A daemon that runs containers for the build in place of the engine.
    pub docker: Option<&'a DockerBuilder>,
    /// The user's own Dockerfile, which the daemon builds in place of all that the configuration says of the image.
    pub dockerfile: Option<&'a Path>,
    /// Which base to build on.
    pub base: BaseChoice,
    /// What decides among the bases of [`BaseChoice::Default`].
    pub options: Options,
    /// Where PyTorch comes from.
    pub torch_index: TorchIndex,
    /// Whether packages that the project needs without naming them are added.
    pub implied: ImpliedPolicy,
    /// What becomes of the project's lock file.
    pub lock: LockPolicy,
    /// Whether results of earlier builds count.
    pub cache: Cache,
    /// What images are made for. What is run of a project is for this machine, whatever is in here.
    pub architectures: Vec<Architecture>,
    /// What `--secret` gave.
    pub secrets: Vec<Secret>,
    /// What the model's source says.
    pub interface: Interface,
    /// The server's program, if it is not the one beside this program.
    pub server: Option<&'a Path>,
    /// The date of all files and of the image, in seconds since 1970; if absent, files have the epoch's, and the image
    /// that of the commit that it is made from.
    pub timestamp: Option<i64>,
    /// Tells the image from others that are made to be pushed.
    pub push_id: Option<String>,
    /// What is done to shared libraries of Python packages.
    pub symbols: Symbols,
    /// How the image's layers are compressed; if absent, ours with Zstandard, and the base's as they are.
    pub compression: Option<Compression>,
    /// Who runs the image's command, in numbers; if absent, whom the base says.
    pub user: Option<String>,
    /// What is said about the image beside it.
    pub attestations: Attestations,
    /// Which layers the project's files are in.
    pub source_layers: SourceLayers,
    /// Threads that work; 0 means one per core. The result is the same for every number.
    pub threads: usize,
    /// Receives what happens.
    pub reporter: &'a dyn Reporter,
}

/// Which package index PyTorch is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TorchIndex {
    /// The one that has it for the project's CUDA, as the reference chooses it.
    #[default]
    ByCuda,
    /// The default one, which has each version for one CUDA.
    Default,
}

impl<'a> BuildRequest<'a> {
    /// What works for this machine.
    pub(crate) fn executor(&self) -> Executor<'a> {
        self.executor_for(Architecture::host())
    }

    /// What works for `architecture`.
    pub(crate) fn executor_for(&self, architecture: Architecture) -> Executor<'a> {
        let own = self
            .engine
            .filter(|engine| engine.isolation() == Isolation::Container);
        let here = match self.docker {
            Some(docker) => Some(Containers::Docker(docker)),
            None => own.map(Containers::Own),
        };
        Executor {
            project_dir: self.project_dir,
            store: self.store,
            architecture,
            containers: here.filter(|containers| match containers {
                Containers::Own(_) => architecture.runs_here(),
                // Its kernel may be another one: it is asked for what nothing else can do, and says if it cannot.
                Containers::Docker(_) => true,
            }),
            here,
            own: own.filter(|_| architecture.runs_here()),
            reporter: self.reporter,
            cache: self.cache,
            symbols: self.symbols,
            compression: Compression::default(),
            timestamp: self.timestamp.unwrap_or(0),
            threads: self.threads,
        }
    }

    /// Refuses what cannot be built, before any work is done.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.config.weights.is_empty() {
            return Err(BuildError::Weights);
        }
        if self.dockerfile.is_some() {
            // It installs the SDK itself.
            return Ok(());
        }
        let build = self.config.build.as_ref();
        let version = build.and_then(|build| build.sdk_version.as_deref());
        let variable = |name: &str| std::env::var(name).ok();
        let directory = std::env::current_dir()?;
        sdk_source::check(version, variable, &directory, self.reporter)?;
        Ok(())
    }

    /// The project with every default decided.
    pub(crate) fn complete(&self) -> Result<Completed> {
        let completed = self.completed()?;
        let warn = |message: &str| self.reporter.report(Event::Warning { message });
        for warning in &completed.warnings {
            let has_base = self.base == BaseChoice::Default && self.dockerfile.is_none();
            if has_base || !warning.is_about_the_base() {
                warn(&warning.to_string());
            }
        }
        Ok(completed)
    }

    /// The same, of which nothing is told.
    pub(crate) fn completed(&self) -> Result<Completed> {
        let (lines, _) = self.requirement_lines()?;
        Ok(cog_config::complete(self.config, &lines, &self.options)?)
    }
}

impl BuildRequest<'_> {
    /// The requirements, checked, with the lines for what the image brings itself left out.
    pub(crate) fn requirements(
        &self,
        completed: &Completed,
        executor: &Executor<'_>,
    ) -> Result<Requirements> {
        let lines = self.chosen_lines(completed);
        let requirements = self.read_requirements(&lines)?;
        let itself = self.lines_for_itself()?;
        for line in itself.iter().chain(&requirements.itself) {
            executor.warn(&format!(
                "`{line}` is left out: the project itself is not installed, it is at the model's working directory, \
                 where Python finds it. What it depends on has to be among the requirements"
            ));
        }
        for line in &requirements.overridden {
            executor.warn(&format!(
                "'{line}' found in requirements — overriding with the version that belongs to this cog. \
                 Remove the line from the requirements"
            ));
        }
        Ok(requirements)
    }

    /// The requirement lines that are resolved.
    pub(crate) fn chosen_lines(&self, completed: &Completed) -> Vec<String> {
        match self.torch_index {
            TorchIndex::ByCuda => completed.requirements.clone(),
            TorchIndex::Default => completed.requirements_on_default_index(),
        }
    }

    pub(crate) fn read_requirements(&self, lines: &[String]) -> Result<Requirements> {
        let (_, base_dir) = self.config.requirement_lines(self.project_dir)?;
        let mut requirements =
            Requirements::read(lines, &base_dir, self.project_dir, lines_of_file)?;
        requirements.source = self.requirements_source();
        Ok(requirements)
    }

    /// The requirement lines, with those of other files that they name, and the folder that paths in them start at.
    fn requirement_lines(&self) -> Result<(Vec<String>, PathBuf)> {
        let (lines, folder) = self.config.requirement_lines(self.project_dir)?;
        let lines = flatten(&lines, &folder, self.project_dir, lines_of_file)?;
        Ok((lines, folder))
    }

    /// The lines, of other files too, that ask for the project itself. Everybody else reads over them.
    fn lines_for_itself(&self) -> Result<Vec<String>> {
        let (_, folder) = self.config.requirement_lines(self.project_dir)?;
        let all = cog_config::requirements::numbered_lines;
        let text = self.requirements_text();
        let written: Vec<String> = all(&text).into_iter().map(|(_, line)| line).collect();
        let mut lines = flatten(&written, &folder, self.project_dir, all)?;
        lines.retain(|line| line == "-e .");
        Ok(lines)
    }

    /// The requirements as they are written; nothing if they cannot be read, which is told elsewhere.
    fn requirements_text(&self) -> String {
        let Some(build) = &self.config.build else {
            return String::new();
        };
        match &build.python_requirements {
            // Files of other kinds name no project to install but their own, which is left out.
            Some(file) if !cog_config::requirements::has_lines(file) => String::new(),
            Some(file) => read_project_file(self.project_dir, Path::new(file)).unwrap_or_default(),
            None => build.python_packages.join("\n"),
        }
    }

    /// Where the requirements are written.
    pub(crate) fn requirements_source(&self) -> String {
        let build = self.config.build.as_ref();
        build
            .and_then(|build| build.python_requirements.clone())
            .unwrap_or_else(|| self.config_file_name.to_owned())
    }

    /// The values of the secrets that commands mount. Read once, before anything else is done: a mistake in them should
    /// not cost a build, and what gives one may give it only once.
    pub(crate) fn secret_values(&self) -> Result<BTreeMap<String, SecretValue>> {
        let commands = self.config.commands();
        let mounts = commands.iter().flat_map(|one| &one.mounts);
        let mounted: HashSet<&str> = mounts.map(|mount| mount.id.as_str()).collect();
        self.read_secrets(|id| mounted.contains(id))
    }

    /// All values, for commands that only the daemon knows.
    pub(crate) fn all_secret_values(&self) -> Result<BTreeMap<String, SecretValue>> {
        self.read_secrets(|_| true)
    }

    fn read_secrets(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, SecretValue>> {
        self.secrets
            .iter()
            .filter(|secret| is_wanted(&secret.id))
            .map(|secret| {
                let value = secret.read(self.project_dir, |name| std::env::var_os(name))?;
                Ok((secret.id.clone(), value))
            })
            .collect()
    }

    pub(crate) fn model_variables(&self, model: &Model) -> ModelVariables<'_> {
        ModelVariables {
            run: self.config.runner.as_deref(),
            train: self.config.train.as_deref(),
            concurrency: model.concurrency,
        }
    }

    /// The configuration with all that was decided, as the image says it.
    pub(crate) fn final_config(&self, completed: &Completed, model: &Model) -> Config {
        Config {
            concurrency_max: model.concurrency,
            ..completed.fill_in(self.config)
        }
    }

    pub(crate) fn has_model(&self) -> bool {
        self.config.runner.is_some() || self.config.train.is_some()
    }
}

/// The lines of another file that the requirements name. The project itself is not installed, whoever asks for it.
pub(crate) fn lines_of_file(text: &str) -> Vec<(usize, String)> {
    let mut lines = cog_config::requirements::numbered_lines(text);
    lines.retain(|(_, line)| line != "-e .");
    lines
}
