//! A small HTTP client: one request per connection, and the connection in the test's hands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

/// A request that was sent and not answered yet. Dropping it hangs up.
pub(crate) struct Pending {
    stream: TcpStream,
}

pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: Vec<u8>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'a str, path: &'a str) -> Self {
        Self {
            method,
            path,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn json(method: &'a str, path: &'a str, body: &Value) -> Self {
        Self::new(method, path)
            .header("Content-Type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it on a connection of its own.
    pub(crate) fn send(self, port: u16) -> std::io::Result<Pending> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        // A server that hangs should fail the test, not the machine.
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n",
            self.method, self.path
        );
        if !self.body.is_empty() || self.method != "GET" {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body)?;
        Ok(Pending { stream })
    }
}

impl From<TcpStream> for Pending {
    fn from(stream: TcpStream) -> Self {
        Self { stream }
    }
}

impl Pending {
    /// The connection, for answers that are read as they come.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Closes the direction in which nothing more is said.
    pub(crate) fn says_no_more(self) -> Self {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
        self
    }

    pub(crate) fn answer(self) -> Response {
        self.try_answer().expect("an answer")
    }

    pub(crate) fn try_answer(self) -> std::io::Result<Response> {
        let mut reader = BufReader::new(self.stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head[9..12].parse().expect("a status line");
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        Ok(Response {
            status,
            headers: head.to_lowercase(),
            body,
        })
    }
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}
