//! Clients that are slow, silent, or many.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::server::{Model, Server, eventually};

fn impatient() -> Server {
    Model::run(
        "def run(self, size: int) -> str",
        "import resource\nif size < 0: return str(resource.getrlimit(resource.RLIMIT_NOFILE))\nreturn 'x' * size",
    )
    .env("COG_CLIENT_TIMEOUT", 1)
    .ready()
}

fn connect(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    socket
}

/// What comes until the server closes the connection.
fn rest(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = socket.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn connections_that_say_nothing_are_closed() {
    let server = impatient();
    let silent = connect(&server);
    let mut half_said = connect(&server);
    half_said.write_all(b"POST /predictions HTT").unwrap();
    let mut idle = connect(&server);
    idle.write_all(b"GET /health-check HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(rest(silent), "");
    assert_eq!(rest(half_said), "");
    assert!(rest(idle).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let server = impatient();
    let mut socket = connect(&server);
    let head = "POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    socket.write_all(head.as_bytes()).unwrap();
    let mut trickle = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        // More than nothing, but less than it may be.
        while trickle.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(rest(socket).starts_with("HTTP/1.1 408"));
    assert_eq!(server.status(), "READY");
}

#[test]
fn an_answer_that_is_not_taken_is_dropped() {
    let server = impatient();
    let before = server.connections();
    let mut socket = connect(&server);
    let body = json!({"input": {"size": 20_000_000}}).to_string();
    let request = format!(
        "POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    eventually("the connection", || server.connections() > before);
    eventually("its end", || server.connections() == before);
    assert_eq!(server.status(), "READY");
    drop(socket);
}

#[test]
fn a_long_prediction_is_no_silence() {
    let server = Model::run(
        "def run(self, s: float) -> str",
        "time.sleep(s)\nreturn 'ok'",
    )
    .env("COG_CLIENT_TIMEOUT", 1)
    .ready();
    assert_eq!(server.output(json!({"s": 2.5})), "ok");
}

#[test]
fn the_model_gets_the_descriptor_limit_that_the_server_was_given() {
    let server = impatient();
    let ours = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let expected = format!("({}, {})", ours.current.unwrap(), ours.maximum.unwrap());
    assert_eq!(server.output(json!({"size": -1})), expected);
}

/// Speaks HTTP/2 without asking first.
async fn over_http2(
    port: u16,
    path: &'static str,
    body: &'static str,
    count: usize,
) -> Vec<String> {
    use http_body_util::{BodyExt as _, Full};
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(socket);
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<bytes::Bytes>>(executor, io)
            .await
            .unwrap();
    tokio::spawn(connection);
    let answers = (0..count).map(|_| {
        let mut sender = sender.clone();
        async move {
            let request = hyper::Request::post(format!("http://x{path}"))
                .header("content-type", "application/json")
                .body(Full::from(body))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }
    });
    futures_util::future::join_all(answers).await
}

#[test]
fn http2_with_prior_knowledge() {
    let server = Model::run(
        "async def run(self, s: str) -> str",
        "await asyncio.sleep(0.05)\nreturn 'hello ' + s",
    )
    .env("COG_MAX_CONCURRENCY", 20)
    .ready();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let body = r#"{"input": {"s": "x"}}"#;
    let answers = runtime.block_on(over_http2(server.port, "/predictions", body, 20));
    assert!(
        answers.iter().all(|answer| answer.contains("\"hello x\"")),
        "{answers:?}"
    );
    // The client is still there, and idle: it does not hold up the end.
    server.stop();
}

#[test]
fn a_method_may_come_in_two_parts() {
    use std::io::{Read as _, Write as _};
    let server = Model::echo().ready();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    for part in [
        "P",
        "OST /predic",
        "tions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 23\r\n\r\n{\"input\": {\"s\": \"abc\"}}",
    ] {
        stream.write_all(part.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("hello abc"), "{answer}");
}
