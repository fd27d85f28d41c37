//! The file that collects a blob, and the hash of what it holds.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use rustix::fs::FlockOperation;

use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::layer::system;

/// Bytes that are hashed before a thread is worth it.
const SMALL: usize = 1024 * 1024;
/// Pieces that wait to be hashed; each is what came at once, a few hundred KiB at most.
const PIECES: usize = 16;

/// A blob that is on its way, in a file that only this process fills.
pub(super) struct Partial {
    file: fs_err::File,
    path: PathBuf,
    size: u64,
    /// Bytes that an earlier process left, which may be wrong.
    inherited: u64,
    hash: Hash,
}

/// A hash of what comes in pieces, in a thread of its own as soon as there is much of it: meanwhile, more is received.
enum Hash {
    Here(Hasher),
    Elsewhere {
        pieces: SyncSender<Bytes>,
        thread: JoinHandle<Hasher>,
    },
}

impl Partial {
    /// Opens and locks the file at `path`, waiting for whoever fills it, and hashes what it holds. What is longer than
    /// `limit` is no part of the blob.
    pub(super) fn open(path: &Path, limit: u64) -> Result<Self> {
        let mut file = lock_file(path)?;
        let mut hasher = Hasher::default();
        if file.metadata()?.len() > limit {
            file.set_len(0)?;
        }
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        let inherited = hasher.size();
        Ok(Self {
            file,
            path: path.to_owned(),
            size: inherited,
            inherited,
            hash: Hash::Here(hasher),
        })
    }

    /// Bytes that it holds.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn push(&mut self, bytes: Bytes) -> io::Result<()> {
        self.file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }

    /// The digest of what it holds.
    pub(super) fn digest(&mut self) -> Digest {
        self.hash.current()
    }

    /// Whether some of it comes from an earlier process.
    pub(super) fn is_inherited(&self) -> bool {
        self.inherited > 0
    }

    /// Throws away what it holds.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Hash::Here(Hasher::default());
        self.size = 0;
        self.inherited = 0;
        Ok(())
    }

    /// Gives it the name `path`; it stays locked.
    pub(super) fn rename(&self, path: &Path) -> io::Result<()> {
        fs_err::rename(&self.path, path)
    }
}

impl Hash {
    fn update(&mut self, bytes: Bytes) {
        match self {
            Self::Here(hasher) => {
                hasher.update(&bytes);
                if hasher.size() >= SMALL as u64 {
                    self.move_out();
                }
            }
            // It ends when the sender does; if it had panicked, `current` would tell.
            Self::Elsewhere { pieces, .. } => {
                let _ = pieces.send(bytes);
            }
        }
    }

    /// Where no thread can be had, it stays here.
    fn move_out(&mut self) {
        let Self::Here(hasher) = self else {
            return;
        };
        let (pieces, received) = sync_channel(PIECES);
        let begun = hasher.clone();
        let thread = std::thread::Builder::new()
            .name("hash of a download".into())
            .spawn(move || hash(begun, &received));
        if let Ok(thread) = thread {
            *self = Self::Elsewhere { pieces, thread };
        }
    }

    /// The digest of what came so far.
    fn current(&mut self) -> Digest {
        let hasher = match std::mem::replace(self, Self::Here(Hasher::default())) {
            Self::Here(hasher) => hasher,
            Self::Elsewhere { pieces, thread } => {
                drop(pieces);
                match thread.join() {
                    Ok(hasher) => hasher,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        };
        *self = Self::Here(hasher.clone());
        hasher.finish().0
    }
}

fn hash(mut hasher: Hasher, pieces: &Receiver<Bytes>) -> Hasher {
    for piece in pieces {
        hasher.update(&piece);
    }
    hasher
}

fn lock_file(path: &Path) -> Result<fs_err::File> {
    use std::os::unix::fs::MetadataExt;
    loop {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| system::failed("lock", path, errno))?;
        // Whoever held it may have renamed or removed it: then the lock is on a file without this name.
        let still_there = fs_err::metadata(path)
            .is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
        if still_there {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: usize) -> Vec<u8> {
        (0..=250).cycle().take(size).collect()
    }

    #[test]
    fn what_comes_in_pieces_is_hashed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("partial");
        // Few bytes, and so many that a thread hashes them.
        for size in [0, 1, 5 * SMALL + 3] {
            let content = content(size);
            let mut partial = Partial::open(&path, size as u64).unwrap();
            for piece in content.chunks(300_000) {
                partial.push(Bytes::copy_from_slice(piece)).unwrap();
            }
            assert_eq!(partial.size(), size as u64);
            assert_eq!(partial.digest(), Digest::of(&content));
            assert_eq!(partial.digest(), Digest::of(&content), "asked twice");
            partial.restart().unwrap();
            assert_eq!(partial.digest(), Digest::of(b""));
        }
    }

    #[test]
    fn what_was_left_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("partial");
        let content = content(3 * SMALL);
        let (first, second) = content.split_at(2 * SMALL);
        fs_err::write(&path, first).unwrap();
        let mut partial = Partial::open(&path, content.len() as u64).unwrap();
        assert!(partial.is_inherited());
        assert_eq!(partial.size(), first.len() as u64);
        partial.push(Bytes::copy_from_slice(second)).unwrap();
        assert_eq!(partial.digest(), Digest::of(&content));
        let whole = folder.path().join("whole");
        partial.rename(&whole).unwrap();
        assert_eq!(fs_err::read(whole).unwrap(), content);
    }
}
