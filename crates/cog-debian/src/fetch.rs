//! HTTP with the archive: retries, limits, checksums, and a folder of files named by their checksum.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::error::{DebianError, Result};
use super::mirror::Mirror;
use hex::encode as hex;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 4;
/// Before the second attempt; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(300);
/// A release file has some 150 KiB.
const MAX_SMALL: u64 = 8 * 1024 * 1024;

/// Where files are kept, below the cache's folder.
pub(super) const FOLDER: &str = "files";

/// A file of the archive, known by its checksum.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    pub(super) url: String,
    /// Hexadecimal.
    pub(super) sha256: &'a str,
    /// In bytes.
    pub(super) size: u64,
}

/// Fetches files into a cache.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: reqwest::Client,
    folder: PathBuf,
}

impl Fetcher {
    /// Files of `mirror` go below `cache_dir`.
    pub(super) fn new(mirror: &Mirror, cache_dir: &Path) -> Result<Self> {
        // An error means that the program has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("cog/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT);
        let certificates = reqwest::Certificate::from_pem_bundle(mirror.certificates());
        let client = match certificates.map_err(DebianError::Http)?.as_slice() {
            [] => builder.build(),
            more => builder.tls_certs_merge(more.iter().cloned()).build(),
        };
        let client = client.map_err(DebianError::Http)?;
        let folder = cache_dir.join(FOLDER);
        fs_err::create_dir_all(&folder)?;
        Ok(Self { client, folder })
    }

    /// A small file whose checksum is not known.
    pub(super) async fn small_file(&self, url: &str) -> Result<Vec<u8>> {
        let read = async || {
            let mut body = Vec::new();
            let response = self.get(url).await?;
            each_chunk(url, response, |chunk| {
                body.extend_from_slice(chunk);
                within_limit(url, body.len() as u64, MAX_SMALL)
            })
            .await?;
            Ok(body)
        };
        retrying(read).await
    }

    /// The path of the file in the cache, fetched unless it is there. `advance` learns of every piece, and of pieces
    /// that have to come again as a negative number.
    pub(super) async fn file(&self, wanted: &Wanted<'_>, advance: impl Fn(i64)) -> Result<PathBuf> {
        let path = self.path(wanted);
        if is_intact(&path, wanted)? {
            advance(wanted.size.cast_signed());
            return Ok(path);
        }
        retrying(async || self.download(wanted, &path, &advance).await).await?;
        Ok(path)
    }

    /// Where the file is once it was fetched.
    pub(super) fn path(&self, wanted: &Wanted<'_>) -> PathBuf {
        self.folder.join(wanted.sha256)
    }

    async fn download(
        &self,
        wanted: &Wanted<'_>,
        path: &Path,
        advance: &impl Fn(i64),
    ) -> Result<()> {
        let url = &wanted.url;
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        let mut hasher = Sha256::new();
        let mut length: u64 = 0;
        let response = self.get(url).await?;
        let received = each_chunk(url, response, |chunk| {
            length += chunk.len() as u64;
            within_limit(url, length, wanted.size)?;
            hasher.update(chunk);
            temporary.write_all(chunk)?;
            advance(chunk.len().cast_signed() as i64);
            Ok(())
        });
        let result = received.await.and_then(|()| {
            let actual = hex(hasher.finalize());
            if actual == wanted.sha256 && length == wanted.size {
                return Ok(());
            }
            if actual == wanted.sha256 {
                return Err(DebianError::WrongSize {
                    url: url.clone(),
                    expected: wanted.size,
                    actual: length,
                });
            }
            Err(DebianError::Corrupt {
                url: url.clone(),
                expected: wanted.sha256.to_owned(),
                actual,
            })
        });
        if result.is_err() {
            advance(-length.cast_signed());
        }
        result?;
        // The permissions of ordinary files, so that another user of a shared cache can read it.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        temporary.as_file().set_permissions(permissions)?;
        temporary.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    async fn get(&self, url: &str) -> Result<Response> {
        let response = self
            .client
            .get(url)
            .send()
            .await
            .map_err(unreachable(url))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(DebianError::Refused {
                url: url.to_owned(),
                status: status.as_u16(),
            }),
        }
    }
}

/// Whether the file is in the cache, as it should be; a damaged one is removed.
fn is_intact(path: &Path, wanted: &Wanted<'_>) -> Result<bool> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.len() == wanted.size && sha256(file)? == wanted.sha256 {
        return Ok(true);
    }
    fs_err::remove_file(path)?;
    Ok(false)
}

fn sha256(mut file: fs_err::File) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

async fn each_chunk(
    url: &str,
    response: Response,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        take(&chunk.map_err(unreachable(url))?)?;
    }
    Ok(())
}

fn within_limit(url: &str, length: u64, limit: u64) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    Err(DebianError::TooLong {
        url: url.to_owned(),
        limit,
    })
}

fn unreachable(url: &str) -> impl FnOnce(reqwest::Error) -> DebianError {
    // The address is in our message.
    |source| DebianError::Unreachable {
        url: url.to_owned(),
        source: source.without_url(),
    }
}

async fn retrying<T>(mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut pause = PAUSE;
    let mut attempts = 1;
    loop {
        match attempt().await {
            Err(error) if attempts < max_attempts(&error) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                attempts += 1;
            }
            result => return result,
        }
    }
}

/// How often to try when this is what comes of it.
fn max_attempts(error: &DebianError) -> u32 {
    match error {
        // Somebody without a network should not have to wait.
        DebianError::Unreachable { source, .. } if source.is_connect() => 2,
        DebianError::Unreachable { .. }
        | DebianError::Corrupt { .. }
        | DebianError::Refused {
            status: 408 | 429 | 500..,
            ..
        } => ATTEMPTS,
        _ => 1,
    }
}
