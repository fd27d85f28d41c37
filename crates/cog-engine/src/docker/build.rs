//! Builds by a daemon: a Dockerfile with its context goes in, an image comes out.
//!
//! Docker is asked for BuildKit, without its command-line program, so it does not matter which version of that there is, or
//! whether it has a plug-in for BuildKit. Podman builds by itself on the same request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use super::address::Address;
use super::connection::{HOST_NAME, connect};
use super::daemon::{Daemon, DaemonKind};
use super::error::DockerError;
use super::session::{self, Answers, CONTEXT, Context, Credentials};
use super::trace::{self, Told};

/// The first version of Docker whose BuildKit mounts secrets and files for a single instruction.
pub(super) const BUILDKIT_SINCE: (u32, u32) = (20, 10);
/// Lines of an answer are much shorter.
const MAX_LINE: usize = 16 << 20;
/// Of what is said of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;

/// An image to be built.
pub struct BuildOrder<'a> {
    /// What it is called, with a tag.
    pub name: &'a str,
    /// The Dockerfile, by its path in the context.
    pub dockerfile: &'a str,
    /// The context as a tar archive, piece by piece.
    pub context: Receiver<io::Result<Bytes>>,
    /// What `ARG`s get. Those that the daemon knows by itself, such as proxies, are part of no layer's identity.
    pub arguments: &'a [(String, String)],
    /// Values that instructions may mount, by their ids.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// For Podman, which takes secrets as files of the context: where they are in it, by their ids.
    pub secret_files: BTreeMap<String, String>,
    /// For images that the Dockerfile names and the daemon has not.
    pub credentials: Credentials,
    /// Whether layers of earlier builds count.
    pub layers: EarlierLayers,
}

/// Whether layers of earlier builds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlierLayers {
    /// An instruction on the same ground is not carried out again.
    Used,
    /// Everything is carried out.
    Ignored,
}

/// What is told while a daemon builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEvent<'a> {
    /// An instruction begins, in the daemon's words.
    Instruction(&'a str),
    /// A line that a command printed.
    Line(&'a str),
}

impl Daemon {
    /// Whether it can build at all, as [`Daemon::build`] wants it.
    pub fn check_builds(&self) -> Result<(), DockerError> {
        if !self.has_buildkit() {
            return Err(DockerError::NoBuildKit {
                version: self.version().to_owned(),
                needed: BUILDKIT_SINCE,
            });
        }
        match self.address() {
            Address::Tls(..) => Err(DockerError::Host {
                host: self.place(),
                reason: "builds are ordered over a socket or plain TCP, not over TLS",
            }),
            Address::Socket(_) | Address::Tcp(_) => Ok(()),
        }
    }

    /// Builds an image, which the daemon has then under the name of `order`.
    pub fn build(
        &self,
        order: BuildOrder<'_>,
        mut told: impl FnMut(BuildEvent<'_>),
    ) -> Result<(), DockerError> {
        self.check_builds()?;
        self.block_on(self.ordered(order, &mut told))
            .map_err(|reason| DockerError::Request {
                daemon: self.title(),
                action: "build".to_owned(),
                reason,
            })
    }

    async fn ordered(
        &self,
        order: BuildOrder<'_>,
        told: &mut dyn FnMut(BuildEvent<'_>),
    ) -> Result<(), String> {
        let session = match self.kind() {
            DaemonKind::Docker => Some(random_name().map_err(|error| error.to_string())?),
            DaemonKind::Podman => None,
        };
        let path = path(&order, session.as_deref());
        let context = Context::new(order.context);
        let body = if let Some(id) = &session {
            let answers = Answers {
                context: context.clone(),
                secrets: order.secrets,
                credentials: order.credentials,
            };
            session::open(self.address(), id, answers).await?;
            Empty::new()
                .map_err(|never: Infallible| match never {})
                .boxed_unsync()
        } else {
            let pieces = context.clone().pieces();
            StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
        };
        let built = self.built(&path, body, told).await;
        // Something may hold what is left of the context, for which whoever writes that waits.
        context.close();
        built
    }

    async fn built(
        &self,
        path: &str,
        body: UnsyncBoxBody<Bytes, io::Error>,
        told: &mut dyn FnMut(BuildEvent<'_>),
    ) -> Result<(), String> {
        let (answer, connection) = self.post(path, body).await?;
        let ended = read_answer(answer, self.kind(), told).await;
        connection.abort();
        let _ = connection.await;
        ended
    }

    async fn post(
        &self,
        path: &str,
        body: UnsyncBoxBody<Bytes, io::Error>,
    ) -> Result<(Response<Incoming>, JoinHandle<()>), String> {
        let stream = TokioIo::new(connect(self.address()).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(|error| error.to_string())?;
        let connection = tokio::spawn(async {
            // What goes wrong is told to whoever waits for the answer.
            let _ = connection.await;
        });
        let request = Request::post(path)
            .header(HOST, HOST_NAME)
            .header(CONTENT_TYPE, "application/x-tar")
            .body(body)
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await;
        Ok((answer.map_err(|error| innermost(&error))?, connection))
    }
}

/// What the connection says is behind what the client says of it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn path(order: &BuildOrder<'_>, session: Option<&str>) -> String {
    let json = |value: serde_json::Value| value.to_string();
    let arguments: serde_json::Map<_, _> = order
        .arguments
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let mut query = vec![
        ("t", order.name.to_owned()),
        ("dockerfile", order.dockerfile.to_owned()),
        ("buildargs", json(arguments.into())),
        // What listens on this machine, such as a proxy or a mirror, is reached as from containers of ours.
        ("networkmode", "host".to_owned()),
        ("rm", "1".to_owned()),
        ("forcerm", "1".to_owned()),
        // Of Podman: a layer for each instruction.
        ("layers", "1".to_owned()),
    ];
    if order.layers == EarlierLayers::Ignored {
        query.push(("nocache", "1".to_owned()));
    }
    if let Some(session) = session {
        query.push(("version", "2".to_owned()));
        query.push(("session", session.to_owned()));
        query.push(("remote", CONTEXT.to_owned()));
    } else if !order.secret_files.is_empty() {
        let secrets = order.secret_files.iter();
        let secrets: Vec<String> = secrets
            .map(|(id, file)| format!("id={id},src={file}"))
            .collect();
        query.push(("secrets", json(secrets.into())));
    }
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    format!("/build?{}", query.join("&"))
}

/// `text` as a value of a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Hexadecimal digits of 128 random bits.
fn random_name() -> io::Result<String> {
    let mut random = [0_u8; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

/// A line of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    id: String,
    stream: String,
    aux: serde_json::Value,
    error: String,
    /// What is refused at once has another form.
    message: String,
}

/// Names the lines with what BuildKit tells.
const TRACE: &str = "moby.buildkit.trace";

/// Reads the answer to its end. The error is the daemon's.
async fn read_answer(
    answer: Response<Incoming>,
    kind: DaemonKind,
    told: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<(), String> {
    let status = answer.status();
    if status != StatusCode::OK {
        let body = Limited::new(answer.into_body(), MAX_REFUSAL)
            .collect()
            .await;
        let body = body.map(Collected::to_bytes).unwrap_or_default();
        let said: Line = serde_json::from_slice(&body).unwrap_or_default();
        let said = [said.message, said.error];
        let said = said.into_iter().find(|text| !text.is_empty());
        return Err(said.unwrap_or_else(|| status.to_string()));
    }
    let mut body = answer.into_body();
    let (mut lines, mut printed) = (Lines::default(), Lines::default());
    let mut failure = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| innermost(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        lines.push(&data, |line| {
            let line: Line = serde_json::from_slice(line).unwrap_or_default();
            if !line.error.is_empty() {
                failure.get_or_insert(line.error);
            } else if line.id == TRACE {
                tell_trace(&line.aux, &mut printed, told);
            } else if kind == DaemonKind::Podman {
                // What Docker says there, after BuildKit has ended, are names that only we have a use for.
                let _ = printed.push(line.stream.as_bytes(), |text| tell_line(text, told));
            }
        })?;
    }
    printed.end(|text| tell_line(text, told));
    failure.map_or(Ok(()), Err)
}

fn tell_trace(aux: &serde_json::Value, printed: &mut Lines, told: &mut dyn FnMut(BuildEvent<'_>)) {
    let message = aux.as_str().and_then(|text| STANDARD.decode(text).ok());
    for one in trace::read(&message.unwrap_or_default()) {
        match one {
            Told::Begun(name) => told(BuildEvent::Instruction(&name)),
            Told::Printed(bytes) => {
                // A line that is too long is of no interest as a whole.
                let _ = printed.push(&bytes, |text| tell_line(text, told));
            }
        }
    }
}

fn tell_line(text: &[u8], told: &mut dyn FnMut(BuildEvent<'_>)) {
    let text = String::from_utf8_lossy(text);
    // Of a line that was drawn over and over, the last state counts.
    let line = text.trim_end().rsplit('\r').next().unwrap_or_default();
    told(match line.strip_prefix("STEP ") {
        // Podman's words among the lines.
        Some(step) => BuildEvent::Instruction(step),
        None => BuildEvent::Line(line),
    });
}

/// Bytes as they come, cut into lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Gives away each line that is complete.
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) -> Result<(), String> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.0.extend_from_slice(&rest[..end]);
            line(&self.0);
            self.0.clear();
            rest = &rest[end + 1..];
        }
        if self.0.len() + rest.len() > MAX_LINE {
            self.0.clear();
            return Err(format!("a line of more than {MAX_LINE} bytes"));
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }

    /// Gives away what has no end of line.
    fn end(self, mut line: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            line(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_request_says_it_all() {
        let (_, context) = tokio::sync::mpsc::channel(1);
        let arguments = [("HTTP_PROXY".to_owned(), "http://a:1/?b".to_owned())];
        let order = BuildOrder {
            name: "a/b:c",
            dockerfile: "Dockerfile",
            context,
            arguments: &arguments,
            secrets: BTreeMap::new(),
            secret_files: BTreeMap::from([("id".to_owned(), "file".to_owned())]),
            credentials: Arc::new(|_| None),
            layers: EarlierLayers::Ignored,
        };
        assert_eq!(
            path(&order, Some("s")),
            "/build?t=a%2Fb%3Ac&dockerfile=Dockerfile&buildargs=%7B%22HTTP_PROXY%22%3A%22http%3A%2F%2Fa%3A1%2F%3Fb%22%7D\
             &networkmode=host&rm=1&forcerm=1&layers=1&nocache=1&version=2&session=s&remote=http%3A%2F%2Fbuildkit-session%2Fcontext"
        );
        let podman = path(&order, None);
        assert!(
            podman.ends_with("&secrets=%5B%22id%3Did%2Csrc%3Dfile%22%5D"),
            "{podman}"
        );
    }

    #[test]
    fn lines_are_put_together_again() {
        let mut lines = Lines::default();
        let mut seen: Vec<String> = Vec::new();
        let mut see = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
        for piece in ["a", "b\nc\n", "", "d"] {
            lines
                .push(piece.as_bytes(), &mut see)
                .expect("they are short");
        }
        lines.end(&mut see);
        assert_eq!(seen, ["ab", "c", "d"]);
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; MAX_LINE / 2 + 1];
        lines
            .push(&piece, |_| panic!("it has no end"))
            .expect("it is short enough");
        assert!(lines.push(&piece, |_| panic!("it has no end")).is_err());
        assert!(lines.0.is_empty());
    }
}
