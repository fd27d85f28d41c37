//! The supervisor's first half: makes the namespaces, then goes on from a program file that cannot be written to.
//!
//! What runs in a container can get hold of the program that looks after it, as `/proc/…/exe`, and could write to the
//! host's file once that is no longer in use. So the program runs from a read-only mount of its own file, which only
//! this process refers to; or, if the file was replaced since we were started, from a sealed copy in memory.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::exit;

use rustix::fs::{
    AtFlags, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fstat, memfd_create, open,
};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, mount_change, open_tree};

use super::{namespaces, rootfs};
use crate::helper::ISOLATED_ARGUMENT;
use crate::supervisor::{self, FAILED, Failure};

const OWN: &str = "/proc/self/exe";

/// Becomes the supervisor's second half. `numbers` are its descriptors.
pub(super) fn begin(numbers: &[RawFd]) -> ! {
    let Err(failure) = go_on(numbers);
    supervisor::report(numbers, &failure.into());
    exit(FAILED)
}

fn go_on(numbers: &[RawFd]) -> Result<Infallible, Failure> {
    namespaces::enter()?;
    // SAFETY: a system call without pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(Failure::last("make a mount namespace"));
    }
    // What the host mounts and unmounts later is so here too.
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM,
    )
    .map_err(Failure::at("keep mounts to ourselves"))?;
    let step = "protect this program";
    let program = match read_only().map_err(Failure::at(step))? {
        Some(program) => program,
        None => sealed_copy().map_err(Failure::at(step))?,
    };
    Err(Failure::at("go on as the supervisor")(execute(
        &program, numbers,
    )))
}

/// Our own file on a read-only mount; `None` if it is no longer there.
fn read_only() -> io::Result<Option<OwnedFd>> {
    let own = fs_err::metadata(OWN)?;
    let path = fs_err::read_link(OWN)?;
    let file = match open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(&file, "", flags)?;
    let found = fstat(&mount)?;
    if (found.st_dev, found.st_ino) != (own.dev(), own.ino()) {
        return Ok(None);
    }
    rootfs::set_attributes(&mount, libc::MOUNT_ATTR_RDONLY)?;
    Ok(Some(mount))
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match memfd_create("cog", flags | MemfdFlags::EXEC) {
        // A kernel before 6.3, where all such files can be executed.
        Err(Errno::INVAL) => memfd_create("cog", flags)?,
        other => other?,
    };
    let mut copy = std::fs::File::from(copy);
    io::copy(&mut fs_err::File::open(OWN)?, &mut copy)?;
    let copy = OwnedFd::from(copy);
    fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy)
}

/// Only returns if it fails.
fn execute(program: &OwnedFd, numbers: &[RawFd]) -> io::Error {
    let words = ["cog".to_owned(), ISOLATED_ARGUMENT.to_owned()]
        .into_iter()
        .chain(numbers.iter().map(RawFd::to_string));
    let words: Result<Vec<CString>, _> = words.map(CString::new).collect();
    let Ok(words) = words else {
        return io::ErrorKind::InvalidInput.into();
    };
    let arguments: Vec<_> = words
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect();
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    let empty = i32::try_from(AtFlags::EMPTY_PATH.bits()).unwrap_or_default();
    // SAFETY: all strings and lists are NUL-terminated and live until the call returns.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            empty,
        );
    }
    io::Error::last_os_error()
}
