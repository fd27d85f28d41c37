//! What compiles Python packages for another platform than this machine's. Bytecode is the same on all of them, so the same
//! base for this machine does it: nothing of the other platform has to run, and images for several platforms share what
//! they have in common.

use cog_image::registry::RegistryError;
use cog_image::{Error as ImageError, ImageRef, Layer};
use cog_python::venv::Interpreter;
use serde::{Deserialize, Serialize};

use super::LockedBase;
use super::registry::{self, Brings, Found};
use crate::architecture::Architecture;
use crate::error::{BuildError, Result};
use crate::executor::Executor;

/// A base for this machine whose Python compiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// The base as people write it.
    pub name: String,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// Its Python.
    pub interpreter: Interpreter,
}

/// What compiles for `base`, which was asked for as `reference` with the Python `version`. Nothing where its own Python
/// does, or nothing can.
pub(super) fn find(
    executor: &Executor<'_>,
    reference: &ImageRef,
    brings: Brings,
    version: &str,
    base: &LockedBase,
) -> Result<Option<Box<Compiler>>> {
    if executor.architecture.is_host() || executor.here.is_none() {
        return Ok(None);
    }
    let here = Executor {
        architecture: Architecture::host(),
        containers: executor.here,
        ..*executor
    };
    // What is pinned may be the image of the one platform alone, whose name leads to that of the other.
    let unpinned = reference.digest().and(reference.tag()).is_some();
    let unpinned = unpinned.then(|| reference.clone().without_digest());
    for candidate in std::iter::once(reference.clone()).chain(unpinned) {
        match registry::base(&here, &candidate.to_string(), brings, version, None) {
            Ok(Found::Base(found)) if is_same_python(&found, base) => {
                return Ok(Some(Box::new(Compiler {
                    name: found.name,
                    layers: found.layers,
                    interpreter: found.interpreter,
                })));
            }
            Ok(_) => {}
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether both compile alike, as far as they say which Python they have.
fn is_same_python(one: &LockedBase, other: &LockedBase) -> bool {
    match (&one.python_version, &other.python_version) {
        (Some(one), Some(other)) => one == other,
        _ => one.interpreter.minor == other.interpreter.minor,
    }
}

/// Whether there is no such base for this machine.
fn is_absence(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::NoPython { .. }
            | BuildError::NoPythonForBase { .. }
            | BuildError::OtherPlatform { .. }
            | BuildError::PlatformMissing { .. }
            | BuildError::BaseGone { .. }
            | BuildError::Image(ImageError::Registry(
                RegistryError::NotFound { .. } | RegistryError::ListedGone { .. },
            ))
    )
}
