//! Podman's own protocol, for the one thing that Docker's cannot say there: that a registry has no certificate. Podman
//! pulls from ours, on the loopback, and pushes to it, only when it is told.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::address::Address;
use super::connection::{Connection, HOST_NAME, connect};

/// The oldest that has what is needed; every later Podman has it, too.
const VERSION: &str = "v4.0.0";
/// Answers say little: what is pulled, and what went wrong.
const MOST: usize = 1 << 20;

/// A line of an answer.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    error: String,
}

/// Pushes the image `id` as `reference`, a name with a tag in a registry without a certificate. The error is Podman's.
pub(super) async fn push(address: &Address, id: &str, reference: &str) -> Result<(), String> {
    let path = format!(
        "/{VERSION}/libpod/images/{id}/push?destination={reference}&tlsVerify=false&quiet=true"
    );
    let answer = ask(connect(address).await?, &path).await?;
    failure(&answer).map_or(Ok(()), Err)
}

/// Pulls `reference`, a name with a tag in a registry without a certificate. The error is Podman's.
pub(super) async fn pull(address: &Address, reference: &str) -> Result<(), String> {
    let path =
        format!("/{VERSION}/libpod/images/pull?reference={reference}&tlsVerify=false&quiet=true");
    let answer = ask(connect(address).await?, &path).await?;
    failure(&answer).map_or(Ok(()), Err)
}

/// The answer to a `POST` without a body.
async fn ask(stream: Box<dyn Connection>, path: &str) -> Result<Bytes, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, HOST_NAME)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    connection.abort();
    if status.is_success() {
        Ok(body)
    } else {
        Err(failure(&body).unwrap_or_else(|| status.to_string()))
    }
}

/// What went wrong, if one of the lines says so.
fn failure(answer: &[u8]) -> Option<String> {
    answer
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .map(|line| line.error)
        .find(|error| !error.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_in_the_lines_of_an_answer_that_succeeds() {
        let said = b"{\"stream\":\"Trying to pull\"}\n{\"error\":\"no such host\"}\n";
        assert_eq!(failure(said).as_deref(), Some("no such host"));
        assert_eq!(failure(b"{\"images\":[\"1\"],\"id\":\"1\"}\n\n"), None);
        assert_eq!(failure(b"404 page not found"), None);
    }
}
