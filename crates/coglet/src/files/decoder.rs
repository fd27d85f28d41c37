//! Undoes `Content-Encoding`. We do not ask for any, but some stores keep files compressed.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// What is decompressed at once: it may become a thousand times as much.
const DECODE_SIZE: usize = 16 << 10;

/// One body on its way to a file.
pub(super) enum Decoder {
    Identity,
    /// A gzip file may consist of several, one after the other: what parallel compressors write.
    Gzip(MultiGzDecoder<Vec<u8>>, Vec<u8>),
    /// `deflate`, of which the first two bytes have not come yet.
    Deflate(Vec<u8>),
    /// What the standard means by `deflate`.
    Zlib(ZlibDecoder<Vec<u8>>, Vec<u8>),
    /// What some servers take it for.
    Raw(DeflateDecoder<Vec<u8>>, Vec<u8>),
}

impl Decoder {
    /// For this value of `Content-Encoding`. What is not known is taken as it is.
    pub(super) fn new(encoding: Option<&str>) -> Self {
        match encoding
            .map(|name| name.trim().to_ascii_lowercase())
            .as_deref()
        {
            Some("gzip" | "x-gzip") => Self::Gzip(MultiGzDecoder::new(Vec::new()), Vec::new()),
            Some("deflate") => Self::Deflate(Vec::new()),
            _ => Self::Identity,
        }
    }

    pub(super) fn changes_nothing(&self) -> bool {
        matches!(self, Self::Identity)
    }

    /// In pieces of this size it should be given.
    pub(super) fn piece_size(&self) -> usize {
        match self {
            Self::Identity => usize::MAX,
            _ => DECODE_SIZE,
        }
    }

    /// What comes out when this is put in.
    pub(super) fn decode<'a>(&'a mut self, piece: &'a [u8]) -> io::Result<&'a [u8]> {
        if let Self::Deflate(begun) = self {
            begun.extend_from_slice(piece);
            let [first, second, ..] = begun[..] else {
                return Ok(&[]);
            };
            let begun = std::mem::take(begun);
            *self = if is_zlib(first, second) {
                Self::Zlib(ZlibDecoder::new(Vec::new()), Vec::new())
            } else {
                Self::Raw(DeflateDecoder::new(Vec::new()), Vec::new())
            };
            return self.feed(&begun);
        }
        match self {
            Self::Identity => Ok(piece),
            _ => self.feed(piece),
        }
    }

    fn feed(&mut self, piece: &[u8]) -> io::Result<&[u8]> {
        match self {
            Self::Gzip(decoder, output) => {
                decoder.write_all(piece)?;
                *output = std::mem::take(decoder.get_mut());
                Ok(output)
            }
            Self::Zlib(decoder, output) => {
                decoder.write_all(piece)?;
                *output = std::mem::take(decoder.get_mut());
                Ok(output)
            }
            Self::Raw(decoder, output) => {
                decoder.write_all(piece)?;
                *output = std::mem::take(decoder.get_mut());
                Ok(output)
            }
            Self::Identity | Self::Deflate(_) => Ok(&[]),
        }
    }

    /// What is left at the end.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(Vec::new()),
            Self::Gzip(decoder, _) => decoder.finish(),
            Self::Zlib(decoder, _) => decoder.finish(),
            Self::Raw(decoder, _) => decoder.finish(),
            Self::Deflate(begun) if begun.is_empty() => Ok(begun),
            Self::Deflate(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The head of a zlib stream: method 8, and a check sum over both bytes.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = b"one text and then another text";

    fn compressed<E: Write>(
        encoder: E,
        finish: impl Fn(E) -> io::Result<Vec<u8>>,
        text: &[u8],
    ) -> Vec<u8> {
        let mut encoder = encoder;
        encoder.write_all(text).unwrap();
        finish(encoder).unwrap()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        compressed(
            GzEncoder::new(Vec::new(), Compression::fast()),
            GzEncoder::finish,
            text,
        )
    }

    fn check(encoding: &str, body: &[u8]) {
        for size in [1, 3, 1000] {
            let mut decoder = Decoder::new(Some(encoding));
            let mut plain = Vec::new();
            for piece in body.chunks(size) {
                plain.extend_from_slice(decoder.decode(piece).unwrap());
            }
            plain.extend_from_slice(&decoder.finish().unwrap());
            assert_eq!(plain, TEXT, "{encoding} in pieces of {size}");
        }
    }

    #[test]
    fn all_that_servers_send() {
        let fast = Compression::fast();
        check("identity", TEXT);
        check("gzip", &gzip(TEXT));
        check("GZIP", &[gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat());
        let zlib = compressed(
            ZlibEncoder::new(Vec::new(), fast),
            ZlibEncoder::finish,
            TEXT,
        );
        check("deflate", &zlib);
        let raw = compressed(
            DeflateEncoder::new(Vec::new(), fast),
            DeflateEncoder::finish,
            TEXT,
        );
        check("deflate", &raw);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let whole = gzip(TEXT);
        let mut decoder = Decoder::new(Some("gzip"));
        decoder.decode(&whole[..whole.len() - 12]).unwrap();
        assert!(decoder.finish().is_err());
        let mut decoder = Decoder::new(Some("deflate"));
        decoder.decode(&[0x78]).unwrap();
        assert!(decoder.finish().is_err());
        assert_eq!(Decoder::new(Some("deflate")).finish().unwrap(), b"");
    }
}
