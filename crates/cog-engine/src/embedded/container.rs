//! The supervisor's side of a container: namespaces and directories before, clearing up after.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::init;
use super::overlay::Directories;
use super::spec::Spec;
use crate::supervisor::{Caller, Failure, Status, fork, leave_terminal, let_go, signal_fd, watch};

/// What the init needs of the supervisor.
pub(super) struct Parent {
    /// Tells whether the supervisor still lives; in a new PID namespace the parent's id reads as 0 either way.
    pub(super) process: OwnedFd,
    /// Takes the workload's raw wait status. The init cannot end with it: process 1 does not die of signals.
    pub(super) status: std::fs::File,
}

/// Runs a container to its end. In its namespaces already.
pub(crate) fn supervise(spec: &Spec, caller: &mut Caller) -> Result<Status, Failure> {
    let directories = Directories::create(&spec.writable)?;
    let status = run(spec, &directories, caller);
    directories.remove(spec);
    status
}

fn run(spec: &Spec, directories: &Directories, caller: &mut Caller) -> Result<Status, Failure> {
    leave_terminal()?;
    let signals = signal_fd()?;
    let process = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(Failure::at("refer to the supervisor"))?;
    let (status, status_write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(Failure::at("make a pipe"))?;
    let parent = Parent {
        process,
        status: status_write.into(),
    };
    let Some(child) = fork()? else {
        init::main(spec, directories, caller, parent)
    };
    drop(parent);
    caller.close_report();
    let_go(spec);
    let of_init = watch(child, caller, &signals)?;
    Ok(of_workload(status).unwrap_or(of_init))
}

/// What the init wrote, if it came to that.
fn of_workload(status: OwnedFd) -> Option<Status> {
    let mut raw = [0; 4];
    std::fs::File::from(status).read_exact(&mut raw).ok()?;
    Some(Status(i32::from_ne_bytes(raw)))
}
