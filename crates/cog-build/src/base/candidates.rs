//! Chooses among the images that a project can be built on: the first that its registry has.
//!
//! Only registries that cannot be reached at all are a reason for the Debian base: one that refuses says something that
//! the user must know.

use cog_config::{BaseCandidate, BaseKind, CompleteWarning, Completed};
use cog_image::StepKey;

use super::registry::{self, Brings, Found};
use super::{LockedBase, debian};
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::plan::key;

/// The base for `completed`.
pub(super) fn resolve(executor: &Executor<'_>, completed: &Completed) -> Result<LockedBase> {
    let mut tried = Vec::new();
    for candidate in &completed.bases {
        let Some(reference) = &candidate.reference else {
            continue;
        };
        match registry::base(
            executor,
            reference,
            brings(candidate),
            &completed.python.version,
            None,
        ) {
            Ok(Found::Base(base)) => {
                if candidate.kind == BaseKind::CogBase {
                    executor.warn_of_change(&topic(executor, "prebuilt base"), None)?;
                }
                executor.warn_of_change(&topic(executor, "registries"), None)?;
                return Ok(*base);
            }
            Ok(Found::Unreachable) => tried.push(reference.clone()),
            Err(error) if may_be_passed_over(candidate, completed) => {
                let reason = format!("`{reference}`: {error}");
                let message = CompleteWarning::NoCogBase { reason }.to_string();
                executor.warn_of_change(&topic(executor, "prebuilt base"), Some(&message))?;
            }
            Err(error) => return Err(error),
        }
    }
    if tried.is_empty() || must_be_prebuilt(completed) {
        let reference = tried.join("`, `");
        return Err(match completed.base() {
            Err(error) => error.into(),
            Ok(_) => BuildError::NoRegistry { reference },
        });
    }
    tell_of_debian(executor, completed, &tried)?;
    debian::base(executor, &completed.python.version).map_err(|error| match error {
        BuildError::NoBaseWithPython {
            version, source, ..
        } => BuildError::NoBaseWithPython {
            version,
            tried,
            source,
        },
        other => other,
    })
}

fn brings(candidate: &BaseCandidate) -> Brings {
    match candidate.kind {
        BaseKind::CogBase => Brings::Packages,
        BaseKind::Cuda => Brings::NoPython,
        BaseKind::Slim => Brings::Python,
    }
}

/// A prebuilt image is a convenience, unless it was asked for: then it is the only candidate.
fn may_be_passed_over(candidate: &BaseCandidate, completed: &Completed) -> bool {
    candidate.kind == BaseKind::CogBase && !must_be_prebuilt(completed)
}

fn must_be_prebuilt(completed: &Completed) -> bool {
    let mut kinds = completed.bases.iter().map(|base| base.kind);
    kinds.all(|kind| kind == BaseKind::CogBase)
}

/// Where it is remembered what the user was told about the project's base.
fn topic(executor: &Executor<'_>, about: &str) -> StepKey {
    let project = executor.project_dir.as_os_str().as_encoded_bytes();
    let topic = key("told of the base", 1)
        .field("project", project)
        .field("about", about);
    // What there is for one platform need not be there for another.
    let topic = if executor.architecture.is_host() {
        topic
    } else {
        topic.field("architecture", executor.architecture.name())
    };
    topic.finish()
}

/// Says what is used instead, once until something changes.
fn tell_of_debian(executor: &Executor<'_>, completed: &Completed, tried: &[String]) -> Result<()> {
    let cuda = if completed.gpu {
        "; CUDA comes with the Python packages"
    } else {
        ""
    };
    let message = format!(
        "no registry can be reached for `{}`, using a base from the Debian archive{cuda}",
        tried.join("`, `")
    );
    executor.warn_of_change(&topic(executor, "registries"), Some(&message))
}
