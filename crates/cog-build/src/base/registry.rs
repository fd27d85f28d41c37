//! Bases from registries. They are taken by reference: the store fetches layers when a step needs them.

use cog_image::registry::{Lookup, Memory, RemoteImage};
use cog_image::{ImageRef, Layer, Platform, Store, StoredImage};

use super::{Inherited, LockedBase, architecture, python_build, python_platform};
use crate::error::{BuildError, Result};
use crate::plan::key;
use crate::workshop::{Cache, Workshop};
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

const RECIPE: u32 = 3;

/// The C library that packages may count on in a base we know nothing about.
const OLD_GLIBC: &str = "2_28";

/// What is known of an image's Python before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// It must have the right one.
    Python,
    /// It has the right one by the name `python` in `/usr/local/bin`.
    LinkedPython,
    /// It has none that counts: one is added.
    NoPython,
}

/// What a registry answered.
pub(super) enum Found {
    Base(Box<LockedBase>),
    Unreachable,
}

/// The base `reference` with the Python `version`. Once seen, it stays what it was until the cache is ignored, as with
/// an image that Docker has pulled.
pub(super) fn base(
    workshop: &Workshop<'_>,
    reference: &str,
    brings: Brings,
    version: &str,
) -> Result<Found> {
    let reference: ImageRef = reference.parse()?;
    let platform = platform();
    let key = key("registry base", RECIPE)
        .field("reference", reference.to_string())
        .field("platform", platform.to_string())
        .field("python", version)
        .finish();
    if let Some(base) = workshop.recorded(&key)?.and_then(LockedBase::from_record) {
        return Ok(Found::Base(Box::new(base)));
    }
    let memory = match workshop.cache {
        Cache::Use => Memory::Use,
        Cache::Ignore => Memory::Ignore,
    };
    let remote = match workshop.store.lookup(&reference, &platform, memory)? {
        Lookup::Found(remote) => remote,
        Lookup::Unreachable(_) => return Ok(Found::Unreachable),
        Lookup::NotFound(error) | Lookup::Refused(error) => {
            return Err(cog_image::Error::from(error).into());
        }
    };
    let base = match brings {
        Brings::NoPython => python_build::add(workshop, describe(&remote, None, version), version)?,
        Brings::LinkedPython => {
            describe(&remote, Some("/usr/local/bin/python".to_owned()), version)
        }
        Brings::Python => {
            let path = interpreter(workshop, &remote, version)?;
            describe(&remote, Some(path), version)
        }
    };
    workshop.store.record_step(&key, &base.to_record())?;
    Ok(Found::Base(Box::new(base)))
}

/// Where the Python `version` is in the image.
fn interpreter(workshop: &Workshop<'_>, remote: &RemoteImage, version: &str) -> Result<String> {
    let minor = minor_version(version);
    // The official images say which Python they have, and where it is goes without saying.
    if let Some(has) = remote.config.env_value("PYTHON_VERSION")
        && minor_version(has) == minor
    {
        return Ok(format!("/usr/local/bin/python{minor}"));
    }
    let found = interpreters(workshop, &remote.layers)?;
    let name = format!("python{minor}");
    let path = found.iter().find(|path| path.ends_with(&name));
    path.cloned().ok_or_else(|| BuildError::NoPython {
        base: remote.reference.familiar(),
        version: minor,
        has: found.iter().map(|path| format!("`{path}`")).collect(),
    })
}

fn describe(remote: &RemoteImage, python: Option<String>, version: &str) -> LockedBase {
    let config = &remote.config;
    LockedBase {
        name: remote.reference.familiar(),
        layers: remote.layers.clone(),
        interpreter: Interpreter {
            path: python.unwrap_or_default(),
            minor: minor_version(version),
        },
        python_version: config
            .env_value("PYTHON_VERSION")
            .filter(|has| minor_version(has) == minor_version(version))
            .map(str::to_owned),
        python_platform: python_platform(OLD_GLIBC),
        environment: config.env.clone(),
        debian: None,
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

/// Where images have interpreters, the best place first; looking there needs the layers.
fn interpreters(workshop: &Workshop<'_>, layers: &[Layer]) -> Result<Vec<String>> {
    /// Those that there may be in an image.
    const MINORS: std::ops::RangeInclusive<u32> = 6..=20;
    let root = workshop.store.rootfs(layers)?;
    let folders = ["usr/local/bin", "usr/bin", "opt/conda/bin"];
    let paths = folders
        .iter()
        .flat_map(|folder| MINORS.map(move |minor| format!("{folder}/python3.{minor}")));
    Ok(paths
        .filter(|path| root.find(path).is_some())
        .map(|path| format!("/{path}"))
        .collect())
}

/// Pulls the image `reference` for this machine and stores it under its familiar name.
pub fn pull(store: &Store, reference: &ImageRef) -> Result<StoredImage> {
    Ok(store.pull(reference, &platform())?)
}

fn platform() -> Platform {
    Platform {
        architecture: architecture().to_owned(),
        ..Platform::linux_amd64()
    }
}
