//! Builds and their lock file: what of it still fits the project is taken, the rest is asked anew and, unless somebody
//! wants it otherwise, written down.
//!
//! [`answer`] is the way of every build. [`lock_project`] and [`check_lock`] are what `cog lock` does. What a file says
//! is in [`crate::lock_file`], and `fit` decides what of it counts.

mod changes;
mod fit;
mod reasons;

use cog_image::Store;
use cog_python::uv::Preference;

pub(crate) use self::fit::Known;
use self::fit::{Fit, preferences};
use crate::architecture::Architecture;
use crate::backend::{Backend as _, Native};
use crate::base::{self, PinnedBase};
use crate::environment::take_project;
use crate::error::{BuildError, Result};
use crate::executor::{Cache, Executor};
use crate::implied::Sources;
use crate::lock::{Lock, Versions};
use crate::lock_file::{
    Difference, Inputs, LockFile, LockFileError, Part, PlatformLock, PythonPins, SystemPins,
    chooses_base, differences, name_for,
};
use crate::plan::{BuildPlan, ImpliedPackages, Step};
use crate::request::BuildRequest;
use crate::resolve::{Question, resolve};
use crate::sdk::VERSION;

/// What a build does with the project's lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockPolicy {
    /// It takes what is in there. Where that no longer fits the project, it is brought up to date.
    #[default]
    Update,
    /// The same, and the file stays as it is.
    Keep,
    /// That it does not fit, or is not there, is an error.
    Locked,
}

/// What is not taken from an earlier lock file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Upgrade {
    /// All that still fits is.
    #[default]
    Nothing,
    /// Nothing is.
    Everything,
    /// All but these: Python packages, packages of the distribution, `base`, or `system` for all of the distribution.
    These(Vec<String>),
}

/// What became of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOutcome {
    /// There was none.
    Made,
    /// It says something else now.
    Changed,
    /// It is as it was.
    Unchanged,
}

/// What locking a project did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockReport {
    /// The file, beside the project's configuration.
    pub name: String,
    /// What became of it.
    pub outcome: LockOutcome,
    /// What is different, a line each; nothing if the file is new.
    pub changes: Vec<String>,
}

/// Writes the lock file of the project of `request`. What an earlier one says is kept, except for `upgrade`.
pub fn lock_project(request: &BuildRequest<'_>, upgrade: &Upgrade) -> Result<LockReport> {
    request.check()?;
    let _project = take_project(request)?;
    let _lease = request.store.lease()?;
    let executor = request.executor();
    let executor = match upgrade {
        Upgrade::Nothing => executor,
        // What is remembered is what is not wanted any more.
        Upgrade::Everything | Upgrade::These(_) => Executor {
            cache: Cache::Ignore,
            ..executor
        },
    };
    asked(request, &executor, |question| lock(question, upgrade))
}

fn lock(question: &Question<'_>, upgrade: &Upgrade) -> Result<LockReport> {
    let request = question.request;
    let name = name_for(request.config_file_name);
    let old = LockFile::load(request.project_dir, &name)?;
    let known = match &old {
        None => Known::default(),
        Some(file) => {
            let fit = Fit::of(file, &question.inputs(), question, &name)?;
            if fit.differences.is_empty() && *upgrade == Upgrade::Nothing {
                return Ok(LockReport {
                    name,
                    outcome: LockOutcome::Unchanged,
                    changes: Vec::new(),
                });
            }
            fit.known.without(upgrade, &name)?
        }
    };
    let updated = update(question, old.as_ref(), &known)?;
    let changed = updated.file.save(request.project_dir, &name)?;
    Ok(LockReport {
        outcome: match (&old, changed) {
            (None, _) => LockOutcome::Made,
            (_, true) => LockOutcome::Changed,
            (_, false) => LockOutcome::Unchanged,
        },
        changes: old.map_or_else(Vec::new, |old| changes::between(&old, &updated.file)),
        name,
    })
}

/// Refuses a lock file that is missing or does not fit the project of `request`; says that one that fits is unchanged.
/// Nothing is asked of the outside world.
pub fn check_lock(request: &BuildRequest<'_>) -> Result<LockReport> {
    request.check()?;
    asked(request, &request.executor(), |question| {
        let name = name_for(request.config_file_name);
        let file = LockFile::load(request.project_dir, &name)?;
        let file = file.ok_or_else(|| LockFileError::Missing { name: name.clone() })?;
        let fit = Fit::of(&file, &question.inputs(), question, &name)?;
        refuse(&name, &fit.differences)?;
        Ok(LockReport {
            name,
            outcome: LockOutcome::Unchanged,
            changes: Vec::new(),
        })
    })
}

/// What `work` makes of the question that the project of `request` is.
fn asked<T>(
    request: &BuildRequest<'_>,
    executor: &Executor<'_>,
    work: impl FnOnce(&Question<'_>) -> Result<T>,
) -> Result<T> {
    let completed = request.complete()?;
    let native = Native::of(request, executor)?;
    let requirements = request.requirements(&completed, executor)?;
    work(&Question {
        request,
        completed: &completed,
        native: &native,
        requirements: &requirements,
        sources: &Sources::default(),
    })
}

/// The answers that a build of `question` goes by: those of the lock file, if there is one.
pub(crate) fn answer(question: &Question<'_>) -> Result<(Lock, ImpliedPackages)> {
    let request = question.request;
    let name = name_for(request.config_file_name);
    let Some(file) = LockFile::load(request.project_dir, &name)? else {
        if request.lock == LockPolicy::Locked {
            return Err(LockFileError::Missing { name }.into());
        }
        return resolve(question, &Known::default());
    };
    let fit = Fit::of(&file, &question.inputs(), question, &name)?;
    if fit.differences.is_empty() {
        return resolve(question, &fit.known);
    }
    if request.lock == LockPolicy::Locked {
        refuse(&name, &fit.differences)?;
    }
    let executor = question.native.executor;
    if let Some(flag) = decided_by_flags(question, &file, &fit.differences)? {
        executor.notice(&format!(
            "{name} is for builds without {flag}: this one takes from it only what fits"
        ));
        return resolve(question, &fit.known);
    }
    if request.lock == LockPolicy::Keep {
        return resolve(question, &fit.known);
    }
    executor.notice(&format!("updating {name}: {}", shown(&fit.differences)));
    let updated = update(question, Some(&file), &fit.known)?;
    match updated.file.save(request.project_dir, &name) {
        Ok(_) => {
            for change in changes::between(&file, &updated.file) {
                executor.notice(&format!("{name}: {change}"));
            }
        }
        Err(error) => executor.warn(&format!(
            "{error}: this build goes by what would be in it, the next one may find something else"
        )),
    }
    Ok((updated.lock, updated.implied))
}

/// What a build that makes no image of its own chooses where it may: the Python packages of the lock file.
pub(crate) fn preferred(request: &BuildRequest<'_>, inputs: &Inputs) -> Result<Vec<Preference>> {
    let name = name_for(request.config_file_name);
    let file = LockFile::load(request.project_dir, &name)?;
    let locked = request.lock == LockPolicy::Locked;
    let Some(file) = file else {
        if locked {
            return Err(LockFileError::Missing { name }.into());
        }
        return Ok(Vec::new());
    };
    if locked {
        let mut found = differences(&file.inputs, inputs, &request.requirements_source(), &name);
        found.retain(|one| one.part == Part::Python);
        refuse(&name, &found)?;
    }
    let platform = file.platform(&Architecture::host().to_string());
    Ok(platform.map_or_else(Vec::new, |platform| preferences(&platform.python)))
}

fn refuse(name: &str, differences: &[Difference]) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(LockFileError::Drift {
        name: name.to_owned(),
        differences: differences.iter().map(|one| one.text.clone()).collect(),
    }
    .into())
}

/// The first difference, and how many there are besides.
fn shown(differences: &[Difference]) -> String {
    let first = differences.first().map_or("", |one| &one.text);
    match differences.len() {
        0 | 1 => first.to_owned(),
        2 => format!("{first}; and there is another difference"),
        count => format!("{first}; and there are {} other differences", count - 1),
    }
}

/// The flag without which the file would fit: it is meant for one build, and the file is not.
fn decided_by_flags(
    question: &Question<'_>,
    file: &LockFile,
    differences: &[Difference],
) -> Result<Option<String>> {
    if differences.iter().any(|one| one.part == Part::Base)
        && let Some(flag) = chooses_base(question.request)
    {
        return Ok(Some(flag));
    }
    if let Some(inputs) = question.inputs_by_cuda()?
        && inputs.requirements == file.inputs.requirements
    {
        return Ok(Some("`--torch-index`".to_owned()));
    }
    Ok(None)
}

/// Answers, and the file that says them.
struct Updated {
    lock: Lock,
    implied: ImpliedPackages,
    file: LockFile,
}

/// Asks for all that is not `known`, and makes the file of it.
fn update(question: &Question<'_>, old: Option<&LockFile>, known: &Known) -> Result<Updated> {
    let (mut lock, implied) = resolve(question, known)?;
    base::remember_pinned(question.native.executor, &lock.base, question.completed)?;
    pin_system_packages(question, &mut lock, &implied)?;
    let file = file_of(question, old, known, &lock, &implied)?;
    Ok(Updated {
        lock,
        implied,
        file,
    })
}

/// Finds out the versions of packages of the distribution, which takes installing them.
fn pin_system_packages(
    question: &Question<'_>,
    lock: &mut Lock,
    implied: &ImpliedPackages,
) -> Result<()> {
    let native = question.native;
    let settings = native.executor.plan_settings();
    let plan = |lock: &Lock| {
        BuildPlan::foundation(
            question.request.config,
            &lock.base,
            lock.certificates.as_ref(),
            implied,
            &lock.system,
            settings.layers,
        )
    };
    let found = plan(lock);
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
            Step::ImpliedPackages(_) => lock.system.implied = versions,
            Step::SystemPackages(_) => lock.system.named = versions,
            _ => {}
        }
    }
    // They would be the same with these versions.
    let store: &Store = native.executor.store;
    for (key, output) in plan(lock).keys().iter().zip(&outputs) {
        store.record_step(key, &output.to_record())?;
    }
    Ok(())
}

fn file_of(
    question: &Question<'_>,
    old: Option<&LockFile>,
    known: &Known,
    lock: &Lock,
    implied: &ImpliedPackages,
) -> Result<LockFile> {
    let request = question.request;
    let inputs = question.inputs();
    let base = PinnedBase::of(&lock.base, &request.options);
    let base = base.ok_or_else(|| BuildError::NoDigest {
        base: lock.base.name.clone(),
    })?;
    let pins = |names: Vec<String>, versions: &Versions| SystemPins {
        packages: if names.is_empty() {
            Vec::new()
        } else {
            versions.packages().to_vec()
        },
        names,
    };
    let is_prebuilt = lock.base.has_common_packages();
    let platform = PlatformLock {
        // As lock files call it.
        name: question.native.executor.architecture.to_string(),
        implied: pins(implied.image.clone(), &lock.system.implied),
        named: pins(
            implied.named(request.config, is_prebuilt),
            &lock.system.named,
        ),
        python: PythonPins {
            source: lock.python.source,
            distributions: lock
                .python
                .resolution
                .clone()
                .without_addresses()
                .distributions,
        },
        base,
    };
    // Those of other platforms answer the same question, or none any more.
    let others = old.filter(|old| old.inputs == inputs).into_iter();
    let others = others.flat_map(|old| old.platforms.iter().cloned());
    let mut platforms: Vec<PlatformLock> = others.filter(|one| one.name != platform.name).collect();
    platforms.push(platform);
    platforms.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(LockFile {
        cog: VERSION.to_owned(),
        decisions: reasons::of(
            question,
            &inputs,
            lock,
            old.filter(|_| known.python.is_some()),
        ),
        inputs,
        platforms,
    })
}
