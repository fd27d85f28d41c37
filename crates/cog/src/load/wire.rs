//! How requests reach a server, and answers come back.
//!
//! Whatever measures a server should take little of the processor itself: plain HTTP goes over connections of our own,
//! with one request at a time on each. TLS, proxies and passwords in addresses are left to an HTTP client.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use reqwest::{Client, Url};
use tokio::net::TcpStream;

pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PRODUCT: &str = concat!("cog/", env!("CARGO_PKG_VERSION"));
/// Variables that name a proxy for plain HTTP.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// The way to one address. Clones share connections.
#[derive(Clone)]
pub(crate) enum Wire {
    Plain(Plain),
    Client { client: Client, url: Url },
}

/// There is no whole answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("no answer within the time limit")]
    TimedOut,
    #[error("no connection")]
    Connection(#[from] io::Error),
    #[error("no answer")]
    Plain(#[from] hyper::Error),
    #[error("no answer")]
    Client(#[from] reqwest::Error),
}

impl Wire {
    /// The way to `url`; an answer may take as long as `limit`. The client has that limit itself.
    pub(crate) fn new(client: Client, url: &Url, limit: Duration) -> Self {
        Self::plain(url, limit).unwrap_or_else(|| Self::Client {
            client,
            url: url.clone(),
        })
    }

    fn plain(url: &Url, limit: Duration) -> Option<Self> {
        let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_plain = url.scheme() == "http"
            && url.username().is_empty()
            && url.password().is_none()
            && (is_here(url) || !PROXIES.iter().any(set));
        let host = url.host_str().filter(|_| is_plain)?;
        let port = url.port_or_known_default()?;
        let name = url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Some(Self::Plain(Plain {
            place: Arc::new(Place {
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
                name: HeaderValue::try_from(name).ok()?,
                path: path.parse().ok()?,
                idle: Mutex::default(),
            }),
            limit,
        }))
    }

    /// Sends a request for a prediction, and waits for the beginning of the answer.
    pub(super) async fn post(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Answer, WireError> {
        match self {
            Self::Plain(plain) => plain.post(headers, body).await,
            Self::Client { client, url } => {
                let request = client.post(url.clone());
                let request = request.headers(headers.clone()).body(body.clone());
                Ok(Answer::Client(request.send().await?))
            }
        }
    }

    /// What `work`, which uses this, finds within the time that it has.
    pub(super) async fn within_limit<T>(
        &self,
        work: impl Future<Output = Result<T, WireError>>,
    ) -> Result<T, WireError> {
        match self {
            Self::Plain(plain) => tokio::time::timeout(plain.limit, work)
                .await
                .unwrap_or(Err(WireError::TimedOut)),
            Self::Client { .. } => work.await,
        }
    }
}

impl WireError {
    pub(super) fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Client(error) => error.is_timeout(),
            Self::Connection(_) | Self::Plain(_) => false,
        }
    }
}

/// Whether an address is one of this machine, to which no proxy leads.
pub(crate) fn is_here(url: &Url) -> bool {
    url.host_str()
        .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]")
}

/// Connections to one address of plain HTTP.
#[derive(Clone)]
pub(crate) struct Plain {
    place: Arc<Place>,
    limit: Duration,
}

pub(super) struct Place {
    host: String,
    port: u16,
    name: HeaderValue,
    path: Uri,
    /// Those without a request.
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Plain {
    async fn post(&self, headers: &HeaderMap, body: &Bytes) -> Result<Answer, WireError> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.place.path.clone();
        *request.headers_mut() = headers.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.place.name.clone());
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(PRODUCT));
        while let Some(mut sender) = self.place.take() {
            if sender.ready().await.is_err() {
                // The server has closed it meanwhile.
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.answer(response, sender)),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = self.place.connect().await?;
        let response = sender.send_request(request).await?;
        Ok(self.answer(response, sender))
    }

    fn answer(
        &self,
        response: hyper::Response<Incoming>,
        sender: SendRequest<Full<Bytes>>,
    ) -> Answer {
        let (head, body) = response.into_parts();
        Answer::Plain {
            status: head.status,
            body,
            place: Arc::clone(&self.place),
            sender: Some(sender),
        }
    }
}

impl Place {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, WireError> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| WireError::TimedOut)??;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async {
            // What goes wrong with it is told to whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn give_back(&self, sender: SendRequest<Full<Bytes>>) {
        if !sender.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(sender);
        }
    }
}

/// An answer whose body is still to be read.
pub(super) enum Answer {
    Plain {
        status: StatusCode,
        body: Incoming,
        place: Arc<Place>,
        /// The connection, until the body has come.
        sender: Option<SendRequest<Full<Bytes>>>,
    },
    Client(reqwest::Response),
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Plain { status, .. } => *status,
            Self::Client(response) => response.status(),
        }
    }

    /// The next piece of the body; nothing after the last one.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, WireError> {
        match self {
            Self::Client(response) => Ok(response.chunk().await?),
            Self::Plain {
                body,
                place,
                sender,
                ..
            } => {
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
                if let Some(sender) = sender.take() {
                    place.give_back(sender);
                }
                Ok(None)
            }
        }
    }

    /// The body, of which the first `most` bytes are kept, and its length.
    pub(super) async fn whole(mut self, most: usize) -> Result<(Bytes, u64), WireError> {
        let Some(first) = self.chunk().await? else {
            return Ok((Bytes::new(), 0));
        };
        let mut length = first.len() as u64;
        let Some(second) = self.chunk().await? else {
            return Ok((first, length));
        };
        let mut kept = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            length += piece.len() as u64;
            let room = most.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
            next = self.chunk().await?;
        }
        Ok((kept.freeze(), length))
    }
}
