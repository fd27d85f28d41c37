//! Images on disk and from registries, seen from outside.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod artifacts;
mod children;
mod crash;
mod disk_full;
mod durability;
mod fetching;
mod golden;
mod hostile;
mod hub;
mod indexes;
mod layers;
mod layout;
mod leases;
mod registry;
mod server;
mod serving;
mod store;
mod support;
