//! One HTTP server, one Python process, one echo: no validation, no files, no supervision. What a prediction costs
//! beside it is what the server adds.
//!
//! `PORT` names the port. The worker is `worker.py` beside this package, run by the `python` of PATH.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::process::Command;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::Mutex;

type Worker = Arc<Mutex<UnixStream>>;
type Failure = Box<dyn std::error::Error>;

const WORKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/worker.py");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let (ours, theirs) = Pair::pair()?;
    let mut child = start_worker(theirs)?;
    ours.set_nonblocking(true)?;
    let worker: Worker = Arc::new(Mutex::new(UnixStream::from_std(ours)?));
    let app = Router::new()
        .route(
            "/health-check",
            get(|| async { Json(json!({"status": "READY"})) }),
        )
        .route("/predictions", post(predict))
        .with_state(worker);
    let port: u16 = std::env::var("PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, app).await?;
    child.wait()?;
    Ok(())
}

/// The process gets its end of the pair as standard input.
fn start_worker(end: Pair) -> std::io::Result<std::process::Child> {
    Command::new("python")
        .arg(WORKER)
        .stdin(OwnedFd::from(end))
        .spawn()
}

async fn predict(State(worker): State<Worker>, Json(request): Json<Value>) -> Json<Value> {
    let mut stream = worker.lock().await;
    match exchange(&mut stream, &request).await {
        Ok(output) => Json(json!({"status": "succeeded", "output": output})),
        Err(error) => Json(json!({"status": "failed", "error": error.to_string()})),
    }
}

/// Sends a frame (its length in four bytes, little endian, then JSON) and reads one.
async fn exchange(stream: &mut UnixStream, request: &Value) -> Result<Value, Failure> {
    let body = serde_json::to_vec(&request["input"])?;
    let mut frame = u32::try_from(body.len())?.to_le_bytes().to_vec();
    frame.extend(body);
    stream.write_all(&frame).await?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::try_from(u32::from_le_bytes(length))?];
    stream.read_exact(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}
