//! Runs workloads: in containers of our own, or on the host.
//!
//! Start with [`select`], which gives an [`Engine`], and [`Workload`], which says what to run. `embedded` makes
//! containers from unpacked layers without a daemon and without root; `host` runs in a virtual environment with no
//! isolation; `docker` runs images that a daemon has ([`docker`]). [`emulator`] says what runs programs of another machine.
//!
//! Nothing here knows the image store, projects or what workloads serve.
//!
//! All engines start this very program again to look after a workload, so a program that uses them calls
//! [`embedded::run_if_init`] before anything else in `main`.

pub mod docker;
pub mod embedded;
pub mod emulator;
mod error;
mod gpus;
mod helper;
mod host;
mod probe;
mod program;
mod running;
mod supervised;
mod supervisor;
mod terminal;
mod workload;

use std::fmt;

pub use docker::Docker;
pub use embedded::Embedded;
pub use emulator::{COG_EMULATOR, Emulation, Emulator, Machine};
pub use error::EngineError;
pub use gpus::{CDI_FOLDERS, Cuda, Driver, GpuError, GpuHost, GpuRequest, Gpus};
pub use host::Host;
pub use probe::{KernelProbe, Probe};
pub use running::{Exit, Remote, Running, Signal};
pub use workload::{
    Access, Mount, Network, PassedFd, Port, Process, Published, Purpose, Root, Terminal, Workload,
    Writable,
};

/// Something that can run a [`Workload`].
pub trait Engine: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Whether workloads get a root file system of layers ([`Root::Layers`]), the host's ([`Root::Host`]) or that of an
    /// image of a daemon ([`Root::Image`]).
    fn isolation(&self) -> Isolation;

    /// The daemon that it uses, if it is that kind of engine.
    fn daemon(&self) -> Option<&docker::Daemon> {
        None
    }

    /// Starts the workload and returns at once; an error of the container's set-up shows here, not as an exit status.
    fn start(&self, workload: Workload) -> Result<Box<dyn Running>, EngineError>;
}

/// Where an engine's workloads live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// In a container.
    Container,
    /// In the host's file system.
    None,
    /// In a container of a daemon.
    Daemon,
}

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first that this machine can run.
    Auto,
    /// A Docker or Podman socket.
    Docker,
    /// Containers of our own.
    Embedded,
    /// No container.
    Host,
}

/// An engine, and why it is not the one that would have been preferred.
pub struct Selection {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// One line for the user, if `auto` had to fall back.
    pub warning: Option<String>,
}

impl fmt::Debug for Selection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Selection")
            .field("engine", &self.engine.name())
            .field("warning", &self.warning)
            .finish()
    }
}

/// Picks the engine for `choice`; `auto` asks `probe` what the kernel allows, and whether a daemon answers.
pub fn select(choice: Choice, probe: &dyn Probe) -> Result<Selection, EngineError> {
    let plain = |engine: Box<dyn Engine>| Selection {
        engine,
        warning: None,
    };
    match choice {
        Choice::Docker => Ok(plain(Box::new(Docker::new(probe.daemon()?)))),
        Choice::Host => Ok(plain(Box::new(Host))),
        // Many builds start no container; the first one that is started tells.
        Choice::Embedded => Ok(plain(Box::new(Embedded))),
        Choice::Auto => match probe.containers() {
            Ok(()) => Ok(plain(Box::new(Embedded))),
            Err(reason) => Ok(match probe.daemon() {
                Ok(daemon) => plain(Box::new(Docker::new(daemon))),
                Err(_) => Selection {
                    engine: Box::new(Host),
                    warning: Some(format!(
                        "running without a container, on the host: {reason}"
                    )),
                },
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kernel(Result<(), &'static str>);

    impl Probe for Kernel {
        fn containers(&self) -> Result<(), String> {
            self.0.map_err(str::to_owned)
        }

        fn daemon(&self) -> Result<docker::Daemon, docker::DockerError> {
            Err(docker::DockerError::Ping {
                address: "unix:///x".into(),
                reason: "no such socket".into(),
            })
        }
    }

    const ABLE: Kernel = Kernel(Ok(()));
    const UNABLE: Kernel = Kernel(Err("user namespaces are disabled"));

    #[test]
    fn auto_prefers_containers_and_says_when_it_cannot() {
        let able = select(Choice::Auto, &ABLE).unwrap();
        assert_eq!((able.engine.name(), able.warning), ("embedded", None));
        let unable = select(Choice::Auto, &UNABLE).unwrap();
        assert_eq!(unable.engine.name(), "host");
        assert!(
            unable
                .warning
                .unwrap()
                .contains("user namespaces are disabled")
        );
    }

    #[test]
    fn a_named_engine_is_never_replaced() {
        let embedded = select(Choice::Embedded, &UNABLE).unwrap();
        assert_eq!(embedded.engine.name(), "embedded");
        assert!(
            select(Choice::Docker, &ABLE)
                .unwrap_err()
                .to_string()
                .contains("error pinging docker daemon: no such socket")
        );
        assert_eq!(select(Choice::Host, &UNABLE).unwrap().engine.name(), "host");
    }
}
