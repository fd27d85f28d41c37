//! One HTTP request to a model server on this machine. No TLS, no redirects, no pool: the server is ours.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Asks our server for the names of output files; others ignore it.
const OUTPUT_NAMES: &str = "cog-output-names";

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    send(
        address,
        Request::get(path)
            .header(HOST, address.to_string())
            .body(Full::default())?,
    )
    .await
}

/// Asks for a prediction; files in its output come with the names that the model gave them.
pub(crate) async fn predict(address: SocketAddr, body: Vec<u8>) -> anyhow::Result<Response> {
    let request = Request::post("/predictions")
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(OUTPUT_NAMES, "1")
        .body(Full::from(body))?;
    send(address, request).await
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Response> {
    let what = format!("{} {}", request.method(), request.uri());
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("could not connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .with_context(|| format!("no answer to {what}"))?;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .with_context(|| format!("broken answer to {what}"))?
        .to_bytes();
    connection.abort();
    Ok(Response { status, body })
}
