//! Decompression of a package file's members, told by their names.

use std::io::{BufRead, Read};

use liblzma::stream::{CONCATENATED, Stream};

use super::DebError;

/// What the decoder may take. Debian's packages need up to 65 MiB.
const MAX_MEMORY: u64 = 256 * 1024 * 1024;

/// Reads the member `name`, such as `data.tar.xz`.
pub(super) fn decoder<'a>(
    name: &str,
    reader: impl BufRead + 'a,
) -> Result<Box<dyn Read + 'a>, DebError> {
    let suffix = name.split_once(".tar").map(|(_, suffix)| suffix);
    Ok(match suffix {
        Some(".xz") => Box::new(xz(reader)?),
        Some(".zst") => Box::new(zstd::Decoder::with_buffer(reader)?),
        Some(".gz") => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Some("") => Box::new(reader),
        _ => {
            return Err(DebError::Compression {
                name: name.to_owned(),
            });
        }
    })
}

pub(crate) fn xz<R: BufRead>(reader: R) -> std::io::Result<liblzma::bufread::XzDecoder<R>> {
    let stream = Stream::new_stream_decoder(MAX_MEMORY, CONCATENATED)?;
    Ok(liblzma::bufread::XzDecoder::new_stream(reader, stream))
}
