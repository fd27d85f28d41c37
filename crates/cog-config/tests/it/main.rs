//! The crate from outside: whole files in, completed projects out.

mod base;
mod config;
mod corpus;
mod cuda;
mod mistakes;
mod random;
mod requirements;
mod support;
mod validation;
