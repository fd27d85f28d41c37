//! The command line as types: flags, defaults and help texts, nothing else.
//!
//! What a flag means is decided in `settings` and the commands; this module only says what can be written.

mod base_image;
mod bench;
mod build;
mod debug;
mod doctor;
mod images;
mod lock;
mod playground;
mod publish;
mod push;
mod run;

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cog_image::ImageRef;

pub(crate) use base_image::{BaseImageCommand, MatrixArgs};
pub(crate) use bench::BenchArgs;
pub(crate) use build::{
    BackendArg, BaseFlags, BuildArgs, BuildFlags, CompressionArg, EngineArg, FinishFlags,
    ImageFlags, LoadArg, ProgressArg, RecipeFlags, TorchIndexArg,
};
pub(crate) use debug::DebugArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use images::{ImagesArgs, InspectArgs, PruneArgs, RmiArgs, TagArgs};
pub(crate) use lock::LockArgs;
pub(crate) use playground::PlaygroundArgs;
pub(crate) use publish::{PortError, PublishArg};
pub(crate) use push::{LoginArgs, PullArgs, PulledArg, PushArgs};
pub(crate) use run::{ExecArgs, GpuFlags, RunArgs, ServeArgs, StartFlags, TrainArgs};

/// Package machine-learning models as production-ready images, and run them.
#[derive(Debug, Parser)]
#[command(
    name = "cog",
    version,
    long_version = None,
    disable_version_flag = true,
    disable_help_subcommand = false,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Print the version
    #[arg(long)]
    pub(crate) version: bool,
}

#[derive(Debug, Args, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct GlobalArgs {
    /// Say more: every step, every command; `--verbose` is the same
    #[arg(long, global = true, alias = "verbose", conflicts_with = "quiet")]
    pub(crate) debug: bool,

    /// Say less: only warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Print without colour
    #[arg(long, global = true)]
    pub(crate) no_color: bool,

    /// Taken for what is written for the published tool; has no effect
    #[arg(long, global = true, hide = true)]
    pub(crate) profile: bool,

    /// Registry that short image names and default bases refer to
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "HOST",
        env = "COG_REGISTRY_HOST",
        value_parser = registry
    )]
    pub(crate) registry: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the starting files of a project into the current directory
    Init(InitArgs),
    /// Build an image from the project
    Build(BuildArgs),
    /// Build an image from the project, and push it to a registry
    Push(PushArgs),
    /// Pull an image from a registry into the local store
    Pull(PullArgs),
    /// Find out what is wrong with the project or this machine, and mend it (experimental)
    Doctor(DoctorArgs),
    /// Store credentials for the registry that `--registry HOST` names, or for r8.im
    Login(LoginArgs),
    /// Write down in `cog.lock` what images of the project are made of
    Lock(LockArgs),
    /// Print the Dockerfile that the project has
    #[command(hide = true)]
    Debug(DebugArgs),
    /// Run one prediction, on the project or on an image
    Run(RunArgs),
    /// Run one prediction (deprecated: use `cog run`)
    #[command(hide = true)]
    Predict(RunArgs),
    /// Train the model (deprecated)
    #[command(hide = true)]
    Train(TrainArgs),
    /// Serve the project over HTTP
    Serve(ServeArgs),
    /// Put load on a model, and measure how it answers
    Bench(BenchArgs),
    /// Try a running model in the browser
    Playground(PlaygroundArgs),
    /// Run a command in the project's environment
    Exec(ExecArgs),
    /// Print the model's OpenAPI document
    Schema(SchemaArgs),
    /// List the images in the local store
    Images(ImagesArgs),
    /// Tell what an image is and what it consists of
    Inspect(InspectArgs),
    /// Give an image in the local store a further name
    Tag(TagArgs),
    /// Remove images from the local store, with what only they needed
    Rmi(RmiArgs),
    /// Remove what no image needs from the local store
    Prune(PruneArgs),
    /// Print what a shell needs to complete commands and flags
    Completion(CompletionArgs),
    /// Tell about prebuilt base images
    #[command(hide = true, subcommand)]
    BaseImage(BaseImageCommand),
}

/// The project's config file, searched upwards from the current directory.
#[derive(Debug, Args, Clone)]
pub(crate) struct ProjectArgs {
    /// Name of the config file
    #[arg(short, long, value_name = "NAME", default_value = "cog.yaml", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) file: String,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,

    /// Print the document of this image, by name or digest, instead of the project's; a name that is not in the local store
    /// is looked for in its registry
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TemplateArg {
    /// Text in, text out
    Text,
    /// An image in, an image out
    Image,
    /// Text that comes word by word
    Streaming,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Begin with a model that runs at once, instead of an outline of one
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) template: Option<TemplateArg>,

    /// Print which files were written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// What can stand before the names of images; nothing is nothing. A mirror may have them below a path.
fn registry(text: &str) -> Result<String, String> {
    let is_odd = || format!("{text}/name").parse::<ImageRef>().is_err();
    if !text.is_empty() && is_odd() {
        return Err(
            "it is not the name of a registry, such as `registry.example` or `localhost:5000`"
                .into(),
        );
    }
    Ok(text.to_owned())
}

/// Where `cog build --output` writes a copy of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputArg {
    OciDir(PathBuf),
    OciArchive(PathBuf),
    DockerArchive(PathBuf),
}

impl OutputArg {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::OciDir(path) | Self::OciArchive(path) | Self::DockerArchive(path) => path,
        }
    }
}

impl std::str::FromStr for OutputArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected `oci-dir=DIR`, `oci-archive=FILE` or `docker-archive=FILE`";
        let (kind, path) = text.split_once('=').ok_or(expected)?;
        if path.is_empty() {
            return Err(format!("`{kind}` needs a path: {expected}"));
        }
        match kind {
            "oci-dir" => Ok(Self::OciDir(path.into())),
            "oci-archive" => Ok(Self::OciArchive(path.into())),
            "docker-archive" => Ok(Self::DockerArchive(path.into())),
            _ => Err(expected.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn registries_stand_before_names() {
        for right in [
            "",
            "r8.im",
            "localhost",
            "localhost:5000",
            "[::1]:5000",
            "mirror.example/r8",
        ] {
            assert_eq!(registry(right), Ok(right.to_owned()));
        }
        for wrong in [
            "a b",
            "http://x",
            "localhost:99999",
            "UPPER",
            "r8.im/",
            "a@b",
        ] {
            assert!(registry(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn outputs_need_a_known_kind_and_a_path() {
        assert_eq!("oci-dir=a=b".parse(), Ok(OutputArg::OciDir("a=b".into())));
        assert!("oci-dir=".parse::<OutputArg>().is_err());
        assert!("tar=x".parse::<OutputArg>().is_err());
        assert!("x".parse::<OutputArg>().is_err());
    }
}
