//! Images on disk and from registries, seen from outside.

mod children;
mod crash;
mod disk_full;
mod golden;
mod hostile;
mod layers;
mod layout;
mod registry;
mod registry_debian;
mod server;
mod store;
mod support;
