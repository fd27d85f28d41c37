//! Tests of the whole: against an archive made here, and against the real one where it can be reached.

mod archive;
mod assembling;
mod end_to_end;
pub(crate) mod packages;
mod resolving;
mod support;
