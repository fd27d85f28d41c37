//! What the commands do, one module each.

mod base_image;
mod bench;
mod build;
mod completion;
mod debug;
mod exec;
mod images;
mod init;
mod inspect;
mod lock;
mod login;
mod playground;
mod predict;
mod pull;
mod push;
mod schema;
mod serve;

pub(crate) use base_image::base_image;
pub(crate) use bench::bench;
pub(crate) use build::{build, image_name};
pub(crate) use completion::completion;
pub(crate) use debug::debug;
pub(crate) use exec::exec;
pub(crate) use images::{images, prune, rmi, tag};
pub(crate) use init::init;
pub(crate) use inspect::inspect;
pub(crate) use lock::lock;
pub(crate) use login::login;
pub(crate) use playground::playground;
pub(crate) use predict::{run, train};
pub(crate) use pull::pull;
pub(crate) use push::push;
pub(crate) use schema::schema;
pub(crate) use serve::serve;

use std::process::ExitCode;

use cog_engine::{Exit, Signal};
use cog_errors::Hint as _;

use crate::image_argument::ImageArgumentError;
use crate::model_reference::ModelReferenceError;
use crate::printer::Progress;
use crate::runtime::SetupFailed;

/// A command in a container that failed; we end with its status.
#[derive(Debug, thiserror::Error)]
#[error("container exited with status {status}")]
struct Exited {
    status: i32,
    hint: Option<String>,
}

/// Stopped by a signal, after what there was to clear up. We end by it, as if nothing had been done about it.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal")]
struct Interrupted(Signal);

/// How this program ends if it was stopped.
pub(crate) fn interrupted(error: &anyhow::Error) -> Option<Exit> {
    let Interrupted(signal) = error.downcast_ref()?;
    Some(Exit::Signal(signal.as_raw()))
}

/// What this program ends with.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let status = error.downcast_ref::<Exited>().map(|exited| exited.status);
    let code = status.and_then(|status| u8::try_from(status).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// An error with its causes, and what can be done about it.
pub(crate) fn render(error: &anyhow::Error, colour: cog_errors::Colour) -> String {
    let hint = error.chain().find_map(hint);
    cog_errors::render(error.as_ref(), hint.as_deref(), colour)
}

/// What a command of a build printed before it failed, unless its lines are on the terminal already.
pub(crate) fn unsaid(error: &anyhow::Error, progress: Progress) -> Option<String> {
    let failed = |cause: &(dyn std::error::Error + 'static)| {
        let reported = cause.downcast_ref::<cog_build::BuildError>()?.reported()?;
        Some(reported.trim_start_matches('\n').to_owned())
    };
    match progress {
        Progress::Lines => None,
        Progress::Bars | Progress::Quiet => error.chain().find_map(failed),
    }
    .filter(|text| !text.is_empty())
}

/// What the user can do, if this error of one of our libraries knows.
fn hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let config = || error.downcast_ref::<cog_config::ConfigError>()?.hint();
    let engine = || error.downcast_ref::<cog_engine::EngineError>()?.hint();
    let docker = || {
        error
            .downcast_ref::<cog_engine::docker::DockerError>()?
            .hint()
    };
    let build = || error.downcast_ref::<cog_build::BuildError>()?.hint();
    let image = || error.downcast_ref::<cog_image::Error>()?.hint();
    let complete = || error.downcast_ref::<cog_config::CompleteError>()?.hint();
    let setup = || error.downcast_ref::<SetupFailed>()?.hint();
    let prediction = || error.downcast_ref::<predict::PredictionFailed>()?.hint();
    let exited = || error.downcast_ref::<Exited>()?.hint.clone();
    let sdk = || error.downcast_ref::<cog_build::SdkSourceError>()?.hint();
    let model = || error.downcast_ref::<ModelReferenceError>()?.hint();
    let argument = || error.downcast_ref::<ImageArgumentError>()?.hint();
    let push = || error.downcast_ref::<push::PushError>()?.hint();
    let login = || {
        error
            .downcast_ref::<cog_image::registry::LoginError>()?
            .hint()
    };
    config()
        .or_else(argument)
        .or_else(push)
        .or_else(model)
        .or_else(login)
        .or_else(build)
        .or_else(image)
        .or_else(complete)
        .or_else(sdk)
        .or_else(setup)
        .or_else(prediction)
        .or_else(exited)
        .or_else(engine)
        .or_else(docker)
}
