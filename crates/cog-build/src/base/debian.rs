//! The base from the Debian archive: made once, then found by its packages.

use std::time::Duration;

use cog_image::{Layer, StepKey, StepRecord};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::python_build;
use super::{AddedPython, Inherited, LockedBase};
use crate::architecture::Architecture;
use crate::certificate::Certificates;
use crate::container::InPlace;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::foreign;
use crate::plan::{Bytecode, KeyBuilder, key};
use crate::reporter::{Event, Unit};
use cog_debian::{Archive, Lock, Mirror, Progress, Request, Suite, apt_sources, assemble, resolve};
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

/// Raise it whenever the same packages give another layer.
const RECIPE: u32 = 2;
/// Raise it whenever more is to be known of a base.
const DESCRIPTION: u32 = 5;

/// How long the archive's index is not asked for again when a base is made. An existing base is not
/// looked after at all until the cache is ignored, like an image that was pulled.
const FRESHNESS: Duration = Duration::from_hours(1);

/// The newest C library that uv has a name for.
const NEWEST_KNOWN_GLIBC: u32 = 40;

/// What a base from the archive is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianRelease {
    suite: Suite,
    archives: Vec<Archive>,
}

impl DebianRelease {
    /// The release's codename.
    pub(crate) fn codename(&self) -> &'static str {
        self.suite.codename()
    }

    /// What containers see as the sources of `apt`, for the mirror of this machine.
    pub(crate) fn apt_sources(&self) -> Result<String> {
        let mirror = Mirror::from_environment()?;
        Ok(apt_sources(&mirror, self.suite, &self.archives))
    }
}

/// The base with the Python `version`: Debian's own where a release has it, else the newest release
/// with a Python that uv brings.
pub(super) fn base(executor: &Executor<'_>, version: &str) -> Result<LockedBase> {
    foreign::refuse_debian(executor)?;
    let minor = minor_version(version);
    let suite = Suite::with_python(&minor);
    let key = with_options(executor, key("debian base", DESCRIPTION));
    let key = if suite.is_some() {
        key.field("python", &minor)
    } else {
        // Its standard library is compiled, or not.
        let bytecode = match executor.plan_settings().bytecode {
            Bytecode::Compiled => "compiled",
            Bytecode::Absent => "absent",
        };
        key.field("python", version).field("bytecode", bytecode)
    };
    let key = key.finish();
    if let Some(base) = executor.recorded(&key)?.and_then(LockedBase::from_record) {
        return Ok(base);
    }
    let base = match suite {
        Some(suite) => release(executor, suite)?,
        None => python_build::add(executor, release(executor, Suite::Trixie)?, version, None)?,
    };
    executor.store.record_step(&key, &base.to_record())?;
    Ok(base)
}

/// The base of exactly the packages of `archive`, with this `build` of the Python `version` if it has one of uv's.
pub(super) fn pinned(
    executor: &Executor<'_>,
    archive: &Lock,
    version: &str,
    build: Option<&AddedPython>,
) -> Result<LockedBase> {
    foreign::refuse_debian(executor)?;
    let base = with_request(executor, archive.suite, |request| {
        make(executor, request, archive)
    });
    let base = base.map_err(|error| match error {
        // The archive never changes a file of its pool.
        BuildError::Debian(source) if source.is_other_content() => {
            BuildError::ArchiveDiffers { source }
        }
        BuildError::Debian(source) if source.is_outdated() => BuildError::ArchiveMoved {
            date: archive.date.clone(),
            source,
        },
        other => other,
    })?;
    let Some(build) = build else {
        return Ok(base);
    };
    let key = known_as(executor, archive, version, build);
    if let Some(base) = executor.recorded(&key)?.and_then(LockedBase::from_record) {
        return Ok(base);
    }
    let base = python_build::add(executor, base, version, Some(build))?;
    executor.store.record_step(&key, &base.to_record())?;
    Ok(base)
}

/// What such a base is remembered under.
pub(super) fn known_as(
    executor: &Executor<'_>,
    archive: &Lock,
    version: &str,
    build: &AddedPython,
) -> StepKey {
    let bytecode = executor.plan_settings().bytecode;
    with_options(executor, key("debian base as it was", DESCRIPTION))
        .field("lock", archive.key())
        .field("python", version)
        .field("build", &build.sha256)
        .field("bytecode", format!("{bytecode:?}"))
        .finish()
}

/// The base as Debian has it.
fn release(executor: &Executor<'_>, suite: Suite) -> Result<LockedBase> {
    with_request(executor, suite, |request| {
        let lock = resolve(request)?;
        match make(executor, request, &lock) {
            Err(BuildError::Debian(error)) if error.is_outdated() => {
                let request = &Request {
                    freshness: Duration::ZERO,
                    ..request.clone()
                };
                make(executor, request, &resolve(request)?)
            }
            result => result,
        }
    })
}

/// Gives `work` what it takes to fetch packages of the release.
fn with_request<T>(
    executor: &Executor<'_>,
    suite: Suite,
    work: impl FnOnce(&Request<'_>) -> Result<T>,
) -> Result<T> {
    let architecture = executor.architecture.debian();
    let architecture = architecture.ok_or(BuildError::UnsupportedMachine)?;
    let cache = executor.store.root().join("debian");
    let certificates = Certificates::of_environment()?;
    let certificates = certificates.map_or_else(Vec::new, |given| given.pem().into_bytes());
    let progress = |progress: Progress<'_>| report(executor, progress);
    let request = Request {
        suite,
        architecture,
        extra_packages: &[],
        cache_dir: &cache,
        mirror: Mirror::from_environment()?.trusting(certificates),
        freshness: FRESHNESS,
        threads: executor.threads,
        progress: &progress,
    };
    work(&request)
}

/// The base of exactly these packages. It is the same whether the cache is used or not, so it is not
/// made again.
fn make(executor: &Executor<'_>, request: &Request<'_>, lock: &Lock) -> Result<LockedBase> {
    let key = with_options(executor, key("debian tree", RECIPE))
        .field("lock", lock.key())
        .finish();
    let suite = lock.suite.codename();
    let record = match executor.store.step(&key)? {
        Some(record) => record,
        None => executor.timed(&format!("base: Debian {suite}"), || {
            let scratch = executor.store.scratch()?;
            let root = scratch.path().join("root");
            assemble(request, lock, &root, &InPlace::new(executor)?)?;
            let options = executor.command_layer_options(format!("base: Debian {suite}"));
            let layer = executor.store.add_layer_from_dir(&root, &options)?;
            let record = StepRecord {
                layers: vec![layer],
                facts: json!(null),
            };
            executor.store.record_step(&key, &record)?;
            Ok(record)
        })?,
    };
    Ok(describe(executor.architecture, lock, record.layers))
}

fn with_options(executor: &Executor<'_>, key: KeyBuilder) -> KeyBuilder {
    key.field("architecture", executor.architecture.name())
        .field("timestamp", executor.timestamp.to_string())
        .field("compression", format!("{:?}", executor.compression))
}

fn describe(architecture: Architecture, lock: &Lock, layers: Vec<Layer>) -> LockedBase {
    let suite = lock.suite;
    let (major, minor) = suite.glibc();
    let glibc = format!("{major}_{}", minor.min(NEWEST_KNOWN_GLIBC));
    LockedBase {
        architecture,
        layers,
        name: format!("debian:{}", suite.codename()),
        interpreter: Interpreter {
            path: suite.python().to_owned(),
            minor: suite.python_version().to_owned(),
        },
        python_version: python_version(lock),
        python_platform: architecture.python_platform(&glibc),
        // Without it, Python takes text for ASCII.
        environment: vec![("LANG".to_owned(), "C.UTF-8".to_owned())],
        debian: Some(DebianRelease {
            suite,
            archives: lock.archives.clone(),
        }),
        packages: lock.listing(),
        archive: Some(Box::new(lock.clone())),
        added_python: None,
        installed: Vec::new(),
        compiler: None,
        inherited: Inherited::default(),
    }
}

/// The version of its Python without Debian's own part: `3.11.2` of `3.11.2-6+deb12u6`.
fn python_version(lock: &Lock) -> Option<String> {
    let name = format!("python{}", lock.suite.python_version());
    let package = lock.packages.iter().find(|package| package.name == name)?;
    let (upstream, _) = package.version.split_once('-')?;
    Some(upstream.to_owned())
}

fn report(executor: &Executor<'_>, progress: Progress<'_>) {
    let advance = |label, done, total, unit| {
        executor.reporter.report(Event::Progress {
            label,
            done,
            total: Some(total),
            unit,
        });
    };
    match progress {
        Progress::Indexing { done, total } => {
            advance("fetching package index", done, total, Unit::Bytes);
        }
        Progress::Downloading { done, total } => {
            advance("downloading base", done, total, Unit::Bytes);
        }
        Progress::Unpacking { done, total } => {
            advance("unpacking base", done as u64, total as u64, Unit::Items);
        }
        Progress::Warning { message } => executor.warn(message),
        _ => {}
    }
}
