//! HTTP requests to a model server on this machine. No TLS, no redirects, no pool: the server is ours.

mod events;

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) use events::{Decoder, Event, EventStream};

/// Asks our server for the names of output files; others ignore it.
const OUTPUT_NAMES: &str = "cog-output-names";
/// Asks our server for the events of any model; others send those of models that allow it.
const EVENTS: &str = "cog-events";
const EVENT_STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// How a server answers who asks for a prediction.
pub(crate) enum Answer {
    /// With what happens, as it happens.
    Events(EventStream),
    /// With the result, or why there is none.
    Whole(Response),
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let request = Request::get(path).body(Full::default())?;
    let (answer, connection) = send(address, request).await?;
    whole(answer, &connection).await
}

/// Asks for a prediction; files in its output come with the names that the model gave them.
///
/// Its events are asked for, and if the server has none, its result.
pub(crate) async fn predict(address: SocketAddr, body: Bytes) -> anyhow::Result<Answer> {
    let mut request = Request::post("/predictions")
        .header(CONTENT_TYPE, JSON)
        .header(OUTPUT_NAMES, "1")
        .body(Full::from(body))?;
    let without_events = request.clone();
    let accepted = HeaderValue::from_static("text/event-stream, application/json;q=0.5");
    request.headers_mut().insert(ACCEPT, accepted);
    request
        .headers_mut()
        .insert(EVENTS, HeaderValue::from_static("1"));
    let (mut answer, mut connection) = send(address, request).await?;
    if answer.status() == StatusCode::NOT_ACCEPTABLE {
        (answer, connection) = send(address, without_events).await?;
    }
    let media_type = answer.headers().get(CONTENT_TYPE);
    let is_stream = media_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let name = value.split(';').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case(EVENT_STREAM)
        });
    if answer.status() == StatusCode::OK && is_stream {
        let stream = EventStream::new(answer.into_body(), connection);
        return Ok(Answer::Events(stream));
    }
    whole(answer, &connection).await.map(Answer::Whole)
}

/// Asks for a training, of which servers send no events.
pub(crate) async fn train(address: SocketAddr, body: Bytes) -> anyhow::Result<Response> {
    let request = Request::post("/trainings")
        .header(CONTENT_TYPE, JSON)
        .header(OUTPUT_NAMES, "1")
        .body(Full::from(body))?;
    let (answer, connection) = send(address, request).await?;
    whole(answer, &connection).await
}

/// What a training that runs has printed; nothing if its server does not tell.
pub(crate) async fn logs_of_training(address: SocketAddr, id: &str) -> Option<String> {
    let response = get(address, &format!("/trainings/{id}")).await.ok()?;
    let training: Value = serde_json::from_slice(&response.body).ok()?;
    Some(training["logs"].as_str()?.to_owned())
}

/// Asks for the end of a prediction, which its own answer then tells. Whether the server knows it.
pub(crate) async fn cancel(address: SocketAddr, id: &str) -> anyhow::Result<bool> {
    let request = Request::post(format!("/predictions/{id}/cancel")).body(Full::default())?;
    let (answer, connection) = send(address, request).await?;
    Ok(whole(answer, &connection).await?.status == 200)
}

/// What keeps a connection going; it ends when this is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> anyhow::Result<(hyper::Response<Incoming>, Connection)> {
    let host = HeaderValue::try_from(address.to_string())?;
    request.headers_mut().insert(HOST, host);
    let what = format!("{} {}", request.method(), request.uri());
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("could not connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(async {
        // What goes wrong with it is told to whoever waits for the answer.
        let _ = connection.await;
    }));
    let answer = sender
        .send_request(request)
        .await
        .with_context(|| format!("no answer to {what}"))?;
    Ok((answer, connection))
}

async fn whole(
    answer: hyper::Response<Incoming>,
    _connection: &Connection,
) -> anyhow::Result<Response> {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await;
    let body = body.context("the server's answer broke off")?.to_bytes();
    Ok(Response { status, body })
}

#[cfg(test)]
mod tests;
