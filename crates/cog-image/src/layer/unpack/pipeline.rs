//! Reads, decompresses and hashes a blob in threads of their own, while the files are written in another.
//!
//! Pieces go round: from the thread that fills them to the one that hashes them, to the one that uses them, and back.
//! Their number is the memory that it takes, and lets none be far ahead of the others.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::Unpacked;
use crate::digest::{DiffId, Digest, Hasher, HashingReader};
use crate::layer::decompress::Decompressor;

const PIECE: usize = 256 * 1024;
const PIECES: usize = 6;

type Piece = Vec<u8>;

/// The plain archive in a blob, as whoever unpacks it reads it.
pub(super) struct Plain {
    pieces: Receiver<io::Result<Piece>>,
    used: Sender<Piece>,
    piece: Piece,
    at: usize,
    size: u64,
}

/// Gives `work` what is in `blob`, decompressed, and then finds out what blob and content are. What `work` leaves, and
/// what follows the content in the blob, is hashed as well.
pub(super) fn read<T, E>(
    blob: impl Read + Send,
    work: impl FnOnce(&mut Plain) -> Result<T, E>,
    bad: impl Fn(io::Error) -> E,
) -> Result<(T, Unpacked), E> {
    std::thread::scope(|scope| {
        let (used, empty) = channel();
        for _ in 0..PIECES {
            // Both ends are here.
            let _ = used.send(Piece::with_capacity(PIECE));
        }
        let (filled, to_hash) = sync_channel(PIECES);
        let (hashed, pieces) = sync_channel(PIECES);
        let filling = scope.spawn(move || fill(blob, &empty, &filled));
        let hashing = scope.spawn(move || hash(&to_hash, &hashed));
        let mut plain = Plain {
            pieces,
            used,
            piece: Piece::new(),
            at: 0,
            size: 0,
        };
        let result = work(&mut plain);
        // Without a reader, the others end.
        drop(plain);
        let (blob, content) = (joined(filling), joined(hashing));
        let result = result?;
        Ok((
            result,
            Unpacked {
                diff_id: DiffId::new(content),
                digest: blob.map_err(bad)?,
            },
        ))
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Decompresses the blob into pieces; its digest. It ends early when nobody wants more.
fn fill(
    blob: impl Read,
    empty: &Receiver<Piece>,
    filled: &SyncSender<io::Result<Piece>>,
) -> io::Result<Digest> {
    let mut blob = HashingReader::new(blob);
    match Decompressor::new(&mut blob) {
        Ok(plain) => pass_on(plain, empty, filled)?,
        Err(error) => {
            let _ = filled.send(Err(error));
        }
    }
    Ok(blob.finish().0)
}

fn pass_on(
    mut plain: Decompressor<impl Read>,
    empty: &Receiver<Piece>,
    filled: &SyncSender<io::Result<Piece>>,
) -> io::Result<()> {
    while let Ok(mut piece) = empty.recv() {
        piece.clear();
        let read = (&mut plain).take(PIECE as u64).read_to_end(&mut piece);
        if matches!(read, Ok(0)) {
            return plain.drain();
        }
        let is_error = read.is_err();
        if filled.send(read.map(|_| piece)).is_err() || is_error {
            break;
        }
    }
    Ok(())
}

/// Passes pieces on; the digest of all of them.
fn hash(filled: &Receiver<io::Result<Piece>>, next: &SyncSender<io::Result<Piece>>) -> Digest {
    let mut hasher = Hasher::default();
    for piece in filled {
        if let Ok(piece) = &piece {
            hasher.update(piece);
        }
        if next.send(piece).is_err() {
            break;
        }
    }
    hasher.finish().0
}

impl Plain {
    /// Bytes read so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let used = std::mem::take(&mut self.piece);
            self.at = 0;
            if used.capacity() > 0 {
                // Whoever filled them may be at the end.
                let _ = self.used.send(used);
            }
            match self.pieces.recv() {
                Ok(piece) => self.piece = piece?,
                Err(_) => return Ok(0),
            }
        }
        let left = &self.piece[self.at..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.at += length;
        self.size += length as u64;
        Ok(length)
    }
}
