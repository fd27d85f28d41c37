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
