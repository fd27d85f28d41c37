//! The two pipes that carry frames to a worker and back.
//!
//! Not a pair of sockets: there, taking a frame wakes the other end to tell it that there is room again, even if it
//! waits for something to read. Every prediction would wake its worker twice. A pipe tells only when it was full.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Asked for, since the usual 64 KiB take a large frame in many turns; what is granted is up to the system.
pub(super) const CAPACITY: usize = 1 << 20;

/// Where frames of the worker arrive.
pub(super) struct Incoming {
    pipe: AsyncFd<OwnedFd>,
}

/// Where frames for the worker leave.
#[derive(Debug)]
pub(super) struct Outgoing {
    pipe: OwnedFd,
}

/// The other ends, which block.
pub(super) struct Theirs {
    pub(super) incoming: OwnedFd,
    pub(super) outgoing: OwnedFd,
}

/// Both pipes. All ends are closed on `exec`.
pub(super) fn pipes() -> io::Result<(Incoming, Outgoing, Theirs)> {
    let (our_read, their_write) = pipe()?;
    let (their_read, our_write) = pipe()?;
    for ours in [&our_read, &our_write] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    // SAFETY: an owned descriptor is the same, and open, until it is dropped with its registration.
    let our_read = unsafe { AsyncFd::register_with_interest(our_read, Interest::READABLE)? };
    Ok((
        Incoming { pipe: our_read },
        Outgoing { pipe: our_write },
        Theirs {
            incoming: their_read,
            outgoing: their_write,
        },
    ))
}

/// Its read end and its write end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Refused where the user has too many large ones already.
    let _ = fcntl_setpipe_size(&write, CAPACITY);
    Ok((read, write))
}

impl Incoming {
    /// Waits for something and adds it to the buffer, as far as that has room; 0 at the end. Nothing is
    /// lost when this is dropped early.
    pub(super) async fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            let mut ready = self.pipe.readable().await?;
            let room = buffer.capacity() - buffer.len();
            match self.read_now(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                read => {
                    // Less than there is room for: that was all of it.
                    if matches!(read, Ok(length) if length < room) {
                        ready.clear_ready();
                    }
                    return read;
                }
            }
        }
    }

    /// The same without waiting, also for what the event loop has not heard of yet.
    pub(super) fn read_now(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.pipe, buffer.spare_capacity_mut()) {
                Ok((read, _)) => {
                    let length = read.len();
                    // SAFETY: so many bytes after the present ones were just written.
                    unsafe { buffer.set_len(buffer.len() + length) };
                    return Ok(length);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Outgoing {
    /// Writes as much as there is room for.
    pub(super) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.pipe, bytes)?)
    }

    /// Waits until there is room for something.
    pub(super) async fn room(&self) -> io::Result<()> {
        let pipe = self.pipe.as_fd();
        // SAFETY: the descriptor is borrowed from its owner for longer than it is registered.
        let pipe = unsafe { AsyncFd::register_with_interest(pipe, Interest::WRITABLE)? };
        let _ready = pipe.writable().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written to one comes out of the other.
    fn pair() -> (Incoming, Outgoing) {
        let (incoming, _, theirs) = pipes().unwrap();
        rustix::io::ioctl_fionbio(&theirs.outgoing, true).unwrap();
        let pipe = theirs.outgoing;
        (incoming, Outgoing { pipe })
    }

    #[tokio::test]
    async fn what_is_written_arrives_whole_and_then_the_end() {
        let (incoming, outgoing) = pair();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                match outgoing.write_now(rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        outgoing.room().await.unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(5000);
            if incoming.read(&mut buffer).await.unwrap() == 0 {
                break;
            }
        }
        writing.await.unwrap();
        assert_eq!(buffer, expected);
    }

    #[tokio::test]
    async fn without_data_nothing_is_read() {
        let (incoming, outgoing) = pair();
        let mut buffer = BytesMut::with_capacity(10);
        let error = incoming.read_now(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        outgoing.write_now(b"now").unwrap();
        assert_eq!(incoming.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer[..], b"now");
    }
}
