//! Flags of the commands about images in the local store.

use clap::Args;
use cog_build::Architecture;

use super::build::platform;

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Print JSON: a list of `{"name","digest","platforms","created","size"}`, sizes in bytes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Print JSON: all that is told, sizes in bytes
    #[arg(long)]
    pub(crate) json: bool,

    /// Print which packages it holds, in SPDX 2.3: as it came with, else from its files
    #[arg(long, conflicts_with = "json")]
    pub(crate) sbom: bool,

    /// Which of an image's platforms: `linux/amd64` or `linux/arm64`; if it isn't said: this machine's
    #[arg(long, value_name = "OS/ARCH", value_parser = platform)]
    pub(crate) platform: Option<Architecture>,

    /// The image, by name or digest; a name that is not in the local store is looked for in its registry
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// The image, by name or digest
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,

    /// Its further name, as `repository:tag`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Print the name as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// The images, by name or digest
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,

    /// Print JSON: what was removed, sizes in bytes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove everything that is not in use, images too
    #[arg(long)]
    pub(crate) all: bool,

    /// Print JSON: what was removed and what is left, sizes in bytes
    #[arg(long)]
    pub(crate) json: bool,
}
