//! Builds and their lock file: what of it still fits the project is taken, the rest is asked anew and, unless somebody
//! wants it otherwise, written down.
//!
//! [`answers`] is the way of every build. [`lock_project`] and [`check_lock`] are what `cog lock` does. What a file says
//! is in [`crate::lock_file`], `fit` decides what of it counts, and `update` asks for the rest, for one platform.

mod changes;
mod fit;
mod reasons;
mod update;

use cog_errors::Colour;
use cog_python::uv::Preference;

pub(crate) use self::fit::Known;
use self::fit::{Fit, preferences};
use self::update::{Updated, elsewhere, update};
use crate::architecture::Architecture;
use crate::backend::Native;
use crate::environment::take_project;
use crate::error::{BuildError, Result};
use crate::executor::{Cache, Executor};
use crate::implied::Sources;
use crate::lock::Answers;
use crate::lock_file::{
    Difference, Inputs, LockFile, LockFileError, Part, PlatformLock, chooses_base, differences,
    name_for,
};
use crate::plan::ImpliedPackages;
use crate::reporter::ToldOnce;
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

/// Writes the lock file of the project of `request` for `platforms`: if none is named for those that it has, else for this
/// machine's. What an earlier file says is kept, except for `upgrade`.
pub fn lock_project(
    request: &BuildRequest<'_>,
    platforms: &[Architecture],
    upgrade: &Upgrade,
) -> Result<LockReport> {
    request.check()?;
    let _project = take_project(request)?;
    let _lease = request.store.lease()?;
    let told = ToldOnce::new(request.reporter);
    let executor = Executor {
        reporter: &told,
        ..request.executor()
    };
    let executor = match upgrade {
        Upgrade::Nothing => executor,
        // What is remembered is what is not wanted any more.
        Upgrade::Everything | Upgrade::These(_) => Executor {
            cache: Cache::Ignore,
            ..executor
        },
    };
    asked(request, &executor, |question| {
        lock(question, platforms, upgrade)
    })
}

fn lock(
    question: &Question<'_>,
    platforms: &[Architecture],
    upgrade: &Upgrade,
) -> Result<LockReport> {
    let request = question.request;
    let name = name_for(request.config_file_name);
    let old = LockFile::load(request.project_dir, &name)?;
    let platforms = wanted(platforms, old.as_ref());
    let fits = platforms.iter().map(|one| match &old {
        None => Ok(Fit::default()),
        Some(file) => fit(file, question, *one, &name),
    });
    let mut fits: Vec<Fit> = fits.collect::<Result<_>>()?;
    if old.is_some() {
        upgrade.forget(fits.iter_mut().map(|fit| &mut fit.known), &name)?;
    }
    let mut parts = Vec::new();
    let mut is_same = old
        .as_ref()
        .is_some_and(|old| old.architectures() == platforms);
    for (architecture, fit) in platforms.iter().zip(&fits) {
        let stays = old.as_ref().and_then(|old| old.platform(*architecture));
        let stays = stays.filter(|_| fit.is_whole() && *upgrade == Upgrade::Nothing);
        if let Some(part) = stays {
            parts.push(part.clone());
            continue;
        }
        is_same = false;
        let updated = elsewhere(question, *architecture, |question| {
            tell_of(question, &platforms);
            update(question, old.as_ref(), &fit.known)
        })?;
        parts.push(updated.part);
    }
    if is_same {
        return Ok(LockReport {
            name,
            outcome: LockOutcome::Unchanged,
            changes: Vec::new(),
        });
    }
    let file = file_of(question, parts);
    let changed = file.save(request.project_dir, &name)?;
    Ok(LockReport {
        outcome: match (&old, changed) {
            (None, _) => LockOutcome::Made,
            (_, true) => LockOutcome::Changed,
            (_, false) => LockOutcome::Unchanged,
        },
        changes: old.map_or_else(Vec::new, |old| changes::between(&old, &file)),
        name,
    })
}

/// The platforms to lock, in the order of their names: those that are `named`, else those that the `old` file has, else
/// this machine's.
fn wanted(named: &[Architecture], old: Option<&LockFile>) -> Vec<Architecture> {
    let mut wanted = named.to_vec();
    if wanted.is_empty() {
        wanted = old.map_or_else(Vec::new, LockFile::architectures);
    }
    if wanted.is_empty() {
        wanted.push(Architecture::host());
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Says for which of several platforms something is asked.
fn tell_of(question: &Question<'_>, platforms: &[Architecture]) {
    let executor = question.native.executor;
    if platforms != [Architecture::host()] {
        executor.notice(&format!("resolving for {}", executor.architecture));
    }
}

/// Refuses a lock file that is missing or does not fit the project of `request`, for `platforms` or, if none is named, for
/// those that it has; says that one that fits is unchanged. Nothing is asked of the outside world.
pub fn check_lock(request: &BuildRequest<'_>, platforms: &[Architecture]) -> Result<LockReport> {
    request.check()?;
    asked(request, &request.executor(), |question| {
        let name = name_for(request.config_file_name);
        let file = LockFile::load(request.project_dir, &name)?;
        let file = file.ok_or_else(|| LockFileError::Missing { name: name.clone() })?;
        let platforms = wanted(platforms, Some(&file));
        let fits = platforms
            .iter()
            .map(|one| fit(&file, question, *one, &name));
        let fits: Vec<Fit> = fits.collect::<Result<_>>()?;
        refuse(&name, &file, &platforms, &fits)?;
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
    let secrets = request.secret_values()?;
    let native = Native::of(request, executor, &secrets);
    let requirements = request.requirements(&completed, executor)?;
    work(&Question {
        request,
        completed: &completed,
        native: &native,
        requirements: &requirements,
        sources: &Sources::default(),
    })
}

/// Holds `file` against the project of `question` for `architecture`.
fn fit(
    file: &LockFile,
    question: &Question<'_>,
    architecture: Architecture,
    name: &str,
) -> Result<Fit> {
    elsewhere(question, architecture, |question| {
        Fit::of(file, &question.inputs(), question, name)
    })
}

/// The answers that a build goes by: those of the lock file, if there is one. The `questions` are one, asked for different
/// platforms.
pub(crate) fn answers(questions: &[Question<'_>]) -> Result<Vec<(Answers, ImpliedPackages)>> {
    let Some(first) = questions.first() else {
        return Ok(Vec::new());
    };
    let request = first.request;
    let name = name_for(request.config_file_name);
    let platforms: Vec<Architecture> = questions.iter().map(Question::architecture).collect();
    let resolved = |(question, known): (&Question<'_>, &Known)| {
        tell_of(question, &platforms);
        resolve(question, known)
    };
    let Some(file) = LockFile::load(request.project_dir, &name)? else {
        if request.lock == LockPolicy::Locked {
            return Err(LockFileError::Missing { name }.into());
        }
        let nothing = Known::default();
        return questions
            .iter()
            .map(|one| resolved((one, &nothing)))
            .collect();
    };
    let fits = questions
        .iter()
        .map(|one| Fit::of(&file, &one.inputs(), one, &name));
    let fits: Vec<Fit> = fits.collect::<Result<_>>()?;
    let known = fits.iter().map(|fit| &fit.known);
    let by_known = || -> Result<Vec<_>> { questions.iter().zip(known).map(resolved).collect() };
    let differences = merged(&fits);
    if differences.is_empty() {
        return by_known();
    }
    if request.lock == LockPolicy::Locked {
        refuse(&name, &file, &platforms, &fits)?;
    }
    let executor = first.native.executor;
    if let Some(flag) = decided_by_flags(first, &file, &differences)? {
        executor.notice(&format!(
            "{name} is for builds without {flag}: this one takes from it only what fits"
        ));
        return by_known();
    }
    if request.lock == LockPolicy::Keep {
        return by_known();
    }
    executor.notice(&format!("updating {name}: {}", shown(&differences)));
    let updated = questions.iter().zip(&fits).map(|(question, fit)| {
        tell_of(question, &platforms);
        update(question, Some(&file), &fit.known)
    });
    let updated: Vec<Updated> = updated.collect::<Result<_>>()?;
    let parts = updated.iter().map(|one| one.part.clone());
    let parts = parts.chain(others(first, &file, &platforms, &name));
    save(first, &file, &file_of(first, parts.collect()), &name);
    let answers = updated.into_iter().map(|one| (one.answers, one.implied));
    Ok(answers.collect())
}

/// The parts for platforms of `file` that are not built for. They answer the same question, or are brought up to date; one
/// for which that cannot be done here is left out, as it would be wrong.
fn others(
    question: &Question<'_>,
    file: &LockFile,
    built: &[Architecture],
    name: &str,
) -> Vec<PlatformLock> {
    let executor = question.native.executor;
    let others = file.platforms.iter();
    let others = others.filter(|part| !built.contains(&part.architecture));
    let brought = others.filter_map(|part| {
        let architecture = part.architecture;
        let made = elsewhere(question, architecture, |question| {
            let fit = Fit::of(file, &question.inputs(), question, name)?;
            if fit.is_whole() {
                return Ok(part.clone());
            }
            executor.notice(&format!("resolving for {architecture}, which {name} is for"));
            Ok(update(question, Some(file), &fit.known)?.part)
        });
        let report = |error: BuildError| {
            let platforms = Architecture::list(&file.architectures());
            executor.warn(&format!(
                "{name} no longer has a part for {architecture}, as it could not be brought up to date; \
                 `cog lock --platform {platforms}` makes it again: {}",
                cog_errors::render(&error, None, Colour::Off)
            ));
        };
        made.map_err(report).ok()
    });
    brought.collect()
}

/// Writes `new` in place of `old`, and says what is another in it.
fn save(question: &Question<'_>, old: &LockFile, new: &LockFile, name: &str) {
    let executor = question.native.executor;
    match new.save(question.request.project_dir, name) {
        Ok(_) => {
            for change in changes::between(old, new) {
                executor.notice(&format!("{name}: {change}"));
            }
        }
        Err(error) => executor.warn(&format!(
            "{error}: this build goes by what would be in it, the next one may find something else"
        )),
    }
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
        if !found.is_empty() {
            return Err(drift(&name, &found, Vec::new()));
        }
    }
    let platform = file.platform(Architecture::host());
    Ok(platform.map_or_else(Vec::new, |platform| preferences(&platform.python)))
}

/// Refuses `file` if it does not fit, by `fits`, which it was held against for `platforms`.
fn refuse(name: &str, file: &LockFile, platforms: &[Architecture], fits: &[Fit]) -> Result<()> {
    let differences = merged(fits);
    if differences.is_empty() {
        return Ok(());
    }
    let mut all = file.architectures();
    let is_missing = |one: &&Architecture| file.platform(**one).is_none();
    let missing: Vec<Architecture> = platforms.iter().filter(is_missing).copied().collect();
    all.extend(&missing);
    all.sort_unstable();
    Err(drift(
        name,
        &differences,
        if missing.is_empty() { Vec::new() } else { all },
    ))
}

/// All differences, those that several platforms have in common once.
fn merged(fits: &[Fit]) -> Vec<Difference> {
    let mut merged: Vec<Difference> = Vec::new();
    for one in fits.iter().flat_map(|fit| &fit.differences) {
        if !merged.contains(one) {
            merged.push(one.clone());
        }
    }
    merged
}

fn drift(name: &str, differences: &[Difference], platforms: Vec<Architecture>) -> BuildError {
    let error = LockFileError::Drift {
        name: name.to_owned(),
        differences: differences.iter().map(|one| one.text.clone()).collect(),
        platforms,
    };
    error.into()
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

/// The file of these parts.
fn file_of(question: &Question<'_>, mut parts: Vec<PlatformLock>) -> LockFile {
    parts.sort_by_key(|part| part.architecture.to_string());
    LockFile {
        cog: VERSION.to_owned(),
        inputs: question.inputs(),
        decisions: reasons::of_project(question),
        platforms: parts,
    }
}
