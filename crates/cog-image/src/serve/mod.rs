//! A registry on this machine's loopback that has one image and can only be read: a container daemon that
//! pulls from it gets an image of the store without an archive, and fetches only the layers that it lacks.
//!
//! Start with [`Content`], which says what is served, and [`Served::start`]. The repository has a name that
//! nobody can guess, so that other users of the machine cannot read what it has; nothing else of the store
//! can be reached through it, and nothing can be written.
//!
//! Which daemon pulls, and what it calls the image afterwards, is not decided here.

mod answer;
mod content;
mod plain;

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, Result};
use crate::store::{LockGuard, Store};

pub use content::{Content, Zstd};

/// The one tag that the repository has.
const TAG: &str = "latest";
/// A daemon fetches a few blobs at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);

/// Learns how many bytes of blobs have been sent so far.
pub type SentObserver = Arc<dyn Fn(u64) + Send + Sync>;

/// An image that is served for as long as the value lives.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Closing it ends the server.
    _running: oneshot::Sender<()>,
    /// What is served is not pruned.
    _lease: LockGuard,
}

/// What the answers need.
struct Shared {
    store: Store,
    content: Content,
    /// The repository's name.
    repository: String,
    sent: AtomicU64,
    was_read: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// One blob after the other comes from a registry, so that there is one progress to show.
    fetching: Mutex<()>,
    observer: SentObserver,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the repository: who knows it can read.
        f.debug_struct("Shared")
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

impl Served {
    /// Begins to serve `content` of `store`.
    pub fn start(store: &Store, content: Content, observer: SentObserver) -> Result<Self> {
        let lease = store.lease()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| Error::Serve { source })?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::Serve { source })?;
        let shared = Arc::new(Shared {
            store: store.clone(),
            content,
            repository: unguessable_name()?,
            sent: AtomicU64::new(0),
            was_read: AtomicBool::new(false),
            failure: Mutex::default(),
            fetching: Mutex::default(),
            observer,
        });
        let (running, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Serve { source })?;
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, served) => {}
                    _ = stopped => {}
                }
            });
            // A blob may be on its way to somebody who does not read it.
            runtime.shutdown_background();
        });
        Ok(Self {
            address,
            shared,
            _running: running,
            _lease: lease,
        })
    }

    /// The reference to pull.
    pub fn reference(&self) -> String {
        format!("{}/{}:{TAG}", self.address, self.shared.repository)
    }

    /// Bytes of blobs that were sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Whether somebody has read the manifest: whoever pulls and has not cannot reach this machine's
    /// loopback, or does not want to speak with a registry that has no certificate.
    pub fn was_read(&self) -> bool {
        self.shared.was_read.load(Ordering::Relaxed)
    }

    /// Why a blob could not be sent, if one could not.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure().take()
    }
}

impl Shared {
    fn failure(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hexadecimal digits of 128 random bits.
fn unguessable_name() -> Result<String> {
    let mut random = [0_u8; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
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
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                let answer = answer::answer(&request, &shared);
                async { Ok::<_, std::convert::Infallible>(answer) }
            });
            // What goes wrong with a connection is told to whoever pulls.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

#[cfg(test)]
mod tests;
