//! Why a worker ended, in words.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;

/// How often the kernel has killed something in this control group for want of memory.
///
/// Taken before and after: `SIGKILL` alone does not say who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemoryKills(Option<u64>);

impl OutOfMemoryKills {
    pub(super) fn now() -> Self {
        let groups = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::count(Path::new("/sys/fs/cgroup"), &groups)
    }

    /// The count of the first file that has one, of those where this process's group may be found.
    fn count(hierarchies: &Path, groups: &str) -> Self {
        let texts = event_files(groups)
            .into_iter()
            .filter_map(|file| fs_err::read_to_string(hierarchies.join(file)).ok());
        Self(texts.into_iter().find_map(|text| kill_count(&text)))
    }
}

/// `killed by SIGSEGV`, `exit code 3`, `out of memory (killed by SIGKILL)`.
pub(super) fn describe(status: ExitStatus, kills_before: OutOfMemoryKills) -> String {
    describe_with(status, kills_before, OutOfMemoryKills::now())
}

fn describe_with(status: ExitStatus, before: OutOfMemoryKills, now: OutOfMemoryKills) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) if now.0 > before.0 => "out of memory (killed by SIGKILL)".into(),
        (Some(signal), _) => format!("killed by {}", signal_name(signal)),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

/// Where the kernel counts for the groups of `/proc/self/cgroup`, below the hierarchies' mount point.
///
/// In a container with a group namespace, or with its own group mounted as the root, the files are
/// right at the top; the whole machine's root has no such file, or one that counts nothing but itself.
fn event_files(groups: &str) -> Vec<PathBuf> {
    const UNIFIED: &str = "memory.events";
    const LEGACY: &str = "memory.oom_control";
    let below = |path: &str| PathBuf::from(path.trim_start_matches('/'));
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    // `4:memory:/some/group`
    let legacy = groups.lines().find_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        controllers
            .split(',')
            .any(|controller| controller == "memory")
            .then_some(group)
    });
    let mut files = Vec::new();
    files.extend(unified.map(|group| below(group).join(UNIFIED)));
    files.extend(legacy.map(|group| Path::new("memory").join(below(group)).join(LEGACY)));
    files.extend([PathBuf::from(UNIFIED), Path::new("memory").join(LEGACY)]);
    files
}

/// Whether Python's fault handler writes where the program was when it got this signal.
pub(super) fn leaves_trace(status: ExitStatus) -> bool {
    let handled = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGABRT,
    ];
    status
        .signal()
        .is_some_and(|signal| handled.contains(&signal))
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
    fn the_own_group_is_asked_first() {
        let root = tempfile::tempdir().unwrap();
        let count = |groups| OutOfMemoryKills::count(root.path(), groups);
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        };
        let (unified, legacy) = ("0::/pod/a\n", "5:devices:/x\n4:cpu,memory:/pod/b\n0::/\n");
        assert_eq!(count(unified), OutOfMemoryKills(None));
        write("memory.events", "oom_kill 1\n");
        assert_eq!(count(unified), OutOfMemoryKills(Some(1)));
        write("pod/a/memory.events", "oom_kill 2\n");
        assert_eq!(count(unified), OutOfMemoryKills(Some(2)));
        fs_err::remove_file(root.path().join("memory.events")).unwrap();
        write("memory/memory.oom_control", "oom_kill 3\n");
        assert_eq!(count(legacy), OutOfMemoryKills(Some(3)));
        write("memory/pod/b/memory.oom_control", "oom_kill 4\n");
        assert_eq!(count(legacy), OutOfMemoryKills(Some(4)));
    }

    #[test]
    fn a_kill_by_the_kernel_is_told_from_others() {
        let before = OutOfMemoryKills(Some(3));
        let killed = ExitStatus::from_raw(libc::SIGKILL);
        let words = |after| describe_with(killed, before, OutOfMemoryKills(after));
        assert_eq!(words(Some(4)), "out of memory (killed by SIGKILL)");
        assert_eq!(words(Some(3)), "killed by SIGKILL");
        assert_eq!(words(None), "killed by SIGKILL");
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
