//! Bases from registries. They are taken by reference: the store fetches layers when a step needs them.

use cog_image::registry::{Lookup, Memory, RemoteImage};
use cog_image::{ImageRef, Layer, Platform, Store, StoredImage};

use super::{Inherited, LockedBase, architecture, python_platform};
use crate::error::{BuildError, Result};
use crate::plan::key;
use crate::workshop::{Cache, Workshop};
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

const RECIPE: u32 = 1;

/// The C library that packages may count on in a base we know nothing about.
const OLD_GLIBC: &str = "2_28";

/// The base `reference`, which must have the Python `version`. Once seen, it stays what it was
/// until the cache is ignored, as with an image that Docker has pulled. Nothing if its registry
/// cannot be reached.
pub(super) fn base(
    workshop: &Workshop<'_>,
    reference: &str,
    version: &str,
) -> Result<Option<LockedBase>> {
    let reference: ImageRef = reference.parse()?;
    let platform = platform();
    let key = key("registry base", RECIPE)
        .field("reference", reference.to_string())
        .field("platform", platform.to_string())
        .field("python", minor_version(version))
        .finish();
    if let Some(base) = workshop.recorded(&key)?.and_then(LockedBase::from_record) {
        return Ok(Some(base));
    }
    workshop.notice(&format!("looking up base `{}`", reference.familiar()));
    let memory = match workshop.cache {
        Cache::Use => Memory::Use,
        Cache::Ignore => Memory::Ignore,
    };
    let remote = match workshop.store.lookup(&reference, &platform, memory)? {
        Lookup::Found(remote) => remote,
        Lookup::Unreachable(_) => return Ok(None),
        Lookup::NotFound(error) | Lookup::Refused(error) => {
            return Err(cog_image::Error::from(error).into());
        }
    };
    let base = describe(workshop, &remote, version)?;
    workshop.store.record_step(&key, &base.to_record())?;
    Ok(Some(base))
}

fn describe(workshop: &Workshop<'_>, remote: &RemoteImage, version: &str) -> Result<LockedBase> {
    let RemoteImage {
        config,
        layers,
        reference,
        ..
    } = remote;
    let name = reference.familiar();
    let minor = minor_version(version);
    let path = match config.env_value("PYTHON_VERSION") {
        // The official images say which Python they have, and where it is goes without saying.
        Some(has) if minor_version(has) == minor => Some(format!("/usr/local/bin/python{minor}")),
        _ => find_interpreter(workshop, layers, &minor)?,
    };
    let path = path.ok_or_else(|| BuildError::NoPython {
        base: name.clone(),
        version: minor.clone(),
    })?;
    Ok(LockedBase {
        name,
        layers: layers.clone(),
        interpreter: Interpreter { path, minor },
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
    })
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
