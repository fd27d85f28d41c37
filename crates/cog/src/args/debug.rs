//! Flags of `cog debug`.

use clap::Args;

use super::{BuildFlags, RecipeFlags};

#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    #[command(flatten)]
    pub(crate) flags: BuildFlags,

    /// Print what a build would do, as JSON: the completed project and its steps
    #[arg(long)]
    pub(crate) plan: bool,

    /// With `--plan`: ask registries and package indexes too, and print the lock and the whole plan
    #[arg(long, requires = "plan")]
    pub(crate) resolve: bool,

    /// Name of the image that large files are separated from
    #[arg(long, value_name = "NAME")]
    pub(crate) image_name: Option<String>,

    /// Print two Dockerfiles: one for an image with the large files, one for the rest
    #[arg(long)]
    pub(crate) separate_weights: bool,

    #[command(flatten)]
    pub(crate) recipe: RecipeFlags,
}
