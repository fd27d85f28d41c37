//! An HTTP server for tests: answers as told and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

pub(crate) struct Receiver {
    pub(crate) port: u16,
    requests: mpsc::Receiver<Received>,
}

#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Receiver {
    /// Answers requests with what `answer` makes of their number, counted from 0, and path: a whole
    /// response but for `Connection`.
    pub(crate) fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let Some(received) = read(&stream) else {
                    continue;
                };
                let _ = (&stream).write_all(&answer(number, &received.path));
                if sender.send(received).is_err() {
                    return;
                }
            }
        });
        Self { port, requests }
    }

    /// Always 200.
    pub(crate) fn accepting() -> Self {
        Self::start(|_, _| response(200, b""))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn next(&self) -> Received {
        self.requests
            .recv_timeout(Duration::from_secs(30))
            .expect("a request")
    }

    /// Requests until the one that reports the end.
    pub(crate) fn until_completed(&self) -> Vec<Value> {
        let mut reports = Vec::new();
        loop {
            reports.push(self.next().json());
            if ["succeeded", "failed", "canceled"]
                .contains(&reports.last().unwrap()["status"].as_str().unwrap())
            {
                return reports;
            }
        }
    }

    /// What has arrived and was not looked at.
    pub(crate) fn rest(&self) -> Vec<Received> {
        self.requests.try_iter().collect()
    }
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let headers = head.to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        path,
        headers,
        body,
    })
}
