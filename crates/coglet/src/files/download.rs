//! Downloads, straight to files.

use std::io::{self, Write};

use flate2::write::{GzDecoder, ZlibDecoder};
use reqwest::{Client, Response, Url, header};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::temp::{TempFile, Workspace};
use super::{FetchError, name};

/// Written to disk in pieces of this size: fewer trips to the thread that may block.
const WRITE_SIZE: usize = 512 << 10;

/// Downloads one file. Redirects are followed; a status that is no success is an error.
pub(super) async fn download(
    client: &Client,
    workspace: &Workspace,
    url: &str,
) -> Result<TempFile, FetchError> {
    let parsed: Url = url
        .parse()
        .map_err(|_| FetchError::InvalidUrl { url: url.into() })?;
    let file = TempFile::at(
        workspace
            .directory()?
            .join(workspace.next_name(&name::from_url(&parsed))),
    );
    let unreachable = |error: reqwest::Error| FetchError::Unreachable {
        url: url.into(),
        cause: crate::client::describe(&error.without_url()),
    };
    let mut response = client.get(parsed).send().await.map_err(unreachable)?;
    check_status(&response)?;
    let mut decoder = Decoder::for_response(&response);
    let mut writer =
        BufWriter::with_capacity(WRITE_SIZE, fs_err::tokio::File::create(file.path()).await?);
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        writer.write_all(decoder.decode(&chunk)?).await?;
    }
    writer.write_all(&decoder.finish()?).await?;
    writer.flush().await?;
    Ok(file)
}

fn check_status(response: &Response) -> Result<(), FetchError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let kind = if status.is_server_error() {
        "Server Error"
    } else {
        "Client Error"
    };
    let reason = status.canonical_reason().unwrap_or("Unknown");
    Err(FetchError::Status {
        status: status.as_u16(),
        kind,
        reason,
        url: response.url().to_string(),
    })
}

/// Undoes `Content-Encoding`. We do not ask for any, but some stores keep files compressed.
enum Decoder {
    Identity,
    Gzip(GzDecoder<Vec<u8>>, Vec<u8>),
    Deflate(ZlibDecoder<Vec<u8>>, Vec<u8>),
}

impl Decoder {
    fn for_response(response: &Response) -> Self {
        let encoding = response
            .headers()
            .get(header::CONTENT_ENCODING)
            .and_then(|value| value.to_str().ok());
        match encoding.map(str::trim) {
            Some("gzip" | "x-gzip") => Self::Gzip(GzDecoder::new(Vec::new()), Vec::new()),
            Some("deflate") => Self::Deflate(ZlibDecoder::new(Vec::new()), Vec::new()),
            _ => Self::Identity,
        }
    }

    fn decode<'a>(&'a mut self, chunk: &'a [u8]) -> io::Result<&'a [u8]> {
        match self {
            Self::Identity => Ok(chunk),
            Self::Gzip(decoder, output) => {
                decoder.write_all(chunk)?;
                *output = std::mem::take(decoder.get_mut());
                Ok(output)
            }
            Self::Deflate(decoder, output) => {
                decoder.write_all(chunk)?;
                *output = std::mem::take(decoder.get_mut());
                Ok(output)
            }
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(Vec::new()),
            Self::Gzip(decoder, _) => decoder.finish(),
            Self::Deflate(decoder, _) => decoder.finish(),
        }
    }
}
