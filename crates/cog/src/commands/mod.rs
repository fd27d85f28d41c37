//! What the commands do, one module each.

mod build;
mod exec;
mod images;
mod init;
mod predict;
mod schema;
mod serve;

pub(crate) use build::build;
pub(crate) use exec::exec;
pub(crate) use images::{images, prune};
pub(crate) use init::init;
pub(crate) use predict::run;
pub(crate) use schema::schema;
pub(crate) use serve::serve;

/// An error with its causes, and what can be done about it.
pub(crate) fn render(error: &anyhow::Error, colour: cog_errors::Colour) -> String {
    cog_errors::render(error.as_ref(), None, colour)
}
