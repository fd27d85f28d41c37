//! The playground's server: a page for a running model, and what the page needs of this machine.
//!
//! [`Playground::start`] serves in a thread of its own until the value is dropped. `access` says who may ask for what,
//! `proxy` passes requests on to the model, `relay` brings a model's webhooks to the page, `assets` is the page. What
//! the page shows is decided in `playground/` at the root of the repository, not here.

mod access;
mod answer;
mod assets;
mod proxy;
mod relay;
mod target;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use answer::Response;
use proxy::Proxy;
use relay::Relay;
pub(crate) use target::Target;

/// How long requests that are being answered may take for that when the server ends.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// A page needs a few; beyond, clients wait.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may take to say what it wants.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// What the page is told to begin with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The model's server.
    pub(crate) target: String,
    /// The name by which that server reaches this machine, as it stands in a URL.
    pub(crate) webhook_host: String,
}

/// A playground that is served for as long as the value lives.
pub(crate) struct Playground {
    address: SocketAddr,
    stop: watch::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What the answers need.
struct Shared {
    config: String,
    proxy: Proxy,
    relay: Relay,
}

/// Opens the playground's port. 0 is any that is free; `flag` chooses another.
pub(crate) fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<std::net::TcpListener> {
    std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| {
            format!(
                "starting playground server: cannot listen on {address}; choose another port with {flag}, or stop what uses this one"
            )
        })
}

/// Whether two servers cannot both listen: where one has the port on every interface, the other finds none.
pub(crate) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && overlap
}

/// An address of this machine at which something is reached that listens at `address`.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

impl Playground {
    /// Begins to serve.
    pub(crate) fn start(
        listener: std::net::TcpListener,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        const STARTING: &str = "starting playground server";
        let address = listener.local_addr().context(STARTING)?;
        let config = json!({
            "target": settings.target,
            "webhookBase": format!("http://{}:{}", settings.webhook_host, address.port()),
            "cogVersion": env!("CARGO_PKG_VERSION"),
        });
        let shared = Arc::new(Shared {
            config: config.to_string(),
            proxy: Proxy::default(),
            relay: Relay::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context(STARTING)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).context(STARTING)?
        };
        let (stop, stopping) = watch::channel(());
        let thread = std::thread::spawn(move || {
            runtime.block_on(serve(listener, shared, stopping));
            // A name may still be looked up for somebody who waits no longer.
            runtime.shutdown_background();
        });
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// The page, as a browser on this machine finds it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", reachable(self.address))
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        self.stop.send_replace(());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say: whatever went wrong was told to whoever asked.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stopping: watch::Receiver<()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let (shared, stopping) = (Arc::clone(&shared), stopping.clone());
                    connections.spawn(async move {
                        let _place = place;
                        attend(stream, peer.ip(), shared, stopping).await;
                    });
                }
                // Too many open files, say: it may be better in a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
    drop(listener);
    shared.relay.close();
    let ended = async { while connections.join_next().await.is_some() {} };
    // Who has not got an answer by then gets none.
    let _ = tokio::time::timeout(SHUTDOWN_LIMIT, ended).await;
}

/// Answers what comes over one connection, until the server ends.
async fn attend(
    stream: TcpStream,
    peer: IpAddr,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<()>,
) {
    // Events are small, and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(route(request, peer, &shared).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // What goes wrong with a connection is known to whoever made it.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn route(request: Request<Incoming>, peer: IpAddr, shared: &Shared) -> Response {
    let path = request.uri().path().to_owned();
    if let Some(token) = path.strip_prefix("/webhook/") {
        return answer::secured(shared.relay.webhook(token, request).await);
    }
    if !access::is_allowed(peer, request.headers()) {
        return answer::secured(answer::text(StatusCode::FORBIDDEN, access::REFUSAL));
    }
    if let Some(rest) = path.strip_prefix("/proxy")
        && (rest.is_empty() || rest.starts_with('/'))
    {
        return answer::secured(shared.proxy.forward(rest, request).await);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer::secured(answer::only(&[Method::GET, Method::HEAD]));
    }
    match path.as_str() {
        "/config" => answer::secured(answer::json(StatusCode::OK, shared.config.clone())),
        "/events" => answer::secured(shared.relay.events(request.uri().query())),
        path => match assets::find(path) {
            Some(asset) => asset.answer(),
            None => answer::secured(answer::text(StatusCode::NOT_FOUND, "not found")),
        },
    }
}

#[cfg(test)]
mod tests;
