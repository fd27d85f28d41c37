//! Starting the worker process.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::directories::Directories;
use super::pipes::{Incoming, Outgoing, Theirs, pipes};
use crate::process::Reaper;
use crate::slots::Lane;
use crate::{Settings, env};

/// A running worker and the server's ends of its connections.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) exited: oneshot::Receiver<ExitStatus>,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
}

/// Which of the workers it is, and what it has for itself.
pub(super) struct Place {
    lane: Lane,
    /// The GPUs it sees; all where nothing is said.
    gpus: Option<String>,
}

impl Place {
    pub(super) fn of(lane: Lane, settings: &Settings) -> Self {
        let gpus = settings.gpus.get(lane.0).cloned();
        Self { lane, gpus }
    }
}

/// Starts `python -m cog._worker` in a session of its own.
pub(super) fn spawn(
    reaper: &Reaper,
    directories: &Directories,
    place: &Place,
) -> io::Result<Spawned> {
    let (incoming, outgoing, theirs) = pipes()?;
    let mut child =
        start("python", &theirs, directories, place).or_else(|error| match error.kind() {
            // Debian has `python3` only, unless told otherwise.
            io::ErrorKind::NotFound => start("python3", &theirs, directories, place),
            _ => Err(error),
        })?;
    let pid = Pid::from_child(&child);
    let exited = reaper.adopt(pid);
    Ok(Spawned {
        pid,
        exited,
        incoming,
        outgoing,
        stdout: receiver(child.stdout.take().map(OwnedFd::from))?,
        stderr: receiver(child.stderr.take().map(OwnedFd::from))?,
    })
}

fn start(
    python: &str,
    pipes: &Theirs,
    directories: &Directories,
    place: &Place,
) -> io::Result<Child> {
    let pipes = [pipes.incoming.as_raw_fd(), pipes.outgoing.as_raw_fd()];
    let mut command = Command::new(python);
    command
        .args(["-m", "cog._worker"])
        .env(env::WORKER_FDS, format!("{},{}", pipes[0], pipes[1]))
        .env(env::WORKER_SPILL_DIR, directories.spill.path())
        .env(env::WORKER_INDEX, place.lane.0.to_string())
        .env_remove(env::READY_FD)
        .env_remove(env::LISTEN_FD)
        .env_remove(env::CONTROL)
        // It opens the server's doors, which no model has to.
        .env_remove(env::AUTH_TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match &directories.scratch {
        Some(scratch) => command.env(env::SCRATCH_DIR, scratch.path()),
        None => command.env_remove(env::SCRATCH_DIR),
    };
    if let Some(temporary) = directories.temporary() {
        command.env("TMPDIR", temporary);
    }
    if let Some(gpus) = &place.gpus {
        command.env(env::VISIBLE_GPUS, gpus);
    }
    // SAFETY: runs between fork and exec and makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(move || isolate(pipes)) };
    command.spawn()
}

/// In the child: its own session (so that a terminal's Ctrl-C is ours alone to handle, and a signal
/// reaches everything it starts), dead if the server dies, and with its pipes open.
fn isolate(pipes: [RawFd; 2]) -> io::Result<()> {
    rustix::process::setsid()?;
    crate::descriptors::restore_limit();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for pipe in pipes {
        // SAFETY: the descriptor is open: it was inherited from the server, which keeps it until after the
        // start.
        let pipe = unsafe { rustix::fd::BorrowedFd::borrow_raw(pipe) };
        rustix::io::fcntl_setfd(pipe, rustix::io::FdFlags::empty())?;
    }
    Ok(())
}

fn receiver(pipe: Option<OwnedFd>) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(pipe.expect("asked for a pipe"))
}
