//! Child processes of this process: every exit is collected here.
//!
//! In an image the server is process 1: whatever loses its parent becomes its child and has to be
//! reaped. Elsewhere it asks for the same role, so that nothing a model started can outlive it.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::sync::lock;

/// Collects the exit status of children.
///
/// **Invariant:** nothing else in this process waits for a child, and children are started on the
/// thread that reaps. So a child is known here before its exit can be seen, and its process id cannot
/// be reused before its owner was told.
#[derive(Clone, Default)]
pub(crate) struct Reaper {
    owners: Arc<Mutex<HashMap<Pid, oneshot::Sender<ExitStatus>>>>,
}

impl Reaper {
    /// Makes this process the parent of all orphans among its descendants and begins to reap.
    /// Has to be called in the event loop.
    pub(crate) fn start() -> io::Result<Self> {
        // Refused on kernels before 3.4 only; then orphans go to the real process 1.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let reaper = Self::default();
        let mut child_exits = signal(SignalKind::child())?;
        let collector = reaper.clone();
        tokio::spawn(async move {
            while child_exits.recv().await.is_some() {
                collector.reap();
            }
        });
        Ok(reaper)
    }

    /// Registers a child just started. The receiver gets its exit status.
    pub(crate) fn adopt(&self, child: Pid) -> oneshot::Receiver<ExitStatus> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.owners).insert(child, sender);
        receiver
    }

    fn reap(&self) {
        let mut owners = lock(&self.owners);
        for child in owners.keys() {
            // Looks without collecting: while the leader is a zombie, the number of its group cannot
            // belong to anybody else, so what is left of the group can be killed safely.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if let Ok(Some(_)) = rustix::process::waitid(WaitId::Pid(*child), options) {
                signal_group(*child, Signal::KILL);
            }
        }
        while let Ok(Some((child, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(owner) = owners.remove(&child) {
                // The owner may have stopped listening while the server ends.
                let _ = owner.send(ExitStatus::from_raw(status.as_raw()));
            }
        }
    }
}

/// Sends a signal to a process group; one that is gone is no error.
pub(crate) fn signal_group(leader: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(leader, signal);
}

/// Interrupts the main thread of a process, not just any thread of it.
pub(crate) fn interrupt_main_thread(process: Pid) {
    let id = process.as_raw_nonzero().get();
    // SAFETY: takes numbers only. The process is a child that has not been reaped, so the number is its.
    unsafe { libc::syscall(libc::SYS_tgkill, id, id, libc::SIGUSR1) };
}

/// Takes a variable out of the environment, also out of that which others can see: the kernel shows the memory
/// in which the process got it. For the time before other threads are running.
pub(crate) fn wipe_variable(name: &str) {
    // SAFETY: no other thread is running that could read or change the environment. Its strings are this
    // process's own memory, which it may write to.
    unsafe {
        let mut entry = libc::environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = std::ffi::CStr::from_ptr(*entry).to_bytes();
            let is_it = text.strip_prefix(name.as_bytes());
            if let Some([b'=', value @ ..]) = is_it {
                let start = (*entry).add(name.len() + 1);
                std::ptr::write_bytes(start, b'*', value.len());
            }
            entry = entry.add(1);
        }
        std::env::remove_var(name);
    }
}

/// Hides this process from others of the same user: they can read neither its environment nor its memory,
/// and so not the token in it. What it starts is not hidden.
pub(crate) fn hide() {
    // SAFETY: takes numbers only, and is refused to nobody.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Bytes of memory that a process occupies: a number, or `self`.
pub(crate) fn resident_memory(process: &str) -> Option<u64> {
    let sizes = fs_err::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = sizes.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

/// Whether a process was stopped, by `SIGSTOP` or by a debugger. Such a process answers nothing, and is
/// not dead either.
pub(crate) fn is_stopped(process: Pid) -> bool {
    let file = format!("/proc/{}/stat", process.as_raw_nonzero());
    let status = fs_err::read_to_string(file).unwrap_or_default();
    // `7 (python) T 1 …`; the name may hold anything, also parentheses.
    let state = status.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| state.starts_with(['T', 't']))
}

/// Kills every child this process has, and those that become its children by that, until none is
/// left. What has left its group and session (a double fork) is found this way too.
pub(crate) async fn kill_remaining_children() {
    kill_children(|_| true).await;
}

/// The same for those only that were started with this in their environment.
pub(crate) async fn kill_children_with(assignment: &str) {
    kill_children(|child| {
        let environment = fs_err::read(format!("/proc/{}/environ", child.as_raw_nonzero()));
        let environment = environment.unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == assignment.as_bytes())
    })
    .await;
}

async fn kill_children(wanted: impl Fn(&Pid) -> bool) {
    const ROUNDS: u32 = 200;
    for _ in 0..ROUNDS {
        let mut children = children();
        children.retain(&wanted);
        if children.is_empty() {
            return;
        }
        for child in children {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        // The reaper collects them meanwhile.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tracing::warn!("Some processes that the model started did not end");
}

/// The children of all threads of this process. Empty on kernels that do not list them.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs_err::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs_err::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(parse_pid)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}
