//! What a process has received over the network, which uv does not tell. The kernel counts it for each connection
//! (`sock_diag(7)`); on one that does not, nothing is known.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};

/// What the kernel may take for an answer that it has.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than it puts into one piece of an answer.
const PIECE: usize = 64 << 10;

// Of `linux/netlink.h`, `linux/sock_diag.h`, `linux/inet_diag.h` and `linux/tcp.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_ALL: u16 = 0x1 | 0x300;
const DONE: u16 = 3;
const FAMILIES: [u8; 2] = [2, 10];
const TCP: u8 = 6;
/// Established, and closed by the other side.
const STATES: u32 = 1 << 1 | 1 << 8;
const INFO: u16 = 2;
const HEADER: usize = 16;
const REQUEST: usize = 56;
const ANSWER: usize = 72;
const INODE_AT: usize = 68;
const RECEIVED_AT: usize = 128;

/// The connections of a process, also those that it has closed since.
#[derive(Debug)]
pub(super) struct Received {
    process: u32,
    /// Bytes of each socket.
    sockets: HashMap<u32, u64>,
    /// Bytes of those whose number another one has now.
    gone: u64,
}

impl Received {
    pub(super) fn of(process: u32) -> Self {
        Self {
            process,
            sockets: HashMap::new(),
            gone: 0,
        }
    }

    /// Bytes that were received so far.
    pub(super) fn bytes(&mut self) -> Option<u64> {
        let own = self.own_sockets().ok()?;
        for family in FAMILIES {
            for (inode, bytes) in counts(family).ok()? {
                if own.contains(&inode) {
                    self.note(inode, bytes);
                }
            }
        }
        Some(self.sum())
    }

    /// A socket has received so much. If that is less than before, it is another one: numbers are given again.
    fn note(&mut self, inode: u32, bytes: u64) {
        let before = self.sockets.insert(inode, bytes);
        self.gone += before.filter(|before| *before > bytes).unwrap_or(0);
    }

    fn sum(&self) -> u64 {
        self.gone + self.sockets.values().sum::<u64>()
    }

    /// The inodes that its descriptors lead to.
    fn own_sockets(&self) -> io::Result<HashSet<u32>> {
        let mut own = HashSet::new();
        for entry in fs_err::read_dir(format!("/proc/{}/fd", self.process))? {
            // One may have been closed meanwhile.
            let Ok(target) = fs_err::read_link(entry?.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(|target| {
                let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
                inode.parse::<u32>().ok()
            });
            own.extend(inode);
        }
        Ok(own)
    }
}

/// The inode of each TCP connection of our network, and the bytes that came by it.
fn counts(family: u8) -> io::Result<Vec<(u32, u64)>> {
    let socket = socket(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        Some(netlink::SOCK_DIAG),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    send(&socket, &request(family), SendFlags::empty())?;
    let mut counts = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let (length, _) = recv(socket.as_fd(), piece.as_mut_slice(), RecvFlags::empty())?;
        let is_last = read(&piece[..length], &mut counts)?;
        if is_last {
            return Ok(counts);
        }
    }
}

fn request(family: u8) -> Vec<u8> {
    let length = HEADER + REQUEST;
    let mut request = Vec::with_capacity(length);
    request.extend(u32::try_from(length).unwrap_or_default().to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_ALL.to_ne_bytes());
    // A sequence number and whom it comes from: there is one request, and one who can answer.
    request.extend([0; 8]);
    request.extend([family, TCP, 1 << (INFO - 1), 0]);
    request.extend(STATES.to_ne_bytes());
    // All of them.
    request.resize(length, 0);
    request
}

/// Adds what a piece of the answer has; whether it was the last one.
fn read(mut piece: &[u8], counts: &mut Vec<(u32, u64)>) -> io::Result<bool> {
    while piece.len() >= HEADER {
        let length = u32_at(piece, 0).and_then(|length| usize::try_from(length).ok());
        let message = length.and_then(|length| piece.get(HEADER..length));
        let (Some(length), Some(message)) = (length, message) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match u16_at(piece, 4) {
            Some(SOCK_DIAG_BY_FAMILY) => counts.extend(count(message)),
            Some(DONE) => return Ok(true),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The inode and the bytes of one connection.
fn count(message: &[u8]) -> Option<(u32, u64)> {
    let inode = u32_at(message, INODE_AT)?;
    let mut attributes = message.get(ANSWER..)?;
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        if u16_at(attributes, 2)? == INFO {
            let bytes = attributes
                .get(4..length)?
                .get(RECEIVED_AT..RECEIVED_AT + 8)?;
            return Some((inode, u64::from_ne_bytes(bytes.try_into().ok()?)));
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_comes_by_a_connection_is_counted() {
        const SENT: usize = 300_000;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut writer, _) = listener.accept().unwrap();
        let mut received = Received::of(std::process::id());
        let Some(before) = received.bytes() else {
            // This kernel does not tell.
            return;
        };
        let sender = std::thread::spawn(move || writer.write_all(&vec![0; SENT]).map(|()| writer));
        reader.read_exact(&mut vec![0; SENT]).unwrap();
        let _writer = sender.join().unwrap().unwrap();
        let after = received.bytes().unwrap();
        assert!(after - before >= SENT as u64, "{before} {after}");
        drop(reader);
        assert!(received.bytes().unwrap() >= after, "what is closed counts");
    }

    #[test]
    fn a_number_that_is_given_again_takes_nothing_away() {
        let mut received = Received::of(1);
        for (inode, bytes, sum) in [(7, 10, 10), (7, 15, 15), (8, 1, 16), (7, 2, 18)] {
            received.note(inode, bytes);
            assert_eq!(received.sum(), sum);
        }
    }

    #[test]
    fn odd_answers_are_no_matter() {
        let mut counts = Vec::new();
        assert!(!read(&[], &mut counts).unwrap());
        assert!(read(&[0xff; 64], &mut counts).is_err());
        let mut short = 20_u32.to_ne_bytes().to_vec();
        short.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        short.extend([0; 14]);
        assert!(!read(&short, &mut counts).unwrap());
        let mut attribute = vec![0; ANSWER];
        attribute.extend([0, 0, 9, 9]);
        assert_eq!(count(&attribute), None);
        assert!(counts.is_empty());
    }
}
