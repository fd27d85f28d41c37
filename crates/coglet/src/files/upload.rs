//! Output files sent to where the operator wants them (`--upload-url`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cog_files::{Links, open_regular};
use fs_err::os::unix::fs::FileExt as _;
use futures_util::Stream;
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Body, Client, Response, Url};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::output::OutputFile;
use super::run_blocking;
use crate::client::{Clients, is_cut_off};

/// For one file, all redirects included.
const TIME_LIMIT: Duration = Duration::from_secs(25);
const MAX_REDIRECTS: usize = 10;
/// At the same time, over all predictions.
const PARALLEL: usize = 32;
/// What is read from a file at once.
const PIECE: u64 = 256 << 10;

/// Sends files to a store over HTTP.
#[derive(Debug)]
pub(crate) struct Uploads {
    base: Url,
    clients: Clients,
    turns: Semaphore,
}

/// Why a file did not get there. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("could not upload output file `{name}`: {cause}")]
    Read { name: String, cause: io::Error },
    #[error("could not upload output file `{name}` to {url}: {cause}")]
    Send {
        name: String,
        url: String,
        cause: String,
    },
}

/// One file on its way.
struct Shipment<'a> {
    clients: &'a Clients,
    file: &'a OutputFile,
    content: OutputContent,
    prediction_id: &'a str,
}

/// What is in a file, which may have to be sent several times. It is opened once: its name may mean something else by
/// then.
#[derive(Clone)]
struct OutputContent {
    file: Arc<fs_err::File>,
    length: u64,
}

/// What is wrong with one try.
enum Failure {
    Read(io::Error),
    Send(String),
}

impl Uploads {
    /// `base` is an http or https URL.
    pub(crate) fn new(base: Url) -> Self {
        Self {
            base,
            clients: Clients::for_uploads(),
            turns: Semaphore::new(PARALLEL),
        }
    }

    /// Sends a file and returns where it can be found.
    pub(super) async fn send(
        &self,
        file: &OutputFile,
        prediction_id: &str,
    ) -> Result<String, UploadError> {
        let url = self.target(&file.name);
        let turn = self.turns.acquire().await;
        let ship = async {
            let shipment = Shipment {
                clients: &self.clients,
                file,
                content: OutputContent::of(file).await.map_err(Failure::Read)?,
                prediction_id,
            };
            shipment.send(url.clone()).await
        };
        let sent = timeout(TIME_LIMIT, ship).await;
        drop(turn);
        let name = file.name.clone();
        match sent {
            Ok(Ok(location)) => Ok(location),
            Ok(Err(Failure::Read(cause))) => Err(UploadError::Read { name, cause }),
            Ok(Err(Failure::Send(cause))) => Err(UploadError::Send {
                name,
                url: without_query(url.as_str()).into(),
                cause,
            }),
            Err(_) => Err(UploadError::Send {
                name,
                url: without_query(url.as_str()).into(),
                cause: format!("not done within {} seconds", TIME_LIMIT.as_secs()),
            }),
        }
    }

    /// The URL of a file: its name is one segment below ours, whatever is in it.
    fn target(&self, name: &str) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("what has a host has a path")
            .pop_if_empty()
            .push(name);
        url
    }
}

impl Shipment<'_> {
    /// Redirects are followed here: the file has to be read again for each.
    async fn send(&self, mut url: Url) -> Result<String, Failure> {
        let mut method = Method::PUT;
        for _ in 0..=MAX_REDIRECTS {
            let clients = self.clients;
            let mut answer = self.ask(clients.keeping(), &method, &url).await?;
            if answer.as_ref().is_err_and(is_cut_off) {
                answer = self.ask(clients.fresh(), &method, &url).await?;
            }
            let response = answer
                .map_err(|error| Failure::Send(crate::client::describe(&error.without_url())))?;
            let status = response.status();
            if status.is_success() {
                return Ok(location(&response, &url));
            }
            let Some(next) = redirect(&response, &url) else {
                return Err(Failure::Send(format!("the answer was {status}")));
            };
            if status == StatusCode::SEE_OTHER {
                method = Method::GET;
            }
            url = next;
        }
        Err(Failure::Send("too many redirects".into()))
    }

    async fn ask(
        &self,
        client: &Client,
        method: &Method,
        url: &Url,
    ) -> Result<reqwest::Result<Response>, Failure> {
        let mut request = client.request(method.clone(), url.clone());
        if method == Method::PUT {
            let mime = HeaderValue::try_from(&self.file.mime)
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            request = request
                .header(header::CONTENT_TYPE, mime)
                .header(header::CONTENT_LENGTH, self.content.length)
                .body(Body::wrap_stream(self.content.clone().pieces()));
            // An id is free text, and not every text can be a header.
            if let Ok(id) = HeaderValue::from_bytes(self.prediction_id.as_bytes()) {
                request = request.header("X-Prediction-Id", id);
            }
        }
        Ok(request.send().await)
    }
}

impl OutputContent {
    async fn of(file: &OutputFile) -> io::Result<Self> {
        let path = file.path.clone();
        run_blocking(move || {
            let file = open_regular(&path, Links::Refused)?;
            let length = file.metadata()?.len();
            Ok(Self {
                file: Arc::new(file),
                length,
            })
        })
        .await
    }

    /// All of it, read as it is sent, and whatever else is read of it meanwhile.
    fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures_util::stream::try_unfold(0, move |offset| {
            let file = Arc::clone(&self.file);
            let room = usize::try_from((self.length - offset).min(PIECE)).unwrap_or_default();
            async move {
                if room == 0 {
                    return Ok(None);
                }
                let piece = run_blocking(move || {
                    let mut piece = vec![0; room];
                    let read = file.read_at(&mut piece, offset)?;
                    piece.truncate(read);
                    io::Result::Ok(piece)
                });
                let piece = Bytes::from(piece.await?);
                if piece.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let next = offset + piece.len() as u64;
                Ok(Some((piece, next)))
            }
        })
    }
}

fn redirect(response: &Response, from: &Url) -> Option<Url> {
    let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let target = from.join(location_header(response)?).ok()?;
    (follows && matches!(target.scheme(), "http" | "https")).then_some(target)
}

/// Where the store says that the file is, else where it was sent to. Queries hold the right to write.
fn location(response: &Response, url: &Url) -> String {
    let named = location_header(response).and_then(|location| url.join(location).ok());
    without_query(named.as_ref().unwrap_or(url).as_str()).into()
}

fn location_header(response: &Response) -> Option<&str> {
    response.headers().get(header::LOCATION)?.to_str().ok()
}

fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, name: &str, expected: &str) {
        let url = Uploads::new(base.parse().unwrap()).target(name);
        assert_eq!(url.as_str(), expected);
    }

    #[test]
    fn names_become_one_segment() {
        check("http://h", "a.png", "http://h/a.png");
        check("http://h/up", "a.png", "http://h/up/a.png");
        check("http://h/up/", "a.png", "http://h/up/a.png");
        check("http://h/up?key=1", "a.png", "http://h/up/a.png?key=1");
        check(
            "http://h/up",
            "a b/../?#%.png",
            "http://h/up/a%20b%2F..%2F%3F%23%25.png",
        );
    }
}
