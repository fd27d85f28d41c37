//! The steps of a build, a module for each. They turn inputs of the plan into layers.

pub(crate) mod build_tools;
pub(crate) mod certificates;
pub(crate) mod command;
pub(crate) mod python_packages;
pub(crate) mod runtime;
pub(crate) mod source;
pub(crate) mod system_packages;
