//! The host engine: a virtual environment, the project's own directory, no isolation.
//!
//! A supervisor like a container's adopts whatever the workload leaves behind and ends it with the workload.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::exit;

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal,
};
use serde::{Deserialize, Serialize};

use crate::helper::{self, HOST_ARGUMENT, Report, Streams};
use crate::program::{self, Program};
use crate::supervisor::{
    Caller, FAILED, Failure, Status, Supervised, fork, leave_terminal, let_go, signal_fd, wait_any,
    watch,
};
use crate::workload::{Process, Root, Workload};
use crate::{Engine, EngineError, Isolation, Running};

/// Runs workloads on the host, as the user who runs us.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    command: Vec<String>,
    directory: PathBuf,
    fds: Vec<RawFd>,
}

impl Supervised for Spec {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.fds.iter().copied()
    }
}

impl Engine for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn isolation(&self) -> Isolation {
        Isolation::None
    }

    fn start(&self, workload: Workload) -> Result<Box<dyn Running>, EngineError> {
        let Root::Host { environment } = &workload.root else {
            return Err(EngineError::WrongRoot {
                engine: "host",
                root: workload.root.whose(),
            });
        };
        let directory = host_directory(&workload);
        let Process {
            command,
            mut env,
            stdin,
            stdout,
            stderr,
            passed_fds,
            ..
        } = workload.process;
        workload.gpus.add_to(&mut env);
        let fds = helper::numbers(&passed_fds);
        let mut supervisor = helper::this_program();
        supervisor
            .envs(env.into_iter().filter(|(name, _)| name != "PATH"))
            .envs(
                passed_fds
                    .iter()
                    .zip(&fds)
                    .map(|(passed, number)| (&passed.variable, number.to_string())),
            )
            .env("PATH", search_path(environment))
            .env("VIRTUAL_ENV", environment)
            .env_remove("PYTHONHOME");
        let spec = Spec {
            command,
            directory,
            fds,
        };
        let running = helper::start(
            supervisor,
            HOST_ARGUMENT,
            &spec,
            Streams {
                stdin,
                stdout,
                stderr,
            },
            passed_fds.into_iter().map(|passed| passed.fd).collect(),
        )?;
        Ok(Box::new(running))
    }
}

/// Where the workload's working directory is on the host: below the mount that holds it, else the current directory.
fn host_directory(workload: &Workload) -> PathBuf {
    let working = Path::new(&workload.process.working_dir);
    let held = |mount: &crate::Mount| {
        working
            .strip_prefix(&mount.target)
            .ok()
            .map(|rest| mount.source.join(rest))
    };
    workload
        .mounts
        .iter()
        .find_map(held)
        .unwrap_or_else(|| PathBuf::from("."))
}

fn search_path(environment: &Path) -> std::ffi::OsString {
    let mut path = environment.join("bin").into_os_string();
    path.push(":");
    match std::env::var_os("PATH") {
        Some(host) if !host.is_empty() => path.push(host),
        _ => path.push("/usr/local/bin:/usr/bin:/bin"),
    }
    path
}

/// In the supervisor's process: runs the workload to its end.
pub(crate) fn supervise(spec: &Spec, caller: &mut Caller) -> Result<Status, Failure> {
    set_child_subreaper(Some(getpid()))
        .map_err(Failure::at("adopt what the command leaves behind"))?;
    leave_terminal()?;
    let signals = signal_fd()?;
    let supervisor = getpid();
    let Some(child) = fork()? else {
        start(spec, caller, supervisor)
    };
    caller.close_report();
    let_go(spec);
    let status = watch(child, caller, &signals);
    end_children();
    status
}

/// In the workload's process: becomes the command.
fn start(spec: &Spec, caller: &Caller, supervisor: Pid) -> ! {
    let report = match prepare(spec, caller, supervisor) {
        Ok(Ok(program)) => command_report(spec, program.execute()),
        Ok(Err(reason)) => command_report(spec, reason),
        Err(failure) => failure.into(),
    };
    caller.say(&report);
    exit(FAILED)
}

fn command_report(spec: &Spec, reason: String) -> Report {
    Report::Command {
        command: spec.command.first().cloned().unwrap_or_default(),
        reason,
    }
}

fn prepare(
    spec: &Spec,
    caller: &Caller,
    supervisor: Pid,
) -> Result<Result<Program, String>, Failure> {
    let step = "tie to the supervisor";
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::at(step))?;
    if getppid() != Some(supervisor) {
        return Err(Failure {
            step: step.into(),
            reason: "it has ended".into(),
        });
    }
    program::enter(&spec.directory, &spec.fds, caller.report_descriptor())?;
    let environment: Vec<_> = std::env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .collect();
    Ok(Program::find(&spec.command, &environment))
}

/// Ends all that the workload started. When one dies, its children become ours, so this repeats until none is left.
fn end_children() {
    loop {
        let children = children().unwrap_or_default();
        let killed = children
            .into_iter()
            .filter(|child| kill_process(*child, Signal::KILL).is_ok())
            .count();
        // What we may not kill, such as a program of another user, we cannot wait for either.
        if killed == 0 || wait_any(0).is_none() {
            return;
        }
    }
}

/// The processes whose parent we are.
fn children() -> io::Result<Vec<Pid>> {
    let own = getpid().as_raw_nonzero().get().to_string();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        // A process that has ended meanwhile has no file.
        let Ok(stat) = fs_err::read(Path::new("/proc").join(&name).join("stat")) else {
            continue;
        };
        if parent(&stat).is_some_and(|parent| parent == own.as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The parent in `/proc/PID/stat`, whose second field is a name in parentheses that may contain anything.
fn parent(stat: &[u8]) -> Option<&[u8]> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    stat[end_of_name + 1..]
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty())
        .nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent(b"12 (sh) S 7 12 12 0"), Some(&b"7"[..]));
        assert_eq!(parent(b"12 (a) S 1 (b) R 9 12"), Some(&b"9"[..]));
        assert_eq!(parent(b""), None);
    }
}
