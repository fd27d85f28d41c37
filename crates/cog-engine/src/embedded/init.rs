//! The container's first process: sets up, starts the workload, reaps what is left over.
//!
//! It stays process 1, so that a workload that is no init of its own leaves no zombies and gets its signals' defaults.

use std::io::Write as _;
use std::path::Path;
use std::process::exit;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit, umask,
};

use super::container::Parent;
use super::overlay::Directories;
use super::spec::Spec;
use super::{capabilities, interpreter, rootfs, seccomp};
use crate::helper::Report;
use crate::program::{self, Program};
use crate::supervisor::{
    Caller, FAILED, FORWARDED, Failure, fork, let_go, reap_until, unblock_signals,
};

/// Fixed, because build steps may write it down.
pub(super) const HOST_NAME: &str = "cog";

/// More open files than the traditional 1,024, where the host allows it; much more slows down old programs that close
/// every possible descriptor.
const OPEN_FILES: u64 = 65_536;

pub(super) fn main(
    spec: &Spec,
    directories: &Directories,
    caller: &mut Caller,
    parent: Parent,
) -> ! {
    // Open until the end: it counts for as long.
    let interpreter = spec.emulator.as_ref().map(interpreter::register);
    let ready = interpreter.transpose().and_then(|interpreter| {
        set_up(spec, directories, &parent)?;
        Ok((interpreter, fork()?))
    });
    match ready {
        Err(failure) => {
            caller.say(&failure.into());
            exit(FAILED)
        }
        Ok((_interpreter, None)) => start(spec, caller),
        Ok((_interpreter, Some(workload))) => {
            caller.close_report();
            let_go(spec);
            reap(workload, parent)
        }
    }
}

fn set_up(spec: &Spec, directories: &Directories, parent: &Parent) -> Result<(), Failure> {
    die_with(parent)?;
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    rootfs::set_up(spec, directories)?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).map_err(Failure::at("set the host name"))
}

/// The death of process 1 ends everything in its PID namespace.
fn die_with(parent: &Parent) -> Result<(), Failure> {
    let step = "tie to the supervisor";
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::at(step))?;
    let mut watched = [PollFd::new(&parent.process, PollFlags::IN)];
    match poll(&mut watched, Some(&Timespec::default())) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure {
            step: step.into(),
            reason: "it has ended".into(),
        }),
        Err(error) => Err(Failure::at(step)(error)),
    }
}

/// In the workload's process: drops privileges and becomes the command.
fn start(spec: &Spec, caller: &Caller) -> ! {
    let report = match prepare(spec, caller) {
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

/// The program ready to run, or the reason why there is none.
fn prepare(spec: &Spec, caller: &Caller) -> Result<Result<Program, String>, Failure> {
    limit_resources();
    if let Some(terminal) = &spec.terminal {
        terminal.attach()?;
    }
    let kept = caller.report_descriptor();
    program::enter(Path::new(&spec.working_dir), &spec.fds, kept)?;
    capabilities::limit()?;
    let environment: Vec<_> = spec
        .env
        .iter()
        .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()))
        .collect();
    let found = Program::find(&spec.command, &environment);
    seccomp::install(spec.build)?;
    Ok(found)
}

/// Best effort: a host that forbids it has its reasons.
fn limit_resources() {
    let files = getrlimit(Resource::Nofile).maximum;
    let wanted = files.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: files,
        },
    );
    // A core file would end up in a layer or in the project.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
}

/// Waits for all children, as process 1 must, until the workload has ended; then ends, which ends all that is left.
fn reap(workload: Pid, mut parent: Parent) -> ! {
    forward_to(workload);
    match reap_until(workload) {
        Some(status) => {
            // Without the supervisor there is no one to tell.
            let _ = parent.status.write_all(&status.0.to_ne_bytes());
            exit(0)
        }
        None => exit(FAILED),
    }
}

static WORKLOAD: AtomicI32 = AtomicI32::new(0);

/// Passes the supervisor's signals on to the workload.
fn forward_to(workload: Pid) {
    extern "C" fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel gives a valid structure; `kill` is async-signal-safe. What the terminal sent, the workload
        // has got itself.
        unsafe {
            if (*info).si_code != libc::SI_KERNEL {
                libc::kill(WORKLOAD.load(Ordering::Relaxed), signal);
            }
        }
    }
    WORKLOAD.store(workload.as_raw_nonzero().get(), Ordering::Relaxed);
    for signal in FORWARDED {
        // SAFETY: the structure is initialised before it is used, and the handler only makes an async-signal-safe call.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = forward as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    unblock_signals();
}
