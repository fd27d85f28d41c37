//! Decompresses layers, going by their first bytes: media types are sometimes wrong, magic numbers not.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The tar stream of a layer blob.
pub(crate) enum Decompressor<R: Read> {
    Zstd(Box<zstd::Decoder<'static, Source<R>>>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    None(Source<R>),
}

impl<R: Read> Decompressor<R> {
    pub(crate) fn new(mut blob: R) -> io::Result<Self> {
        let mut magic = Vec::with_capacity(4);
        (&mut blob).take(4).read_to_end(&mut magic)?;
        let kind = (
            magic.first().copied(),
            magic.get(1..).unwrap_or_default().to_vec(),
        );
        let source = BufReader::with_capacity(128 * 1024, Cursor::new(magic).chain(blob));
        Ok(match (kind.0, kind.1.as_slice()) {
            // A frame, or one of the skippable frames that some writers put first.
            (Some(0x28), [0xb5, 0x2f, 0xfd]) | (Some(0x50..=0x5f), [0x2a, 0x4d, 0x18]) => {
                Self::Zstd(Box::new(zstd::Decoder::with_buffer(source)?))
            }
            (Some(0x1f), [0x8b, ..]) => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            _ => Self::None(source),
        })
    }

    /// Reads the blob to its end, so that all of it is hashed.
    pub(crate) fn drain(self) -> io::Result<()> {
        let mut source = match self {
            Self::Zstd(decoder) => decoder.finish(),
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::None(source) => source,
        };
        io::copy(&mut source, &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::None(source) => source.read(buffer),
        }
    }
}
