//! Bases from registries. They are taken by reference: the store fetches layers when a step needs them.

use cog_image::registry::{Lookup, Memory, RemoteImage};
use cog_image::{ImageRef, Layer, Platform, Store, StoredImage};

use super::{Inherited, LockedBase, architecture, python_build, python_platform};
use crate::error::{BuildError, Result};
use crate::plan::key;
use crate::workshop::{Cache, Workshop};
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

const RECIPE: u32 = 2;

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
    let path = match remote.config.env_value("PYTHON_VERSION") {
        // The official images say which Python they have, and where it is goes without saying.
        Some(has) if minor_version(has) == minor => Some(format!("/usr/local/bin/python{minor}")),
        _ => find_interpreter(workshop, &remote.layers, &minor)?,
    };
    path.ok_or_else(|| BuildError::NoPython {
        base: remote.reference.familiar(),
        version: minor,
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

/// Looks for the interpreter where images have it, which needs their layers.
fn find_interpreter(
    workshop: &Workshop<'_>,
    layers: &[Layer],
    minor: &str,
) -> Result<Option<String>> {
    let root = workshop.store.rootfs(layers)?;
    let candidates = ["usr/local/bin", "usr/bin", "opt/conda/bin"];
    Ok(candidates
        .iter()
        .map(|folder| format!("{folder}/python{minor}"))
        .find(|path| root.find(path).is_some())
        .map(|path| format!("/{path}")))
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
