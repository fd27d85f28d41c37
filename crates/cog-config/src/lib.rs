//! cog.yaml: found, parsed, validated, completed.
//!
//! Start with [`find`] and [`load`]. All mistakes are collected and reported at once, each with its place in the file.
//! [`complete`] then decides what the file leaves open, by the tables in `data/`. What an image says of itself in its
//! labels is written from [`ImageLabels`] and read by [`Labels`].

mod advice;
mod complete;
mod config;
pub mod cuda;
mod environment;
mod error;
mod fields;
mod implied;
mod keys;
mod labels;
mod name;
mod parse;
mod project;
mod reference;
pub mod requirements;
mod schema;
mod tree;
mod validate;
mod version;
mod weights;

pub use complete::{
    BaseCandidate, BaseKind, CogBase, CompleteError, CompleteWarning, Completed, CudaBase,
    DEFAULT_REGISTRY, Decision, Framework, Options, Prebuilt, PrebuiltFilter, Python, TorchWheel,
    complete, is_in_cog_base, prebuilt_images,
};
pub use config::{
    Build, Config, EnvironmentVariable, Mount, PythonVersion, RunCommand, WeightSource, Weights,
};
pub use error::{ConfigError, Location, Problem, Warning};
pub use fields::Fields;
pub use implied::{Evidence, Implied, Renamed, Stage, implied_packages, renamed_packages};
pub use labels::{BaseLayer, ImageLabels, LabelError, Labels, Revision};
pub use name::derived_image_name;
pub use project::{Files, Loaded, ProjectFile, find, load, parse};
pub use schema::json_schema;
pub use version::Version;

#[cfg(test)]
mod tests;
