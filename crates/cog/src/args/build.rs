//! Flags of everything that builds an environment or an image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cog_build::{Architecture, UnknownPlatform};

use super::{OutputArg, ProjectArgs};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// Embedded if the kernel allows it, else Docker or Podman if one answers, else host
    Auto,
    /// Docker's or Podman's daemon
    Docker,
    /// Containers of our own: no daemon, no root
    Embedded,
    /// No container: a cached virtual environment on this machine
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendArg {
    /// Native where this machine can run containers of ours, else Docker or Podman if one answers
    Auto,
    /// BuildKit in Docker's daemon, or Podman
    Docker,
    /// Containers of our own
    Native,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadArg {
    /// Docker, else Podman, if one answers on this machine
    Auto,
    /// Docker, or what `DOCKER_HOST` or a context names
    Docker,
    Podman,
    /// Keep it in the local store alone
    None,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionArg {
    /// Smaller, and several times faster; not read by Docker before 23
    Zstd,
    /// Read by everything
    Gzip,
}

/// Which images are built on.
#[derive(Debug, Args, Clone)]
pub(crate) struct BaseFlags {
    /// Whether a GPU project is built on an image with CUDA; `false`: on Python's own
    #[arg(long, value_name = "auto|true|false")]
    pub(crate) use_cuda_base_image: Option<String>,

    /// Whether a prebuilt image is built on; if it isn't said: where there is one that fits
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) use_cog_base_image: Option<bool>,

    /// Build this Dockerfile instead of one that is made from cog.yaml
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) dockerfile: Option<PathBuf>,
}

impl BaseFlags {
    /// A word that the published tool takes as it takes `auto`, and that may mean something else.
    pub(crate) fn odd_cuda_base(&self) -> Option<&str> {
        let given = self.use_cuda_base_image.as_deref()?;
        (!["auto", "true", "false"].contains(&given)).then_some(given)
    }

    /// Refuses flags that contradict each other, where they are given.
    pub(crate) fn check(&self) -> Result<(), ExclusiveFlags> {
        let given = [
            (self.use_cog_base_image.is_some(), "--use-cog-base-image"),
            (self.use_cuda_base_image.is_some(), "--use-cuda-base-image"),
            (self.dockerfile.is_some(), "--dockerfile"),
        ];
        let given = given.into_iter().filter(|(given, _)| *given);
        let names: Vec<&str> = given.map(|(_, name)| name).collect();
        if names.len() > 1 {
            return Err(ExclusiveFlags(names.join(" and ")));
        }
        Ok(())
    }
}

/// More than one flag that decides the base.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("The flags {0} are mutually exclusive: you can only set one of them.")]
pub(crate) struct ExclusiveFlags(String);

/// What the recipe of an image does besides.
#[derive(Debug, Args, Clone)]
pub(crate) struct RecipeFlags {
    /// Compile Python files to bytecode
    #[arg(long, hide = true)]
    pub(crate) precompile: bool,

    /// Remove debugging symbols from shared libraries
    #[arg(long, hide = true)]
    pub(crate) strip: bool,

    /// Seconds since 1970 that files and the image are dated with
    #[arg(long, hide = true, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) timestamp: i64,
}

/// Flags shared by build, run, serve and exec.
#[derive(Debug, Args, Clone)]
pub(crate) struct BuildFlags {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,

    /// What runs models and commands
    #[arg(long, value_enum, env = "COG_ENGINE", default_value = "auto")]
    pub(crate) engine: EngineArg,

    /// What does the steps of a build that run something
    #[arg(long, value_enum, env = "COG_BACKEND", default_value = "auto")]
    pub(crate) backend: BackendArg,

    /// Base image: a reference, or `debian` to assemble one from the Debian archive
    #[arg(long, value_name = "REFERENCE", env = "COG_BASE")]
    pub(crate) base: Option<String>,

    /// Where PyTorch comes from
    #[arg(long, value_enum, env = "COG_TORCH_INDEX", default_value = "by-cuda")]
    pub(crate) torch_index: TorchIndexArg,

    /// Add no system packages besides those that cog.yaml names
    #[arg(long)]
    pub(crate) no_implied_packages: bool,

    /// Build what `cog.lock` says, and fail if it is missing or no longer fits the project
    #[arg(long)]
    pub(crate) locked: bool,

    /// How progress is shown; if it isn't said: as `BUILDKIT_PROGRESS` says, else bars on a terminal and lines elsewhere
    #[arg(long, value_enum)]
    pub(crate) progress: Option<ProgressArg>,

    #[command(flatten)]
    pub(crate) bases: BaseFlags,
}

/// What becomes of the image besides its content.
#[derive(Debug, Args, Clone)]
pub(crate) struct FinishFlags {
    /// Make each folder of weights one layer, with all that is in it; large files are layers in any case
    #[arg(long)]
    pub(crate) separate_weights: bool,

    /// How the image's layers are compressed; if it isn't said: with zstd, and the base's as they are
    #[arg(long, value_enum)]
    pub(crate) compression: Option<CompressionArg>,

    /// What the image is for, `linux/amd64` or `linux/arm64`, or both for an index of two; if it isn't said: for this
    /// machine
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',', value_parser = platform)]
    pub(crate) platform: Vec<Architecture>,

    /// Who runs the model in the image, as `UID` or `UID:GID`; if it isn't said: as in the base, which is root in most
    #[arg(long, value_name = "UID[:GID]", value_parser = user)]
    pub(crate) user: Option<String>,

    /// Say beside the image which packages it holds (SPDX 2.3); `cog inspect --sbom` prints it
    #[arg(long)]
    pub(crate) sbom: bool,

    /// Say beside the image what it was made from (SLSA 1.0)
    #[arg(long)]
    pub(crate) provenance: bool,
}

/// Flags of everything that makes an image.
#[derive(Debug, Args, Clone)]
pub(crate) struct ImageFlags {
    /// Do every step again; the base and the tools that only builds need are kept
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Secret for build commands: `id=NAME,src=FILE` or `type=env,id=NAME,env=VARIABLE`
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,

    /// Use this OpenAPI document instead of reading the source
    #[arg(long, value_name = "FILE")]
    pub(crate) openapi_schema: Option<PathBuf>,

    /// Print what was done as JSON, when it is
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) recipe: RecipeFlags,

    #[command(flatten)]
    pub(crate) finish: FinishFlags,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) flags: BuildFlags,

    /// Name of the image, as `repository:tag`
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Option<String>,

    #[command(flatten)]
    pub(crate) image: ImageFlags,

    /// Also write the image: `oci-dir=DIR`, `oci-archive=FILE` or `docker-archive=FILE`
    #[arg(short, long, value_name = "KIND=PATH")]
    pub(crate) output: Vec<OutputArg>,

    /// Which daemon gets the image, so that `docker run NAME` works
    #[arg(long, value_enum, env = "COG_LOAD", default_value = "auto")]
    pub(crate) load: LoadArg,

    /// Make an image without the model's OpenAPI document
    #[arg(long, hide = true)]
    pub(crate) skip_schema_validation: bool,
}

pub(super) fn platform(text: &str) -> Result<Architecture, UnknownPlatform> {
    text.trim().parse()
}

/// Numbers only: those who start containers know no names of an image, and Kubernetes cannot tell who is root by name.
fn user(text: &str) -> Result<String, String> {
    let is_number =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u32>().is_ok();
    let mut parts = text.split(':');
    if parts.clone().count() <= 2 && parts.all(is_number) {
        Ok(text.to_owned())
    } else {
        Err("expected numbers, such as `1000` or `1000:1000`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for good in ["0", "1000", "65534:65534"] {
            assert_eq!(user(good), Ok(good.to_owned()));
        }
        for bad in ["", "root", "1:", ":1", "1:2:3", "-1", "+1", "4294967296"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_that_are_none_of_the_three_are_odd() {
        for (given, odd) in [
            (None, None),
            (Some("auto"), None),
            (Some("false"), None),
            (Some("no"), Some("no")),
            (Some(""), Some("")),
        ] {
            let flags = BaseFlags {
                use_cog_base_image: None,
                use_cuda_base_image: given.map(str::to_owned),
                dockerfile: None,
            };
            assert_eq!(flags.odd_cuda_base(), odd);
        }
    }

    #[test]
    fn one_flag_decides_the_base() {
        let flags = |cog: bool, cuda: bool, dockerfile: bool| BaseFlags {
            use_cog_base_image: cog.then_some(false),
            use_cuda_base_image: cuda.then(|| "auto".to_owned()),
            dockerfile: dockerfile.then(|| "Dockerfile".into()),
        };
        let said = |flags: BaseFlags| flags.check().map_err(|error| error.to_string());
        assert_eq!(said(flags(false, false, false)), Ok(()));
        assert_eq!(said(flags(true, false, false)), Ok(()));
        let exclusive = |names: &str| {
            Err(format!(
                "The flags {names} are mutually exclusive: you can only set one of them."
            ))
        };
        assert_eq!(
            said(flags(true, true, false)),
            exclusive("--use-cog-base-image and --use-cuda-base-image")
        );
        assert_eq!(
            said(flags(true, true, true)),
            exclusive("--use-cog-base-image and --use-cuda-base-image and --dockerfile")
        );
        assert_eq!(
            said(flags(false, true, true)),
            exclusive("--use-cuda-base-image and --dockerfile")
        );
    }
}
