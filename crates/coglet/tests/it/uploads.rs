//! File outputs sent to a store.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Request;
use crate::server::{Model, Server, eventually};

/// A store for files: remembers what it was sent, and answers as told.
struct Store {
    port: u16,
    received: mpsc::Receiver<Upload>,
}

#[derive(Debug)]
struct Upload {
    method: String,
    path: String,
    headers: String,
    body: Vec<u8>,
}

impl Store {
    /// Answers on a thread per connection; no text means that it does not answer.
    fn start(answer: impl Fn(&str) -> Option<String> + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, sender) = (answer.clone(), sender.clone());
                std::thread::spawn(move || {
                    let upload = receive(&stream);
                    let text = answer(&upload.path);
                    let _ = sender.send(upload);
                    match text {
                        Some(text) => (&stream).write_all(text.as_bytes()).unwrap(),
                        None => drop((&stream).read(&mut [0])),
                    }
                });
            }
        });
        Self { port, received }
    }

    fn accepting() -> Self {
        Self::start(|_| Some(answer(200, "")))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn next(&self) -> Upload {
        self.received
            .recv_timeout(Duration::from_secs(30))
            .expect("an upload")
    }

    fn rest(&self) -> Vec<Upload> {
        self.received.try_iter().collect()
    }

    /// A server that uploads to it.
    fn serve(&self, model: Model) -> Server {
        model.arg("--upload-url").arg(&self.url("/up")).ready()
    }
}

fn answer(status: u16, header: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

fn receive(stream: &TcpStream) -> Upload {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0);
    }
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers = head.to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    Upload {
        method,
        path,
        headers,
        body,
    }
}

const THREE: &str = "for n in range(3): open(f'{n}.txt', 'w').write(f'file {n}')\n";

#[test]
fn case_34_an_iterator_of_paths() {
    for source in [
        "for n in range(3): yield Path(f'{n}.txt')",
        "return [Path(f'{n}.txt') for n in range(3)]",
    ] {
        let store = Store::accepting();
        let server = store.serve(Model::run(
            "def run(self) -> List[Path]",
            &format!("{THREE}{source}"),
        ));
        let response = server.post("/predictions", &json!({"id": "a/b"}));
        let urls = [0, 1, 2].map(|n| store.url(&format!("/up/{n}.txt")));
        assert_eq!(response.json()["output"], json!(urls));
        let mut uploads = store.rest();
        uploads.sort_by(|left, right| left.path.cmp(&right.path));
        assert_eq!(uploads.len(), 3);
        for (n, upload) in uploads.iter().enumerate() {
            assert_eq!(
                (upload.method.as_str(), upload.path.as_str()),
                ("PUT", format!("/up/{n}.txt").as_str())
            );
            assert_eq!(upload.body, format!("file {n}").as_bytes());
            for header in [
                "content-type: text/plain",
                "x-prediction-id: a/b",
                "content-length: 6",
            ] {
                assert!(
                    upload.headers.contains(&format!("\r\n{header}\r\n")),
                    "{}",
                    upload.headers
                );
            }
        }
    }
}

#[test]
fn case_34_a_single_path() {
    let store = Store::accepting();
    let server = store.serve(Model::run(
        "def run(self) -> Path",
        &format!("{THREE}return Path('1.txt')"),
    ));
    assert_eq!(server.output(json!({})), store.url("/up/1.txt"));
    assert_eq!(store.rest().len(), 1);
}

#[test]
fn case_35_a_large_file() {
    let store = Store::accepting();
    let body = "open('big.bin', 'wb').write(os.urandom(1 << 20) * 50)\nreturn Path('big.bin')";
    let server = store.serve(Model::run("def run(self) -> Path", body));
    assert_eq!(server.output(json!({})), store.url("/up/big.bin"));
    let uploads = store.rest();
    assert_eq!(uploads.len(), 1);
    let content = fs_err::read(server.directory.path().join("big.bin")).unwrap();
    assert!(uploads[0].body == content, "another content");
}

#[test]
fn an_empty_file() {
    let store = Store::accepting();
    let body = "open('empty.json', 'w').close()\nreturn Path('empty.json')";
    let server = store.serve(Model::run("def run(self) -> Path", body));
    assert_eq!(server.output(json!({})), store.url("/up/empty.json"));
    let upload = store.next();
    assert!(upload.headers.contains("\r\ncontent-length: 0\r\n"));
}

#[test]
fn the_order_is_the_models() {
    let store = Store::start(|path| {
        if path == "/up/0.txt" {
            std::thread::sleep(Duration::from_millis(300));
        }
        Some(answer(200, ""))
    });
    let source = "for n in range(3): yield Path(f'{n}.txt')\nyield 'last'";
    let server = store.serve(Model::run(
        "def run(self) -> Iterator[Any]",
        &format!("{THREE}{source}"),
    ));
    let urls = [0, 1, 2].map(|n| store.url(&format!("/up/{n}.txt")));
    assert_eq!(
        server.output(json!({})),
        json!([urls[0], urls[1], urls[2], "last"])
    );
}

#[test]
fn the_last_file_of_a_name_stays() {
    const FILES: &str = "for n in range(3):\n    os.mkdir(str(n))\n    open(f'{n}/same.txt', 'w').write(f'file {n}')\n\
                         open('other.txt', 'w').close()\nfiles = [Path(f'{n}/same.txt') for n in range(3)] + [Path('other.txt')]\n";
    for (signature, source) in [
        ("def run(self) -> Iterator[Path]", "yield from files"),
        ("def run(self) -> List[Path]", "return files"),
    ] {
        let (other_came, gate) = mpsc::channel();
        let gate = Arc::new(Mutex::new(Some(gate)));
        let store = Store::start(move |path| {
            if path == "/up/other.txt" {
                other_came.send(()).unwrap();
                return Some(answer(200, ""));
            }
            let is_first = gate.lock().unwrap().take();
            if let Some(gate) = is_first {
                // Others are not kept waiting, not even for the first one.
                gate.recv().unwrap();
            }
            Some(answer(200, ""))
        });
        let server = store.serve(Model::run(signature, &format!("{FILES}{source}")));
        let names = ["same", "same", "same", "other"];
        let urls = names.map(|name| store.url(&format!("/up/{name}.txt")));
        assert_eq!(server.output(json!({})), json!(urls));
        let uploads = store.rest();
        let same = uploads
            .iter()
            .filter(|upload| upload.path == "/up/same.txt");
        let bodies: Vec<_> = same.map(|upload| upload.body.as_slice()).collect();
        assert_eq!(bodies, [b"file 0", b"file 1", b"file 2"]);
    }
}

#[test]
fn uploads_go_on_beside_the_model() {
    let store = Store::accepting();
    let source = "yield Path('0.txt')\nwhile not os.path.exists('go'): time.sleep(0.002)\nyield Path('1.txt')";
    let model = Model::run(
        "def run(self) -> Iterator[Path]",
        &format!("{THREE}{source}"),
    );
    let server = store.serve(model.streaming());
    let pending = server.send(
        Request::json("POST", "/predictions", &json!({})).header("Accept", "text/event-stream"),
    );
    assert_eq!(store.next().path, "/up/0.txt");
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    let text = pending.answer().text();
    for n in 0..2 {
        let event = json!({"chunk": store.url(&format!("/up/{n}.txt")), "index": n});
        assert!(
            text.contains(&format!("event: output\ndata: {event}\n\n")),
            "{text}"
        );
    }
}

#[test]
fn open_files_have_names() {
    let body = "def named(name):\n    file = BytesIO(b'content')\n    file.name = name\n    return file\n\
                from io import BytesIO\nreturn [BytesIO(b'content'), named('dir/a.png'), named(7), named('..')]";
    let store = Store::accepting();
    let server = store.serve(Model::run("def run(self) -> Any", body));
    let urls = ["0.bin", "a.png", "2.bin", "3.bin"].map(|name| store.url(&format!("/up/{name}")));
    assert_eq!(server.output(json!({})), json!(urls));
    let uploads = store.rest();
    assert!(uploads.iter().all(|upload| upload.body == b"content"));
    let png = uploads.iter().find(|upload| upload.path == "/up/a.png");
    assert!(
        png.unwrap()
            .headers
            .contains("\r\ncontent-type: image/png\r\n")
    );
}

#[test]
fn files_within_other_values_stay_data_urls() {
    let store = Store::accepting();
    let server = store.serve(Model::run(
        "def run(self) -> dict",
        &format!("{THREE}return {{'a': Path('1.txt')}}"),
    ));
    assert_eq!(
        server.output(json!({})),
        json!({"a": "data:text/plain;base64,ZmlsZSAx"})
    );
    assert_eq!(store.rest().len(), 0);
}

#[test]
fn the_store_names_the_place() {
    let store = Store::start(|path| {
        Some(match path {
            "/up/0.txt" => answer(307, "Location: /elsewhere/0.txt?key=1\r\n"),
            "/elsewhere/0.txt?key=1" => answer(201, ""),
            "/up/1.txt" => answer(200, "Location: https://files.example/one?token=1\r\n"),
            other => panic!("{other}"),
        })
    });
    let server = store.serve(Model::run(
        "def run(self) -> List[Path]",
        &format!("{THREE}return [Path('0.txt'), Path('1.txt')]"),
    ));
    assert_eq!(
        server.output(json!({})),
        json!([store.url("/elsewhere/0.txt"), "https://files.example/one"])
    );
    let moved = store
        .rest()
        .into_iter()
        .find(|upload| upload.path.starts_with("/elsewhere"));
    let moved = moved.unwrap();
    assert_eq!(
        (moved.method.as_str(), moved.body.as_slice()),
        ("PUT", b"file 0".as_slice())
    );
}

#[test]
fn a_failed_upload_fails_the_prediction() {
    let store = Store::start(|path| Some(answer(if path == "/up/1.txt" { 403 } else { 200 }, "")));
    let source = "for n in range(3): yield Path(f'{n}.txt')";
    let server = store.serve(Model::run(
        "def run(self) -> Iterator[Path]",
        &format!("{THREE}{source}"),
    ));
    let prediction = server.predict(json!({}));
    assert_eq!(prediction["status"], "failed");
    let expected = format!(
        "Prediction failed: could not upload output file `1.txt` to {}: the answer was 403 Forbidden",
        store.url("/up/1.txt")
    );
    assert_eq!(prediction["error"], Value::from(expected));
    assert_eq!(server.status(), "READY");
}

#[test]
fn a_store_out_of_reach_is_named() {
    let body = format!("{THREE}return Path('1.txt')");
    let model = Model::run("def run(self) -> Path", &body).arg("--upload-url");
    let server = model.arg("http://127.0.0.1:1/?key=secret").ready();
    let prediction = server.predict(json!({}));
    assert_eq!(prediction["status"], "failed");
    let error = prediction["error"].as_str().unwrap();
    let reason = "could not upload output file `1.txt` to http://127.0.0.1:1/1.txt: ";
    assert!(
        error.contains(reason) && !error.contains("secret"),
        "{error}"
    );
}

#[test]
fn values_never_touch_the_store() {
    let server = Model::echo()
        .arg("--upload-url")
        .arg("http://127.0.0.1:1/")
        .ready();
    assert_eq!(server.output(json!({"s": "x"})), "hello x");
}

#[test]
fn a_cancel_ends_uploads() {
    let store = Store::start(|_| None);
    let server = store.serve(Model::run(
        "def run(self) -> Path",
        &format!("{THREE}return Path('1.txt')"),
    ));
    let pending = server.begin("a", json!({}));
    store.next();
    assert_eq!(server.status(), "BUSY");
    assert_eq!(server.post("/predictions/a/cancel", &json!({})).status, 200);
    assert_eq!(pending.answer().json()["status"], "canceled");
    assert_eq!(server.status(), "READY");
}

#[test]
fn a_cancel_of_the_model_ends_uploads() {
    let store = Store::start(|_| None);
    let source = "from io import BytesIO\nopen('spill', 'w').write(os.environ['COG_WORKER_SPILL_DIR'])\nfor n in range(20): yield BytesIO(b'x')\nwhile True: time.sleep(0.002)";
    let server = store.serve(Model::run("def run(self) -> Iterator[Any]", source));
    let pending = server.begin("a", json!({}));
    store.next();
    assert_eq!(server.post("/predictions/a/cancel", &json!({})).status, 200);
    assert_eq!(pending.answer().json()["status"], "canceled");
    server.until_status("READY");
    let spill = fs_err::read_to_string(server.directory.path().join("spill")).unwrap();
    eventually("the removal of what was not sent", || {
        fs_err::read_dir(&spill).unwrap().count() == 0
    });
}
