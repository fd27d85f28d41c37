//! Flags of `cog lock`.

use clap::Args;

use super::BuildFlags;

#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) flags: BuildFlags,

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
