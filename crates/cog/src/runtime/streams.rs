//! The standard streams of a command. What it says on standard error is passed on and remembered, so that a failure
//! can be explained.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::thread::JoinHandle;

use cog_engine::{PassedFd, Terminal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::terminal::stream;

pub(super) struct Streams {
    pub(super) stdin: Stdio,
    pub(super) stdout: Stdio,
    pub(super) stderr: Stdio,
    pub(super) passed_fds: Vec<PassedFd>,
}

/// The end of what was said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tail(VecDeque<u8>);

impl Tail {
    /// An error with its trace is shorter.
    const MOST: usize = 64 << 10;

    pub(crate) fn add(&mut self, said: &[u8]) {
        let kept = &said[said.len().saturating_sub(Self::MOST)..];
        let surplus = (self.0.len() + kept.len()).saturating_sub(Self::MOST);
        self.0.drain(..surplus);
        self.0.extend(kept);
    }

    pub(crate) fn text(&self) -> String {
        let (front, back) = self.0.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

/// Our own streams, for a command that may have a terminal.
///
/// Standard error comes by here, unless it is a terminal: programs write otherwise to a terminal. Where both outputs
/// are one file, such as with `2>&1`, both do, so that their order stays.
pub(super) fn of_command(terminal: Option<&Terminal>) -> io::Result<(Streams, Option<Overheard>)> {
    let mut streams = Streams {
        stdin: stream(terminal, 0),
        stdout: stream(terminal, 1),
        stderr: stream(terminal, 2),
        passed_fds: Vec::new(),
    };
    let (stdout, stderr) = (io::stdout(), io::stderr());
    if stderr.is_terminal() {
        return Ok((streams, None));
    }
    let both = same_file(stdout.as_fd(), stderr.as_fd());
    let to = if both { stdout.as_fd() } else { stderr.as_fd() };
    let to = to.try_clone_to_owned()?;
    let (from, write) = pipe_with(PipeFlags::CLOEXEC)?;
    if both {
        streams.stdout = write.try_clone()?.into();
    }
    streams.stderr = write.into();
    Ok((streams, Some(Overheard { from, to })))
}

fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// What a command writes to, and where that is passed on to.
pub(super) struct Overheard {
    from: OwnedFd,
    to: OwnedFd,
}

/// Passes on until it is told that the command has ended.
pub(super) struct Listening {
    thread: JoinHandle<Tail>,
    /// Closing it tells.
    running: OwnedFd,
}

impl Overheard {
    pub(super) fn listen(self) -> io::Result<Listening> {
        let (ended, running) = pipe_with(PipeFlags::CLOEXEC)?;
        let thread = std::thread::spawn(move || self.pass_on(&ended));
        Ok(Listening { thread, running })
    }

    /// Ends when everything has been passed on, or nobody takes it any more; then the command's own writing fails, too.
    fn pass_on(self, ended: &OwnedFd) -> Tail {
        let mut tail = Tail::default();
        let from = &mut std::fs::File::from(self.from);
        let mut to = std::fs::File::from(self.to);
        let mut buffer = [0; 16 << 10];
        while is_readable_before(from.as_fd(), ended.as_fd()) {
            match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length @ 1..) => {
                    tail.add(&buffer[..length]);
                    if to.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
                Ok(0) | Err(_) => break,
            }
        }
        tail
    }
}

/// Waits until there is something to read, or `ended` is closed and there is nothing.
fn is_readable_before(from: BorrowedFd<'_>, ended: BorrowedFd<'_>) -> bool {
    let mut both = [
        PollFd::new(&from, PollFlags::IN),
        PollFd::new(&ended, PollFlags::IN),
    ];
    loop {
        match poll(&mut both, None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return !both[0].revents().is_empty(),
        }
    }
}

impl Listening {
    /// The command has ended: what is left is passed on.
    pub(super) fn end(self) -> Tail {
        drop(self.running);
        self.thread.join().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let mut tail = Tail::default();
        tail.add(b"first");
        tail.add(&vec![b'x'; 3 * Tail::MOST]);
        tail.add(b"last");
        let text = tail.text();
        assert_eq!(text.len(), Tail::MOST);
        assert!(text.ends_with("xlast") && !text.contains("first"));
    }

    #[test]
    fn all_that_was_said_is_passed_on_even_if_somebody_still_could_say_more() {
        let (from, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (mut shown, to) = std::io::pipe().unwrap();
        let listening = Overheard {
            from,
            to: to.into(),
        }
        .listen()
        .unwrap();
        let mut command = std::fs::File::from(write);
        command.write_all(b"ImportError: libGL.so.1").unwrap();
        let tail = listening.end();
        assert_eq!(tail.text(), "ImportError: libGL.so.1");
        let mut text = String::new();
        shown.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ImportError: libGL.so.1");
        drop(command);
    }

    #[test]
    fn a_command_that_nobody_listens_to_learns_of_it() {
        let (from, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (shown, to) = std::io::pipe().unwrap();
        drop(shown);
        let listening = Overheard {
            from,
            to: to.into(),
        }
        .listen()
        .unwrap();
        let mut command = std::fs::File::from(write);
        let error = loop {
            if let Err(error) = command.write_all(&[b'x'; 1 << 10]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        listening.end();
    }
}
