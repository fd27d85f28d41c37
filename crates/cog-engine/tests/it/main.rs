//! Runs real containers and host workloads, through the `container` example.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail and speak as tests do"
)]

mod build;
mod container;
mod gpus;
mod host;
mod job;
mod kernel;
mod lifetime;
mod rootfs;
mod rootless;
