//! Installs packages of the distribution.

mod apt;
mod missing;

pub use self::missing::MissingPackage;
use std::path::PathBuf;

use cog_debian::{ListedPackage, PackageFile};
use cog_image::Layer;

use self::apt::Apt;
use crate::container::Upper;
use crate::error::Result;
use crate::executor::Executor;
use crate::lock::Versions;
use crate::plan::SystemPackages;
use crate::step_output::StepOutput;

/// What the package manager leaves behind that is of no use in an image, or differs each time.
pub(crate) const LEFT_OVERS: [&str; 12] = [
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/log/apt",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/lib/systemd",
];

/// The layer with the packages of `step`, on top of the layers `below`.
pub(crate) fn run(
    executor: &Executor<'_>,
    step: &SystemPackages,
    below: &[Layer],
) -> Result<StepOutput> {
    let Installed { upper, packages } = install(executor, step, below)?;
    let title = format!("cog: system packages {}", step.packages.join(" "));
    let mut options = executor.command_layer_options(title);
    options.exclude = LEFT_OVERS.iter().map(PathBuf::from).collect();
    let layer = executor
        .store
        .add_layer_from_upper(upper.path(), &options)?;
    Ok(StepOutput {
        system: packages,
        ..StepOutput::layer(layer)
    })
}

/// What a package manager did.
pub(crate) struct Installed {
    /// What changed.
    pub(crate) upper: Upper,
    /// The packages, sorted.
    pub(crate) packages: Vec<ListedPackage>,
}

/// What changes when the packages of `step` are installed over the layers `below`.
pub(crate) fn install(
    executor: &Executor<'_>,
    step: &SystemPackages,
    below: &[Layer],
) -> Result<Installed> {
    let (upper, files) = Apt::new(executor, step, below)?.work()?;
    cog_debian::clean_layer(upper.path())?;
    let mut packages = match &step.versions {
        Versions::Exactly(packages) => packages.clone(),
        Versions::Any | Versions::Preferred(_) => {
            files.iter().filter_map(PackageFile::package).collect()
        }
    };
    packages.sort();
    Ok(Installed { upper, packages })
}
