//! The workload's standard streams: from us to the container, and from the container to us.

use std::io::{Read as _, Write as _};
use std::pin::Pin;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pieces of input that wait for a container that reads slowly.
const PIECES: usize = 4;

/// How the output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The container has closed its side.
    Closed,
    /// Nobody takes it any more.
    Refused,
}

/// Begins to pass everything on.
pub(super) fn connect(attached: AttachContainerResults) -> JoinHandle<End> {
    tokio::spawn(feed(attached.input));
    tokio::spawn(show(attached.output))
}

/// A thread reads, because reading may wait for ever, and nothing waits for the thread.
async fn feed(mut input: Pin<Box<dyn AsyncWrite + Send>>) {
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(PIECES);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 32 * 1024];
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(length @ 1..) => {
                    if sender.blocking_send(buffer[..length].to_vec()).is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            }
        }
    });
    while let Some(piece) = pieces.recv().await {
        // A program that does not read its input is no error.
        if input.write_all(&piece).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
    // The connection is the output's, too: it stays until that has ended.
    std::future::pending::<()>().await;
}

async fn show(mut output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>) -> End {
    while let Some(Ok(piece)) = output.next().await {
        // Whoever reads it may take his time.
        let written = tokio::task::spawn_blocking(move || match piece {
            LogOutput::StdErr { message } => std::io::stderr().lock().write_all(&message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&message).and_then(|()| stdout.flush())
            }
            LogOutput::StdIn { .. } => Ok(()),
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return End::Refused;
        }
    }
    End::Closed
}
