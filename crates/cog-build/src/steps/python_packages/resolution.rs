//! From requirements to exact distributions, remembered: the same requirements give the same packages until
//! the cache is told to be ignored.

use std::path::Path;

use cog_image::StepRecord;
use cog_python::requirements::{ARTIFACTS_DIR, Requirements};
use cog_python::resolution::Resolution;
use cog_python::uv::{Builds, Staged, Target, Uv, input};

use crate::error::Result;
use crate::plan::{key, list};
use crate::workshop::Workshop;

const RECIPE: u32 = 2;

/// Chooses distributions for `target`.
pub(crate) fn resolve(
    workshop: &Workshop<'_>,
    uv: &Uv<'_>,
    staged: &Staged<'_>,
    target: &Target,
    builds: Builds,
) -> Result<Resolution> {
    let requirements = staged.requirements;
    remembered(workshop, target, requirements, || {
        Ok(uv.resolve(staged, target, builds)?)
    })
}

fn remembered(
    workshop: &Workshop<'_>,
    target: &Target,
    requirements: &Requirements,
    resolve: impl FnOnce() -> Result<Resolution>,
) -> Result<Resolution> {
    let key = key("resolution", RECIPE)
        .field(
            "requirements",
            input(requirements, &target.python, Path::new(ARTIFACTS_DIR)),
        )
        .field("python", &target.python)
        .field("platform", target.platform.as_deref().unwrap_or_default())
        .field("strict", requirements.require_hashes.to_string());
    let artifacts = requirements
        .artifacts
        .iter()
        .map(|artifact| &artifact.sha256);
    let key = list(key, "artifact", artifacts).finish();
    let known = |record: StepRecord| serde_json::from_value(record.facts).ok();
    if let Some(resolution) = workshop.recorded(&key)?.and_then(known) {
        return Ok(resolution);
    }
    let resolution = resolve()?;
    let record = StepRecord {
        layers: Vec::new(),
        facts: serde_json::to_value(&resolution).expect("it is text and numbers"),
    };
    workshop.store.record_step(&key, &record)?;
    Ok(resolution)
}
