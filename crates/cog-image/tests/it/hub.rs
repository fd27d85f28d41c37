//! A registry that takes what is pushed, and can be told to break off, to lie and to forget.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cog_image::Digest;
use sha2::{Digest as _, Sha256};

use crate::server::{Answer, Request, read_head, write_answer};
use crate::support::digest_of;

/// What goes wrong with a request.
pub(crate) enum Fault {
    /// This is answered, and nothing done.
    Answer(Answer),
    /// The connection breaks after so many bytes of the body, which count as arrived.
    Cut(u64),
    /// It is done, and the connection breaks instead of an answer.
    Mute,
    /// The upload is forgotten first.
    Forget,
    /// Nothing is read and nothing answered, until the process ends.
    Hang,
    /// It is done, and the answer has this in addition.
    Header(&'static str, String),
}

type Faults = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// What the registry can do, and how it answers.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a trait of its own")]
pub(crate) struct Manners {
    /// It mounts blobs of other repositories.
    pub(crate) mounts: bool,
    /// It lists referrers by itself.
    pub(crate) lists_referrers: bool,
    /// It says nothing of the digest that manifests have.
    pub(crate) names_no_digest: bool,
    /// Of content, only length and hash are kept.
    pub(crate) discards: bool,
    /// What the answer to the beginning of an upload has besides.
    pub(crate) on_begin: Vec<(&'static str, String)>,
    /// Another host, which uploads are sent to.
    pub(crate) upload_host: Option<String>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<(String, String), Blob>,
    manifests: HashMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<u64, Upload>,
    begun: u64,
    log: Vec<Request>,
}

#[derive(Clone, Default)]
struct Blob {
    content: Vec<u8>,
    size: u64,
}

struct Upload {
    repository: String,
    content: Vec<u8>,
    size: u64,
    hasher: Sha256,
    /// A request whose body is being taken.
    busy: bool,
}

/// The registry. Its threads end with the process.
pub(crate) struct Hub {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

struct Service {
    state: Arc<Mutex<State>>,
    manners: Manners,
    faults: Box<Faults>,
}

impl Hub {
    pub(crate) fn start(manners: Manners) -> Self {
        Self::start_with(manners, |_| None)
    }

    pub(crate) fn start_with(
        manners: Manners,
        faults: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let service = Arc::new(Service {
            state: Arc::clone(&state),
            manners,
            faults: Box::new(faults),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = Arc::clone(&service);
                std::thread::spawn(move || service.serve(&stream));
            }
        });
        Self { address, state }
    }

    pub(crate) fn reference(&self, rest: &str) -> cog_image::ImageRef {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().log.clone()
    }

    /// Requests so far, as `METHOD path`.
    pub(crate) fn log(&self) -> Vec<String> {
        let line = |request: &Request| format!("{} {}", request.method, request.path);
        self.requests().iter().map(line).collect()
    }

    /// How many requests so far had this method.
    pub(crate) fn count(&self, method: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|one| one.method == method).count()
    }

    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), digest.to_string());
        let state = self.state.lock().unwrap();
        state.blobs.get(&key).map(|blob| blob.content.clone())
    }

    pub(crate) fn manifest(&self, repository: &str, version: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), version.to_owned());
        let state = self.state.lock().unwrap();
        state.manifests.get(&key).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn lose_blobs(&self, repository: &str) {
        let mut state = self.state.lock().unwrap();
        state.blobs.retain(|(name, _), _| name != repository);
    }

    pub(crate) fn lose_manifests(&self, repository: &str) {
        let mut state = self.state.lock().unwrap();
        state.manifests.retain(|(name, _), _| name != repository);
    }

    /// How many uploads were begun and neither completed nor given up.
    pub(crate) fn unfinished(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }
}

impl Service {
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let Some(request) = read_head(&mut reader) else {
            return;
        };
        self.state.lock().unwrap().log.push(request.clone());
        let mut cut = None;
        let mut mute = false;
        let mut more = None;
        match (self.faults)(&request) {
            Some(Fault::Answer(answer)) => {
                let _ = std::io::copy(&mut reader.take(request.length()), &mut std::io::sink());
                return write_answer(stream, &answer);
            }
            Some(Fault::Hang) => loop {
                std::thread::park();
            },
            Some(Fault::Forget) => self.state.lock().unwrap().uploads.clear(),
            Some(Fault::Cut(bytes)) => cut = Some(bytes),
            Some(Fault::Mute) => mute = true,
            Some(Fault::Header(name, value)) => more = Some((name, value)),
            None => {}
        }
        let length = cut.unwrap_or(u64::MAX).min(request.length());
        let mut answer = self.answer(&request, &mut reader.take(length));
        if let Some((name, value)) = more {
            answer = answer.with(name, value);
        }
        if cut.is_none() && !mute {
            write_answer(stream, &answer);
        }
    }

    fn answer(&self, request: &Request, body: &mut impl BufRead) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if let Some(number) = path.strip_prefix("/upload/") {
            return self.on_upload(request, number.parse().unwrap(), query, body);
        }
        let path = path.strip_prefix("/v2/").unwrap();
        if let Some((repository, _)) = path.split_once("/blobs/uploads/") {
            return self.begin(repository, query);
        }
        if let Some((repository, digest)) = path.split_once("/blobs/") {
            return self.read_blob(request, repository, digest);
        }
        if let Some((repository, subject)) = path.split_once("/referrers/") {
            return self.referrers(repository, subject);
        }
        let (repository, version) = path.split_once("/manifests/").unwrap();
        let key = (repository.to_owned(), version.to_owned());
        if request.method == "PUT" {
            return self.take_manifest(request, key, body);
        }
        let state = self.state.lock().unwrap();
        match state.manifests.get(&key) {
            None => Answer::status(404),
            Some((media_type, bytes)) => {
                let shown = if request.method == "HEAD" {
                    Vec::new()
                } else {
                    bytes.clone()
                };
                Answer::ok(shown)
                    .with("Content-Length", bytes.len().to_string())
                    .with("Content-Type", media_type)
            }
        }
    }

    fn begin(&self, repository: &str, query: &str) -> Answer {
        let mut state = self.state.lock().unwrap();
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(known, _)| *known == name)?;
            Some(found.1.replace("%3A", ":").replace("%2F", "/"))
        };
        if let (true, Some(digest), Some(from)) =
            (self.manners.mounts, value("mount"), value("from"))
            && let Some(blob) = state.blobs.get(&(from, digest.clone())).cloned()
        {
            state.blobs.insert((repository.to_owned(), digest), blob);
            return Answer::status(201);
        }
        let number = state.begun;
        state.begun += 1;
        let upload = Upload {
            repository: repository.to_owned(),
            content: Vec::new(),
            size: 0,
            hasher: Sha256::new(),
            busy: false,
        };
        state.uploads.insert(number, upload);
        let host = self.manners.upload_host.as_deref();
        let host = host.map_or_else(String::new, |host| format!("http://{host}"));
        let mut answer =
            Answer::status(202).with("Location", format!("{host}/upload/{number}?_state=a%3Db"));
        answer.headers.extend(
            self.manners
                .on_begin
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        answer
    }

    fn on_upload(
        &self,
        request: &Request,
        number: u64,
        query: &str,
        body: &mut impl BufRead,
    ) -> Answer {
        assert!(query.starts_with("_state=a%3Db"), "{query}");
        let place = format!("/upload/{number}?_state=a%3Db");
        let size = loop {
            match self.state.lock().unwrap().uploads.get(&number) {
                None => return Answer::status(404),
                Some(upload) if !upload.busy => break upload.size,
                // What has arrived of a request that broke off counts.
                Some(_) => {}
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let range = |size: u64| format!("0-{}", size.saturating_sub(1));
        match request.method.as_str() {
            "GET" => Answer::status(204)
                .with("Location", place)
                .with("Range", range(size)),
            "DELETE" => {
                self.state.lock().unwrap().uploads.remove(&number);
                Answer::status(204)
            }
            "PATCH" => {
                assert!(request.header("content-length").is_some());
                if let Some(wanted) = request.header("content-range") {
                    let (start, last) = wanted.split_once('-').unwrap();
                    let length = last.parse::<u64>().unwrap() + 1 - size;
                    if start.parse::<u64>().unwrap() != size || length != request.length() {
                        return Answer::status(416);
                    }
                }
                self.append(number, body);
                match self.state.lock().unwrap().uploads.get(&number) {
                    None => Answer::status(404),
                    Some(upload) => Answer::status(202)
                        .with("Location", place)
                        .with("Range", range(upload.size)),
                }
            }
            "PUT" => {
                self.append(number, body);
                let digest = query.split_once("digest=").unwrap().1.replace("%3A", ":");
                self.commit(number, digest)
            }
            other => panic!("{other}"),
        }
    }

    fn append(&self, number: u64, body: &mut impl Read) {
        let set_busy = |busy| {
            let mut state = self.state.lock().unwrap();
            if let Some(upload) = state.uploads.get_mut(&number) {
                upload.busy = busy;
            }
        };
        set_busy(true);
        self.take(number, body);
        set_busy(false);
    }

    fn take(&self, number: u64, body: &mut impl Read) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = body.read(&mut buffer) {
            let mut state = self.state.lock().unwrap();
            let Some(upload) = state.uploads.get_mut(&number) else {
                return; // given up meanwhile
            };
            upload.hasher.update(&buffer[..read]);
            upload.size += read as u64;
            if !self.manners.discards {
                upload.content.extend_from_slice(&buffer[..read]);
            }
        }
    }

    fn commit(&self, number: u64, digest: String) -> Answer {
        let mut state = self.state.lock().unwrap();
        let upload = state.uploads.remove(&number).unwrap();
        let actual = digest_of(upload.hasher);
        if actual != digest {
            let error = r#"{"errors":[{"code":"DIGEST_INVALID","message":"not what it says"}]}"#;
            return Answer {
                status: 400,
                ..Answer::ok(error)
            };
        }
        let blob = Blob {
            content: upload.content,
            size: upload.size,
        };
        state.blobs.insert((upload.repository, digest), blob);
        Answer::status(201)
    }

    fn read_blob(&self, request: &Request, repository: &str, digest: &str) -> Answer {
        let state = self.state.lock().unwrap();
        let key = (repository.to_owned(), digest.to_owned());
        let Some(blob) = state.blobs.get(&key) else {
            return Answer::status(404);
        };
        let length = blob.size.to_string();
        if request.method == "HEAD" {
            return Answer::status(200).with("Content-Length", length);
        }
        Answer::ok(blob.content.clone())
    }

    fn referrers(&self, repository: &str, subject: &str) -> Answer {
        if !self.manners.lists_referrers {
            return Answer::status(404);
        }
        let state = self.state.lock().unwrap();
        let mut entries = Vec::new();
        for ((of, version), (media_type, bytes)) in &state.manifests {
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let is_about = document["subject"]["digest"] == subject;
            if of == repository && version.contains(':') && is_about {
                entries.push(serde_json::json!({
                    "mediaType": media_type, "digest": version, "size": bytes.len(),
                }));
            }
        }
        let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
        Answer::ok(index.to_string())
    }

    /// Only if all that it refers to is there, as registries do.
    fn take_manifest(
        &self,
        request: &Request,
        key: (String, String),
        body: &mut impl BufRead,
    ) -> Answer {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let mut state = self.state.lock().unwrap();
        let digests = |value: &serde_json::Value| -> Vec<String> {
            let list = value.as_array().cloned().unwrap_or_default();
            let digest = |one: &serde_json::Value| one["digest"].as_str().unwrap().to_owned();
            list.iter().map(digest).collect()
        };
        let mut blobs = digests(&document["layers"]);
        if let Some(config) = document["config"]["digest"].as_str() {
            blobs.push(config.to_owned());
        }
        let of = |name: &String| (key.0.clone(), name.clone());
        let has_blobs = blobs.iter().all(|blob| state.blobs.contains_key(&of(blob)));
        let is_referrers_list = key.1.starts_with("sha256-");
        let manifests = digests(&document["manifests"]);
        let has_manifests = manifests
            .iter()
            .all(|manifest| state.manifests.contains_key(&of(manifest)));
        if !has_blobs || !(has_manifests || is_referrers_list) {
            let error = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#;
            return Answer {
                status: 404,
                ..Answer::ok(error)
            };
        }
        let digest = Digest::of(&bytes).to_string();
        let media_type = request.header("content-type").unwrap().to_owned();
        let by_digest = (key.0.clone(), digest.clone());
        state
            .manifests
            .insert(by_digest, (media_type.clone(), bytes.clone()));
        state.manifests.insert(key, (media_type, bytes));
        let mut answer = Answer::status(201);
        if !self.manners.names_no_digest {
            answer = answer.with("Docker-Content-Digest", digest);
        }
        if let (true, Some(subject)) = (
            self.manners.lists_referrers,
            document["subject"]["digest"].as_str(),
        ) {
            answer = answer.with("OCI-Subject", subject);
        }
        answer
    }
}
