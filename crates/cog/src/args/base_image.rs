//! `cog base-image`: what is known about prebuilt bases.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum BaseImageCommand {
    /// Print the prebuilt base images that there may be, as a JSON list
    GenerateMatrix(MatrixArgs),
}

/// Each takes versions with commas between them; all if it is left out.
#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    /// Only with these CUDA versions
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',')]
    pub(crate) cuda: Vec<String>,

    /// Only with these Python versions
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',')]
    pub(crate) python: Vec<String>,

    /// Only with these PyTorch versions
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',')]
    pub(crate) torch: Vec<String>,

    /// Print JSON, which is done in any case
    #[arg(long)]
    pub(crate) json: bool,
}
