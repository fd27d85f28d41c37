//! Flags of the commands that speak with registries: push, pull and login.

use std::str::FromStr;

use clap::Args;
use cog_build::{Architecture, UnknownPlatform};

use super::{BuildFlags, ImageFlags};

/// What says something of an image that is built, but for what the environment may say for all commands.
const BUILD_FLAGS: [&str; 15] = [
    "compression",
    "dockerfile",
    "locked",
    "no_cache",
    "no_implied_packages",
    "openapi_schema",
    "platform",
    "precompile",
    "provenance",
    "sbom",
    "secret",
    "separate_weights",
    "strip",
    "timestamp",
    "user",
];

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) flags: BuildFlags,

    #[command(flatten)]
    pub(crate) image_flags: ImageFlags,

    /// Push the image of this name that the local store has, with all its platforms and what is said about it, and build
    /// nothing
    #[arg(long, conflicts_with_all = BUILD_FLAGS)]
    pub(crate) no_build: bool,

    /// Where to push to, as `registry/repository:tag`; without it, what cog.yaml says
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image, as `registry/repository:tag` or `registry/repository@digest`
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,

    /// Which of an image's platforms: `linux/amd64`, `linux/arm64` or several, whose index the name is then that of; `all`
    /// that there are, as the registry lists them; if it isn't said: this machine's
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platform: Vec<PulledArg>,

    /// Print what is there now as JSON, when it is
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which images of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PulledArg {
    /// Each.
    All,
    /// The one for a platform.
    One(Architecture),
}

impl FromStr for PulledArg {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        match text.trim() {
            "all" => Ok(Self::All),
            one => one.parse().map(Self::One),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Read the token from standard input; with `--username`, the password
    #[arg(long)]
    pub(crate) token_stdin: bool,

    /// Log in as this user instead of asking for one
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
}
