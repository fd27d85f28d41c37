//! The server's end of the socket to a worker, in two halves.
//!
//! A stream of the event loop's own hears of every change, also of each frame that the worker has taken:
//! that would wake the server once more for every prediction. Here each half hears of what it waits for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Where frames of the worker arrive.
pub(super) struct Incoming {
    socket: AsyncFd<OwnedFd>,
}

/// Where frames for the worker leave.
#[derive(Debug)]
pub(super) struct Outgoing {
    socket: OwnedFd,
}

/// Takes over a connected socket, which must not block.
pub(super) fn halves(socket: OwnedFd) -> io::Result<(Incoming, Outgoing)> {
    let outgoing = socket.try_clone()?;
    // SAFETY: an owned descriptor is the same, and open, until it is dropped with its registration.
    let incoming = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
    Ok((Incoming { socket: incoming }, Outgoing { socket: outgoing }))
}

impl Incoming {
    /// Waits for something and adds it to the buffer, as far as that has room; 0 at the end. Nothing is
    /// lost when this is dropped early.
    pub(super) async fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
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
            match rustix::io::read(&self.socket, buffer.spare_capacity_mut()) {
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
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(rustix::net::send(&self.socket, bytes, flags)?)
    }

    /// Waits until there is room for something.
    pub(super) async fn room(&self) -> io::Result<()> {
        let socket = self.socket.as_fd();
        // SAFETY: the descriptor is borrowed from its owner for longer than it is registered.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE)? };
        let _ready = socket.writable().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (Incoming, Outgoing) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        (halves(ours).unwrap().0, halves(theirs).unwrap().1)
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
