//! What a container's supervisor is told.

use std::os::fd::RawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::gpus::GpuChoice;
use crate::supervisor::Supervised;
use crate::workload::{Access, Mount, Port};

/// A workload in terms of a daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(super) address: Address,
    /// The daemon's name for people.
    pub(super) daemon: String,
    pub(super) image: String,
    pub(super) platform: String,
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) working_dir: String,
    pub(super) mounts: Vec<Bind>,
    pub(super) ports: Vec<Port>,
    pub(super) host_alias: Option<String>,
    pub(super) gpus: Option<GpuChoice>,
    /// Lines and characters of the terminal that the standard streams are, if they are one that is all the container's.
    pub(super) terminal: Option<(u16, u16)>,
}

/// A folder or file of the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bind {
    pub(super) source: PathBuf,
    pub(super) target: String,
    pub(super) is_read_only: bool,
}

impl From<&Mount> for Bind {
    fn from(mount: &Mount) -> Self {
        Self {
            source: mount.source.clone(),
            target: mount.target.clone(),
            // A daemon knows no layer over a mount.
            is_read_only: mount.access != Access::ReadWrite,
        }
    }
}

impl Supervised for Spec {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        std::iter::empty()
    }
}
