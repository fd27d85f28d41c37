//! Flags of `cog doctor`.

use clap::Args;

use super::ProjectArgs;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,

    /// Mend what can be mended without asking
    #[arg(long)]
    pub(crate) fix: bool,

    /// Print what was found as JSON, whether or not something is wrong
    #[arg(long)]
    pub(crate) json: bool,
}
