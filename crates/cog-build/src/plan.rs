//! Which steps a project takes, and what each depends on. Pure: no file, clock or network.
//!
//! A step's key covers its inputs, the recipe that turns them into layers, and the key of the step
//! below. Equal keys therefore mean equal layers, and a change redoes only what stands on it.
//!
//! The source is not in the plan: its layer is made anew in each build, which takes less time than
//! finding out whether it changed.

use cog_image::{Compression, StepKey};

use crate::certificate::Certificates;
use crate::command::{Command, CommandError};
use cog_python::requirements::Requirements;
use cog_python::venv::Interpreter;

/// What is known about the project's surroundings before anything is built.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Identifies the content of the base.
    pub base_id: String,
    /// The base's Python.
    pub interpreter: Interpreter,
    /// Platform of the image by uv's name, such as `x86_64-manylinux_2_28`.
    pub python_platform: String,
    /// Whether containers can run, for what is only worth doing in one.
    pub containers: Containers,
    /// Certificates from `COG_CA_CERT`.
    pub certificates: Option<Certificates>,
    /// The requirements, read and checked.
    pub requirements: Requirements,
    /// Identifies SDK and server.
    pub runtime_id: String,
    /// How layers are compressed.
    pub compression: Compression,
    /// The date of all files, in seconds since 1970.
    pub timestamp: i64,
}

/// Whether containers can run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// Yes.
    Available,
    /// No: steps that need one fail, steps that profit from one do without.
    Missing,
}

/// The project's wishes that decide its environment.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Packages for `apt-get install`, in order.
    pub system_packages: Vec<String>,
    /// Variables that commands see, in order.
    pub environment: Vec<(String, String)>,
    /// `build.run`, then `build.pre_install`, as written.
    pub commands: Vec<Command>,
}

/// The steps of a build, lowest first.
#[derive(Debug, Clone)]
pub struct BuildPlan {
    /// The steps above the base and below the source.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it does, for people.
    pub title: String,
    /// Identifies its result.
    pub key: StepKey,
    /// What to do.
    pub work: Work,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Adds the certificates to what the image trusts.
    Certificates(Certificates),
    /// Installs packages of the distribution.
    SystemPackages(Vec<String>),
    /// Makes the virtual environment with the project's packages.
    PythonPackages(Requirements),
    /// Runs a command of the project.
    Command(Command),
    /// Adds SDK and server.
    Runtime,
}

/// Versions of the recipes. Raise one whenever the same inputs give another layer.
mod recipe {
    pub(super) const BASE: u32 = 1;
    pub(super) const CERTIFICATES: u32 = 1;
    pub(super) const SYSTEM_PACKAGES: u32 = 1;
    pub(super) const PYTHON_PACKAGES: u32 = 2;
    pub(super) const COMMAND: u32 = 1;
    pub(super) const RUNTIME: u32 = 1;
}

impl BuildPlan {
    /// Plans a build.
    pub fn new(wishes: &Wishes, facts: &Facts) -> Result<Self, CommandError> {
        let mut planner = Planner::new(facts);
        if let Some(certificates) = &facts.certificates {
            planner.certificates(certificates);
        }
        if !wishes.system_packages.is_empty() {
            planner.system_packages(&wishes.system_packages);
        }
        planner.python_packages();
        for command in &wishes.commands {
            planner.command(command.checked()?, &wishes.environment);
        }
        planner.runtime();
        Ok(Self {
            steps: planner.steps,
        })
    }
}

struct Planner<'a> {
    facts: &'a Facts,
    below: String,
    steps: Vec<Step>,
}

impl<'a> Planner<'a> {
    fn new(facts: &'a Facts) -> Self {
        let base = key("base", recipe::BASE)
            .field("id", &facts.base_id)
            .field("timestamp", facts.timestamp.to_string())
            .field("compression", format!("{:?}", facts.compression))
            .finish();
        Self {
            facts,
            below: base.to_string(),
            steps: Vec::new(),
        }
    }

    fn add(&mut self, title: String, key: KeyBuilder, work: Work) {
        let key = key.field("below", &self.below).finish();
        self.below = key.to_string();
        self.steps.push(Step { title, key, work });
    }

    fn certificates(&mut self, certificates: &Certificates) {
        let key = key("certificates", recipe::CERTIFICATES).field("pem", certificates.pem());
        self.add(
            "certificates".to_owned(),
            key,
            Work::Certificates(certificates.clone()),
        );
    }

    fn system_packages(&mut self, packages: &[String]) {
        let key = list(
            key("system packages", recipe::SYSTEM_PACKAGES),
            "package",
            packages,
        );
        let title = format!("system packages: {}", packages.join(", "));
        self.add(title, key, Work::SystemPackages(packages.to_vec()));
    }

    fn python_packages(&mut self) {
        let Facts {
            requirements,
            interpreter,
            ..
        } = self.facts;
        let artifacts = requirements
            .artifacts
            .iter()
            .map(|artifact| &artifact.sha256);
        let key = key("python packages", recipe::PYTHON_PACKAGES)
            .field("requirements", requirements.text())
            .field("interpreter", &interpreter.path)
            .field("python", &interpreter.minor)
            .field("platform", &self.facts.python_platform)
            .field("compiled", format!("{:?}", self.facts.containers));
        let key = list(key, "artifact", artifacts);
        let title = match requirements.packages.len() {
            0 => "python environment".to_owned(),
            1 => "python packages: 1 requirement".to_owned(),
            count => format!("python packages: {count} requirements"),
        };
        self.add(title, key, Work::PythonPackages(requirements.clone()));
    }

    /// A secret's content is left out of the key: what is mounted is not meant to decide what comes
    /// out.
    fn command(&mut self, command: Command, environment: &[(String, String)]) {
        let pairs = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let key = list(key("command", recipe::COMMAND), "variable", pairs)
            .field("command", &command.command);
        let mounts = command
            .secrets
            .iter()
            .map(|mount| format!("{}={}", mount.id, mount.target));
        let key = list(key, "mount", mounts);
        self.add(
            format!("run: {}", command.command),
            key,
            Work::Command(command),
        );
    }

    fn runtime(&mut self) {
        let key = key("runtime", recipe::RUNTIME)
            .field("id", &self.facts.runtime_id)
            .field("compiled", format!("{:?}", self.facts.containers));
        self.add("runtime".to_owned(), key, Work::Runtime);
    }
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
