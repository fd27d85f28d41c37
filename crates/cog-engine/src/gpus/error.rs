//! Why a workload does not get the GPUs it asks for.

use std::path::PathBuf;

/// How the host's specification is made, for messages.
const GENERATE: &str = "`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`";

/// No GPUs for the workload. Each message says what can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// `--gpus` cannot be read.
    #[error("invalid GPU specification: \"{0}\"; use `all`, a count, or `device=0,1`")]
    Request(String),
    /// There is no GPU, or nothing that drives it.
    #[error("no NVIDIA driver is loaded on this machine")]
    NoDriver,
    /// The only specifications there are cannot be used.
    #[error(
        "no usable Container Device Interface specification: {}; write a new one with {GENERATE}",
        .0.join("; ")
    )]
    Broken(Vec<String>),
    /// A driver, but neither a specification nor what is needed without.
    #[error(
        "containers cannot use this machine's GPU yet: {reason}; run {GENERATE} (part of the NVIDIA Container Toolkit), then try again"
    )]
    NoSpecification {
        /// What the driver lacks for use without a specification.
        reason: String,
    },
    /// No specification has this device.
    #[error("there is no GPU `{name}`; {}", listed(.known))]
    Unknown {
        /// As it was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// More were asked for than there are.
    #[error("{wanted} GPUs were asked for, this machine has {found}")]
    TooFew {
        /// Asked for.
        wanted: usize,
        /// There.
        found: usize,
    },
    /// Two specifications of the same importance have the device.
    #[error("the device `{name}` is in both {} and {}; remove one of the files", .files.0.display(), .files.1.display())]
    Ambiguous {
        /// The device's whole name.
        name: String,
        /// Both specifications.
        files: (PathBuf, PathBuf),
    },
    /// A specification names something that is not there, mostly since the driver was changed after it was written.
    #[error("{} needs `{}`, which does not exist; write it anew with {GENERATE}", .specification.display(), .path.display())]
    MissingFile {
        /// The file or device node.
        path: PathBuf,
        /// Where it is named.
        specification: PathBuf,
    },
}

impl GpuError {
    /// Whether this machine simply has no GPU, so that a workload can run without one.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoDriver)
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "there are none".into(),
        names => format!("there are: {}", names.join(", ")),
    }
}
