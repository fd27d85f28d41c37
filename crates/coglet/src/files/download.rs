//! Downloads, straight to files.

use std::io;
use std::path::Path;

use reqwest::{Response, Url, header};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::decoder::Decoder;
use super::{DownloadRules, FetchError, name};
use crate::client::{Clients, is_cut_off};
use crate::destinations::{Refused, refusal};
use crate::scratch::create_private;
use crate::temp::{TempFile, Workspace};

/// Written to disk in pieces of this size: fewer trips to the thread that may block.
const WRITE_SIZE: usize = 512 << 10;

/// Downloads one file. Redirects are followed; a status that is no success is an error.
pub(super) async fn download(
    clients: &Clients,
    rules: &DownloadRules,
    workspace: &Workspace,
    text: &str,
) -> Result<TempFile, FetchError> {
    let url: Url = text.parse().map_err(|_| FetchError::InvalidUrl {
        url: without_secrets(text),
    })?;
    let download = Download {
        clients,
        rules,
        shown: shown(&url),
    };
    let file = TempFile::at(
        workspace
            .directory()?
            .join(workspace.next_name(&name::from_url(&url))),
    );
    let fetch = download.fetch(url, file.path());
    match rules.time_limit {
        None => fetch.await?,
        Some(limit) => {
            let in_time = tokio::time::timeout(limit, fetch).await;
            in_time.unwrap_or_else(|_| {
                let url = download.shown.clone();
                Err(FetchError::TooSlow { url, limit })
            })?;
        }
    }
    Ok(file)
}

/// One file on its way.
struct Download<'a> {
    clients: &'a Clients,
    rules: &'a DownloadRules,
    /// The URL as errors may show it.
    shown: String,
}

impl Download<'_> {
    async fn fetch(&self, url: Url, path: &Path) -> Result<(), FetchError> {
        let checked = self.rules.destinations.check(&url);
        checked.map_err(|refused| self.refused(refused))?;
        let mut answer = self.clients.keeping().get(url.clone()).send().await;
        if answer.as_ref().is_err_and(is_cut_off) {
            answer = self.clients.fresh().get(url).send().await;
        }
        let mut response = answer.map_err(|error| self.failed(error))?;
        check_status(&response)?;
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        let mut decoder = Decoder::new(encoding.and_then(|value| value.to_str().ok()));
        if decoder.changes_nothing() {
            self.check_size(response.content_length().unwrap_or(0))?;
        }
        let file = fs_err::tokio::File::from_std(create_private(path)?);
        let mut writer = BufWriter::with_capacity(WRITE_SIZE, file);
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            for piece in chunk.chunks(decoder.piece_size()) {
                let plain = decoder.decode(piece);
                let plain = plain.map_err(|cause| self.damaged(cause))?;
                size += plain.len() as u64;
                self.check_size(size)?;
                writer.write_all(plain).await?;
            }
        }
        let rest = decoder.finish().map_err(|cause| self.damaged(cause))?;
        self.check_size(size + rest.len() as u64)?;
        writer.write_all(&rest).await?;
        writer.flush().await?;
        Ok(())
    }

    fn check_size(&self, size: u64) -> Result<(), FetchError> {
        match self.rules.max_size {
            Some(limit) if size > limit => Err(FetchError::TooLarge {
                url: self.shown.clone(),
                limit,
            }),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: reqwest::Error) -> FetchError {
        match refusal(&error) {
            Some(refused) => self.refused(refused.clone()),
            None => FetchError::Unreachable {
                url: self.shown.clone(),
                cause: crate::client::describe(&error.without_url()),
            },
        }
    }

    /// What came is not what its `Content-Encoding` says.
    fn damaged(&self, cause: io::Error) -> FetchError {
        let url = self.shown.clone();
        FetchError::Damaged { url, cause }
    }

    fn refused(&self, refused: Refused) -> FetchError {
        FetchError::Refused {
            url: self.shown.clone(),
            refused,
        }
    }
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
        url: shown(response.url()),
    })
}

/// A URL without what may be secret in it: credentials, and the query, which may be a signature.
fn shown(url: &Url) -> String {
    without_secrets(url.as_str())
}

/// The same for text that may be no URL at all.
fn without_secrets(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let text = &text[..end];
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (text, expected) in [
            ("https://h/a/b.png", "https://h/a/b.png"),
            ("https://h/a?X-Amz-Signature=s3cret#x", "https://h/a"),
            ("https://user:s3cret@h:8080/a@b", "https://h:8080/a@b"),
            ("http://user:s3@cret@[::1", "http://[::1"),
            ("https://h?token=s3cret/@", "https://h"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}
