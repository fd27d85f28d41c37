//! The base of an image: from a registry, or assembled from the Debian archive.

mod candidates;
mod compiler;
mod debian;
mod inside;
mod pinned;
mod python_build;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::str::FromStr;

use cog_config::Completed;
use cog_debian::{ListedPackage, Lock as ArchiveLock};
use cog_image::{ImageConfig, Layer, StepRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::compiler::Compiler;
pub use self::debian::DebianRelease;
pub(crate) use self::inside::is_musl;
pub(crate) use self::pinned::{Ground, Origin, PinnedBase, everywhere};
pub use self::python_build::AddedPython;
pub use self::registry::pull;
use self::registry::{Brings, Found};
use crate::architecture::Architecture;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use cog_python::installed::Installed;
use cog_python::venv::Interpreter;

/// Names the base, where the command line does not.
pub const COG_BASE: &str = "COG_BASE";

/// Which base to build on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BaseChoice {
    /// What the configuration asks for: a prebuilt image, one with CUDA, or Python's official one; the Debian base where
    /// no registry can be reached.
    #[default]
    Default,
    /// A base assembled from the Debian archive.
    Debian,
    /// An image in a registry.
    Reference(String),
}

impl FromStr for BaseChoice {
    type Err = Infallible;

    /// `debian`, or an image reference, which is parsed when it is needed.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.trim() {
            "" => Self::Default,
            "debian" => Self::Debian,
            reference => Self::Reference(reference.to_owned()),
        })
    }
}

/// A base: its layers, what steps need to know of it, and what an image takes over from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedBase {
    /// As people write it.
    pub name: String,
    /// What it is for.
    #[serde(default = "Architecture::host")]
    pub architecture: Architecture,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Its Python.
    pub interpreter: Interpreter,
    /// The whole version of it, where the base says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_version: Option<String>,
    /// Platform of its packages by uv's name.
    pub python_platform: String,
    /// Its environment variables.
    pub environment: Vec<(String, String)>,
    /// Set if the base was made of packages of the Debian archive.
    pub debian: Option<DebianRelease>,
    /// These packages, by name; none where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<ListedPackage>,
    /// The same packages as the archive knows them, in the order in which they are set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Box<ArchiveLock>>,
    /// The Python that was added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_python: Option<AddedPython>,
    /// Python packages that images see below their own: those of the prebuilt images, which projects count on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub installed: Vec<Installed>,
    /// What compiles Python packages in its place; nothing where its own Python does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiler: Option<Box<Compiler>>,
    /// What an image takes over besides.
    pub inherited: Inherited,
}

/// Settings of a base that its images keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Who runs the image's command.
    pub user: Option<String>,
    /// What stops it.
    pub stop_signal: Option<String>,
    /// The base's labels.
    pub labels: BTreeMap<String, String>,
    /// Ports besides the server's.
    pub exposed_ports: BTreeSet<String>,
    /// Folders that are volumes.
    pub volumes: BTreeSet<String>,
    /// Fields that we do not know.
    pub extra: Map<String, Value>,
}

impl LockedBase {
    fn from_record(record: StepRecord) -> Option<Self> {
        serde_json::from_value(record.facts).ok()
    }

    /// The record holds the layers too: the store asks it for them.
    fn to_record(&self) -> StepRecord {
        StepRecord {
            layers: self.layers.clone(),
            facts: serde_json::to_value(self).expect("the fields are text, lists and maps"),
        }
    }

    /// Identifies the base by its content.
    pub fn id(&self) -> String {
        id(&self.layers, &self.interpreter)
    }

    /// The same for what compiles Python packages.
    pub(crate) fn compiler_id(&self) -> String {
        let (layers, interpreter) = self.compiling();
        id(layers, interpreter)
    }

    /// The layers and the Python that compile Python packages for it.
    pub(crate) fn compiling(&self) -> (&[Layer], &Interpreter) {
        match &self.compiler {
            Some(compiler) => (&compiler.layers, &compiler.interpreter),
            None => (&self.layers, &self.interpreter),
        }
    }

    /// Whether it is one of the prebuilt images that hold the packages which projects commonly use.
    pub(crate) fn has_common_packages(&self) -> bool {
        is_prebuilt(&self.name)
    }

    /// What decides about packages of the distribution.
    pub(crate) fn ground(&self) -> Ground {
        Ground {
            is_prebuilt: self.has_common_packages(),
            suite: self.debian.as_ref().map(DebianRelease::codename),
            has_system_python: self.interpreter.path.starts_with("/usr/bin/"),
        }
    }

    /// An image configuration with what the base sets.
    pub(crate) fn image_config(&self) -> ImageConfig {
        let Inherited {
            user,
            stop_signal,
            labels,
            exposed_ports,
            volumes,
            extra,
        } = self.inherited.clone();
        ImageConfig {
            architecture: self.architecture.name().to_owned(),
            user,
            stop_signal,
            labels,
            exposed_ports,
            volumes,
            extra,
            ..ImageConfig::default()
        }
    }
}

fn id(layers: &[Layer], interpreter: &Interpreter) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    format!("{} {}", layers.join(" "), interpreter.path)
}

/// The base for a completed project: what `choice` names, or the first of the project's candidates that there is.
pub(crate) fn resolve(
    executor: &Executor<'_>,
    choice: &BaseChoice,
    completed: &Completed,
) -> Result<LockedBase> {
    let version = &*completed.python.version;
    let base = match choice {
        BaseChoice::Debian => debian::base(executor, version)?,
        BaseChoice::Reference(reference) => {
            let brings = if is_prebuilt(reference) {
                Brings::Packages
            } else {
                Brings::Python
            };
            match registry::base(executor, reference, brings, version, None)? {
                Found::Base(base) => *base,
                Found::Unreachable => {
                    return Err(BuildError::NoRegistry {
                        reference: reference.clone(),
                    });
                }
            }
        }
        BaseChoice::Default => candidates::resolve(executor, completed)?,
    };
    tell_of_patch(executor, &base, completed)?;
    Ok(base)
}

/// The base that was chosen before.
pub(crate) fn resolve_pinned(
    executor: &Executor<'_>,
    pinned: &PinnedBase,
    completed: &Completed,
) -> Result<LockedBase> {
    let base = pinned::base(executor, pinned, &completed.python.version)?;
    // A lock file may say what it likes.
    if base.interpreter.minor != completed.python.minor {
        return Err(BuildError::NoPython {
            base: base.name,
            version: completed.python.minor.clone(),
            has: vec![base.interpreter.path],
        });
    }
    tell_of_patch(executor, &base, completed)?;
    Ok(base)
}

/// Remembers `base` as the one that [`resolve_pinned`] gives.
pub(crate) fn remember_pinned(
    executor: &Executor<'_>,
    base: &LockedBase,
    completed: &Completed,
) -> Result<()> {
    pinned::remember(executor, base, &completed.python.version)
}

/// Says once that the base has another patch of Python than the project names.
fn tell_of_patch(executor: &Executor<'_>, base: &LockedBase, completed: &Completed) -> Result<()> {
    let version = &*completed.python.version;
    if let Some(has) = &base.python_version
        && has != version
        && version != completed.python.minor
    {
        let message = format!(
            "`python_version: \"{version}\"` is served by Python {has}, which `{}` has; for exactly {version}, build on \
             an image that has it, such as `--base python:{version}-slim`, or say \"{}\" if any patch will do",
            base.name, completed.python.minor
        );
        executor.warn_once_in_project("another patch of Python", &message)?;
    }
    Ok(())
}

/// Whether the image `name` is one of the prebuilt ones.
fn is_prebuilt(name: &str) -> bool {
    let name = name.split('@').next().unwrap_or(name);
    let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
    let repository = last.split(':').next().unwrap_or(last);
    !folder.is_empty() && repository == "cog-base"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prebuilt_images_are_known_by_their_name() {
        for name in [
            "r8.im/cog-base:python3.11",
            "127.0.0.1:5000/cog-base:cuda11.8-python3.11",
            "r8.im/cog-base@sha256:00",
            "r8.im/cog-base:python3.11@sha256:00",
        ] {
            assert!(is_prebuilt(name), "{name}");
        }
        for name in [
            "python:3.11-slim",
            "cog-base:1",
            "r8.im/cog-base-2:1",
            "r8.im/cog-base/x:1",
        ] {
            assert!(!is_prebuilt(name), "{name}");
        }
    }

    #[test]
    fn choices_are_parsed() {
        let parse = |text: &str| text.parse::<BaseChoice>().expect("it cannot fail");
        assert_eq!(parse(" debian "), BaseChoice::Debian);
        assert_eq!(parse(""), BaseChoice::Default);
        assert_eq!(
            parse("python:3.12"),
            BaseChoice::Reference("python:3.12".to_owned())
        );
    }
}
