//! Standard output, as it really is.
//!
//! The standard library hides two things: what is closed when the program starts, it replaces by `/dev/null` before
//! `main`, and that a descriptor takes no writing it counts as success. Either way a result would be lost while the status
//! says that all is well.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Runs before the standard library opens `/dev/null` in the place of what is closed.
// SAFETY: the section holds pointers to functions of this form. This one uses nothing that is set up later: it makes one
// system call, and stores into an atomic.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: nothing else runs yet that could close it; if it isn't open, this is what the call below tells.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    let is_closed = rustix::io::fcntl_getfd(stdout) == Err(Errno::BADF);
    WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// A result that was not written, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{what} could not be written to standard output")]
pub(crate) struct Unwritten {
    pub(crate) what: &'static str,
    pub(crate) source: io::Error,
}

impl Unwritten {
    /// Its reader has seen enough, and closed the pipe.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes all of it at once, without a buffer.
pub(crate) fn write(mut content: &[u8]) -> io::Result<()> {
    if WAS_CLOSED.load(Ordering::Relaxed) && !content.is_empty() {
        return Err(io::Error::other("it is closed"));
    }
    let stdout = io::stdout().lock();
    while !content.is_empty() {
        match rustix::io::write(stdout.as_fd(), content) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => content = &content[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
