//! An interpreter for programs of another machine, which the container's user namespace has for itself.

use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::emulator::Emulator;
use crate::supervisor::Failure;

const KIND: &str = "binfmt_misc";

/// Registers `emulator` in the user namespace that this process is in. It counts as long as the result is open.
pub(super) fn register(emulator: &Emulator) -> Result<OwnedFd, Failure> {
    let program = emulator.program.display();
    let step = format!("have `{program}` run programs of another platform");
    let register = || {
        let list = list()?;
        // What was looked at is what is registered, whatever its path has in it.
        let file = open(
            &emulator.program,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let entry = openat(
            &list,
            "register",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let line = emulator.registration(&path);
        std::fs::File::from(entry).write_all(line.as_bytes())?;
        Ok(list)
    };
    register().map_err(|error: io::Error| Failure::at(step)(error))
}

/// The namespace's own list of interpreters, mounted nowhere.
pub(super) fn list() -> io::Result<OwnedFd> {
    let context = fsopen(KIND, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let plain = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, plain)?)
}
