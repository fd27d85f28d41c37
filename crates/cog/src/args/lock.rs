//! Flags of `cog lock`.

use clap::Args;
use cog_build::Architecture;

use super::BuildFlags;
use super::build::platform;

#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) flags: BuildFlags,

    /// Which platforms to lock, `linux/amd64` or `linux/arm64`, or both; if it isn't said: those that `cog.lock` has, or for
    /// a new file this machine's
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',', value_parser = platform)]
    pub(crate) platform: Vec<Architecture>,

    /// Take the newest of everything; or of this alone: a package, `base`, or `system` for packages of the distribution
    #[arg(long, value_name = "NAME", num_args = 0.., conflicts_with = "locked")]
    pub(crate) upgrade: Option<Vec<String>>,

    /// Write nothing, and fail if `cog.lock` is missing or no longer fits the project
    #[arg(long, conflicts_with = "upgrade")]
    pub(crate) check: bool,

    /// Print what became of the file as JSON, when it is written or fits
    #[arg(long)]
    pub(crate) json: bool,
}
