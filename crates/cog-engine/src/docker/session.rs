//! What a build of BuildKit's asks of whoever ordered it: its context, secrets, and credentials for registries.
//!
//! The daemon gets a connection on which it is the client: gRPC, of which the calls that a build makes are answered here,
//! each one message there and one back, but for the context, which comes in many. Nothing of secrets and credentials is kept
//! by the daemon, and no layer has them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc::Receiver;

use super::address::Address;
use super::connection::{HOST_NAME, connect};
use super::trace::{bytes_of, push_bytes};

/// Gives name and password for a registry's host, where there are any.
pub type Credentials = Arc<dyn Fn(&str) -> Option<(String, String)> + Send + Sync>;

const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const UPLOAD: &str = "/moby.upload.v1.Upload/Pull";
const METHODS: [&str; 4] = [SECRET, CREDENTIALS, HEALTH, UPLOAD];
/// Where BuildKit looks for a context that comes over the session. As the body of the order, which is the other way, daemons
/// before Docker 28 do not find it when they keep images in containerd's store.
pub(super) const CONTEXT: &str = "http://buildkit-session/context";

/// gRPC's numbers.
const NOT_FOUND: u8 = 5;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
/// Questions are names.
const MOST: usize = 64 * 1024;

/// What is answered.
pub(super) struct Answers {
    pub(super) context: Context,
    pub(super) secrets: BTreeMap<String, Vec<u8>>,
    pub(super) credentials: Credentials,
}

/// A build's context on its way: a tar archive, piece by piece. Clones have the same one.
#[derive(Clone)]
pub(super) struct Context(Arc<Mutex<Receiver<io::Result<Bytes>>>>);

impl Context {
    pub(super) fn new(pieces: Receiver<io::Result<Bytes>>) -> Self {
        Self(Arc::new(Mutex::new(pieces)))
    }

    /// What is left of it.
    pub(super) fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::poll_fn(move |state| self.receiver().poll_recv(state))
    }

    /// Nothing of it is wanted any more: whoever writes it need not wait.
    pub(super) fn close(&self) {
        self.receiver().close();
    }

    fn receiver(&self) -> MutexGuard<'_, Receiver<io::Result<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the session `id`, which lasts until the runtime ends or the daemon closes it. The error says what went wrong.
pub(super) async fn open(address: &Address, id: &str, answers: Answers) -> Result<(), String> {
    let words = |error: hyper::Error| error.to_string();
    let stream = TokioIo::new(connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(words)?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::post("/session")
        .header(HOST, HOST_NAME)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "h2c")
        .header("X-Docker-Expose-Session-Uuid", id)
        .header("X-Docker-Expose-Session-Name", "cog")
        .header("X-Docker-Expose-Session-Sharedkey", "");
    for method in METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(words)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!(
            "it opens no session for a build ({})",
            answer.status()
        ));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(words)?;
    let answers = Arc::new(answers);
    let service = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answer_to(request, &answers).await) }
    });
    tokio::spawn(async move {
        // What goes wrong with it fails the build, which says so.
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(upgraded, service)
            .await;
    });
    Ok(())
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer_to(request: Request<Incoming>, answers: &Answers) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == UPLOAD {
        // The daemon leaves its side open, and says nothing on it.
        return response(upload(answers.context.clone()));
    }
    let question = match Limited::new(body, MOST).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => Bytes::new(),
    };
    match answer(parts.uri.path(), unframed(&question), answers) {
        Ok(message) => success(&message),
        Err(status) => failure(status),
    }
}

/// The message that a call gets, or the number of its failure.
fn answer(method: &str, question: &[u8], answers: &Answers) -> Result<Vec<u8>, u8> {
    let name = || {
        let name = bytes_of(question, 1).unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    let mut message = Vec::new();
    match method {
        SECRET => {
            let secret = answers.secrets.get(&name()).ok_or(NOT_FOUND)?;
            push_bytes(&mut message, 1, secret);
        }
        CREDENTIALS => {
            if let Some((user, password)) = (answers.credentials)(&name()) {
                push_bytes(&mut message, 1, user.as_bytes());
                push_bytes(&mut message, 2, password.as_bytes());
            }
        }
        // Field 1, `SERVING`.
        HEALTH => message.extend([1 << 3, 1]),
        _ => return Err(UNIMPLEMENTED),
    }
    Ok(message)
}

/// The message in a frame: a byte that says how it is compressed, four for its length.
fn unframed(frame: &[u8]) -> &[u8] {
    frame.get(5..).unwrap_or_default()
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = vec![0];
    frame.extend(length.to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

fn success(message: &[u8]) -> Response<Body> {
    let body = Full::new(framed(message)).with_trailers(async { Some(Ok(ended(0))) });
    response(body.boxed_unsync())
}

/// How a call has ended.
fn ended(status: u8) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", u16::from(status).into());
    trailers
}

/// A message for each piece of the context.
fn upload(context: Context) -> Body {
    let pieces = Box::pin(context.pieces());
    let frames = stream::unfold(Some(pieces), async |pieces| {
        let mut pieces = pieces?;
        Some(match pieces.next().await {
            Some(Ok(piece)) => {
                let mut message = Vec::with_capacity(piece.len() + 8);
                push_bytes(&mut message, 1, &piece);
                (Ok(Frame::data(framed(&message))), Some(pieces))
            }
            // Half a context must not look whole.
            Some(Err(_)) => (Ok(Frame::trailers(ended(INTERNAL))), None),
            None => (Ok(Frame::trailers(ended(0))), None),
        })
    });
    StreamBody::new(frames).boxed_unsync()
}

fn failure(status: u8) -> Response<Body> {
    let mut response = response(Empty::new().boxed_unsync());
    response
        .headers_mut()
        .insert("grpc-status", u16::from(status).into());
    response
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, name: &str) -> Result<Vec<u8>, u8> {
        let (_, context) = tokio::sync::mpsc::channel(1);
        let answers = Answers {
            context: Context::new(context),
            secrets: BTreeMap::from([("token".to_owned(), b"s3cret".to_vec())]),
            credentials: Arc::new(|host| {
                (host == "example.com").then(|| ("me".to_owned(), "word".to_owned()))
            }),
        };
        let mut question = Vec::new();
        push_bytes(&mut question, 1, name.as_bytes());
        let frame = framed(&question);
        answer(method, unframed(&frame), &answers)
    }

    #[test]
    fn a_build_gets_what_it_was_given_and_nothing_else() {
        assert_eq!(asked(SECRET, "token"), Ok(b"\x0a\x06s3cret".to_vec()));
        assert_eq!(asked(SECRET, "other"), Err(NOT_FOUND));
        let known = asked(CREDENTIALS, "example.com");
        assert_eq!(known, Ok(b"\x0a\x02me\x12\x04word".to_vec()));
        assert_eq!(asked(CREDENTIALS, "example.org"), Ok(Vec::new()));
        assert_eq!(asked(HEALTH, ""), Ok(vec![8, 1]));
        let files = "/moby.filesync.v1.FileSync/DiffCopy";
        assert_eq!(asked(files, ""), Err(UNIMPLEMENTED));
    }

    #[tokio::test]
    async fn a_context_comes_in_many_messages_and_half_of_one_is_a_failure() {
        for (last, status) in [(None, "0"), (Some(io::Error::other("broken")), "13")] {
            let (sender, pieces) = tokio::sync::mpsc::channel(4);
            let large = vec![b'x'; 300];
            for piece in [b"one".as_slice(), &large] {
                let piece = Bytes::copy_from_slice(piece);
                sender.send(Ok(piece)).await.expect("it is open");
            }
            if let Some(error) = last {
                sender.send(Err(error)).await.expect("it is open");
            }
            drop(sender);
            let mut body = upload(Context::new(pieces));
            let mut next = async || {
                let frame = body.frame().await.expect("there is more");
                frame.expect("nothing fails")
            };
            for piece in [b"one".as_slice(), &large] {
                let frame = next().await.into_data().expect("it is a message");
                assert_eq!(bytes_of(unframed(&frame), 1), Some(piece));
            }
            let trailers = next().await.into_trailers().expect("it is the end");
            assert_eq!(trailers["grpc-status"], status);
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test]
    async fn nobody_waits_with_a_context_that_is_not_wanted() {
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        let context = Context::new(pieces);
        sender.send(Ok(Bytes::new())).await.expect("it is open");
        let waiting = tokio::spawn(async move { sender.send(Ok(Bytes::new())).await });
        // As long as somebody may still read it.
        let body = upload(context.clone());
        context.close();
        assert!(waiting.await.expect("it ends").is_err());
        drop(body);
    }
}
