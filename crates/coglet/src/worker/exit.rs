//! Why a worker ended, in words.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;

/// How often the kernel has killed something in this control group for want of memory.
///
/// Taken before and after: `SIGKILL` alone does not say who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemoryKills(Option<u64>);

impl OutOfMemoryKills {
    pub(super) fn now() -> Self {
        let files = [
            "/sys/fs/cgroup/memory.events",
            "/sys/fs/cgroup/memory/memory.oom_control",
        ];
        let own = own_group().map(|group| format!("/sys/fs/cgroup{group}/memory.events"));
        let mut texts = own
            .into_iter()
            .chain(files.map(str::to_owned))
            .filter_map(|file| fs_err::read_to_string(file).ok());
        Self(texts.find_map(|text| kill_count(&text)))
    }
}

/// `killed by SIGSEGV`, `exit code 3`, `out of memory (killed by SIGKILL)`.
pub(super) fn describe(status: ExitStatus, kills_before: OutOfMemoryKills) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) if OutOfMemoryKills::now().0 > kills_before.0 => {
            "out of memory (killed by SIGKILL)".into()
        }
        (Some(signal), _) => format!("killed by {}", signal_name(signal)),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

/// The path of this process's group in the unified hierarchy.
fn own_group() -> Option<String> {
    let groups = fs_err::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

fn kill_count(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
}

fn signal_name(signal: i32) -> String {
    let known = [
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ILL, "SIGILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::HUP, "SIGHUP"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::SYS, "SIGSYS"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::TRAP, "SIGTRAP"),
    ];
    let name = known
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("signal {signal}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_in_words() {
        let kills = OutOfMemoryKills::now();
        assert_eq!(
            describe(ExitStatus::from_raw(9), kills),
            "killed by SIGKILL"
        );
        assert_eq!(
            describe(ExitStatus::from_raw(11), kills),
            "killed by SIGSEGV"
        );
        assert_eq!(describe(ExitStatus::from_raw(3 << 8), kills), "exit code 3");
        assert_eq!(
            describe(ExitStatus::from_raw(40), kills),
            "killed by signal 40"
        );
    }

    #[test]
    fn kernel_counts() {
        assert_eq!(kill_count("low 0\noom 1\noom_kill 2\n"), Some(2));
        assert_eq!(
            kill_count("oom_kill_disable 0\nunder_oom 0\noom_kill 4"),
            Some(4)
        );
        assert_eq!(kill_count("low 0\n"), None);
    }
}
