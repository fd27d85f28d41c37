//! The server's life: listen, start the worker, serve, drain, stop.

use std::future::Future;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::service::service_fn;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;
use crate::args::Sigterm;
use crate::connections::Connections;
use crate::control;
use crate::descriptors::inherited;
use crate::http::Front;
use crate::logging::Log;
use crate::process::{Reaper, kill_remaining_children};
use crate::slots::Lane;
use crate::worker::{Stop, Supervisor};
use crate::{Error, Settings};

/// What connections without a prediction may delay the end.
const LINGER_LIMIT: Duration = Duration::from_secs(5);
/// What undelivered webhooks may delay the end.
const WEBHOOK_LIMIT: Duration = Duration::from_secs(30);

/// What those may delay the end who waited for predictions that were not let finish.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What unsent traces may delay the end.
const TRACE_LIMIT: Duration = Duration::from_secs(5);

/// Serves until told to stop.
pub fn run(settings: Settings) -> Result<(), Error> {
    // First of all: from here on clients wait instead of being refused.
    let listener = listen(&settings)?;
    if settings.auth_token.is_some() {
        crate::process::wipe_variable(crate::env::AUTH_TOKEN);
        crate::process::hide();
    }
    return_large_memory();
    crate::descriptors::raise_limit();
    let log = Log::start(&settings.log);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let app = Arc::new(App::new(settings)?);
    // One thread for everything that waits: a request, its worker's answer and its reply then need no
    // hand-over between threads. What computes or blocks goes to the blocking threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(16)
        .thread_stack_size(512 << 10)
        .build()
        .map_err(Error::EventLoop)?;
    let served = runtime.block_on(serve(listener, Arc::clone(&app)));
    runtime.shutdown_timeout(Duration::from_millis(100));
    app.control.flush();
    log.flush();
    served
}

fn listen(settings: &Settings) -> Result<TcpListener, Error> {
    if let Some(number) = settings.listen_fd {
        return handed_in(number);
    }
    let host = &settings.host;
    let invalid = |source| Error::InvalidHost {
        host: host.clone(),
        source,
    };
    let mut addresses = (host.trim_matches(['[', ']']), settings.port)
        .to_socket_addrs()
        .map_err(invalid)?;
    let address = addresses
        .next()
        .ok_or_else(|| invalid(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| Error::Bind { address, source })
}

/// The socket that whoever started the server has opened for it.
fn handed_in(number: RawFd) -> Result<TcpListener, Error> {
    let socket = inherited(crate::env::LISTEN_FD, number)?;
    let listens = || {
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            return Err(std::io::ErrorKind::NotConnected.into());
        }
        let listener = TcpListener::from(socket.try_clone()?);
        listener.local_addr()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listens().map_err(Error::NotListening)
}

/// Gives memory of large requests and outputs back to the system when they are done. By default the
/// allocator learns from the first large block to keep such blocks for itself.
fn return_large_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator; no other thread is running yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 << 10);
    }
}

async fn serve(listener: TcpListener, app: Arc<App>) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::EventLoop)?;
    if let Ok(address) = listener.local_addr() {
        announce(address);
    }
    let mut signals = Signals::new(app.settings.sigterm).map_err(Error::EventLoop)?;
    let reaper = Reaper::start().map_err(Error::EventLoop)?;
    let supervisors = (0..app.settings.workers).map(|lane| {
        let settings = Arc::clone(&app.settings);
        let (owner, reaper, wish) = (Arc::clone(&app), reaper.clone(), app.wish.subscribe());
        tokio::spawn(Supervisor::new(owner, settings, Lane(lane), reaper, wish).run())
    });
    // It can only fail by a bug of ours, and then its worker is gone anyway.
    let mut supervisors = join_all(supervisors);

    if app.reloads() {
        tokio::spawn(Arc::clone(&app).obey(control::commands()));
    }
    if let Some(exporter) = app.take_exporter() {
        tokio::spawn(exporter.run());
    }

    tokio::spawn(keep_a_timer_near(app.settings.client_timeout / 2));
    let limit = crate::descriptors::shares().connections;
    let mut connections = Connections::new(limit, app.settings.client_timeout);
    tokio::select! {
        () = accept(listener, &app, &mut connections) => {}
        () = app.shutdown_requested() => tracing::info!("Shutting down: asked by a client"),
        name = signals.next() => tracing::info!("Shutting down: {name}"),
    }
    app.request_shutdown();
    if let Some(limit) = app.settings.drain_timeout {
        tokio::spawn(Arc::clone(&app).cancel_after(limit));
    }
    let drained = async {
        drain_connections(connections, &app).await;
        // Those still undelivered then are given up.
        let _ = tokio::time::timeout(WEBHOOK_LIMIT, app.webhooks.finished()).await;
        if let Some(tracer) = &app.tracer {
            tracer.flush(TRACE_LIMIT).await;
        }
    };
    let stop = |stop| app.wish.send_modify(|wish| wish.stop = stop);
    let has_drained = interrupted(drained, &mut signals).await;
    match has_drained {
        Interrupted::No => stop(Stop::Gracefully),
        Interrupted::Yes => stop(Stop::Now),
    }
    if let Interrupted::Yes = interrupted(&mut supervisors, &mut signals).await {
        stop(Stop::Now);
        supervisors.await;
    }
    if let Interrupted::Yes = has_drained {
        // What ran has failed with its worker, which its webhooks are to say.
        let told = tokio::time::timeout(LAST_WORDS, app.webhooks.finished());
        interrupted(told, &mut signals).await;
    }
    app.webhooks.report_undelivered();
    kill_remaining_children().await;
    Ok(())
}

/// Sleeps for ever, in naps. An event loop that is to wake up sooner than it knows interrupts itself for
/// it, and every answer sets a timer for the next request: as long as another one is due before, that
/// costs nothing.
async fn keep_a_timer_near(nap: Duration) {
    loop {
        tokio::time::sleep(nap).await;
    }
}

fn announce(address: SocketAddr) {
    tracing::info!(port = address.port(), "Listening on {address}");
}

/// Serves connections until dropped, which closes the listener.
async fn accept(listener: tokio::net::TcpListener, app: &Arc<App>, connections: &mut Connections) {
    let front = Arc::new(Front::new(Arc::clone(app)));
    app.may_accept().await;
    loop {
        let room = connections.room().await;
        let (socket, peer) = match listener.accept().await {
            Ok((socket, peer)) => (socket, peer.ip()),
            Err(error) => {
                // Out of descriptors, most likely: some connections have to end first.
                connections.complain(format_args!("Could not accept a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let front = Arc::clone(&front);
        let service = service_fn(move |request| {
            let front = Arc::clone(&front);
            async move { front.serve(peer, request).await }
        });
        connections.serve(room, socket, service);
    }
}

/// Waits until all predictions have ended and been answered. A client that is in the middle of sending
/// a request, or slow to take its answer, is waited for too, but not for ever.
async fn drain_connections(connections: Connections, app: &App) {
    let mut closed = tokio::spawn(connections.close());
    loop {
        app.registry.idle().await;
        let lingered = tokio::time::timeout(LINGER_LIMIT, &mut closed).await;
        // A request that came in completely in the meantime has begun a prediction.
        if lingered.is_ok() || app.registry.is_idle() {
            return;
        }
    }
}

enum Interrupted {
    No,
    Yes,
}

/// Waits for something, unless a further signal says that there is no time for it.
async fn interrupted(wait: impl Future, signals: &mut Signals) -> Interrupted {
    tokio::select! {
        _ = wait => Interrupted::No,
        name = signals.next() => {
            tracing::warn!("Stopping without waiting any longer: {name}");
            Interrupted::Yes
        }
    }
}

/// The signals that end the server. A second one ends it at once.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    sigterm: Sigterm,
}

impl Signals {
    fn new(sigterm: Sigterm) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            sigterm,
        })
    }

    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => match self.sigterm {
                    Sigterm::Drains => return "SIGTERM",
                    Sigterm::IsIgnored => tracing::info!("SIGTERM is ignored: waiting for POST /shutdown"),
                }
            }
        }
    }
}
