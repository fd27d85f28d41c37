//! Flags of the commands that speak with registries: push, pull and login.

use clap::Args;

use super::{BuildFlags, ImageFlags};

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) flags: BuildFlags,

    #[command(flatten)]
    pub(crate) image_flags: ImageFlags,

    /// Where to push to, as `registry/repository:tag`; without it, what cog.yaml says
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image, as `registry/repository:tag` or `registry/repository@digest`
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,

    /// Print what is there now as JSON, when it is
    #[arg(long)]
    pub(crate) json: bool,
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
