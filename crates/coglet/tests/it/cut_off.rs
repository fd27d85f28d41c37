//! Servers that close connections instead of answering.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex};

use serde_json::{Value, json};

use crate::server::{Model, Server};

/// A server that keeps connections, for files in both directions.
struct Keeping {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Keeping {
    /// Answers if `answers` says so for a request, counted from 0 on its connection; else it closes.
    fn start(answers: impl Fn(usize, &str) -> bool + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, log) = (answers.clone(), Arc::clone(&log));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    for number in 0.. {
                        let Some(path) = read(&mut reader) else {
                            return;
                        };
                        log.lock().unwrap().push(path.clone());
                        if !answers(number, &path) {
                            return;
                        }
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext";
                        (&stream).write_all(answer).unwrap();
                    }
                });
            }
        });
        Self { port, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// A server that uploads its outputs.
    fn uploader(&self) -> Server {
        let body = "for name in files: open(name, 'w').write('text')\nreturn [Path(name) for name in files]";
        Model::run("def run(self, files: List[str]) -> List[Path]", body)
            .arg("--upload-url")
            .arg(&self.url(""))
            .ready()
    }
}

/// The path of the next request.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let headers = head.to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    head.split(' ').nth(1).map(str::to_owned)
}

/// A server that downloads its inputs.
fn downloader() -> Server {
    Model::run(
        "def run(self, files: List[Path]) -> list",
        "return [p.read_text() for p in files]",
    )
    .ready()
}

fn failure(server: &Server, input: Value) -> String {
    let prediction = server.predict(input);
    assert_eq!(prediction["status"], "failed");
    prediction["error"].as_str().unwrap().to_owned()
}

/// Two connections are used at once, and closed when they are used again.
fn closing_what_was_kept() -> Keeping {
    let both = Arc::new(Barrier::new(2));
    Keeping::start(move |number, path| {
        if ["/a", "/b"].contains(&path) {
            both.wait();
        }
        number == 0
    })
}

#[test]
fn a_download_outlives_kept_connections() {
    let remote = closing_what_was_kept();
    let server = downloader();
    let both = json!({"files": [remote.url("/a"), remote.url("/b")]});
    assert_eq!(server.output(both), json!(["text", "text"]));
    for _ in 0..3 {
        let one = json!({"files": [remote.url("/c")]});
        assert_eq!(server.output(one), json!(["text"]));
    }
}

#[test]
fn an_upload_outlives_kept_connections() {
    let remote = closing_what_was_kept();
    let server = remote.uploader();
    let both = json!([remote.url("/a"), remote.url("/b")]);
    assert_eq!(server.output(json!({"files": ["a", "b"]})), both);
    for _ in 0..3 {
        let one = json!([remote.url("/c")]);
        assert_eq!(server.output(json!({"files": ["c"]})), one);
    }
}

#[test]
fn a_download_without_an_answer_is_tried_twice() {
    let remote = Keeping::start(|_, _| false);
    let url = remote.url("/a");
    let error = failure(&downloader(), json!({"files": [url]}));
    let expected = format!("Input validation error: could not download `{url}`: ");
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(remote.paths(), ["/a", "/a"]);
}

#[test]
fn an_upload_without_an_answer_is_tried_twice() {
    let remote = Keeping::start(|_, _| false);
    let error = failure(&remote.uploader(), json!({"files": ["a"]}));
    let expected = format!(
        "Prediction failed: could not upload output file `a` to {}: ",
        remote.url("/a")
    );
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(remote.paths(), ["/a", "/a"]);
}
