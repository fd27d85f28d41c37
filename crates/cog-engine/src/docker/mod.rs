//! Docker's and Podman's daemons: where they are, what images they have, and workloads in containers of theirs.
//!
//! [`Daemon::find`] gives a daemon that answers, [`Docker`] is the engine that uses it, [`Daemon::build`] has it build an
//! image. A workload's root is an image that
//! the daemon has ([`crate::Root::Image`]): who makes and hands over images is not decided here.
//!
//! As with the other engines, a process of ours looks after each workload (`supervise`): it makes the container, passes
//! streams and signals on, and removes the container when the workload or the command that started it has ended, whatever
//! way that ends.

mod address;
mod build;
mod connection;
mod container;
mod contexts;
mod daemon;
mod error;
mod events;
mod images;
mod libpod;
mod output;
mod request;
mod session;
mod spec;
mod trace;

use crate::helper::{self, DOCKER_ARGUMENT, Streams};
use crate::workload::{Process, Root, Workload};
use crate::{Engine, EngineError, Isolation, Running, terminal};

pub use address::{
    CONTAINER_HOST, DOCKER_CERT_PATH, DOCKER_CONFIG, DOCKER_CONTEXT, DOCKER_HOST,
    DOCKER_TLS_VERIFY, Wanted,
};
pub use build::{BuildEvent, BuildOrder, EarlierLayers};
pub(crate) use container::supervise;
pub use daemon::{Daemon, DaemonKind};
pub use error::DockerError;
pub use images::DaemonImage;
pub use session::Credentials;
use spec::Spec;

/// Runs workloads in containers of a daemon.
#[derive(Debug)]
pub struct Docker(Daemon);

impl Docker {
    /// With this daemon.
    pub fn new(daemon: Daemon) -> Self {
        Self(daemon)
    }
}

impl Engine for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn isolation(&self) -> Isolation {
        Isolation::Daemon
    }

    fn daemon(&self) -> Option<&Daemon> {
        Some(&self.0)
    }

    fn start(&self, workload: Workload) -> Result<Box<dyn Running>, EngineError> {
        let Root::Image { id, platform } = workload.root else {
            return Err(EngineError::WrongRoot {
                engine: "docker",
                root: workload.root.whose(),
            });
        };
        let Process {
            command,
            mut env,
            working_dir,
            stdin,
            stdout,
            stderr,
            terminal,
            passed_fds,
        } = workload.process;
        if !passed_fds.is_empty() {
            return Err(EngineError::SetUp {
                step: "hand over open files".into(),
                reason: "a daemon's containers take none".into(),
            });
        }
        workload.gpus.add_to(&mut env);
        let pair = terminal.as_ref().map(terminal::pair).transpose()?;
        let spec = Spec {
            address: self.0.address().clone(),
            daemon: self.0.title().to_owned(),
            image: id,
            platform,
            command,
            env,
            working_dir,
            mounts: workload.mounts.iter().map(Into::into).collect(),
            ports: workload.network.ports,
            host_alias: workload.network.host_alias,
            gpus: workload.gpus.request().cloned(),
            terminal: terminal.map(|terminal| (terminal.rows, terminal.columns)),
        };
        let (outside, streams) = match pair {
            None => (
                None,
                Streams {
                    stdin,
                    stdout,
                    stderr,
                },
            ),
            // A daemon's terminal is all three streams.
            Some((outside, inside)) => {
                let copy = || {
                    inside
                        .try_clone()
                        .map_err(EngineError::host("share the terminal"))
                };
                let streams = Streams {
                    stdin: copy()?.into(),
                    stdout: copy()?.into(),
                    stderr: copy()?.into(),
                };
                (Some(outside), streams)
            }
        };
        let supervisor = helper::this_program();
        let mut running = helper::start(supervisor, DOCKER_ARGUMENT, &spec, streams, Vec::new())?;
        running.terminal = outside;
        Ok(Box::new(running))
    }
}
