//! System calls that a workload has no business making, and those that pretend in build containers.
//!
//! A deny list: capabilities and namespaces already confine the workload, so this takes away kernel surface that those
//! leave open, and an unknown new system call still works.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::supervisor::Failure;

/// Refused with `EPERM`: mounting, namespaces, kernel modules and keys, clocks, tracing of the kernel, files by handle,
/// and calls that no program has used for decades.
const DENIED: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    libc::SYS_vhangup,
];

/// Succeed without effect in build containers, where only one user exists: package managers insist on them.
const PRETENDED: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setgroups,
    libc::SYS_setgid,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setuid,
    libc::SYS_setreuid,
    libc::SYS_setresuid,
];

/// Namespace flags of `clone`; `clone3` hides its flags behind a pointer and is answered as by an old kernel, after
/// which C libraries use `clone`.
const NAMESPACE_FLAGS: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Terminal requests that type into, or paste to, the terminal that an interactive workload shares with its caller.
const DENIED_TERMINAL_REQUESTS: [u64; 2] = [0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */];

/// Talks to the host's hypervisor, past all namespaces.
const DENIED_SOCKET_FAMILY: u64 = libc::AF_VSOCK.unsigned_abs() as u64;

/// Installs the filters for this process and all it will become; needs no-new-privileges.
pub(super) fn install(build: bool) -> Result<(), Failure> {
    let errno = |number: libc::c_int| SeccompAction::Errno(number.unsigned_abs());
    let failed = Failure::at::<String>;
    #[cfg(target_arch = "x86_64")]
    refuse_x32().map_err(failed("filter x32 system calls"))?;
    apply([always(libc::SYS_clone3)].into(), errno(libc::ENOSYS))
        .map_err(failed("filter clone3"))?;
    denied()
        .and_then(|rules| apply(rules, errno(libc::EPERM)))
        .map_err(failed("filter system calls"))?;
    if build {
        pretended()
            .and_then(|rules| apply(rules, errno(0)))
            .map_err(failed("filter changes of owner"))?;
    }
    Ok(())
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

fn denied() -> Result<Rules, String> {
    let mut rules: Rules = DENIED.iter().copied().map(always).collect();
    let namespaces = NAMESPACE_FLAGS.map(|flag| u64::from(flag.unsigned_abs()));
    rules.insert(
        libc::SYS_clone,
        any(namespaces.map(|flag| masked(0, flag, flag)))?,
    );
    rules.insert(
        libc::SYS_ioctl,
        any(DENIED_TERMINAL_REQUESTS.map(|request| equal(1, request)))?,
    );
    rules.insert(libc::SYS_socket, any([equal(0, DENIED_SOCKET_FAMILY)])?);
    Ok(rules)
}

fn pretended() -> Result<Rules, String> {
    let mut rules: Rules = PRETENDED.iter().copied().map(always).collect();
    let device = |argument| {
        any([libc::S_IFCHR, libc::S_IFBLK]
            .map(|kind| masked(argument, libc::S_IFMT.into(), kind.into())))
    };
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, device(1)?);
    rules.insert(libc::SYS_mknodat, device(2)?);
    Ok(rules)
}

fn always(call: libc::c_long) -> (libc::c_long, Vec<SeccompRule>) {
    (call, Vec::new())
}

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

fn equal(argument: u8, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(mask),
        value,
    )
}

fn any(conditions: impl IntoIterator<Item = Condition>) -> Result<Vec<SeccompRule>, String> {
    conditions
        .into_iter()
        .map(|condition| SeccompRule::new(vec![condition?]))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn apply(rules: Rules, action: SeccompAction) -> Result<(), String> {
    apply_filter(&compile(rules, action)?).map_err(|error| error.to_string())
}

fn compile(rules: Rules, action: SeccompAction) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

/// The second set of numbers that an x86-64 kernel may know for most calls, which the other filters do not.
#[cfg(target_arch = "x86_64")]
fn refuse_x32() -> Result<(), String> {
    const FIRST: u32 = 0x4000_0000;
    let instruction = |code: u32, jf: u8, k: u32| seccompiler::sock_filter {
        code: u16::try_from(code).expect("instruction codes have 16 bits"),
        jt: 0,
        jf,
        k,
    };
    let program = [
        // The call's number is the first field of what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, FIRST),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    apply_filter(&program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_denied_and_pretended() {
        assert!(DENIED.iter().all(|call| !PRETENDED.contains(call)));
    }

    #[test]
    fn the_filters_compile() {
        for rules in [denied(), pretended()] {
            assert!(
                !compile(rules.unwrap(), SeccompAction::Errno(1))
                    .unwrap()
                    .is_empty()
            );
        }
    }
}
