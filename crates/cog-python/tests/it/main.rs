//! uv with an index that the tests make.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hashes;
mod index;
mod install;
mod support;
mod unreachable;
