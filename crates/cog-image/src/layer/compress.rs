//! Compresses a layer while it is produced, hashing both sides.
//!
//! **Invariant:** the bytes depend on the content alone. Zstandard cuts the stream into jobs of a fixed
//! size whatever the number of workers (at least one: without workers it writes other bytes), and
//! `gzip` does the same by hand. Whether workers are used at all, and a thread that hashes and writes what they made, is
//! decided by the content's size, which spares small layers the start of threads.
//!
//! Levels, block sizes and library versions are part of every digest: a test holds golden digests.

use std::io::{self, Write};
use std::num::NonZero;

use zstd::stream::write::Encoder;

use super::Compression;
use super::behind::Behind;
use super::gzip::GzipWriter;
use crate::digest::{DiffId, Digest, HashingWriter};
use crate::manifest::{OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD};

/// Zstandard's own default, and what other builders use.
const ZSTD_LEVEL: i32 = 3;
/// Content up to this size, in bytes, is compressed on the calling thread.
const SMALL: usize = 4 * 1024 * 1024;
/// Each worker holds several megabytes; more of them than this gain little.
const MAX_WORKERS: usize = 8;

impl Compression {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Zstd => OCI_LAYER_ZSTD,
            Self::Gzip => OCI_LAYER_GZIP,
            Self::None => OCI_LAYER_TAR,
        }
    }
}

/// Addresses and sizes (in bytes) of a layer that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) diff_id: DiffId,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Accepts a layer's tar stream and writes its blob to `out`.
pub(crate) struct BlobEncoder<W: Write + Send + 'static> {
    plain: HashingWriter<Compressor<HashingWriter<W>>>,
}

/// Content is collected until it is known whether there is enough of it for workers.
struct Compressor<W: Write + Send + 'static> {
    compression: Compression,
    threads: usize,
    state: State<W>,
}

enum State<W: Write + Send + 'static> {
    Collecting(Vec<u8>, W),
    Running(Running<Out<W>>),
    /// Starting failed, and the error was handed out.
    Failed,
}

enum Running<W: Write> {
    Zstd(Encoder<'static, W>),
    Gzip(GzipWriter<W>),
    None(W),
}

/// What takes compressed bytes.
enum Out<W: Write + Send + 'static> {
    Here(W),
    Behind(Behind<W>),
}

impl<W: Write + Send + 'static> BlobEncoder<W> {
    /// `threads` 0 means one per core.
    pub(crate) fn new(out: W, compression: Compression, threads: usize) -> Self {
        let state = State::Collecting(Vec::new(), HashingWriter::new(out));
        Self {
            plain: HashingWriter::new(Compressor {
                compression,
                threads,
                state,
            }),
        }
    }

    pub(crate) fn finish(self) -> io::Result<(W, Written)> {
        let (compressor, diff_id, _) = self.plain.finish();
        let (out, digest, size) = compressor.finish()?.finish();
        Ok((
            out,
            Written {
                diff_id: DiffId::new(diff_id),
                digest,
                size,
            },
        ))
    }
}

impl<W: Write + Send + 'static> Compressor<W> {
    /// The compressor that runs, started with as many workers as asked for if there is none yet.
    fn running(&mut self, workers: impl FnOnce() -> usize) -> io::Result<&mut Running<Out<W>>> {
        if let State::Collecting(..) = self.state {
            let workers = workers();
            let State::Collecting(collected, out) =
                std::mem::replace(&mut self.state, State::Failed)
            else {
                unreachable!("looked at just now");
            };
            let out = match workers {
                0 => Out::Here(out),
                _ => Out::Behind(Behind::start(out)?),
            };
            let mut running = Running::new(out, self.compression, workers)?;
            if let (Running::Zstd(encoder), 0) = (&mut running, workers) {
                // All of it is here: tables of its size are set up faster than those for any size.
                encoder.set_pledged_src_size(Some(collected.len() as u64))?;
            }
            running.write_all(&collected)?;
            self.state = State::Running(running);
        }
        match &mut self.state {
            State::Running(running) => Ok(running),
            _ => Err(io::Error::other("the compressor could not be started")),
        }
    }

    fn finish(mut self) -> io::Result<W> {
        self.running(|| 0)?;
        let out = match self.state {
            State::Running(Running::Zstd(encoder)) => encoder.finish()?,
            State::Running(Running::Gzip(writer)) => writer.finish()?,
            State::Running(Running::None(out)) => out,
            _ => unreachable!("started just now"),
        };
        match out {
            Out::Here(out) => Ok(out),
            Out::Behind(behind) => behind.finish(),
        }
    }
}

impl<W: Write> Running<W> {
    fn new(out: W, compression: Compression, workers: usize) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd => {
                let mut encoder = Encoder::new(out, ZSTD_LEVEL)?;
                if workers > 0 {
                    encoder.multithread(u32::try_from(workers).unwrap_or(1))?;
                }
                Self::Zstd(encoder)
            }
            Compression::Gzip => Self::Gzip(GzipWriter::new(out, workers)?),
            Compression::None => Self::None(out),
        })
    }
}

impl<W: Write + Send + 'static> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Here(out) => out.write(bytes),
            Self::Behind(behind) => behind.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn workers(threads: usize) -> usize {
    let wanted = match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    wanted.clamp(1, MAX_WORKERS)
}

impl<W: Write + Send + 'static> Write for BlobEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plain.write(bytes)
    }

    /// Does nothing: flushing the compressor would end its block early and so change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Send + 'static> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let State::Collecting(collected, _) = &mut self.state
            && collected.len() + bytes.len() <= SMALL
        {
            collected.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let threads = self.threads;
        // Counting the cores reads several files, far too slow for every write.
        self.running(|| workers(threads))?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Write for Running<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
            Self::None(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::decompress::Decompressor;
    use std::io::Read;

    /// Text-like bytes from a fixed generator.
    fn sample(size: usize) -> Vec<u8> {
        let mut state = 1_u64;
        std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            b"etaoin shrdlu\n.="[usize::try_from(state >> 60).unwrap()]
        })
        .take(size)
        .collect()
    }

    fn encode(
        content: &[u8],
        compression: Compression,
        threads: usize,
        chunk: usize,
    ) -> (Vec<u8>, Written) {
        let mut encoder = BlobEncoder::new(Vec::new(), compression, threads);
        for piece in content.chunks(chunk) {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn bytes_depend_on_content_alone() {
        use Compression::{Gzip, None, Zstd};
        // Gzip with workers has tests of its own.
        for (size, compressions) in [
            (0, [Zstd, None, Gzip].as_slice()),
            (1, &[Zstd, None, Gzip]),
            (100_000, &[Zstd, None, Gzip]),
            (SMALL, &[Zstd, None]),
            (SMALL + 1, &[Zstd, None]),
            // More than one of Zstandard's jobs.
            (20_000_000, &[Zstd]),
        ] {
            let content = sample(size);
            for compression in compressions {
                check(&content, *compression);
            }
        }
    }

    fn check(content: &[u8], compression: Compression) {
        let name = format!("{compression:?}, {} bytes", content.len());
        let (blob, written) = encode(content, compression, 1, 1 << 20);
        assert_eq!(written.digest, Digest::of(&blob));
        assert_eq!(written.diff_id.digest(), Digest::of(content));
        assert_eq!(written.size, blob.len() as u64);
        for (threads, chunk) in [(2, 1 << 16), (4, 777_777)] {
            let (again, _) = encode(content, compression, threads, chunk);
            assert!(again == blob, "{name}, {threads} threads");
        }
        let mut decoded = Vec::new();
        Decompressor::new(&blob[..])
            .unwrap()
            .read_to_end(&mut decoded)
            .unwrap();
        assert!(decoded == content, "{name}");
    }
}
