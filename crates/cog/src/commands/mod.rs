//! What the commands do, one module each.

mod base_image;
mod build;
mod exec;
mod images;
mod init;
mod predict;
mod schema;
mod serve;

pub(crate) use base_image::base_image;
pub(crate) use build::build;
pub(crate) use exec::exec;
pub(crate) use images::{images, prune};
pub(crate) use init::init;
pub(crate) use predict::run;
pub(crate) use schema::schema;
pub(crate) use serve::serve;

use cog_errors::Hint as _;

use crate::runtime::SetupFailed;

/// An error with its causes, and what can be done about it.
pub(crate) fn render(error: &anyhow::Error, colour: cog_errors::Colour) -> String {
    let hint = error.chain().find_map(hint);
    cog_errors::render(error.as_ref(), hint.as_deref(), colour)
}

/// What the user can do, if this error of one of our libraries knows.
fn hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let config = || error.downcast_ref::<cog_config::ConfigError>()?.hint();
    let build = || error.downcast_ref::<cog_build::BuildError>()?.hint();
    let image = || error.downcast_ref::<cog_image::Error>()?.hint();
    let setup = || error.downcast_ref::<SetupFailed>()?.hint();
    config().or_else(build).or_else(image).or_else(setup)
}
