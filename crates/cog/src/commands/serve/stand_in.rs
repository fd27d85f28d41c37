//! Answers in the server's place while there is none: with the reason.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// Answers all that is asked, until it is dropped.
pub(super) async fn answer(listener: TcpListener, reason: &str) -> anyhow::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let reason: Arc<str> = reason.into();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: some connections have to end first.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let reason = Arc::clone(&reason);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = response(&request, &reason);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A client that has left is no matter.
            let _ = connection.await;
        });
    }
}

fn response(request: &Request<Incoming>, reason: &str) -> Response<Full<Bytes>> {
    let (status, body) = content(request.uri().path(), reason);
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn content(path: &str, reason: &str) -> (StatusCode, Value) {
    if path == "/health-check" {
        let setup = json!({"status": "failed", "logs": reason});
        let health = json!({"status": "SETUP_FAILED", "setup": setup});
        return (StatusCode::OK, health);
    }
    let error = format!("{reason}. It is tried again when the project is changed.");
    let body = json!({"error": error, "status": "failed"});
    (StatusCode::SERVICE_UNAVAILABLE, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client;
    use crate::runtime::block_on;

    #[test]
    fn the_reason_is_told_whatever_is_asked() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        block_on(async {
            let asking = async {
                let body = Bytes::from_static(b"{}");
                let client::Answer::Whole(refused) = client::predict(address, body).await? else {
                    panic!("nothing happens")
                };
                let health = client::get(address, "/health-check").await?;
                anyhow::Ok((refused, health))
            };
            tokio::select! {
                asked = asking => {
                    let (refused, health) = asked?;
                    assert_eq!(refused.status, 503);
                    let body = String::from_utf8_lossy(&refused.body).into_owned();
                    assert!(body.contains("no such package"), "{body}");
                    let health: Value = serde_json::from_slice(&health.body)?;
                    assert_eq!(health["status"], "SETUP_FAILED");
                    Ok(())
                }
                ended = answer(listener, "no such package") => match ended? {},
            }
        })
        .unwrap();
    }
}
