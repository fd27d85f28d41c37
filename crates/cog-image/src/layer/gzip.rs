//! Gzip on several threads: fixed blocks compressed independently, joined into one ordinary member.
//!
//! Deflate allows it: each block but the last ends with a sync marker on a byte boundary. That is
//! pigz's format without its dictionaries, and costs about one per cent in size.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Part of the digest. Large enough to lose nearly nothing by compressing blocks apart.
const BLOCK: usize = 1024 * 1024;
/// Part of the digest. What `gzip` uses by itself.
const LEVEL: u32 = 6;
/// Magic, deflate, no flags, no time, no extra flags, unknown system: nothing of the host.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A block on its way to a worker, and where the result goes.
struct Job {
    block: Vec<u8>,
    result: SyncSender<Vec<u8>>,
}

/// Compresses what is written to it into `out`.
pub(crate) struct GzipWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    crc: Crc,
    pool: Option<Pool>,
}

struct Pool {
    jobs: Sender<Job>,
    pending: VecDeque<Receiver<Vec<u8>>>,
    limit: usize,
}

impl<W: Write> GzipWriter<W> {
    /// With fewer than two `workers`, the calling thread does the work.
    pub(crate) fn new(mut out: W, workers: usize) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK),
            crc: Crc::new(),
            pool: (workers > 1).then(|| Pool::start(workers)),
        })
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        if let Some(pool) = &mut self.pool {
            while let Some(done) = pool.oldest() {
                self.out.write_all(&done)?;
            }
        }
        self.out.write_all(&deflate(&last, FlushCompress::Finish))?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        // The format wants the size modulo 2^32, which is what `amount` keeps.
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn full_block(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let Some(pool) = &mut self.pool else {
            return self.out.write_all(&deflate(&block, FlushCompress::Sync));
        };
        pool.submit(block);
        if pool.pending.len() > pool.limit
            && let Some(done) = pool.oldest()
        {
            self.out.write_all(&done)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A block goes only when more follows, so that the last one is never empty after full ones.
        if self.block.len() == BLOCK {
            self.full_block()?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.crc.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pool {
    /// The workers end when the pool, and with it the sending side, is dropped.
    fn start(workers: usize) -> Self {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { block, result }) = job else {
                        return;
                    };
                    // Nobody waits for the result of a writer that was dropped.
                    let _ = result.send(deflate(&block, FlushCompress::Sync));
                }
            });
        }
        Self {
            jobs,
            pending: VecDeque::new(),
            limit: 2 * workers,
        }
    }

    fn submit(&mut self, block: Vec<u8>) {
        let (result, receiver) = sync_channel(1);
        self.jobs
            .send(Job { block, result })
            .expect("workers live as long as the pool");
        self.pending.push_back(receiver);
    }

    fn oldest(&mut self) -> Option<Vec<u8>> {
        let receiver = self.pending.pop_front()?;
        Some(receiver.recv().expect("a worker answers every job"))
    }
}

fn deflate(block: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut state = Compress::new(Compression::new(LEVEL), false);
    // Incompressible data grows by 5 bytes per 16 KiB at most; then the sync marker.
    let mut out = Vec::with_capacity(block.len() + block.len() / 1000 + 64);
    loop {
        let consumed = usize::try_from(state.total_in()).expect("a block fits into memory");
        let status = state
            .compress_vec(&block[consumed..], &mut out, flush)
            .expect("deflate without a dictionary cannot fail");
        let complete = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // Room left over means that the marker is out, too.
            _ => out.len() < out.capacity(),
        };
        if complete {
            return out;
        }
        out.reserve(1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn compress(content: &[u8], workers: usize, chunk: usize) -> Vec<u8> {
        let mut writer = GzipWriter::new(Vec::new(), workers).unwrap();
        for piece in content.chunks(chunk) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn one_member_whatever_the_number_of_workers() {
        // One byte, whole blocks, and more than the queue of two workers holds.
        for size in [0, 1, BLOCK, 6 * BLOCK + 17] {
            let content: Vec<u8> = (0..size)
                .map(|at| u8::try_from(at / 1000 % 251).unwrap())
                .collect();
            let alone = compress(&content, 0, size.max(1));
            assert!(compress(&content, 2, 100_000) == alone, "{size} bytes");
            let mut decoded = Vec::new();
            // Not the decoder for many members.
            flate2::read::GzDecoder::new(&alone[..])
                .read_to_end(&mut decoded)
                .unwrap();
            assert!(decoded == content, "{size} bytes");
        }
    }

    #[test]
    fn incompressible_blocks_fit() {
        let mut state = 7_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        let content: Vec<u8> = (0..=BLOCK).map(|_| next()).collect();
        let blob = compress(&content, 0, BLOCK);
        let mut decoded = Vec::new();
        flate2::read::GzDecoder::new(&blob[..])
            .read_to_end(&mut decoded)
            .unwrap();
        assert!(decoded == content);
    }

    #[test]
    fn a_dropped_writer_ends_its_workers() {
        let mut writer = GzipWriter::new(Vec::new(), 2).unwrap();
        writer.write_all(&vec![0; 3 * BLOCK]).unwrap();
        drop(writer);
    }
}
