//! A small HTTP server on this machine's loopback, for container daemons that pull from this process or push to it. It ends
//! with its value. What is asked and answered is [`serve`](crate::serve)'s and [`receive`](crate::receive)'s.

mod response;

use std::convert::Infallible;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, Result};

pub(crate) use response::{AnswerBody, elsewhere, failure, located, whole, with_digest, within};

/// A daemon asks for a few blobs at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs as long as the value lives.
#[derive(Debug)]
pub(crate) struct Loopback {
    address: SocketAddr,
    /// Closing it ends the server.
    _running: oneshot::Sender<()>,
}

impl Loopback {
    /// Begins to answer requests, on a port that nobody else has. What an answer takes from the body of its request, it has
    /// taken when it is there.
    pub(crate) fn start<F>(
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Response<AnswerBody>> + Send + 'static,
    {
        let refused = |source| Error::Serve { source };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (running, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(refused)?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, answer) => {}
                    _ = stopped => {}
                }
            });
            // A blob may be on its way to somebody who does not read it.
            runtime.shutdown_background();
        });
        Ok(Self {
            address,
            _running: running,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Hexadecimal digits of 128 random bits.
pub(crate) fn unguessable_name() -> Result<String> {
    let mut random = [0_u8; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

async fn accept<F>(
    listener: std::net::TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Response<AnswerBody>> + Send + 'static,
{
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, say: it may be better in a moment.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                let answered = answer(request);
                async { Ok::<_, Infallible>(answered.await) }
            });
            // What goes wrong with a connection is told to whoever asks.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
