//! Installs packages of the distribution with its own package manager.

use std::path::PathBuf;

use cog_image::Layer;

use crate::base;
use crate::container::{Job, Mount, Upper};
use crate::error::Result;
use crate::plan::SystemPackages;
use crate::step_output::StepOutput;
use crate::workshop::Workshop;
use cog_debian::APT_SOURCES_PATH;

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

/// Downloaded packages, kept for other builds.
const DOWNLOADS: &str = "/var/cache/apt/archives";

/// One user exists in the container, so the package manager cannot become another one to download.
/// `$@` are the packages; recommended ones are installed too, as projects expect.
const SCRIPT: &str = r#"set -e
options="-o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o Acquire::Retries=3"
options="$options -o Acquire::https::CaInfo=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"
mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial
apt-get $options -o APT::Update::Error-Mode=any update -qq
apt-get $options install -qqy -o APT::Keep-Downloaded-Packages=true -- "$@"
"#;

/// The layer with the packages of `step`, on top of the layers `below`.
pub(crate) fn run(
    workshop: &Workshop<'_>,
    step: &SystemPackages,
    below: &[Layer],
) -> Result<StepOutput> {
    let upper = install(workshop, step, below)?;
    let title = format!("cog: system packages {}", step.packages.join(" "));
    let mut options = workshop.command_layer_options(title);
    options.exclude = LEFT_OVERS.iter().map(PathBuf::from).collect();
    let layer = workshop
        .store
        .add_layer_from_upper(upper.path(), &options)?;
    Ok(StepOutput::layer(layer))
}

/// What changes when the packages of `step` are installed over the layers `below`. A base made of the archive's
/// packages names no mirror, so it gets this machine's for the time.
pub(crate) fn install(
    workshop: &Workshop<'_>,
    step: &SystemPackages,
    below: &[Layer],
) -> Result<Upper> {
    let packages = &step.packages;
    let downloads = workshop
        .store
        .root()
        .join("packages")
        .join(base::architecture());
    fs_err::create_dir_all(&downloads)?;
    // Two package managers must not download into the same folder.
    let _lock = workshop.store.lock("packages")?;
    let shell = ["/bin/sh", "-c", SCRIPT, "apt-get"].map(str::to_owned);
    let mut mounts = vec![Mount::writable(downloads, DOWNLOADS)];
    let scratch = workshop.store.scratch()?;
    if let Some(debian) = &step.release {
        let sources = scratch.path().join("sources");
        fs_err::write(&sources, debian.apt_sources()?)?;
        mounts.push(Mount::read_only(sources, APT_SOURCES_PATH));
    }
    let job = Job {
        title: format!("apt-get install {}", packages.join(" ")),
        arguments: shell.into_iter().chain(packages.iter().cloned()).collect(),
        environment: step.environment.clone(),
        working_dir: "/".to_owned(),
        mounts,
    };
    workshop.run_container(below, &job)
}
