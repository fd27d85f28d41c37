//! Programs that are there while something is built, and not in the image.
//!
//! Their layer has files alone: the package manager's database stays the base's. A command that installs packages
//! therefore installs all that it needs, and what it changed is complete without this layer.

use std::path::PathBuf;

use cog_image::Layer;

use super::system_packages::{Installed, LEFT_OVERS, install};
use crate::base::LockedBase;
use crate::error::Result;
use crate::executor::{Cache, Executor};
use crate::lock::Versions;
use crate::plan::{BuildTools, SystemPackages, key, list};
use crate::step_output::StepOutput;
use crate::variables::{Variables, build_variables};

/// Raise it whenever the same packages give another layer.
const RECIPE: u32 = 2;

/// Where the package manager keeps what is installed.
const DATABASE: &str = "var/lib/dpkg";

/// `layers`, which begin with those of `base`, with `tools` right above the base: what the image has itself comes
/// before them.
pub(crate) fn beneath(
    executor: &Executor<'_>,
    tools: &BuildTools,
    base: &LockedBase,
    layers: &[Layer],
) -> Result<Vec<Layer>> {
    let mut layers = layers.to_vec();
    if let Some(layer) = layer(executor, tools, base)? {
        layers.insert(base.layers.len(), layer);
    }
    Ok(layers)
}

/// The layer with `tools` for containers over `base`, made once for all projects; none if there are no tools.
fn layer(executor: &Executor<'_>, tools: &BuildTools, base: &LockedBase) -> Result<Option<Layer>> {
    if tools.packages.is_empty() || executor.containers.is_none() {
        return Ok(None);
    }
    // They are no part of the image: a build that ignores the cache takes them from there all the same.
    let executor = &Executor {
        cache: Cache::Use,
        ..*executor
    };
    let key = key("build tools", RECIPE)
        .field("base", base.id())
        .field("timestamp", executor.timestamp.to_string());
    let key = list(key, "package", &tools.packages).finish();
    let title = format!("build tools: {}", tools.packages.join(", "));
    let output = executor.step(&title, &key, || {
        let packages = SystemPackages {
            packages: tools.packages.clone(),
            environment: build_variables(&base.environment, &Variables::default()),
            release: tools.release.clone(),
            versions: Versions::Any,
        };
        let Installed { upper, .. } = install(executor, &packages, &base.layers)?;
        let mut options = executor.command_layer_options("cog: build tools");
        options.exclude = LEFT_OVERS
            .iter()
            .chain([&DATABASE])
            .map(PathBuf::from)
            .collect();
        let layer = executor
            .store
            .add_layer_from_upper(upper.path(), &options)?;
        Ok(StepOutput::layer(layer))
    })?;
    Ok(output.layers.into_iter().next())
}
