//! Starts this program again as a workload's supervisor, and waits until the workload runs.
//!
//! A fresh process has one thread, as forking and making namespaces need, and none of our memory. What it does is in
//! [`crate::supervisor`].

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::docker::DockerError;
use crate::running::Running as _;
use crate::supervised::SupervisedProcess;
use crate::workload::{PassedFd, Published};

pub(crate) const CONTAINER_ARGUMENT: &str = "__cog-container-init";
/// The second half of the same, in its namespaces and from a program file that cannot be written to.
pub(crate) const ISOLATED_ARGUMENT: &str = "__cog-container-isolated";
pub(crate) const HOST_ARGUMENT: &str = "__cog-host-init";
pub(crate) const DOCKER_ARGUMENT: &str = "__cog-docker-supervisor";
pub(crate) const PROBE_ARGUMENT: &str = "__cog-container-probe";
pub(crate) const EMULATION_ARGUMENT: &str = "__cog-emulation-probe";

/// Why a workload did not start: what a helper process says before it ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    SetUp {
        step: String,
        reason: String,
    },
    Command {
        command: String,
        reason: String,
    },
    /// It did start, in a container of a daemon, where nobody reaches a port of it.
    NotPublished {
        daemon: String,
        port: u16,
        has_network: bool,
    },
    /// It did start, in a container of a daemon.
    Started {
        published: Vec<Published>,
        warning: Option<String>,
    },
}

/// The standard streams of a workload.
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

/// This program, to be started again. The link works even if the file was replaced meanwhile.
pub(crate) fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("cog");
    command
}

/// Starts `helper` in the role `argument` with `spec`, and returns when the workload runs.
///
/// `passed` are handed on under their present numbers, which `spec` tells the helper.
pub(crate) fn start(
    mut helper: Command,
    argument: &str,
    spec: &impl Serialize,
    streams: Streams,
    passed: Vec<OwnedFd>,
) -> Result<SupervisedProcess, EngineError> {
    let spec_fd = spec_file(spec)?;
    let (alive_read, alive_write) = pipe()?;
    let (report_read, report_write) = pipe()?;
    helper
        .arg(argument)
        .stdin(streams.stdin)
        .stdout(streams.stdout)
        .stderr(streams.stderr);
    let own = [
        spec_fd.as_raw_fd(),
        alive_read.as_raw_fd(),
        report_write.as_raw_fd(),
    ];
    for number in own {
        helper.arg(number.to_string());
    }
    keep_across_exec(
        &mut helper,
        own.into_iter()
            .chain(passed.iter().map(AsRawFd::as_raw_fd))
            .collect(),
    );
    let child = helper
        .spawn()
        .map_err(EngineError::host("start the workload's supervisor"))?;
    drop((helper, spec_fd, alive_read, report_write, passed));
    let mut running = SupervisedProcess::new(child, alive_write)?;
    await_start(report_read, &mut running)?;
    Ok(running)
}

/// The descriptors' numbers, here and in the workload.
pub(crate) fn numbers(passed: &[PassedFd]) -> Vec<RawFd> {
    passed.iter().map(|passed| passed.fd.as_raw_fd()).collect()
}

/// The report pipe is closed by the exec of the workload, or by the supervisor of one that runs elsewhere; what came before
/// that is mostly a failure.
fn await_start(report: OwnedFd, running: &mut SupervisedProcess) -> Result<(), EngineError> {
    let mut said = String::new();
    std::fs::File::from(report)
        .read_to_string(&mut said)
        .map_err(EngineError::host("read the supervisor's report"))?;
    if said.is_empty() {
        return Ok(());
    }
    let error = match serde_json::from_str(&said) {
        Ok(Report::Started { published, warning }) => {
            running.published = published;
            running.warning = warning;
            return Ok(());
        }
        Ok(Report::NotPublished {
            daemon,
            port,
            has_network,
        }) => EngineError::Docker(DockerError::NotPublished {
            daemon,
            port,
            has_network,
        }),
        Ok(Report::SetUp { step, reason }) => EngineError::SetUp { step, reason },
        Ok(Report::Command { command, reason }) => EngineError::Command { command, reason },
        Err(_) => EngineError::SetUp {
            step: "supervisor".into(),
            reason: said,
        },
    };
    running.wait()?;
    Err(error)
}

fn spec_file(spec: &impl Serialize) -> Result<OwnedFd, EngineError> {
    let action = "hand over the workload's description";
    let fd = memfd_create("workload", MemfdFlags::CLOEXEC)
        .map_err(|e| EngineError::host(action)(e.into()))?;
    let mut file = std::fs::File::from(fd);
    serde_json::to_writer(&mut file, spec)
        .map_err(std::io::Error::from)
        .and_then(|()| file.flush())
        .and_then(|()| file.rewind())
        .map_err(EngineError::host(action))?;
    Ok(file.into())
}

fn pipe() -> Result<(OwnedFd, OwnedFd), EngineError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| EngineError::host("make a pipe")(error.into()))
}

/// Clears close-on-exec in the child only, so that no other child of ours inherits the descriptors by accident.
fn keep_across_exec(command: &mut Command, fds: Vec<RawFd>) {
    // SAFETY: only `fcntl` between fork and exec; the caller keeps the descriptors open until then.
    unsafe {
        command.pre_exec(move || {
            for &fd in &fds {
                fcntl_setfd(BorrowedFd::borrow_raw(fd), FdFlags::empty())?;
            }
            Ok(())
        });
    }
}
