//! Python packages as files: what requirement lines ask for, what `uv` resolves and installs, and what of it belongs
//! where in a virtual environment.
//!
//! The way goes from [`requirements`] (lines, classified and staged) through [`uv`] ([`resolution`], wheels in a prefix) to
//! [`distribution`] (files of each installed distribution, normalised, so that they do not depend on the host),
//! which [`groups`] parts and [`bytecode`] compiles. Nothing here knows images, layers or containers.

pub mod accelerator;
pub mod bytecode;
pub mod distribution;
pub mod freeze;
pub mod groups;
pub mod installations;
pub mod installed;
pub mod interpreters;
pub mod record;
pub mod reproducible;
pub mod requirements;
pub mod resolution;
mod script;
pub mod strip;
pub mod uv;
pub mod venv;
