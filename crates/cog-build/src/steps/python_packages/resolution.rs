//! From requirements to exact distributions, remembered: the same requirements give the same packages until
//! the cache is told to be ignored.

use std::path::Path;

use cog_image::{Layer, StepRecord};
use cog_python::requirements::{ARTIFACTS_DIR, Requirements, normalise};
use cog_python::resolution::Resolution;
use cog_python::uv::{
    Builds, Preference, Refresh, Settings, Staged, Target, UvError, input, left_out,
};

use super::{Staging, in_container};
use crate::base::LockedBase;
use crate::error::Result;
use crate::executor::Executor;
use crate::lock::{LockedPython, PackageSource};
use crate::plan::{key, list};

const RECIPE: u32 = 4;

/// Variables that say where packages come from.
const INDEX_VARIABLES: [&str; 8] = [
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_EXCLUDE_NEWER",
    "PIP_INDEX_URL",
];

/// How a resolution takes up what there is already.
#[derive(Clone, Copy)]
pub(crate) struct Earlier<'a> {
    /// Versions to choose where the requirements allow them.
    pub(crate) preferred: &'a [Preference],
    /// Whether an index is asked although it was asked lately.
    pub(crate) refresh: Refresh,
}

/// Locks `requirements` for the Python and platform of `base`, after what was `earlier`. Where that takes source
/// distributions, these are built over the layers that `foundation` gives.
pub(crate) fn lock_for_image(
    executor: &Executor<'_>,
    base: &LockedBase,
    requirements: &Requirements,
    earlier: Earlier<'_>,
    foundation: impl FnOnce() -> Result<Vec<Layer>>,
) -> Result<LockedPython> {
    let target = Target {
        python: base.interpreter.minor.clone(),
        platform: Some(base.python_platform.clone()),
    };
    let preferred = &*preferred(earlier.preferred, base);
    let earlier = Earlier {
        preferred,
        ..earlier
    };
    remembered(executor, &target, requirements, preferred, |staging| {
        let uv = executor.uv()?;
        let wanted = Staged {
            preferred,
            refresh: earlier.refresh,
            ..staging.wanted(requirements)
        };
        match uv.resolve(&wanted, &target, Builds::Never) {
            // What is installed there runs programs of this machine.
            Err(UvError::NeedsBuild(_))
                if executor.containers.is_some() && executor.architecture.is_host() =>
            {
                let interpreter = &base.interpreter.path;
                let resolution = in_container::resolve(
                    executor,
                    &uv,
                    interpreter,
                    &target,
                    requirements,
                    earlier,
                    &foundation()?,
                )?;
                Ok((resolution, PackageSource::SourceDistributions))
            }
            result => Ok((result?, PackageSource::Wheels)),
        }
    })
}

/// What was chosen before, and what the base has besides.
fn preferred(before: &[Preference], base: &LockedBase) -> Vec<Preference> {
    let of_base = base.installed.iter().filter(|one| {
        let name = normalise(&one.freeze.name);
        !before.iter().any(|other| other.name == name)
    });
    let of_base = of_base.map(|one| Preference {
        name: one.freeze.name.clone(),
        version: one.freeze.version.clone(),
    });
    before.iter().cloned().chain(of_base).collect()
}

/// Locks `requirements` for a Python of this machine, where source distributions may be built, with the versions of
/// `before` where they allow them.
pub(crate) fn lock_for_host(
    executor: &Executor<'_>,
    python: &str,
    requirements: &Requirements,
    before: &[Preference],
) -> Result<LockedPython> {
    let target = Target {
        python: python.to_owned(),
        platform: None,
    };
    remembered(executor, &target, requirements, before, |staging| {
        let uv = executor.uv()?;
        let wanted = Staged {
            preferred: before,
            ..staging.wanted(requirements)
        };
        let resolution = uv.resolve(&wanted, &target, Builds::Allowed)?;
        Ok((resolution, PackageSource::Wheels))
    })
}

fn remembered(
    executor: &Executor<'_>,
    target: &Target,
    requirements: &Requirements,
    preferred: &[Preference],
    resolve: impl FnOnce(&Staging) -> Result<(Resolution, PackageSource)>,
) -> Result<LockedPython> {
    let key = key("resolution", RECIPE)
        .field(
            "requirements",
            input(requirements, &target.python, Path::new(ARTIFACTS_DIR)),
        )
        .field("python", &target.python)
        .field("platform", target.platform.as_deref().unwrap_or_default())
        .field("strict", requirements.require_hashes.to_string());
    // Another index has other packages. What is in these variables is only hashed.
    let key = INDEX_VARIABLES.iter().fold(key, |key, name| {
        let value = std::env::var_os(name).unwrap_or_default();
        key.field(name, value.as_encoded_bytes())
    });
    let settings = Settings::of_caller()?;
    tell_of_left_out(executor, &settings)?;
    let key = key.field("settings", settings.sources());
    let key = list(key, "constraint", &requirements.constraints);
    let hashes = requirements.hashes.iter();
    let key = hashes.fold(key, |key, (name, hashes)| {
        key.field("hashes", format!("{name} {}", hashes.join(" ")))
    });
    let key = list(key, "artifact", requirements.content());
    let key = preferred
        .iter()
        .fold(key, |key, Preference { name, version }| {
            key.field("preferred", format!("{name}=={version}"))
        });
    let key = key.finish();
    let known = executor.recorded(&key)?;
    let known = known.and_then(|record| serde_json::from_value(record.facts).ok());
    let (resolution, source) = if let Some(known) = known {
        known
    } else {
        let answer = resolve(&Staging::new(executor, requirements)?)?;
        let record = StepRecord {
            layers: Vec::new(),
            facts: serde_json::to_value(&answer).expect("it is text and numbers"),
        };
        executor.store.record_step(&key, &record)?;
        answer
    };
    Ok(LockedPython {
        requirements: requirements.clone(),
        resolution,
        source,
    })
}

/// Names the settings for uv that do not count: once for each project if they would choose packages.
fn tell_of_left_out(executor: &Executor<'_>, settings: &Settings) -> Result<()> {
    let variables = left_out();
    let of_files = settings.left_out();
    let all = variables
        .iter()
        .map(|name| (name.as_str(), format!("`{name}`")));
    let all = all.chain(of_files.iter().map(|one| {
        let said = format!("`{}` in `{}`", one.name, one.file.display());
        (one.name.as_str(), said)
    }));
    let (choosing, other): (Vec<_>, Vec<_>) = all.partition(|(name, _)| Settings::chooses(name));
    let said = |all: Vec<(&str, String)>| {
        let all: Vec<String> = all.into_iter().map(|(_, said)| said).collect();
        all.join(", ")
    };
    if !other.is_empty() {
        executor.detail(&format!("left out of what is set for uv: {}", said(other)));
    }
    if !choosing.is_empty() {
        let message = format!(
            "left out of what is set for uv: {}; the project's requirements alone choose its packages",
            said(choosing)
        );
        executor.warn_once_in_project("settings of uv", &message)?;
    }
    Ok(())
}
