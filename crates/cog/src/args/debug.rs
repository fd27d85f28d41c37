//! Flags of `cog debug`.

use clap::Args;

use super::{BaseFlags, ProjectArgs, RecipeFlags};

#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,

    /// Name of the image that large files are separated from
    #[arg(long, value_name = "NAME")]
    pub(crate) image_name: Option<String>,

    /// Print two Dockerfiles: one for an image with the large files, one for the rest
    #[arg(long)]
    pub(crate) separate_weights: bool,

    #[command(flatten)]
    pub(crate) bases: BaseFlags,

    #[command(flatten)]
    pub(crate) recipe: RecipeFlags,
}
