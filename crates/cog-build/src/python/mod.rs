//! Installed Python packages as files of an image: read from a prefix that uv filled, placed in
//! the virtual environment, split into layers.

pub(crate) mod bytecode;
pub(crate) mod distribution;
pub(crate) mod freeze;
pub(crate) mod groups;
pub(crate) mod record;
pub(crate) mod script;
pub(crate) mod venv;
