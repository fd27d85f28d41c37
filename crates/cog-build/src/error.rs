//! The crate's error type.

use std::path::PathBuf;

use cog_errors::Hint;

use crate::architecture::Architecture;
use crate::certificate::CertificateError;
use crate::command::CommandError;
use crate::context::ContextError;
use crate::docker::DaemonError;
use crate::foreign::Need;
use crate::lock_file::LockFileError;
use crate::missing;
use crate::sdk_source::SdkSourceError;
use crate::secrets::SecretError;
use crate::steps::system_packages::MissingPackage;
use cog_debian::{DebianError, Suite};
use cog_python::distribution::DistributionError;
use cog_python::requirements::RequirementError;
use cog_python::uv::UvError;

/// A project could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A file operation failed; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The configuration names files that cannot be read.
    #[error(transparent)]
    Config(#[from] cog_config::ConfigError),
    /// The configuration asks for what there is not.
    #[error(transparent)]
    Complete(#[from] cog_config::CompleteError),
    /// The image store refused.
    #[error(transparent)]
    Image(#[from] cog_image::Error),
    /// A container could not be run.
    #[error(transparent)]
    Engine(#[from] cog_engine::EngineError),
    /// A daemon could not build, or could not be given what it takes.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The Debian base could not be assembled.
    #[error(transparent)]
    Debian(#[from] DebianError),
    /// Python packages could not be resolved or installed.
    #[error(transparent)]
    Uv(#[from] UvError),
    /// A requirement cannot be built into an image.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// An installed package cannot be understood.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// A secret is malformed or missing.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A command of `build.run` is malformed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// `COG_CA_CERT` is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The project's files cannot be collected.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// `COG_SDK_WHEEL`, `COGLET_WHEEL` or `build.sdk_version` is a mistake.
    #[error(transparent)]
    SdkSource(#[from] SdkSourceError),
    /// The model's interface cannot be read from its source.
    #[error(transparent)]
    Schema(#[from] cog_schema::SchemaError),

    /// Managed weights are not there yet.
    #[error("`weights` is not supported yet: the files would be missing in the image")]
    Weights,
    /// There is no platform to build for.
    #[error("no platform is named that an image should be made for")]
    NoPlatform,
    /// The project names no model.
    #[error("no predict or train reference found in cog.yaml")]
    NoModel,
    /// What an image tells of its model was read from another file than it would have.
    #[error("`{path}` changed while the image was built")]
    SourceChanged {
        /// Relative to the project.
        path: String,
    },
    /// The processor has no Debian base.
    #[error("no base can be made for the processor of this machine")]
    UnsupportedMachine,
    /// A step needs a container.
    #[error("{step} needs a container, and none can run here")]
    NeedsContainer {
        /// The step.
        step: String,
    },
    /// A build for another platform takes programs of it to run.
    #[error("building for {architecture} {}:{}", Need::reason(.needs, .obstacle.as_deref()), Need::lines(.needs))]
    NeedsPlatform {
        /// What the image is for.
        architecture: Architecture,
        /// What it takes them for.
        needs: Vec<Need>,
        /// Why nothing runs them, if nothing does.
        obstacle: Option<String>,
    },
    /// A daemon that runs no programs of the image's platform, as it seems.
    #[error("{daemon} does not seem to run programs for {architecture}")]
    NoInterpreter {
        /// The daemon's name.
        daemon: &'static str,
        /// What the image is for.
        architecture: Architecture,
        /// What it said.
        #[source]
        source: Box<Self>,
    },
    /// A base that is there for another platform alone.
    #[error("base image `{base}` is for {has}, not for {wanted}")]
    OtherPlatform {
        /// The base.
        base: String,
        /// What it is for.
        has: String,
        /// What it should be for.
        wanted: Architecture,
    },
    /// A base that is there for other platforms.
    #[error("base image `{base}` is not available for {wanted}, only for {available}")]
    PlatformMissing {
        /// The base.
        base: String,
        /// What it should be for.
        wanted: Architecture,
        /// What there is.
        available: String,
    },
    /// A command in a container failed.
    #[error("`{command}` failed with {status}{}", unreported(*.output, .lines))]
    CommandFailed {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// What became of what it printed.
        output: CommandOutput,
        /// The last lines of it.
        lines: Vec<String>,
    },
    /// The project's lock file cannot be used.
    #[error(transparent)]
    LockFile(#[from] LockFileError),
    /// An image that a digest names is no longer there.
    #[error("the registry no longer has base image `{reference}`")]
    BaseGone {
        /// The image, with its digest.
        reference: String,
        #[source]
        /// What the registry said.
        source: Box<cog_image::Error>,
    },
    /// Nobody would find this base again.
    #[error("the base `{base}` cannot be locked: it has no digest")]
    NoDigest {
        /// The base.
        base: String,
    },
    /// A base was locked to packages that the archive has replaced since.
    #[error("the Debian archive no longer has all packages that cog.lock names for the base")]
    ArchiveMoved {
        /// When the archive had them all.
        date: Option<String>,
        #[source]
        /// What was asked for.
        source: DebianError,
    },
    /// A package of the archive is not what a lock file says of it.
    #[error("a package of the base is not the one that cog.lock names")]
    ArchiveDiffers {
        #[source]
        /// What was asked for.
        source: DebianError,
    },
    /// A Python was locked to a build that is no longer the one of its version.
    #[error("Python {version} comes in another build now than cog.lock names")]
    OtherPython {
        /// The version.
        version: String,
    },
    /// Packages of the distribution that a lock file names are no longer there.
    #[error("the base's package archive no longer has {}, which cog.lock names", moved(.gone))]
    PackagesMoved {
        /// The packages.
        gone: Vec<MovedPackage>,
    },
    /// Packages of the distribution need more than they did when they were locked.
    #[error("`{name}` {version} would be installed too, which cog.lock does not name")]
    PackageAdded {
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
    /// The distribution lacks packages.
    #[error("{distribution} has no {}", packages(.missing))]
    NoSystemPackages {
        /// The base's distribution, by its own name.
        distribution: String,
        /// What it lacks.
        missing: Vec<MissingPackage>,
    },
    /// A mount in `build.run` names a secret that was not given.
    #[error("`build.run` mounts the secret `{id}`, which was not given")]
    MissingSecret {
        /// The secret's name.
        id: String,
    },
    /// The registry of the base that was asked for is not there.
    #[error("the registry of base image `{reference}` cannot be reached")]
    NoRegistry {
        /// The base.
        reference: String,
    },
    /// The base has another Python, or none.
    #[error("base image `{base}` has no Python {version}{}", only(.has))]
    NoPython {
        /// The base.
        base: String,
        /// The version that cog.yaml asks for.
        version: String,
        /// The versions that were found there.
        has: Vec<String>,
    },
    /// A base in which neither Python packages nor the server run.
    #[error("base image `{base}` is made of Alpine Linux or the like, with the C library musl")]
    Musl {
        /// The base.
        base: String,
    },
    /// The base has no Python of its own, and there is none to add.
    #[error(
        "base image `{base}` has no Python, and Python {version} could not be downloaded to add it"
    )]
    NoPythonForBase {
        /// The base.
        base: String,
        /// The version that cog.yaml asks for.
        version: String,
        /// Why it could not be downloaded.
        #[source]
        source: Box<UvError>,
    },
    /// None of the bases could be had with the Python that was asked for.
    #[error(
        "no base with Python {version}: {}Debian has Python {}, and a build of another one could not be had",
        unreachable(.tried),
        debian_pythons().join(" and ")
    )]
    NoBaseWithPython {
        /// The version that cog.yaml asks for.
        version: String,
        /// Images that were looked for.
        tried: Vec<String>,
        #[source]
        /// Why it could not be downloaded.
        source: Box<UvError>,
    },
    /// PyTorch's own package index is not there.
    #[error("PyTorch's package index cannot be reached")]
    TorchIndex {
        /// What the default index has instead.
        instead: Option<String>,
        #[source]
        /// Why.
        source: Box<UvError>,
    },
    /// The host has no usable Python.
    #[error(
        "no Python 3.10 or newer was found on this machine, neither on PATH nor in the folders of conda, pyenv and \
         uv{}",
        only(.found)
    )]
    NoHostPython {
        /// Those that cannot be used.
        found: Vec<String>,
    },
    /// The server's program is missing.
    #[error("the `coglet` program was not found beside `{}`", beside.display())]
    NoServer {
        /// Where it was looked for.
        beside: PathBuf,
    },
    /// The server's program is not the one that the image was planned with.
    #[error("`{}` changed while the image was built", path.display())]
    ServerChanged {
        /// The program.
        path: PathBuf,
    },
    /// A variable names a server's program that is none.
    #[error("{variable} names no program")]
    ServerVariable {
        /// The variable.
        variable: &'static str,
        /// Why not, with the path.
        #[source]
        source: std::io::Error,
    },
    /// The server's program for another platform is missing.
    #[error(
        "no `coglet` for {architecture}: neither does {variable} name one, nor is there `{}`",
        path.display()
    )]
    NoServerFor {
        /// What the image is for.
        architecture: Architecture,
        /// Where it was looked for.
        path: PathBuf,
        /// The variable that names another one.
        variable: &'static str,
    },
    /// The server's program is for another platform.
    #[error("`{}` is {is}, and the image is for {architecture}", path.display())]
    WrongServer {
        /// The program.
        path: PathBuf,
        /// What it is.
        is: String,
        /// What the image is for.
        architecture: Architecture,
    },
    /// The schema is no JSON, or contradicts itself.
    #[error("{reason}")]
    InvalidSchema {
        /// What is wrong.
        reason: cog_schema::DocumentError,
        /// Where in the source that is said.
        place: Option<cog_schema::Place>,
    },
    /// Several predictions at a time with a model that cannot wait.
    #[error("{field} requires an async run() or predict() method")]
    SyncConcurrency {
        /// Where the number comes from.
        field: &'static str,
    },
    /// Several predictions at a time need a newer Python.
    #[error("concurrency requires Python 3.11 or higher")]
    OldPythonForConcurrency,
    /// An environment variable with a file name has no readable file.
    #[error("COG_OPENAPI_SCHEMA: failed to read {}: {reason}", path.display())]
    SchemaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

/// What the names of NVIDIA's images begin with.
const CUDA_BASE: &str = "nvidia/cuda:";

/// A package of the distribution that is there in another version than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPackage {
    /// What it is called.
    pub name: String,
    /// The version that was named.
    pub version: String,
    /// The one that there is, if any.
    pub instead: Option<String>,
}

/// What becomes of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutput {
    /// The reporter gets each line as it comes.
    Reported,
    /// It is of interest if the command fails: then the error has the end of it.
    Kept,
}

impl BuildError {
    /// The end of what a command printed that failed, where that was reported too and is not in the message.
    pub fn reported(&self) -> Option<String> {
        match self {
            Self::CommandFailed {
                output: CommandOutput::Reported,
                lines,
                ..
            } => Some(tail(lines)),
            _ => None,
        }
    }
}

/// Result of this crate's functions.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

impl Hint for BuildError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Config(error) => return error.hint(),
            Self::Context(error) => return error.hint(),
            Self::Schema(error) => return error.place.as_ref().map(ToString::to_string),
            Self::InvalidSchema { place, .. } => return place.as_ref().map(ToString::to_string),
            Self::Daemon(error) => return error.hint(),
            Self::SdkSource(error) => return error.hint(),
            Self::Image(error) => return error.hint(),
            Self::Uv(error) => {
                let built = match error {
                    UvError::BuildFailed { text, .. } => missing::advice(text),
                    _ => None,
                };
                return built.or_else(|| error.hint());
            }
            Self::Debian(error) => return error.hint(),
            Self::Complete(error) => return error.hint(),
            Self::NoBaseWithPython { source, .. } => {
                let hint = format!(
                    "set `python_version` to \"{}\", or name an image that has it with `--base`",
                    debian_pythons().join("\" or \"")
                );
                return Some(match source.hint() {
                    Some(source) => format!("{hint}; {source}"),
                    None => hint,
                });
            }
            Self::Musl { .. } => {
                "use one with the GNU C library, such as `python:3.13-slim`: most Python packages have no wheels for musl"
            }
            Self::NoPythonForBase { .. } => {
                "check the network, or use a base with that Python: `--use-cuda-base-image=false`, or `--base debian` with \
                 `python_version` 3.11 or 3.13, and CUDA from the Python packages"
            }
            Self::NoPython { .. } => {
                "set `python_version` to the version the base has, or use another base"
            }
            Self::NoRegistry { .. } => {
                "check the network, or use `--base debian`, which needs no registry"
            }
            Self::LockFile(error) => return error.hint(),
            Self::BaseGone { .. } => {
                "`cog lock --upgrade base` takes the image that has the name now"
            }
            Self::ArchiveMoved { date, .. } => return Some(snapshot(date.as_deref())),
            Self::ArchiveDiffers { .. } => {
                "if cog.lock was edited or merged, take it from version control again; if not, the mirror is damaged: \
                 try another one in `COG_DEBIAN_MIRROR`"
            }
            Self::OtherPython { .. } => {
                "`cog lock --upgrade base` takes the build that there is now"
            }
            Self::PackagesMoved { .. } | Self::PackageAdded { .. } => {
                "`cog lock --upgrade system` takes what there is now"
            }
            Self::Weights => {
                "leave `weights` out, and keep the files in the project's folder or fetch them in `setup()`"
            }
            Self::SourceChanged { .. } => "build again",
            Self::NoModel => "add `run: \"run.py:Runner\"` to cog.yaml",
            Self::NeedsContainer { .. } => {
                "allow user namespaces, run as root, or start Docker or Podman, which builds then; `cog run --engine host` \
                 needs no container"
            }
            Self::NoSystemPackages { missing, .. } => return Some(instead(missing)),
            Self::CommandFailed { lines, .. } => {
                return missing::advice(&lines.join("\n"));
            }
            Self::MissingSecret { id } => {
                return Some(format!("pass it with `--secret id={id},src=FILE`"));
            }
            Self::NoServer { .. } => {
                "build it with `cargo build --release -p coglet`, or set `COG_COGLET_BINARY` to its path"
            }
            Self::ServerChanged { .. } => "build again when it is complete",
            Self::NeedsPlatform { needs, .. } => return Some(Need::hints(needs)),
            Self::TorchIndex {
                instead: Some(instead),
                ..
            } => {
                return Some(format!(
                    "the default index has {instead}: take it with `--torch-index default`"
                ));
            }
            Self::TorchIndex { source, .. } => return source.hint(),
            Self::NoHostPython { .. } => {
                "install Python, for example with your system's package manager"
            }
            other => other.platform_hint()?,
        };
        Some(hint.to_owned())
    }
}

impl BuildError {
    /// What can be done about what is for another platform.
    fn platform_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoInterpreter { .. } => {
                "set up an interpreter for them in its kernel, as Debian's package `qemu-user-static` does, or build on such a \
                 machine"
            }
            Self::PlatformMissing { base, .. } if base.starts_with(CUDA_BASE) => {
                "`--use-cuda-base-image=false` takes Python's image, and CUDA from the Python packages; `--base` names \
                 another one"
            }
            Self::OtherPlatform { .. } | Self::PlatformMissing { .. } => {
                "name a base that has an image for the platform, or build for another one with `--platform`"
            }
            Self::NoServerFor { .. } => {
                "take it from the release of this version for that platform, or build it there with `cargo build --release \
                 -p coglet`"
            }
            Self::WrongServer { .. } => {
                "take `coglet` from the release of this version for the image's platform"
            }
            _ => return None,
        })
    }
}

/// The Pythons that need neither a registry nor a download of a build.
fn debian_pythons() -> [&'static str; Suite::ALL.len()] {
    Suite::ALL.map(Suite::python_version)
}

fn only(versions: &[String]) -> String {
    if versions.is_empty() {
        return String::new();
    }
    format!(", only {}", versions.join(" and "))
}

fn unreachable(tried: &[String]) -> String {
    let registry = match tried.len() {
        0 => return String::new(),
        1 => "registry",
        _ => "registries",
    };
    format!(
        "the {registry} of `{}` cannot be reached, ",
        tried.join("`, `")
    )
}

/// How to get the archive's packages of `date`, or others.
fn snapshot(date: Option<&str>) -> String {
    let upgrade = "`cog lock --upgrade base` takes the packages that there are now";
    let Some(date) = date else {
        return upgrade.to_owned();
    };
    let compact: String = date
        .chars()
        .filter(|one| !matches!(one, '-' | ':'))
        .collect();
    format!(
        "{upgrade}; those of then are at `COG_DEBIAN_MIRROR=https://snapshot.debian.org/archive/debian/{compact}`"
    )
}

fn moved(gone: &[MovedPackage]) -> String {
    const SHOWN: usize = 5;
    let mut named: Vec<String> = gone
        .iter()
        .take(SHOWN)
        .map(|one| {
            let MovedPackage { name, version, .. } = one;
            match &one.instead {
                Some(instead) => format!("`{name}` {version} (but {instead})"),
                None => format!("`{name}` {version}"),
            }
        })
        .collect();
    if gone.len() > SHOWN {
        named.push(format!("{} others", gone.len() - SHOWN));
    }
    named.join(", ")
}

fn packages(missing: &[MissingPackage]) -> String {
    let names: Vec<String> = missing
        .iter()
        .map(|package| format!("`{}`", package.name))
        .collect();
    let kind = if names.len() == 1 {
        "package"
    } else {
        "packages"
    };
    format!("{kind} {}", names.join(" and "))
}

fn instead(missing: &[MissingPackage]) -> String {
    let known: Vec<String> = missing
        .iter()
        .filter_map(|MissingPackage { name, instead }| {
            let instead = instead.as_ref()?;
            Some(format!("`{instead}` instead of `{name}`"))
        })
        .collect();
    if known.is_empty() {
        return "check the spelling in `system_packages`; other releases have packages under other names"
            .to_owned();
    }
    format!("in `system_packages`, name {}", known.join(" and "))
}

/// Lines of a command's output that its error shows.
const SHOWN: usize = 20;

fn unreported(output: CommandOutput, lines: &[String]) -> String {
    match output {
        CommandOutput::Reported => String::new(),
        CommandOutput::Kept => tail(lines),
    }
}

fn tail(lines: &[String]) -> String {
    let skipped = lines.len().saturating_sub(SHOWN);
    lines
        .iter()
        .skip(skipped)
        .flat_map(|line| ["\n  ", line])
        .collect()
}
