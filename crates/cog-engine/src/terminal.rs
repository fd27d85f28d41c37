//! A terminal of the container's own, for commands that people type into.
//!
//! The workload's process opens it among the container's devices, so that programs find it under its name there, and
//! sends the side that the caller reads and writes out over a socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pty::{OpenptFlags, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::supervisor::Failure;
use crate::workload::Terminal;

/// The caller's end of the socket.
pub(crate) struct Outer(OwnedFd);

/// What the workload's process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inner {
    socket: RawFd,
    terminal: Terminal,
}

/// Both ends for a workload that gets a terminal; the descriptor is to stay open until the workload is started.
pub(crate) fn prepare(terminal: Terminal) -> Result<(Outer, Inner, OwnedFd), EngineError> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| EngineError::host("make a socket")(error.into()))?;
    let inner = Inner {
        socket: theirs.as_raw_fd(),
        terminal,
    };
    Ok((Outer(ours), inner, theirs))
}

impl Outer {
    /// The terminal, once the workload runs.
    pub(crate) fn receive(self) -> Result<OwnedFd, EngineError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(|error| EngineError::host("receive the terminal")(error.into()))?;
        control
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            })
            .ok_or_else(|| {
                EngineError::host("receive the terminal")(std::io::ErrorKind::UnexpectedEof.into())
            })
    }
}

impl Inner {
    pub(crate) fn descriptor(&self) -> RawFd {
        self.socket
    }

    /// In the workload's process, inside its container: makes the terminal, takes it for its session and its streams, and
    /// sends the other side out.
    pub(crate) fn attach(&self) -> Result<(), Failure> {
        let step = "make a terminal";
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let outside = open("/dev/pts/ptmx", flags, Mode::empty()).map_err(Failure::at(step))?;
        unlockpt(&outside).map_err(Failure::at(step))?;
        tcsetwinsize(&outside, size(&self.terminal)).map_err(Failure::at(step))?;
        let inside = peer(&outside).map_err(Failure::at(step))?;
        self.send(&outside)
            .map_err(Failure::at("hand over the terminal"))?;
        rustix::process::setsid().map_err(Failure::at("begin a session"))?;
        rustix::process::ioctl_tiocsctty(&inside).map_err(Failure::at("take the terminal"))?;
        let streams = self.terminal.streams.iter();
        for stream in streams.filter(|stream| (0..=2).contains(*stream)) {
            become_stream(&inside, *stream).map_err(Failure::at("use the terminal"))?;
        }
        Ok(())
    }

    fn send(&self, outside: &OwnedFd) -> rustix::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [std::os::fd::AsFd::as_fd(outside)];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(
            borrowed(self.socket),
            &[IoSlice::new(&[0])],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }
}

fn size(terminal: &Terminal) -> Winsize {
    Winsize {
        ws_row: terminal.rows,
        ws_col: terminal.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Both sides of a new terminal of the host, the caller's first. It passes everything on as it is: what lines and signals
/// are is the business of a terminal behind it.
pub(crate) fn pair(terminal: &Terminal) -> Result<(OwnedFd, OwnedFd), EngineError> {
    let make = || -> std::io::Result<(OwnedFd, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outside = openpt(flags)?;
        unlockpt(&outside)?;
        tcsetwinsize(&outside, size(terminal))?;
        let inside = peer(&outside)?;
        let mut raw = tcgetattr(&inside)?;
        raw.make_raw();
        tcsetattr(&inside, OptionalActions::Now, &raw)?;
        Ok((outside, inside))
    };
    make().map_err(EngineError::host("make a terminal"))
}

/// Makes the terminal that is this process's standard input its own.
pub(crate) fn take_stdin() -> rustix::io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(std::io::stdin())
}

/// The side for programs, got without looking up its name.
fn peer(outside: &OwnedFd) -> std::io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a system call whose argument is no pointer; the new descriptor is ours.
    match unsafe { libc::ioctl(outside.as_raw_fd(), libc::TIOCGPTPEER, flags) } {
        -1 => Err(std::io::Error::last_os_error()),
        // SAFETY: as said above.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

fn become_stream(terminal: &OwnedFd, stream: RawFd) -> std::io::Result<()> {
    // SAFETY: replaces a standard stream; nothing in this process holds it as its own.
    match unsafe { libc::dup2(terminal.as_raw_fd(), stream) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The socket that this process was started with.
fn borrowed(socket: RawFd) -> BorrowedFd<'static> {
    // SAFETY: handed over to this process, and open until it executes the command.
    unsafe { BorrowedFd::borrow_raw(socket) }
}
