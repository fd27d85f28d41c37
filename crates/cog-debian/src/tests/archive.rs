//! A small Debian archive on this machine, signed by keys made for it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgp::composed::{CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::types::Password;
use sha2::{Digest as _, Sha256};

use super::packages::{DebFile, Entry, deb, xz};
use super::support::silent;
use crate::keyring::Keyring;
use crate::{Architecture, Mirror, Request, Suite};
use hex::encode as hex;

/// The packages that every base of bookworm has; all are made up here.
const USUAL: [&str; 7] = [
    "base-files",
    "apt",
    "ca-certificates",
    "netbase",
    "tzdata",
    "python3",
    "python3-distutils",
];

/// Files by their path below the server's address.
type Files = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// An archive that is served over HTTP until it is dropped.
pub(super) struct FakeArchive {
    key: SignedSecretKey,
    files: Files,
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    pub(super) cache: tempfile::TempDir,
    /// Stanzas of the package index.
    index: String,
}

impl FakeArchive {
    /// An archive of the usual packages, each of which has one file.
    pub(super) fn new() -> Self {
        let mut archive = Self {
            key: key(),
            files: Arc::default(),
            address: String::new(),
            asked: Arc::default(),
            stopped: Arc::default(),
            cache: tempfile::tempdir().unwrap(),
            index: String::new(),
        };
        archive.start();
        for name in USUAL {
            let path = format!("usr/share/test/{name}");
            let essential = if name == "base-files" {
                "Essential: yes\n"
            } else {
                ""
            };
            archive.add_package(name, essential, &[Entry::file(&path, "content")]);
        }
        archive.publish(&Publication::default());
        archive
    }

    fn start(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.address = format!("http://{}", listener.local_addr().unwrap());
        let (files, asked) = (Arc::clone(&self.files), Arc::clone(&self.asked));
        let stopped = Arc::clone(&self.stopped);
        // It ends with the test's process, if not earlier.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (files, asked) = (Arc::clone(&files), Arc::clone(&asked));
                std::thread::spawn(move || answer(stream, &files, &asked));
            }
        });
    }

    /// From now on, the archive cannot be reached.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let address = self.address.trim_start_matches("http://");
        // One connection wakes the server; once it is gone, there are no more.
        while TcpStream::connect(address).is_ok() {}
    }

    /// Adds a package of version 1 with further `fields`. It is in the index once that is published.
    pub(super) fn add_package(&mut self, name: &str, fields: &str, entries: &[Entry<'_>]) {
        let control = format!("Package: {name}\nVersion: 1\nArchitecture: all\n{fields}");
        let content = deb(&DebFile {
            entries,
            control: &control,
            ..DebFile::default()
        });
        let (size, sum) = (content.len(), hex(Sha256::digest(&content)));
        let path = format!("pool/{name}.deb");
        let _ = write!(
            self.index,
            "{control}Filename: {path}\nSize: {size}\nSHA256: {sum}\n\n"
        );
        self.put(&format!("debian/{path}"), content);
    }

    /// Signs and offers what was added, as the main archive of bookworm.
    pub(super) fn publish(&self, publication: &Publication<'_>) {
        self.publish_index("debian/dists/bookworm", &self.index, publication);
    }

    /// Signs and offers an archive of security updates without packages.
    pub(super) fn publish_security(&self) {
        let publication = Publication {
            codename: "bookworm-security",
            ..Publication::default()
        };
        self.publish_index("debian-security/dists/bookworm-security", "", &publication);
    }

    fn publish_index(&self, folder: &str, index: &str, publication: &Publication<'_>) {
        let packages = xz(index.as_bytes());
        let (size, sum) = (packages.len(), hex(Sha256::digest(&packages)));
        let Publication {
            codename,
            date,
            fields,
        } = publication;
        let text = format!(
            "Codename: {codename}\nDate: {date}\nAcquire-By-Hash: yes\n{fields}SHA256:\n {sum} {size} \
             main/binary-amd64/Packages.xz\n"
        );
        self.put(&format!("{folder}/InRelease"), self.sign(&text));
        self.put(
            &format!("{folder}/main/binary-amd64/by-hash/SHA256/{sum}"),
            packages,
        );
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let signed = CleartextSignedMessage::sign(
            rand::thread_rng(),
            text,
            &self.key.primary_key,
            &Password::empty(),
        );
        signed.unwrap().to_armored_bytes(None.into()).unwrap()
    }

    pub(super) fn put(&self, path: &str, content: Vec<u8>) {
        self.files.lock().unwrap().insert(path.to_owned(), content);
    }

    /// Changes the first file whose path ends so.
    pub(super) fn change(&self, suffix: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.files.lock().unwrap();
        let (_, content) = files
            .iter_mut()
            .find(|(path, _)| path.ends_with(suffix))
            .unwrap();
        change(content);
    }

    pub(super) fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(path).unwrap();
    }

    /// The paths that were asked for since the last call.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// A mirror that is known to have security updates, as the `apt` of a host names it.
    pub(super) fn named_mirror(&self) -> Mirror {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/apt");
        fs_err::create_dir_all(&folder).unwrap();
        let line =
            |place: &str, suite: &str| format!("deb {}/{place} {suite} main\n", self.address);
        let sources = line("debian", "bookworm") + &line("debian-security", "bookworm-security");
        fs_err::write(folder.join("sources.list"), sources).unwrap();
        Mirror::of_host(root.path()).unwrap()
    }

    pub(super) fn mirror(&self) -> Mirror {
        Mirror::at(&format!("{}/debian", self.address)).unwrap()
    }

    pub(super) fn keyring(&self) -> Keyring {
        Keyring::of(vec![self.key.to_public_key()])
    }

    pub(super) fn request(&self) -> Request<'_> {
        request(self.cache.path(), self.mirror())
    }
}

fn request(cache_dir: &Path, mirror: Mirror) -> Request<'_> {
    Request {
        suite: Suite::Bookworm,
        architecture: Architecture::Amd64,
        extra_packages: &[],
        cache_dir,
        mirror,
        freshness: Duration::ZERO,
        threads: 2,
        progress: &silent,
    }
}

/// What a release file says.
pub(super) struct Publication<'a> {
    pub(super) codename: &'a str,
    pub(super) date: &'a str,
    pub(super) fields: &'a str,
}

impl Default for Publication<'_> {
    fn default() -> Self {
        Self {
            codename: "bookworm",
            date: "Sat, 11 Jul 2026 10:16:37 UTC",
            fields: "",
        }
    }
}

fn key() -> SignedSecretKey {
    let mut parameters = SecretKeyParamsBuilder::default();
    parameters
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id("Test <test@example.org>".to_owned());
    parameters
        .build()
        .unwrap()
        .generate(rand::thread_rng())
        .unwrap()
}

fn answer(mut stream: TcpStream, files: &Files, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let path = first
        .split(' ')
        .nth(1)
        .unwrap()
        .trim_start_matches('/')
        .to_owned();
    let content = files.lock().unwrap().get(&path).cloned();
    asked.lock().unwrap().push(path);
    let status = if content.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let content = content.unwrap_or_default();
    let length = content.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all(&content);
}
