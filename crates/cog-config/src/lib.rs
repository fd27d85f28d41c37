//! cog.yaml: found, parsed, validated.
//!
//! Start with [`find`] and [`load`]. All mistakes are collected and reported at once, each with its place in the file.
//! Choosing CUDA and framework versions is not done here yet; [`Config::gpu`] tells whether it would be needed.

mod config;
mod environment;
mod error;
mod label;
mod name;
mod parse;
mod project;
mod reference;
pub mod requirements;
mod tree;
mod validate;
mod weights;

pub use config::{
    Build, Config, EnvironmentVariable, Mount, PythonVersion, RunCommand, WeightSource, Weights,
};
pub use error::{ConfigError, Location, Problem, Warning};
pub use name::derived_image_name;
pub use project::{Files, Loaded, ProjectFile, find, load, parse};

#[cfg(test)]
mod tests;
