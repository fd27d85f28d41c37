//! A registry of a few lines that can be told to misbehave.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use cog_image::{Digest, StoredImage};

use crate::support::TestStore;

/// A request as far as tests care. Header names are lower-case.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Bytes of the body.
    pub(crate) fn length(&self) -> u64 {
        self.header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Breaks the connection after this many bytes of the body.
    pub(crate) cut_after: Option<usize>,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }
}

type Handler = dyn Fn(&Request, &Content) -> Option<Answer> + Send + Sync;

/// What the registry holds, by path.
#[derive(Default)]
pub(crate) struct Content {
    files: HashMap<String, (String, Vec<u8>)>,
}

impl Content {
    /// Answers as a well-behaved registry would, ranges included.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let path = request.path.split('?').next().unwrap();
        let Some((media_type, body)) = self.files.get(path) else {
            let error = r#"{"errors":[{"code":"UNKNOWN","message":"not known here"}]}"#;
            return Answer {
                status: 404,
                ..Answer::ok(error)
            };
        };
        let whole = Answer::ok(body.clone()).with("Content-Type", media_type);
        let range = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="));
        let Some(start) = range.and_then(|range| range.strip_suffix('-')) else {
            return whole;
        };
        let start: usize = start.parse().unwrap();
        if start >= body.len() {
            return Answer::status(416);
        }
        let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
        Answer {
            status: 206,
            ..Answer::ok(&body[start..])
        }
        .with("Content-Range", range)
    }

    pub(crate) fn put(&mut self, path: String, media_type: &str, body: Vec<u8>) {
        self.files.insert(path, (media_type.to_owned(), body));
    }

    /// Makes `image` available as `repository:tag`.
    pub(crate) fn add(
        &mut self,
        store: &TestStore,
        image: &StoredImage,
        repository: &str,
        tag: &str,
    ) {
        let read = |digest: &Digest| fs_err::read(store.blob_path(digest)).unwrap();
        let manifest = &image.manifest;
        for version in [tag.to_owned(), manifest.digest.to_string()] {
            let path = format!("/v2/{repository}/manifests/{version}");
            self.put(path, &manifest.media_type, read(&manifest.digest));
        }
        let layers = image.layers.iter().map(|layer| &layer.blob);
        for blob in layers.chain([&image.config_blob]) {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            self.put(path, "application/octet-stream", read(&blob.digest));
        }
    }
}

/// A server on a loopback address. Its threads end with the process.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(content: Content) -> Self {
        Self::start_with(content, |_, _| None)
    }

    /// `handler` may answer in place of the content.
    pub(crate) fn start_with(
        content: Content,
        handler: impl Fn(&Request, &Content) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), content, handler)
    }

    /// At this address, if this machine has it and it is free.
    pub(crate) fn start_at(address: &str, content: Content) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        Some(Self::listen(listener, content, |_, _| None))
    }

    fn listen(
        listener: TcpListener,
        content: Content,
        handler: impl Fn(&Request, &Content) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, handler): (_, Arc<Handler>) = (Arc::clone(&requests), Arc::new(handler));
        let content = Arc::new(content);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, handler, content) = (log.clone(), handler.clone(), content.clone());
                std::thread::spawn(move || serve(&stream, &log, &*handler, &content));
            }
        });
        Self { address, requests }
    }

    /// Requests so far, as `METHOD path`.
    pub(crate) fn log(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn reference(&self, rest: &str) -> cog_image::ImageRef {
        format!("{}/{rest}", self.address).parse().unwrap()
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<Request>>, handler: &Handler, content: &Content) {
    let mut reader = BufReader::new(stream);
    let Some(request) = read_request(&mut reader) else {
        return;
    };
    log.lock().unwrap().push(request.clone());
    let answer = handler(&request, content).unwrap_or_else(|| content.answer(&request));
    write_answer(stream, &answer);
}

pub(crate) fn write_answer(stream: &TcpStream, answer: &Answer) {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    if !answer
        .headers
        .iter()
        .any(|(name, _)| name == "Content-Length")
    {
        let _ = write!(head, "Content-Length: {}\r\n", answer.body.len());
    }
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let body = &answer.body[..answer
        .cut_after
        .unwrap_or(answer.body.len())
        .min(answer.body.len())];
    // The client may hang up first.
    head += "\r\n";
    let mut stream = stream;
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut request = read_head(reader)?;
    reader
        .take(request.length())
        .read_to_string(&mut request.body)
        .ok()?;
    Some(request)
}

/// A request up to its body.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request {
        method,
        path,
        headers,
        body: String::new(),
    })
}
