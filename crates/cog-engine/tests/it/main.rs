//! Runs real containers and host workloads, through the `container` example.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod build;
mod container;
mod gpus;
mod host;
mod job;
mod kernel;
mod lifetime;
mod rootfs;
mod rootless;
