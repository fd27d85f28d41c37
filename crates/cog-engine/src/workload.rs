//! What to run, in terms that every engine understands.

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use crate::emulator::Emulator;
use crate::gpus::Gpus;

/// A command with everything around it.
#[derive(Debug)]
pub struct Workload {
    /// The file system it sees.
    pub root: Root,
    /// Where its writes go.
    pub writable: Writable,
    /// Host directories and files it sees besides.
    pub mounts: Vec<Mount>,
    /// The command and its surroundings.
    pub process: Process,
    /// What it is for; decides how owners of files behave.
    pub purpose: Purpose,
    /// Host file with CA certificates, shown read-only at `/etc/ssl/certs/ca-certificates.crt`, never part of a layer.
    /// A package that installs certificates cannot replace it, so build steps better mount the file elsewhere.
    pub ca_bundle: Option<PathBuf>,
    /// GPUs it may use; for a container they come with all that their driver needs.
    pub gpus: Gpus,
    /// What runs programs of another machine than this one, where the kernel has nothing for them. Only containers of ours
    /// have it.
    pub emulator: Option<Emulator>,
    /// How it is connected, where it has a network of its own. The embedded engine's and the host engine's workloads share
    /// the host's.
    pub network: Network,
}

/// What connects a workload that has a network of its own.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Ports that are reached from outside.
    pub ports: Vec<Port>,
    /// A name under which the workload reaches the host.
    pub host_alias: Option<String>,
}

/// A port of the workload, and where it is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number inside.
    pub inside: u16,
    /// The host's address; port 0 is any that is free.
    pub outside: SocketAddr,
}

/// A port of the workload, and where it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its number inside.
    pub inside: u16,
    /// The host's address.
    pub outside: SocketAddr,
}

/// A file system.
#[derive(Debug, Clone)]
pub enum Root {
    /// Unpacked layers, lowest first, with overlayfs whiteouts.
    Layers(Vec<PathBuf>),
    /// The host's, with this virtual environment first in `PATH`.
    Host {
        /// The virtual environment.
        environment: PathBuf,
    },
    /// An image that the engine's daemon has.
    Image {
        /// What the daemon calls it.
        id: String,
        /// What it runs on, such as `linux/amd64`.
        platform: String,
    },
}

impl Root {
    /// Whose it is, in words.
    pub(crate) fn whose(&self) -> &'static str {
        match self {
            Self::Layers(_) => "a container of ours",
            Self::Host { .. } => "the host",
            Self::Image { .. } => "a daemon",
        }
    }
}

/// Where writes to the root file system go.
#[derive(Debug, Clone)]
pub enum Writable {
    /// A directory below this one, which must not be on an overlay; the caller removes it afterwards.
    Temporary(PathBuf),
    /// This directory becomes the upper directory and keeps what was written; its parent, on the same mount, takes
    /// overlayfs's work directory. Mount points that had to be made leave nothing in it. It is whole when the workload
    /// has ended, but not synced to disk.
    Upper(PathBuf),
}

/// A bind mount.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Directory or file on the host.
    pub source: PathBuf,
    /// Absolute path in the container; made if it is not there.
    pub target: String,
    /// Whether the workload may write to it.
    pub access: Access,
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// No.
    ReadOnly,
    /// Yes, with the rights of the user who runs us.
    ReadWrite,
    /// It may write, to a place of its own that ends with the container; the source, a directory, stays as it is.
    /// Without a container it is as if read-only.
    Layered,
}

/// A command.
#[derive(Debug)]
pub struct Process {
    /// Program and arguments; the program is looked for in `PATH` of `env`.
    pub command: Vec<String>,
    /// The whole environment for containers; on the host, added to ours.
    pub env: Vec<(String, String)>,
    /// Absolute path; made if it is not there. Without a container: below a mount's target, whose source is meant.
    pub working_dir: String,
    /// Standard input. A workload whose input is a terminal shares the caller's session and gets its Ctrl-C; any other
    /// gets a session of its own, and signals only through [`crate::Running`].
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
    /// A terminal of the container's own for some of the streams; without a container they stay as they are.
    pub terminal: Option<Terminal>,
    /// Descriptors handed over besides the standard ones.
    pub passed_fds: Vec<PassedFd>,
}

/// A terminal that a workload gets, which the caller has with [`crate::Running::take_terminal`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Terminal {
    /// The numbers of the standard streams that are it.
    pub streams: Vec<RawFd>,
    /// Lines at the beginning.
    pub rows: u16,
    /// Characters in a line at the beginning.
    pub columns: u16,
}

/// A descriptor for the workload.
#[derive(Debug)]
pub struct PassedFd {
    /// Environment variable that names its number.
    pub variable: String,
    /// The descriptor.
    pub fd: OwnedFd,
}

/// What a workload is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A model, or a user's command.
    Run,
    /// A step of a build: changes of owner succeed without effect, since one user exists in the container, whoever
    /// runs the build.
    Build,
}
