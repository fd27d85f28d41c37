//! Bases from registries. They are taken by reference: the store fetches layers when a step needs them.

use cog_image::registry::{Lookup, Memory, RegistryError, RemoteImage};
use cog_image::{ImageRef, StepKey, Store, StoredImage};

use super::inside::{self, Inside};
use super::{AddedPython, Inherited, LockedBase, compiler, python_build};
use crate::architecture::Architecture;
use crate::error::{BuildError, Result};
use crate::executor::{Cache, Executor};
use crate::plan::key;
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

const RECIPE: u32 = 6;

/// The C library that packages may count on in a base we know nothing about.
const OLD_GLIBC: &str = "2_28";

/// What is known of an image's Python before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// It must have the right one.
    Python,
    /// It must have the right one, with packages that projects count on.
    Packages,
    /// It has none that counts: one is added.
    NoPython,
}

/// What a registry answered.
pub(super) enum Found {
    Base(Box<LockedBase>),
    Unreachable,
}

/// The base `reference` with the Python `version`, which is this `build` of it where one is added. Once seen, it stays what
/// it was until the cache is ignored, as with an image that Docker has pulled.
pub(super) fn base(
    executor: &Executor<'_>,
    reference: &str,
    brings: Brings,
    version: &str,
    build: Option<&AddedPython>,
) -> Result<Found> {
    let reference: ImageRef = reference.parse()?;
    let mut base = match known_or_asked(executor, &reference, brings, version, build)? {
        Found::Base(base) => base,
        Found::Unreachable => return Ok(Found::Unreachable),
    };
    base.compiler = compiler::find(executor, &reference, brings, version, &base)?;
    Ok(Found::Base(base))
}

fn known_or_asked(
    executor: &Executor<'_>,
    reference: &ImageRef,
    brings: Brings,
    version: &str,
    build: Option<&AddedPython>,
) -> Result<Found> {
    let platform = executor.architecture.platform();
    let key = known_as(executor, reference, version, build);
    let known = executor.recorded_of_others(&key)?;
    let known = known.and_then(LockedBase::from_record);
    // The Python on top was put there here.
    let is_whole = |base: &LockedBase| match (brings, base.layers.last()) {
        (Brings::NoPython, Some(added)) => executor.store.has_blob(&added.blob),
        _ => true,
    };
    if let Some(base) = known.filter(is_whole) {
        return Ok(Found::Base(Box::new(base)));
    }
    let memory = match executor.cache {
        Cache::Use => Memory::Use,
        Cache::Ignore => Memory::Ignore,
    };
    let remote = match executor.store.lookup(reference, &platform, memory)? {
        Lookup::Found(remote) => remote,
        Lookup::Unreachable(_) => return Ok(Found::Unreachable),
        Lookup::NotFound(error) if reference.digest().is_some() => {
            return Err(BuildError::BaseGone {
                reference: reference.familiar(),
                source: Box::new(error.into()),
            });
        }
        Lookup::NotFound(RegistryError::NoFittingPlatform {
            reference,
            available,
            ..
        }) => {
            return Err(BuildError::PlatformMissing {
                base: reference,
                wanted: executor.architecture,
                available,
            });
        }
        Lookup::NotFound(error) | Lookup::Refused(error) => {
            return Err(cog_image::Error::from(error).into());
        }
    };
    refuse_other_platform(executor, &remote)?;
    inside::refuse_musl_by_name(&remote)?;
    let base = match brings {
        Brings::NoPython => add_python(executor, &remote, version, build)?,
        Brings::Packages => {
            let inside = Inside::of(executor, &remote)?;
            let path = inside.interpreter(&minor_version(version));
            let base = describe(
                executor.architecture,
                &remote,
                path.ok_or_else(|| no_python(&remote, &inside, version))?,
                version,
            );
            LockedBase {
                installed: inside.python_packages(&base.interpreter),
                ..base
            }
        }
        Brings::Python => {
            let path = interpreter(executor, &remote, version)?;
            describe(executor.architecture, &remote, path, version)
        }
    };
    executor.store.record_step(&key, &base.to_record())?;
    Ok(Found::Base(Box::new(base)))
}

/// Refuses an image that its name has for all platforms, and that is for one.
fn refuse_other_platform(executor: &Executor<'_>, remote: &RemoteImage) -> Result<()> {
    let config = &remote.config;
    let has = config.architecture.as_str();
    if has.is_empty() || has == executor.architecture.name() {
        return Ok(());
    }
    Err(BuildError::OtherPlatform {
        base: remote.reference.familiar(),
        has: format!("{}/{has}", config.os),
        wanted: executor.architecture,
    })
}

/// What such a base is remembered under.
pub(super) fn known_as(
    executor: &Executor<'_>,
    reference: &ImageRef,
    version: &str,
    build: Option<&AddedPython>,
) -> StepKey {
    key("registry base", RECIPE)
        .field("reference", reference.to_string())
        .field("platform", executor.architecture.platform().to_string())
        .field("python", version)
        .field("build", build.map_or("", |build| &build.sha256))
        .finish()
}

/// The image with a Python that it has not.
fn add_python(
    executor: &Executor<'_>,
    remote: &RemoteImage,
    version: &str,
    build: Option<&AddedPython>,
) -> Result<LockedBase> {
    let base = describe(executor.architecture, remote, String::new(), version);
    let name = base.name.clone();
    python_build::add(executor, base, version, build).map_err(|error| match error {
        BuildError::NoBaseWithPython {
            version, source, ..
        } => BuildError::NoPythonForBase {
            base: name,
            version,
            source,
        },
        other => other,
    })
}

/// Where the Python `version` is in the image.
fn interpreter(executor: &Executor<'_>, remote: &RemoteImage, version: &str) -> Result<String> {
    let minor = minor_version(version);
    match remote.config.env_value("PYTHON_VERSION") {
        // The official images say which Python they have, and where it is goes without saying.
        Some(has) if minor_version(has) == minor => Ok(format!("/usr/local/bin/python{minor}")),
        _ => {
            let inside = Inside::of(executor, remote)?;
            let path = inside.interpreter(&minor);
            path.ok_or_else(|| no_python(remote, &inside, version))
        }
    }
}

fn no_python(remote: &RemoteImage, inside: &Inside, version: &str) -> BuildError {
    BuildError::NoPython {
        base: remote.reference.familiar(),
        version: minor_version(version),
        has: inside.pythons(),
    }
}

fn describe(
    architecture: Architecture,
    remote: &RemoteImage,
    python: String,
    version: &str,
) -> LockedBase {
    let config = &remote.config;
    LockedBase {
        name: remote.reference.familiar(),
        architecture,
        layers: remote.layers.clone(),
        interpreter: Interpreter {
            path: python,
            minor: minor_version(version),
        },
        python_version: config
            .env_value("PYTHON_VERSION")
            .filter(|has| minor_version(has) == minor_version(version))
            .map(str::to_owned),
        python_platform: architecture.python_platform(OLD_GLIBC),
        environment: config.env.clone(),
        debian: None,
        packages: Vec::new(),
        archive: None,
        added_python: None,
        installed: Vec::new(),
        compiler: None,
        inherited: Inherited {
            user: config.user.clone(),
            stop_signal: config.stop_signal.clone(),
            labels: config.labels.clone(),
            exposed_ports: config.exposed_ports.clone(),
            volumes: config.volumes.clone(),
            extra: config.extra.clone(),
        },
    }
}

/// Pulls the image `reference` for this machine and stores it under its familiar name.
pub fn pull(store: &Store, reference: &ImageRef) -> Result<StoredImage> {
    Ok(store.pull(reference, &Architecture::host().platform())?)
}
