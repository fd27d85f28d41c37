//! Connections: how many there are, how they are asked to close, and how long one that takes nothing is
//! kept.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Between two complaints about having no room.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const REST_OF_WORD: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A client that has said its last word may have left, or may wait for the answer. What is answered in this time reaches
/// those who wait; then it counts as gone.
const LAST_WORD_GRACE: Duration = Duration::from_secs(1);

/// All connections of the server.
pub(crate) struct Connections {
    limit: usize,
    room: Arc<Semaphore>,
    /// Changes when every connection should close as soon as it is idle.
    closing: watch::Sender<()>,
    client_timeout: Duration,
    last_complaint: Option<Instant>,
}

/// The right to serve one more.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
    closing: watch::Receiver<()>,
}

impl Connections {
    /// At most `limit` at a time. A client that is silent for `client_timeout` while it is its turn to
    /// send or to take something is cut off.
    pub(crate) fn new(limit: usize, client_timeout: Duration) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            limit,
            room: Arc::new(Semaphore::new(limit)),
            closing: watch::Sender::new(()),
            client_timeout,
            last_complaint: None,
        }
    }

    /// Waits for room for one more. When there is none, the idle ones are closed: a client that keeps a
    /// connection for later can open another one then, one that cannot get in at all cannot do anything.
    pub(crate) async fn room(&mut self) -> Room {
        if self.room.available_permits() == 0 {
            let limit = self.limit;
            self.complain(format_args!(
                "{limit} connections are open: closing idle ones"
            ));
            self.closing.send_replace(());
        }
        let permit = Arc::clone(&self.room).acquire_owned().await;
        Room {
            _permit: permit.expect("never closed"),
            closing: self.closing.subscribe(),
        }
    }

    /// Logs a problem that comes again and again as long as it lasts, but not each time.
    pub(crate) fn complain(&mut self, problem: impl std::fmt::Display) {
        let is_soon = |last: Instant| last.elapsed() < COMPLAINT_INTERVAL;
        if !self.last_complaint.is_some_and(is_soon) {
            tracing::warn!("{problem}");
            self.last_complaint = Some(Instant::now());
        }
    }

    /// Serves a connection in a task of its own.
    pub(crate) fn serve<S>(&self, room: Room, socket: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<Body>> + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
    {
        let unanswered = Unanswered::default();
        let counted = unanswered.clone();
        let service = service_fn(move |request| {
            let one = counted.one();
            let answer = service.call(request);
            async move { answer.await.map(|answer| one.until_sent(answer)) }
        });
        // Refused by sockets that are closing already, which then need no speed.
        let _ = socket.set_nodelay(true);
        let client_timeout = self.client_timeout;
        tokio::spawn(async move {
            let mut room = room;
            let version = tokio::select! {
                version = version(&socket, client_timeout) => version,
                // It has not begun to say anything.
                _ = room.closing.changed() => None,
            };
            let socket = TokioIo::new(Impatient::new(socket, client_timeout, unanswered));
            let ended = match version {
                None => return,
                Some(Version::Http1) => {
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        // For the head of a request, and for the time until the next one begins.
                        .header_read_timeout(client_timeout)
                        .serve_connection(socket, service);
                    let mut connection = std::pin::pin!(connection);
                    loop {
                        tokio::select! {
                            ended = connection.as_mut() => break ended,
                            // An error would mean that the server has gone.
                            Ok(()) = room.closing.changed() => connection.as_mut().graceful_shutdown(),
                        }
                    }
                }
                Some(Version::Http2) => {
                    let connection = http2(client_timeout).serve_connection(socket, service);
                    let mut connection = std::pin::pin!(connection);
                    loop {
                        tokio::select! {
                            ended = connection.as_mut() => break ended,
                            Ok(()) = room.closing.changed() => connection.as_mut().graceful_shutdown(),
                        }
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!("A connection ended early: {error}");
            }
        });
    }

    /// Lets every connection finish what it is doing, and waits until all have closed.
    pub(crate) async fn close(self) {
        self.closing.send_replace(());
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        // Never closed, so it cannot fail.
        let _ = self.room.acquire_many(all).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Version {
    Http1,
    /// Of a client that knows without asking that we speak it.
    Http2,
}

/// What the client speaks, by what it says first; nothing if it says nothing in time. Nothing is taken from
/// the socket.
async fn version(socket: &TcpStream, patience: Duration) -> Option<Version> {
    timeout(patience, first_words(socket)).await.ok()?.ok()?
}

async fn first_words(socket: &TcpStream) -> io::Result<Option<Version>> {
    let mut seen = [0; PREFACE.len()];
    let mut pause = REST_OF_WORD;
    loop {
        let length = socket.peek(&mut seen).await?;
        if length == 0 {
            return Ok(None);
        }
        if !PREFACE.starts_with(&seen[..length]) {
            return Ok(Some(Version::Http1));
        }
        if length == PREFACE.len() {
            return Ok(Some(Version::Http2));
        }
        if socket.ready(Interest::READABLE).await?.is_read_closed() {
            // That was all; as it is no request either, the connection ends.
            return Ok(Some(Version::Http1));
        }
        // `P` may become `POST` as well. That the rest of a word comes later is rare, and no socket tells of
        // more than it had told of before.
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What one connection may make the server keep is little: there may be many.
fn http2(client_timeout: Duration) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // A client that is gone does not answer; one that is idle does.
        .keep_alive_interval(client_timeout)
        .keep_alive_timeout(client_timeout)
        .max_concurrent_streams(128)
        .max_header_list_size(64 << 10)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(64 << 10);
    builder
}

/// The requests of a connection whose answers are not written yet.
#[derive(Debug, Clone, Default)]
struct Unanswered(Arc<AtomicUsize>);

/// One of them, until this is dropped.
struct One(Unanswered);

/// The rest of an answer.
struct Rest {
    body: Body,
    _one: One,
}

impl Unanswered {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(self.clone())
    }

    fn are_some(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl One {
    fn until_sent(self, answer: Response<Body>) -> Response<Rest> {
        answer.map(|body| Rest { body, _one: self })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket whose other end has to take what is written to it, if slowly.
///
/// That the other end says no more is told at once only when nobody waits for an answer: then it may have closed only
/// that direction.
struct Impatient<S> {
    socket: S,
    limit: Duration,
    unanswered: Unanswered,
    /// Runs while nothing can be written.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs since the other end has said its last word, anew with whatever is written.
    grace: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(socket: S, limit: Duration, unanswered: Unanswered) -> Self {
        Self {
            socket,
            limit,
            unanswered,
            stalled: None,
            grace: None,
        }
    }

    /// Whether the end of what the other end says is to be told now.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.unanswered.are_some() && self.stalled.is_none() {
            return Poll::Ready(());
        }
        let grace = self
            .grace
            .get_or_insert_with(|| Box::pin(sleep(LAST_WORD_GRACE)));
        match grace.as_mut().poll(context) {
            Poll::Ready(()) if self.stalled.is_none() => Poll::Ready(()),
            // One that takes nothing has its own limit, and then a write fails.
            _ => Poll::Pending,
        }
    }

    fn limited<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            if let Some(grace) = &mut self.grace {
                grace.as_mut().reset(Instant::now() + LAST_WORD_GRACE);
            }
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        let is_end = matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        if is_end && buffer.remaining() > 0 {
            return self.poll_end(context).map(Ok);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.limited(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        self.limited(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn a_reader_that_stands_still_is_cut_off() {
        run(async {
            let (ours, _theirs) = tokio::io::duplex(8);
            let limit = Duration::from_millis(20);
            let mut ours = Impatient::new(ours, limit, Unanswered::default());
            ours.write_all(b"12345678").await.unwrap();
            let error = ours.write_all(b"9").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_slow_reader_is_waited_for() {
        run(async {
            let (ours, mut theirs) = tokio::io::duplex(1);
            let limit = Duration::from_millis(100);
            let mut ours = Impatient::new(ours, limit, Unanswered::default());
            let reader = async {
                for _ in 0..8 {
                    sleep(Duration::from_millis(30)).await;
                    theirs.read_u8().await.unwrap();
                }
            };
            let (written, ()) = tokio::join!(ours.write_all(b"12345678"), reader);
            written.unwrap();
        });
    }

    #[test]
    fn who_waits_for_an_answer_may_have_said_its_last_word() {
        run(async {
            let (ours, theirs) = tokio::io::duplex(64);
            let unanswered = Unanswered::default();
            let mut ours = Impatient::new(ours, LAST_WORD_GRACE, unanswered.clone());
            let request = unanswered.one();
            drop(theirs);
            let began = Instant::now();
            assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
            assert!(began.elapsed() >= LAST_WORD_GRACE);
            drop(request);
            // Nobody waits for anything.
            let began = Instant::now();
            assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
            assert!(began.elapsed() < LAST_WORD_GRACE / 2);
        });
    }

    /// What is made of a connection on which somebody said so much, and whether he has gone then.
    fn version_of(said: &'static [u8], leaves: bool) -> Option<Version> {
        let mut found = None;
        run_with_sockets(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
                .await
                .unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            let (ours, _) = listener.accept().await.unwrap();
            client.write_all(said).await.unwrap();
            let client = (!leaves).then_some(client);
            found = version(
                &ours,
                Duration::from_millis(if leaves { 60_000 } else { 100 }),
            )
            .await;
            drop(client);
        });
        found
    }

    fn run_with_sockets(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn who_stops_in_the_first_word_is_not_kept() {
        assert_eq!(version_of(b"POST", false), Some(Version::Http1));
        assert_eq!(version_of(PREFACE, false), Some(Version::Http2));
        for said in [&b"P"[..], b"PRI * HTTP/2.0\r\n"] {
            assert_eq!(version_of(said, false), None, "the time is over");
            assert_eq!(version_of(said, true), Some(Version::Http1));
        }
        assert_eq!(version_of(b"", true), None);
    }
}
