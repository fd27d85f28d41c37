//! Python source to OpenAPI document; no Python is run.
//!
//! Start with [`generate`]. `syntax` reads a file into a small view of what matters, `project` finds names across files,
//! `input` and `output` turn annotations into schema fragments, `document` writes the whole in the exact layout that
//! clients and labels depend on. [`modernize`] finds what is old in a file, and changes it. Nothing here touches the file system but [`Directory`].

mod callable;
mod document;
mod error;
mod generate;
mod input;
mod json;
mod literal;
pub mod modernize;
mod output;
mod project;
mod syntax;
mod tree;
mod validate;

pub use error::{ErrorKind, Place, SchemaError};
pub use generate::{Handler, Request, Schema, generate};
pub use tree::{Directory, SourceTree};
pub use validate::{DocumentError, validate_document};

#[cfg(test)]
mod cases;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
