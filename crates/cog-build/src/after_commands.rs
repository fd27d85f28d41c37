//! Which Python packages there are after commands of the project: they may install, replace and remove some.

use std::path::Path;

use cog_image::{Layer, StepRecord};
use cog_python::freeze::Freeze;
use cog_python::installations;
use cog_python::venv::{Interpreter, VENV};

use crate::environment::hide_below;
use crate::error::Result;
use crate::executor::Executor;
use crate::image_files::{ImageFiles, is_word};
use crate::plan::key;

/// Changes whenever the same layers would give another list.
const RECIPE: u32 = 1;

/// What the `interpreter` and the environment made for it find in the image of `layers`, the last of which commands have
/// made. Looked for once, as far as the store remembers.
pub(crate) fn packages(
    executor: &Executor<'_>,
    interpreter: &Interpreter,
    layers: &[Layer],
) -> Result<Vec<Freeze>> {
    let key = layers
        .iter()
        .fold(key("packages after commands", RECIPE), |key, layer| {
            key.field("layer", layer.diff_id.hex())
        })
        .field("interpreter", &interpreter.path)
        .finish();
    if let Some(record) = executor.recorded(&key)?
        && let Ok(found) = serde_json::from_value(record.facts)
    {
        return Ok(found);
    }
    let root = executor.store.rootfs(layers)?;
    let files = ImageFiles(&root);
    let environment = format!("{VENV}/bin/python");
    let mut found = Vec::new();
    for program in [environment.as_str(), &interpreter.path] {
        let program = Path::new(program.trim_start_matches('/'));
        let installed = installations::installed_for(&files, program, &interpreter.minor);
        let installed = installed.into_iter().map(|one| one.freeze);
        hide_below(
            &mut found,
            installed.filter(|one| is_word(&one.name) && is_word(&one.version)),
        );
    }
    let record = StepRecord {
        layers: Vec::new(),
        facts: serde_json::to_value(&found).expect("names and versions are text"),
    };
    executor.store.record_step(&key, &record)?;
    Ok(found)
}
