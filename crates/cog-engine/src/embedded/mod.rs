//! Containers of our own: namespaces, an overlay of layers, no daemon, no root.
//!
//! [`Embedded::start`] runs this program again with an argument that [`run_if_init`] recognises: a fresh process with
//! one thread, as making namespaces and forking need. That process (the *supervisor*) makes the namespaces and forks
//! the container's first process (the *init*), which sets up the file system, drops what it may not keep, starts the
//! workload and reaps orphans. The supervisor passes signals on and ends the container when we are gone.
//!
//! This is our own code instead of the `libcontainer` crate because a container here is always the same few mounts:
//! it starts in milliseconds without a bundle on disk, needs no `newuidmap`, cgroup manager or D-Bus, treats the owner
//! of files alike for root and for ordinary users, and keeps over a hundred packages out of the binary.
//!
//! Needs Linux 5.12 or later.

mod beneath;
mod capabilities;
mod container;
mod driver;
mod init;
mod interpreter;
mod namespaces;
mod overlay;
mod protected;
mod rootfs;
mod seccomp;
mod spec;

use crate::helper::{
    self, CONTAINER_ARGUMENT, DOCKER_ARGUMENT, EMULATION_ARGUMENT, HOST_ARGUMENT,
    ISOLATED_ARGUMENT, PROBE_ARGUMENT, Streams,
};
use crate::workload::{Process, Root, Workload};
use crate::{
    Engine, EngineError, Isolation, KernelProbe, Probe as _, Running, probe, supervisor, terminal,
};
use spec::Spec;
use terminal::Outer;

/// What programs rely on, unless the workload has its own.
const DEFAULT_ENV: [(&str, &str); 2] = [("PATH", crate::program::DEFAULT_PATH), ("HOME", "/root")];

/// Runs workloads in containers of our own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Embedded;

/// Becomes a workload's supervisor if this process was started as one; else returns. Must be the first thing that
/// `main` does, while the process has one thread. The other engines need it as well.
pub fn run_if_init() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(role) = arguments.next() else { return };
    let mut numbers = || -> Vec<i32> {
        arguments
            .by_ref()
            .filter_map(|number| number.to_str().and_then(|text| text.parse().ok()))
            .collect()
    };
    if role == CONTAINER_ARGUMENT {
        protected::begin(&numbers())
    } else if role == ISOLATED_ARGUMENT {
        supervisor::main(&numbers(), container::supervise)
    } else if role == HOST_ARGUMENT {
        supervisor::main(&numbers(), crate::host::supervise)
    } else if role == DOCKER_ARGUMENT {
        supervisor::main(&numbers(), crate::docker::supervise)
    } else if role == PROBE_ARGUMENT {
        namespaces::probe()
    } else if role == EMULATION_ARGUMENT {
        namespaces::probe_emulation()
    }
}

impl Engine for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn isolation(&self) -> Isolation {
        Isolation::Container
    }

    fn start(&self, workload: Workload) -> Result<Box<dyn Running>, EngineError> {
        let Root::Layers(layers) = workload.root else {
            return Err(EngineError::WrongRoot {
                engine: "embedded",
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
        let fds = helper::numbers(&passed_fds);
        for (name, value) in DEFAULT_ENV {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.into(), value.into()));
            }
        }
        workload.gpus.add_to(&mut env);
        env.extend(
            passed_fds
                .iter()
                .zip(&fds)
                .map(|(passed, number)| (passed.variable.clone(), number.to_string())),
        );
        let (outer, inner, socket) = match terminal.map(terminal::prepare).transpose()? {
            Some((outer, inner, socket)) => (Some(outer), Some(inner), Some(socket)),
            None => (None, None, None),
        };
        let spec = Spec {
            layers,
            writable: workload.writable.into(),
            mounts: workload.mounts.into_iter().map(Into::into).collect(),
            command,
            env,
            fds,
            working_dir,
            build: workload.purpose == crate::Purpose::Build,
            ca_bundle: workload.ca_bundle,
            gpus: workload.gpus,
            emulator: workload.emulator,
            terminal: inner,
        };
        let mut supervisor = helper::this_program();
        supervisor.env_clear();
        let mut running = helper::start(
            supervisor,
            CONTAINER_ARGUMENT,
            &spec,
            Streams {
                stdin,
                stdout,
                stderr,
            },
            passed_fds
                .into_iter()
                .map(|passed| passed.fd)
                .chain(socket)
                .collect(),
        )
        .map_err(explained)?;
        running.terminal = outer.map(Outer::receive).transpose()?;
        Ok(Box::new(running))
    }
}

/// Whether a container can have an interpreter of its own for programs of another machine; if not, why.
pub(crate) fn can_register() -> Result<(), String> {
    probe::try_in_process(EMULATION_ARGUMENT)
}

/// Says what the kernel lacks, if that is why no container starts.
fn explained(error: EngineError) -> EngineError {
    match KernelProbe.containers() {
        Ok(()) => error,
        Err(reason) => EngineError::NoContainers { reason },
    }
}
