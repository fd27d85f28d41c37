//! Flags of the commands that start something: run, serve, exec.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::BuildFlags;

/// Flags of what may use GPUs.
#[derive(Debug, Args, Clone)]
pub(crate) struct GpuFlags {
    /// GPUs: `all`, a count, or `device=0,1`; default: all if cog.yaml has `gpu: true`
    #[arg(long, value_name = "GPUS")]
    pub(crate) gpus: Option<String>,
}

/// Flags of everything that runs a project or an image.
#[derive(Debug, Args, Clone)]
pub(crate) struct StartFlags {
    #[command(flatten)]
    pub(crate) build: BuildFlags,

    #[command(flatten)]
    pub(crate) gpus: GpuFlags,
}

/// Flags of what is asked of a model: a prediction or a training.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) flags: StartFlags,

    /// Image to run, by name or digest; without it, the project
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// Input, as `name=value`, or `name=@file` for a file
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,

    /// Environment variable for the model
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,

    /// All inputs as one JSON object, `@FILE`, or `-` for standard input
    #[arg(long, value_name = "JSON")]
    pub(crate) json: Option<String>,

    /// Where the output is written; `-` is standard output, and in `DIR/` files have the names that the model gave
    #[arg(short, long, value_name = "PATH", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) output: Option<String>,

    /// Show pictures in the terminal, too, where it can
    #[arg(long)]
    pub(crate) show: bool,

    /// Pass `REPLICATE_API_TOKEN` to the model as context
    #[arg(long)]
    pub(crate) use_replicate_token: bool,

    /// Start a server of its own, whether or not a `cog serve` of the project runs
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Seconds that setup may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) setup_timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,

    /// Where the output is written
    #[arg(short, long, value_name = "PATH", default_value = "weights", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) output: String,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) flags: StartFlags,

    /// Port to listen on
    #[arg(short, long, default_value_t = 8393)]
    pub(crate) port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Where file outputs are uploaded
    #[arg(long, value_name = "URL")]
    pub(crate) upload_url: Option<String>,

    /// Serve a page to try the model in a browser, too
    #[arg(long)]
    pub(crate) playground: bool,

    /// Port of that page; 0 is any that is free
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    pub(crate) playground_port: u16,

    /// Serve what is saved: changed code restarts the model, a changed environment is made anew
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) flags: StartFlags,

    /// Environment variable for the command
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// Port of the command that is reached from outside, as `PORT` or `HOST:PORT`; needed by the docker engine alone
    #[arg(short, long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,

    /// Command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<String>,
}
