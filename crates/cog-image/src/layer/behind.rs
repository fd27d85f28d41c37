//! A writer that works in a thread of its own: whoever has something to write goes on meanwhile.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Bytes that are handed over at once.
const PIECE: usize = 512 * 1024;
/// Pieces that may wait; as much memory, and two pieces more.
const PIECES: usize = 4;

/// Hands what is written to it to a thread that writes it to a `W`.
pub(crate) struct Behind<W> {
    piece: Vec<u8>,
    /// Gone when there is nothing more to write.
    pieces: Option<SyncSender<Vec<u8>>>,
    /// Those that have been written, to be used again.
    used: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<W>>>,
}

impl<W: Write + Send + 'static> Behind<W> {
    pub(crate) fn start(mut out: W) -> io::Result<Self> {
        let (pieces, received) = sync_channel::<Vec<u8>>(PIECES);
        let (give_back, used) = channel();
        let thread = std::thread::Builder::new().name("layer".into());
        let thread = thread.spawn(move || {
            for mut piece in received {
                out.write_all(&piece)?;
                piece.clear();
                // Nobody may want it any more.
                let _ = give_back.send(piece);
            }
            Ok(out)
        })?;
        Ok(Self {
            piece: Vec::with_capacity(PIECE),
            pieces: Some(pieces),
            used,
            thread: Some(thread),
        })
    }

    /// Waits until all is written.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.hand_over()?;
        self.end()
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let next = self.used.try_recv();
        let next = next.unwrap_or_else(|_| Vec::with_capacity(PIECE));
        let piece = std::mem::replace(&mut self.piece, next);
        let is_taken = match &self.pieces {
            Some(pieces) => pieces.send(piece).is_ok(),
            None => false,
        };
        if is_taken {
            return Ok(());
        }
        // It only ends before us if something went wrong.
        match self.end() {
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::other("the thread that writes has ended")),
        }
    }
}

impl<W> Behind<W> {
    /// Lets the thread come to its end.
    fn end(&mut self) -> io::Result<W> {
        self.pieces = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(io::Error::other("it has failed before")),
        }
    }
}

impl<W: Write + Send + 'static> Write for Behind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.hand_over()?;
        }
        Ok(taken)
    }

    /// Does nothing: [`Self::finish`] tells whether all arrived.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W> Drop for Behind<W> {
    /// What is being written to may not outlive this: its file is about to be removed.
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            // Whoever drops it unfinished has another error to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn everything_arrives_in_order() {
        for size in [0, 1, PIECE, 20 * PIECE + 7] {
            let content: Vec<u8> = (0..=250).cycle().take(size).collect();
            let mut behind = Behind::start(Vec::new()).unwrap();
            for piece in content.chunks(100_003) {
                behind.write_all(piece).unwrap();
            }
            assert!(behind.finish().unwrap() == content, "{size} bytes");
        }
    }

    /// Takes so many bytes, and no more.
    struct Small(usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            match taken {
                0 => Err(io::ErrorKind::StorageFull.into()),
                taken => Ok(taken),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn its_error_is_told() {
        let piece = vec![0; PIECE];
        for room in [0, 3 * PIECE + 5] {
            let mut behind = Behind::start(Small(room)).unwrap();
            let error = (0..1000).find_map(|_| behind.write_all(&piece).err());
            let error = error.expect("it is told while more is written");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            behind.finish().err().expect("and nothing is finished");
        }
        let mut behind = Behind::start(Small(5)).unwrap();
        behind.write_all(&[0; 6]).unwrap();
        let error = behind.finish().err().expect("it is told at the end");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    /// Shares something until it goes.
    struct Shared {
        _shared: Arc<()>,
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_written_to_does_not_outlive_it() {
        let shared = Arc::new(());
        let mut behind = Behind::start(Shared {
            _shared: Arc::clone(&shared),
        })
        .unwrap();
        behind.write_all(&vec![0; 4 * PIECE]).unwrap();
        drop(behind);
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
