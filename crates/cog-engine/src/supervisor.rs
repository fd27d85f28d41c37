//! The process between a workload and us: passes signals on, ends the workload when we are gone, reports its end.
//!
//! It lives as long as the workload, and dies of the same signal, so that whoever waits for it sees what happened. It has
//! one thread where it forks. What it supervises is in [`crate::embedded`], [`crate::host`] and [`crate::docker`].

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::process::exit;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

use crate::helper::Report;

/// Signals that are meant for the workload.
pub(crate) const FORWARDED: [i32; 7] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

/// The exit status of a helper process that failed itself; no one sees it, as the failure is reported.
pub(crate) const FAILED: i32 = 125;

/// A step of the set-up that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) step: String,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn at<E: ToString>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |error| Self {
            step,
            reason: error.to_string(),
        }
    }

    /// The operating system's answer to the last call.
    pub(crate) fn last(step: impl Into<String>) -> Self {
        Self::at(step)(std::io::Error::last_os_error())
    }
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        Self::SetUp {
            step: failure.step,
            reason: failure.reason,
        }
    }
}

/// The connections to whoever started us.
pub(crate) struct Caller {
    /// Closed when the caller is gone or wants everything to end.
    alive: OwnedFd,
    /// Takes a [`Report`]; closed by the workload's exec.
    report: Option<std::fs::File>,
}

/// What is handed over to the workload.
pub(crate) trait Supervised {
    /// Descriptors that have to stay open.
    fn descriptors(&self) -> impl Iterator<Item = RawFd>;
}

impl Caller {
    /// The connections' numbers.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let report = self.report.iter().map(AsRawFd::as_raw_fd);
        report.chain([self.alive.as_raw_fd()])
    }

    /// The number of what a workload that does not start reports through.
    pub(crate) fn report_descriptor(&self) -> impl Iterator<Item = RawFd> {
        self.report.iter().map(AsRawFd::as_raw_fd)
    }

    /// What closes when the caller is gone or wants everything to end.
    pub(crate) fn alive(&self) -> BorrowedFd<'_> {
        self.alive.as_fd()
    }

    /// Tells why the workload does not start, or what is to be known of one that does.
    pub(crate) fn say(&self, report: &Report) {
        if let Some(mut file) = self.report.as_ref() {
            // If the caller is gone there is no one to tell.
            let _ = file.write_all(serde_json::to_string(report).unwrap_or_default().as_bytes());
        }
    }

    /// Closes this process's copy of the report: the workload's exec must be what closes the last one.
    pub(crate) fn close_report(&mut self) {
        self.report = None;
    }
}

/// Reads the specification and does `supervise`; ends as the workload ended. `numbers` are the descriptors of the
/// specification, of the pipe that closes when we are to end, and of the report.
pub(crate) fn main<S: DeserializeOwned + Supervised>(
    numbers: &[RawFd],
    supervise: impl FnOnce(&S, &mut Caller) -> Result<Status, Failure>,
) -> ! {
    let &[spec, alive, report] = numbers else {
        exit(FAILED)
    };
    // SAFETY: our parent opened these for us and nothing else in this process knows them.
    let [spec, alive, report] = unsafe { [spec, alive, report].map(|fd| OwnedFd::from_raw_fd(fd)) };
    let mut caller = Caller {
        alive,
        report: Some(report.into()),
    };
    let status = prepare(&caller)
        .and_then(|()| read(spec))
        .and_then(|spec: S| {
            // Whatever else was open where we were started is no business of the workload.
            close_others(caller.descriptors().chain(spec.descriptors()));
            supervise(&spec, &mut caller)
        });
    match status {
        Ok(status) => status.end_like(),
        Err(failure) => {
            caller.say(&failure.into());
            exit(FAILED)
        }
    }
}

/// Leaves the caller's terminal, unless the workload reads from it: its Ctrl-C is then for the caller alone, who decides
/// what it means.
///
/// It must not even reach us. A signal that waits to be taken swallows the next one of its kind, so the one that the
/// caller sends right after a Ctrl-C would be lost with that.
pub(crate) fn leave_terminal() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    match rustix::process::setsid() {
        // Whoever leads a group cannot begin a session, and is none of the caller's any more.
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(Failure::at("begin a session")(error)),
    }
}

/// Says through the caller's descriptor why there is no workload, before there is a [`Caller`].
pub(crate) fn report(numbers: &[RawFd], report: &Report) {
    let &[_, _, number] = numbers else { return };
    // SAFETY: our parent opened it for us; this process ends now.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(number) });
    let _ = file.write_all(serde_json::to_string(report).unwrap_or_default().as_bytes());
}

fn prepare(caller: &Caller) -> Result<(), Failure> {
    fcntl_setfd(&caller.alive, FdFlags::CLOEXEC).map_err(Failure::at("prepare the pipe"))?;
    if let Some(report) = &caller.report {
        fcntl_setfd(report, FdFlags::CLOEXEC).map_err(Failure::at("prepare the report"))?;
    }
    Ok(())
}

fn read<S: DeserializeOwned>(spec: OwnedFd) -> Result<S, Failure> {
    let mut text = String::new();
    std::fs::File::from(spec)
        .read_to_string(&mut text)
        .map_err(Failure::at("read the description"))?;
    serde_json::from_str(&text).map_err(Failure::at("parse the description"))
}

/// How a process ended, as `wait` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) i32);

impl Status {
    pub(crate) const KILLED: Self = Self(libc::SIGKILL);

    /// That of a process that ended with this code.
    pub(crate) fn of_code(code: i32) -> Self {
        Self((code & 0xff) << 8)
    }

    /// Ends this process in the same way.
    fn end_like(self) -> ! {
        if libc::WIFSIGNALED(self.0) {
            end_by(libc::WTERMSIG(self.0));
        }
        exit(libc::WEXITSTATUS(self.0))
    }
}

/// Ends this process by a signal, whatever it does with it otherwise.
pub(crate) fn end_by(signal: i32) -> ! {
    // SAFETY: restores default dispositions in a process that is about to end; a core dump of it would tell nothing.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        unblock_signals();
        libc::raise(signal);
    }
    exit(128 + signal)
}

/// Blocks the forwarded signals and SIGCHLD, and gives a descriptor that tells of them.
///
/// To be called before the workload's first process is forked: what is sent to that process too early then waits for
/// it, instead of being lost.
pub(crate) fn signal_fd() -> Result<OwnedFd, Failure> {
    // SAFETY: the set is initialised by `sigemptyset` before it is used; the descriptor is new and ours.
    unsafe {
        // Whoever ignores SIGCHLD hands that on, and then no child's status is kept.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(Failure::last("block signals"));
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) {
            -1 => Err(Failure::last("watch signals")),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

pub(crate) fn unblock_signals() {
    // SAFETY: the set is initialised before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Forks. Only for processes with one thread, whose child may then do anything. `None` is the child.
pub(crate) fn fork() -> Result<Option<Pid>, Failure> {
    // SAFETY: helper processes have one thread.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::last("fork")),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Closes all descriptors but the standard streams and those to keep. A kernel without the call, before 5.9, has no
/// containers of ours either.
pub(crate) fn close_others(keep: impl Iterator<Item = RawFd>) {
    let mut keep: Vec<u32> = keep.filter_map(|fd| u32::try_from(fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().filter(|fd| *fd >= 3).chain([u32::MAX]) {
        if first < fd {
            // SAFETY: a system call without pointers; nothing in this process uses what is closed.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = fd.saturating_add(1);
    }
}

/// Lets go of the workload's streams and descriptors, so that their other ends see when the workload closes them.
pub(crate) fn let_go(workload: &impl Supervised) {
    for fd in workload.descriptors() {
        // SAFETY: these belong to the workload; nothing in this process uses them.
        unsafe { libc::close(fd) };
    }
    let nothing = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null");
    let Ok(nothing) = nothing else { return };
    for stream in 0..=2 {
        // SAFETY: replaces a standard stream; nothing in this process holds it as its own.
        unsafe { libc::dup2(nothing.as_raw_fd(), stream) };
    }
}

/// Until `child` ends: passes signals on, reaps orphans, and kills it when the caller is gone.
pub(crate) fn watch(child: Pid, caller: &Caller, signals: &OwnedFd) -> Result<Status, Failure> {
    loop {
        let mut watched = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&caller.alive, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            other => other.map_err(Failure::at("wait for events"))?,
        };
        if !watched[1].revents().is_empty() {
            let _ = kill_process(child, Signal::KILL);
            return Ok(reap_until(child).unwrap_or(Status::KILLED));
        }
        let signal = next_signal(signals)?;
        if signal.number == libc::SIGCHLD {
            if let Some(status) = reap_ended(child) {
                return Ok(status);
            }
        } else if !signal.from_terminal
            && let Some(signal) = Signal::from_named_raw(signal.number)
        {
            let _ = kill_process(child, signal);
        }
    }
}

struct Sent {
    number: i32,
    /// The terminal sends to every process of a group, so the workload has got this already.
    from_terminal: bool,
}

fn next_signal(signals: &OwnedFd) -> Result<Sent, Failure> {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    rustix::io::read(signals, &mut info).map_err(Failure::at("read a signal"))?;
    // The structure begins with three 32-bit numbers: signal, errno, code.
    let number =
        |at: usize| i32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    Ok(Sent {
        number: number(0),
        from_terminal: number(8) == libc::SI_KERNEL,
    })
}

/// Reaps what has ended; the status of `child` if it was among that.
fn reap_ended(child: Pid) -> Option<Status> {
    let mut found = None;
    while let Some((pid, status)) = wait_any(libc::WNOHANG) {
        if pid == child.as_raw_nonzero().get() {
            found = Some(status);
        }
    }
    found
}

/// Reaps until `child` has ended.
pub(crate) fn reap_until(child: Pid) -> Option<Status> {
    loop {
        let (pid, status) = wait_any(0)?;
        if pid == child.as_raw_nonzero().get() {
            return Some(status);
        }
    }
}

/// The next child that ended; none if there are no children, or with `WNOHANG` none that ended.
pub(crate) fn wait_any(flags: i32) -> Option<(i32, Status)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        match unsafe { libc::waitpid(-1, &raw mut status, flags) } {
            -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            -1 | 0 => return None,
            pid => return Some((pid, Status(status))),
        }
    }
}
