//! Asks for what a lock file does not know, and makes the file's part for a platform of it.

use super::{Known, reasons};
use crate::architecture::Architecture;
use crate::backend::{Backend as _, Native};
use crate::base::{self, PinnedBase};
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::lock::{Answers, Versions};
use crate::lock_file::{LockFile, PlatformLock, PythonPins, SystemPins};
use crate::plan::{BuildPlan, ImpliedPackages, Step};
use crate::resolve::{Question, resolve};

/// Answers, and the part of the file that says them.
pub(super) struct Updated {
    pub(super) answers: Answers,
    pub(super) implied: ImpliedPackages,
    pub(super) part: PlatformLock,
}

/// What `work` makes of the same question for `architecture`.
pub(super) fn elsewhere<T>(
    question: &Question<'_>,
    architecture: Architecture,
    work: impl FnOnce(&Question<'_>) -> Result<T>,
) -> Result<T> {
    let asking = question.native.executor;
    let executor = Executor {
        reporter: asking.reporter,
        cache: asking.cache,
        ..question.request.executor_for(architecture)
    };
    let native = Native::of(question.request, &executor, question.native.secrets);
    work(&Question {
        native: &native,
        ..*question
    })
}

/// Asks for all that is not `known`. `old` is the file from which that is.
pub(super) fn update(
    question: &Question<'_>,
    old: Option<&LockFile>,
    known: &Known,
) -> Result<Updated> {
    let (mut answers, implied) = resolve(question, known)?;
    base::remember_pinned(question.native.executor, &answers.base, question.completed)?;
    pin_system_packages(question, &mut answers, &implied)?;
    let old = old.filter(|_| known.python.is_some());
    let part = part(question, &answers, &implied, old)?;
    Ok(Updated {
        answers,
        implied,
        part,
    })
}

/// Finds out the versions of packages of the distribution, which takes installing them.
fn pin_system_packages(
    question: &Question<'_>,
    answers: &mut Answers,
    implied: &ImpliedPackages,
) -> Result<()> {
    let native = question.native;
    let settings = native.executor.plan_settings();
    let plan = |answers: &Answers| {
        BuildPlan::foundation(
            question.request.config,
            &answers.base,
            answers.certificates.as_ref(),
            implied,
            &answers.system,
            settings.layers,
        )
    };
    let found = plan(answers);
    let is_open = |step: &Step| match step {
        Step::ImpliedPackages(step) | Step::SystemPackages(step) => {
            !matches!(step.versions, Versions::Exactly(_))
        }
        _ => false,
    };
    if !found.steps.iter().any(is_open) {
        return Ok(());
    }
    let outputs = native.execute(&found)?;
    for (step, output) in found.steps.iter().zip(&outputs) {
        let versions = Versions::Exactly(output.system.clone());
        match step {
            Step::ImpliedPackages(_) => answers.system.implied = versions,
            Step::SystemPackages(_) => answers.system.named = versions,
            _ => {}
        }
    }
    // They would be the same with these versions.
    let store = native.executor.store;
    for (key, output) in plan(answers).keys().iter().zip(&outputs) {
        store.record_step(key, &output.to_record())?;
    }
    Ok(())
}

/// What the file says for the platform of `question`. `old` is one with the same Python packages.
fn part(
    question: &Question<'_>,
    answers: &Answers,
    implied: &ImpliedPackages,
    old: Option<&LockFile>,
) -> Result<PlatformLock> {
    let request = question.request;
    let base = PinnedBase::of(&answers.base, &request.options);
    let base = base.ok_or_else(|| BuildError::NoDigest {
        base: answers.base.name.clone(),
    })?;
    let pins = |names: Vec<String>, versions: &Versions| SystemPins {
        packages: if names.is_empty() {
            Vec::new()
        } else {
            versions.packages().to_vec()
        },
        names,
    };
    let is_prebuilt = answers.base.has_common_packages();
    let resolution = answers.python.resolution.clone().without_addresses();
    Ok(PlatformLock {
        architecture: question.native.executor.architecture,
        decisions: reasons::of_platform(question, &base, answers, old),
        implied: pins(implied.image.clone(), &answers.system.implied),
        named: pins(
            implied.named(request.config, is_prebuilt),
            &answers.system.named,
        ),
        python: PythonPins {
            source: answers.python.source,
            distributions: resolution.distributions,
        },
        base,
    })
}
