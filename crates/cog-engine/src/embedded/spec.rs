//! What the supervisor is told. Both sides are always the same build of this program.

use std::os::fd::RawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::emulator::Emulator;
use crate::gpus::Gpus;
use crate::supervisor::Supervised;
use crate::terminal::Inner;
use crate::workload;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) layers: Vec<PathBuf>,
    pub(super) writable: Writable,
    pub(super) mounts: Vec<Mount>,
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Descriptors that the command inherits, named by variables of `env`.
    pub(super) fds: Vec<RawFd>,
    pub(super) working_dir: String,
    pub(super) build: bool,
    pub(super) ca_bundle: Option<PathBuf>,
    pub(super) gpus: Gpus,
    pub(super) emulator: Option<Emulator>,
    pub(super) terminal: Option<Inner>,
}

impl Supervised for Spec {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let terminal = self.terminal.iter().map(Inner::descriptor);
        self.fds.iter().copied().chain(terminal)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Writable {
    Temporary(PathBuf),
    Upper(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) target: String,
    pub(super) access: workload::Access,
}

impl From<workload::Writable> for Writable {
    fn from(writable: workload::Writable) -> Self {
        match writable {
            workload::Writable::Temporary(path) => Self::Temporary(path),
            workload::Writable::Upper(path) => Self::Upper(path),
        }
    }
}

impl From<workload::Mount> for Mount {
    fn from(mount: workload::Mount) -> Self {
        Self {
            source: mount.source,
            target: mount.target,
            access: mount.access,
        }
    }
}
