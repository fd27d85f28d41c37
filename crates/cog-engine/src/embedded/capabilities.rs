//! The capabilities a workload may have at most: those that OCI runtimes leave by default.

use crate::supervisor::Failure;

/// By their numbers in `linux/capability.h`.
const KEPT: [u32; 14] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    13, // NET_RAW
    18, // SYS_CHROOT
    27, // MKNOD
    29, // AUDIT_WRITE
    31, // SETFCAP
];

const NEWEST_TO_TRY: u32 = 63;

/// Limits the bounding set, and with no-new-privileges what any program may gain.
pub(super) fn limit() -> Result<(), Failure> {
    for capability in (0..=NEWEST_TO_TRY).filter(|capability| !KEPT.contains(capability)) {
        // SAFETY: a system call without pointers; capabilities the kernel does not know are refused with EINVAL.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0, 0, 0) };
        if done != 0 {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EINVAL) {
                break;
            }
            return Err(Failure::at("drop capabilities")(error));
        }
    }
    // SAFETY: a system call without pointers.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(Failure::at("set no-new-privileges")(
            std::io::Error::last_os_error(),
        )),
    }
}
