//! The in-image server: HTTP in front of supervised Python workers.
//!
//! Start reading at [`server`]: it binds the port, starts the worker's supervisor and serves until
//! told to stop. A request goes through [`http`] (parsing, validation, status codes) and becomes a
//! [`predictions::Prediction`], whose input files are fetched by [`files`]; [`worker`] carries it
//! over a socket to the Python process and brings its logs, metrics and output back.
//!
//! No Python runs in this process, and nothing here knows how a model is written.

mod app;
mod args;
mod auth;
mod client;
mod clock;
mod connections;
mod control;
mod delivery;
mod descriptors;
mod destinations;
mod env;
mod error;
mod files;
mod health;
mod http;
mod json;
mod log_text;
mod logging;
mod marks;
mod measures;
mod memory;
mod model;
mod predictions;
mod process;
mod protocol;
mod quarantine;
mod ready;
mod reference;
mod resolver;
mod route;
mod scratch;
mod secrets;
mod server;
mod settings;
mod slots;
mod sync;
mod temp;
mod traces;
mod validate;
mod webhooks;
mod worker;

pub use args::{Command, USAGE};
pub use error::Error;
pub use reference::{Operation, operations};
pub use server::run;
pub use settings::Settings;

/// The server's version, reported as `version.coglet`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
