//! Flags of everything that builds an environment or an image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{OutputArg, ProjectArgs};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// Docker if it answers, else embedded if the kernel allows it, else host
    Auto,
    /// A Docker or Podman socket
    Docker,
    /// Containers of our own: no daemon, no root
    Embedded,
    /// No container: a cached virtual environment on this machine
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    Auto,
    Tty,
    Plain,
    Quiet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TorchIndexArg {
    /// PyTorch's own index for the project's CUDA
    ByCuda,
    /// The default index, which has each version for one CUDA
    Default,
}

/// Flags shared by build, run, serve and exec.
#[derive(Debug, Args, Clone)]
pub(crate) struct BuildFlags {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,

    /// What builds and runs containers
    #[arg(long, value_enum, env = "COG_ENGINE", default_value = "auto")]
    pub(crate) engine: EngineArg,

    /// Base image: a reference, or `debian` to assemble one from the Debian archive
    #[arg(long, value_name = "REFERENCE", env = "COG_BASE")]
    pub(crate) base: Option<String>,

    /// Where PyTorch comes from
    #[arg(long, value_enum, env = "COG_TORCH_INDEX", default_value = "by-cuda")]
    pub(crate) torch_index: TorchIndexArg,

    /// How progress is shown
    #[arg(
        long,
        value_enum,
        env = "BUILDKIT_PROGRESS",
        default_value = "auto",
        hide_env = true
    )]
    pub(crate) progress: ProgressArg,

    /// Accepted for compatibility
    #[arg(long, hide = true, value_name = "auto|true|false")]
    pub(crate) use_cuda_base_image: Option<String>,

    /// Accepted for compatibility: the prebuilt base images are never used
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) use_cog_base_image: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) flags: BuildFlags,

    /// Name of the image, as `repository:tag`
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Option<String>,

    /// Do every step again
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Secret for build commands: `id=NAME,src=FILE` or `type=env,id=NAME,env=VARIABLE`
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,

    /// Use this OpenAPI document instead of reading the source
    #[arg(long, value_name = "FILE")]
    pub(crate) openapi_schema: Option<PathBuf>,

    /// Also write the image: `oci-dir=DIR`, `oci-archive=FILE` or `docker-archive=FILE`
    #[arg(short, long, value_name = "KIND=PATH")]
    pub(crate) output: Vec<OutputArg>,

    /// Seconds since 1970 that files and the image are dated with
    #[arg(long, hide = true, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) timestamp: i64,
}
