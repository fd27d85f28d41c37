//! Which steps a project takes, and all that each depends on. Pure: no file, clock or network.
//!
//! A step's [key](BuildPlan::keys) is the hash of its own serialisation, of the version of the recipe that turns it into
//! layers, and of the key below. Equal keys therefore mean equal layers, and a change redoes only what stands on it.
//! Nothing outside of the plan changes what a step makes.
//!
//! The source is not in the plan: it is looked at in each build, and the parts that changed are made anew.

use cog_config::{Config, Mount, RunCommand};
use cog_image::{Compression, StepKey};
use cog_python::installed::{Installed, Program, already_there, programs_below};
use cog_python::resolution::Resolution;
use cog_python::venv::Interpreter;
use serde::{Deserialize, Serialize};

use crate::base::{DebianRelease, LockedBase};
use crate::certificate::{BUNDLE, Certificates};
use crate::command::{Command, CommandError, SecretMount};
use crate::lock::{Lock, LockedPython, LockedRuntime, LockedSystem, PackageSource, Versions};
use crate::parts::MAX_PARTS;
use crate::variables::{Variables, build_variables};

/// The most layers of an image with one of source. The others of the source, up to [`MAX_PARTS`], come on top: Docker
/// takes 125 in all, and overlay mounts not many more.
const MAX_LAYERS: usize = 100;

/// The steps of a build above the base and below the source, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// What the steps stand on.
    pub base: LockedBase,
    /// How layers are made.
    pub layers: LayerSettings,
    /// The image's environment variables, but for those that describe the model.
    pub environment: Vec<(String, String)>,
    /// What is done.
    pub steps: Vec<Step>,
}

/// What all layers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSettings {
    /// The date of all files, in seconds since 1970.
    pub timestamp: i64,
    /// How blobs are compressed.
    pub compression: Compression,
}

/// What decides a plan besides the project and its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSettings {
    /// How layers are made.
    pub layers: LayerSettings,
    /// Whether Python's files are compiled ahead.
    pub bytecode: Bytecode,
    /// What is done to shared libraries of Python packages.
    pub symbols: Symbols,
}

/// Whether shared libraries of Python packages keep what debuggers and linkers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Symbols {
    /// They are as their packages have them.
    #[default]
    Kept,
    /// It is taken out.
    Stripped,
}

/// Whether Python's files are compiled ahead, which is done in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bytecode {
    /// Yes.
    Compiled,
    /// No container can run: the first start of a model takes longer.
    Absent,
}

/// One step: all that decides its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Installs packages that the project needs without naming them. It comes first, so that projects which need
    /// the same share its layer.
    ImpliedPackages(SystemPackages),
    /// Adds the certificates to what the image trusts.
    Certificates {
        /// PEM.
        certificates: Certificates,
    },
    /// Installs packages of the distribution.
    SystemPackages(SystemPackages),
    /// Makes the virtual environment with the project's packages.
    PythonPackages(Box<PythonPackages>),
    /// Runs a command of the project.
    Command(RunStep),
    /// Adds SDK and server.
    Runtime {
        /// The base's Python.
        interpreter: Interpreter,
        /// What is added.
        runtime: LockedRuntime,
        /// Whether it is compiled ahead.
        bytecode: Bytecode,
    },
}

/// Packages of the distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemPackages {
    /// Names, in order.
    pub packages: Vec<String>,
    /// What the package manager sees.
    pub environment: Vec<(String, String)>,
    /// The release, if the base was made of the archive's packages and names no mirror.
    pub release: Option<DebianRelease>,
    /// In which versions they are installed, with all that they need.
    #[serde(default, skip_serializing_if = "Versions::are_open")]
    pub versions: Versions,
}

/// The virtual environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonPackages {
    /// The packages.
    pub python: LockedPython,
    /// The base's Python.
    pub interpreter: Interpreter,
    /// The image's platform by uv's name, such as `x86_64-manylinux_2_28`.
    pub platform: String,
    /// The most layers that this step may make.
    pub layer_limit: usize,
    /// Whether they are compiled ahead.
    pub bytecode: Bytecode,
    /// What is done to shared libraries.
    pub symbols: Symbols,
    /// Whether images see the packages of the base's Python below these.
    pub below: BasePackages,
    /// Programs of these packages.
    pub programs: Vec<Program>,
    /// Packages of the distribution that are there while source distributions are built.
    pub tools: BuildTools,
}

/// Whether an environment sees the packages of the base's Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BasePackages {
    /// It does: the base is one that brings packages.
    Seen,
    /// It has its own only.
    Hidden,
}

/// A command of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    /// The command, with the secrets that it mounts. What these contain is not part of the plan: it is not meant
    /// to decide what comes out.
    pub command: Command,
    /// What it sees.
    pub environment: Vec<(String, String)>,
    /// Packages of the distribution that are there while it runs.
    pub tools: BuildTools,
}

/// Packages of the distribution that are there while something is built, and not in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildTools {
    /// Names, sorted.
    pub packages: Vec<String>,
    /// The release, as in [`SystemPackages`].
    pub release: Option<DebianRelease>,
}

impl Step {
    /// What it does, for people.
    pub fn title(&self) -> String {
        match self {
            Self::ImpliedPackages(step) => {
                format!("implied packages: {}", step.packages.join(", "))
            }
            Self::Certificates { .. } => "certificates".to_owned(),
            Self::SystemPackages(step) => format!("system packages: {}", step.packages.join(", ")),
            Self::PythonPackages(step) => match step.python.requirements.packages.len() {
                0 => "python environment".to_owned(),
                1 => "python packages: 1 requirement".to_owned(),
                count => format!("python packages: {count} requirements"),
            },
            Self::Command(step) => format!("run: {}", step.command.command),
            Self::Runtime { .. } => "runtime".to_owned(),
        }
    }

    /// The version of the recipe: raised whenever the same inputs give another layer.
    fn recipe(&self) -> u32 {
        match self {
            Self::Certificates { .. } | Self::Command(_) | Self::Runtime { .. } => 1,
            Self::PythonPackages(_) => 2,
            Self::ImpliedPackages(_) | Self::SystemPackages(_) => 3,
        }
    }
}

/// What a project needs of the distribution without naming it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImpliedPackages {
    /// For the image, sorted.
    pub image: Vec<String>,
    /// For commands while they run, sorted.
    pub tools: Vec<String>,
    /// For source distributions while they are built, sorted.
    pub source_tools: Vec<String>,
    /// Packages that the project names as the release no longer does, with the names that it has.
    pub renamed: Vec<(String, String)>,
}

impl ImpliedPackages {
    /// The packages that `config` names, as the release has them, without those that a prebuilt base is known to hold if
    /// this is one.
    pub(crate) fn named(&self, config: &Config, is_prebuilt: bool) -> Vec<String> {
        let named = config.system_packages().iter();
        named
            .filter(|one| !(is_prebuilt && cog_config::is_in_cog_base(one)))
            .map(|one| self.in_release(one))
            .collect()
    }

    fn in_release(&self, package: &String) -> String {
        let renamed = self.renamed.iter().find(|(named, _)| named == package);
        renamed.map_or(package, |(_, package)| package).clone()
    }
}

impl BuildPlan {
    /// Whether commands of the project are run in it.
    pub(crate) fn has_commands(&self) -> bool {
        let is_command = |step: &Step| matches!(step, Step::Command(_));
        self.steps.iter().any(is_command)
    }

    /// Plans a build of `config` with the answers of `lock`.
    pub fn new(
        config: &Config,
        lock: &Lock,
        implied: &ImpliedPackages,
        settings: PlanSettings,
    ) -> Result<Self, CommandError> {
        let mut planner = Planner::new(
            config,
            &lock.base,
            lock.certificates.as_ref(),
            implied,
            settings.layers,
        );
        planner.foundation(config, &lock.system);
        let commands = config.commands();
        planner.python_packages(&lock.python, settings, commands.len());
        for one in commands {
            planner.command(command(one).checked()?);
        }
        planner.plan.steps.push(Step::Runtime {
            interpreter: lock.base.interpreter.clone(),
            runtime: lock.runtime.clone(),
            bytecode: settings.bytecode,
        });
        Ok(planner.plan)
    }

    /// The steps that come before Python's packages: what source distributions are built on.
    pub(crate) fn foundation(
        config: &Config,
        base: &LockedBase,
        certificates: Option<&Certificates>,
        implied: &ImpliedPackages,
        system: &LockedSystem,
        layers: LayerSettings,
    ) -> Self {
        let mut planner = Planner::new(config, base, certificates, implied, layers);
        planner.foundation(config, system);
        planner.plan
    }

    /// The key of each step.
    pub fn keys(&self) -> Vec<StepKey> {
        let below = key("base", 1)
            .field("base", self.base.id())
            .field("layers", canonical(&self.layers));
        let below = match self.base.compiler {
            Some(_) => below.field("compiler", self.base.compiler_id()),
            None => below,
        };
        let mut below = below.finish();
        let key = |step: &Step| {
            below = key("step", step.recipe())
                .field("step", canonical(step))
                .field("below", below.to_string())
                .finish();
            below
        };
        self.steps.iter().map(key).collect()
    }
}

/// The serialisation that keys are made of: fields in the order of their declaration.
fn canonical(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plans are made of text, numbers and lists")
}

struct Planner<'a> {
    certificates: Option<&'a Certificates>,
    implied: &'a ImpliedPackages,
    plan: BuildPlan,
}

impl<'a> Planner<'a> {
    fn new(
        config: &Config,
        base: &LockedBase,
        certificates: Option<&'a Certificates>,
        implied: &'a ImpliedPackages,
        layers: LayerSettings,
    ) -> Self {
        let variables = Variables {
            user: &config.variables(),
            certificate_bundle: certificates.map(|_| BUNDLE),
            triplet: &base.architecture.triplet(),
        };
        Self {
            certificates,
            implied,
            plan: BuildPlan {
                environment: build_variables(&base.environment, &variables),
                // What a base is called and made of decides nothing: its layers do.
                base: LockedBase {
                    packages: Vec::new(),
                    archive: None,
                    added_python: None,
                    ..base.clone()
                },
                layers,
                steps: Vec::new(),
            },
        }
    }

    fn foundation(&mut self, config: &Config, system: &LockedSystem) {
        if !self.implied.image.is_empty() {
            // What the project sets must not part this layer from those of other projects.
            let environment = build_variables(
                &self.plan.base.environment,
                &Variables {
                    triplet: &self.plan.base.architecture.triplet(),
                    ..Variables::default()
                },
            );
            let packages = self.implied.image.clone();
            let step = self.packages(packages, environment, &system.implied);
            self.plan.steps.push(Step::ImpliedPackages(step));
        }
        if let Some(certificates) = self.certificates {
            let certificates = certificates.clone();
            self.plan.steps.push(Step::Certificates { certificates });
        }
        let held = self.plan.base.has_common_packages();
        let packages = self.implied.named(config, held);
        if !packages.is_empty() {
            let environment = self.plan.environment.clone();
            let step = self.packages(packages, environment, &system.named);
            self.plan.steps.push(Step::SystemPackages(step));
        }
    }

    fn packages(
        &self,
        packages: Vec<String>,
        environment: Vec<(String, String)>,
        versions: &Versions,
    ) -> SystemPackages {
        SystemPackages {
            packages,
            environment,
            release: self.plan.base.debian.clone(),
            versions: versions.clone(),
        }
    }

    fn tools(&self, packages: &[String]) -> BuildTools {
        BuildTools {
            packages: packages.to_vec(),
            release: self.plan.base.debian.clone(),
        }
    }

    /// Python's packages may take what layers are left besides the base, one for each other step and the source.
    fn python_packages(&mut self, python: &LockedPython, settings: PlanSettings, commands: usize) {
        let installed = &self.plan.base.installed;
        // Where its files are fetched from decides nothing.
        let resolution = without(&python.resolution, installed).without_addresses();
        let others = self.plan.base.layers.len() + self.plan.steps.len() + commands + 3;
        let step = PythonPackages {
            python: LockedPython {
                resolution: resolution.clone(),
                ..python.clone()
            },
            programs: programs_below(installed, &resolution),
            below: if installed.is_empty() {
                BasePackages::Hidden
            } else {
                BasePackages::Seen
            },
            interpreter: self.plan.base.interpreter.clone(),
            platform: self.plan.base.python_platform.clone(),
            layer_limit: MAX_LAYERS.saturating_sub(others).max(1),
            bytecode: settings.bytecode,
            symbols: settings.symbols,
            tools: match python.source {
                PackageSource::Wheels => BuildTools::default(),
                PackageSource::SourceDistributions => self.tools(&self.implied.source_tools),
            },
        };
        self.plan.steps.push(Step::PythonPackages(Box::new(step)));
    }

    fn command(&mut self, command: Command) {
        let step = RunStep {
            command,
            environment: self.plan.environment.clone(),
            tools: self.tools(&self.implied.tools),
        };
        self.plan.steps.push(Step::Command(step));
    }
}

/// The resolution without what the base has.
fn without(resolution: &Resolution, installed: &[Installed]) -> Resolution {
    let there = already_there(resolution, installed);
    let mut resolution = resolution.clone();
    resolution
        .distributions
        .retain(|pin| !there.contains(&pin.name));
    resolution
}

fn command(command: RunCommand) -> Command {
    let mount = |mount: Mount| SecretMount {
        id: mount.id,
        target: mount.target,
    };
    Command {
        command: command.command,
        secrets: command.mounts.into_iter().map(mount).collect(),
    }
}

/// How many layers the source may have over so many `below`. Those are more than [`MAX_LAYERS`] only if the base alone
/// has that many.
pub(crate) fn source_limit(below: usize) -> usize {
    (MAX_LAYERS + MAX_PARTS)
        .saturating_sub(below)
        .clamp(1, MAX_PARTS)
}

pub(crate) type KeyBuilder = cog_image::store::StepKeyBuilder;

/// A key for the recipe `name` in its version `version`.
pub(crate) fn key(name: &str, version: u32) -> KeyBuilder {
    StepKey::builder(name).field("recipe version", version.to_string())
}

/// Adds a list to a key, so that no two lists give the same.
pub(crate) fn list<T: AsRef<[u8]>>(
    key: KeyBuilder,
    name: &str,
    values: impl IntoIterator<Item = T>,
) -> KeyBuilder {
    let mut count = 0_usize;
    let key = values.into_iter().fold(key, |key, value| {
        count += 1;
        key.field(name, value)
    });
    key.field(&format!("{name} count"), count.to_string())
}

#[cfg(test)]
mod tests;
