//! A package index on a loopback port, with wheels made on the spot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// What every project gets besides what it names.
const BROUGHT: [&str; 6] = [
    "pip",
    "pyyaml",
    "requests",
    "setuptools",
    "structlog",
    "typing-extensions",
];

/// A file that is offered.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) name: &'static str,
    pub(crate) file: String,
    /// The hash that the page says.
    pub(crate) sha256: String,
    /// What is sent.
    pub(crate) content: Vec<u8>,
}

impl Offer {
    pub(crate) fn wheel(name: &'static str, version: &str) -> Self {
        let content = wheel(name, version);
        Self {
            name,
            file: format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")),
            sha256: hex::encode(Sha256::digest(&content)),
            content,
        }
    }
}

pub(crate) struct Index {
    pub(crate) url: String,
}

impl Index {
    pub(crate) fn new(offers: Vec<Offer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/simple/", listener.local_addr().unwrap());
        let brought = BROUGHT.map(|name| Offer::wheel(name, "1.0"));
        let offers: Arc<Vec<Offer>> = Arc::new(offers.into_iter().chain(brought).collect());
        // It ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let offers = Arc::clone(&offers);
                std::thread::spawn(move || answer(stream, &offers));
            }
        });
        Self { url }
    }
}

fn answer(mut stream: TcpStream, offers: &[Offer]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap_or_default() > 2 {
        request.push_str(&line);
        line.clear();
    }
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let (kind, body) = match path.trim_matches('/').split_once('/') {
        Some(("simple", name)) => match page(name, offers) {
            Some(page) => ("text/html", page.into_bytes()),
            None => return send(&mut stream, "404 Not Found", "text/plain", b""),
        },
        Some(("files", file)) => {
            let offer = offers.iter().find(|offer| offer.file == file).unwrap();
            ("application/octet-stream", offer.content.clone())
        }
        _ => panic!("{request}"),
    };
    send(&mut stream, "200 OK", kind, &body);
}

fn send(stream: &mut TcpStream, status: &str, kind: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

fn page(name: &str, offers: &[Offer]) -> Option<String> {
    let mut links = String::new();
    for Offer { file, sha256, .. } in offers.iter().filter(|offer| offer.name == name) {
        writeln!(
            links,
            "<a href=\"/files/{file}#sha256={sha256}\">{file}</a>"
        )
        .unwrap();
    }
    (!links.is_empty()).then(|| format!("<!DOCTYPE html><html><body>{links}</body></html>"))
}

/// A wheel with one module, which has its version.
pub(crate) fn wheel(name: &str, version: &str) -> Vec<u8> {
    wheel_with(name, version, &format!("VERSION = \"{version}\"\n"))
}

/// A wheel with one module.
pub(crate) fn wheel_with(name: &str, version: &str, text: &str) -> Vec<u8> {
    let module = name.replace('-', "_");
    let info = format!("{module}-{version}.dist-info");
    let files = BTreeMap::from([
        (format!("{module}.py"), text.to_owned()),
        (
            format!("{info}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
        ),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                .to_owned(),
        ),
        (
            format!("{info}/RECORD"),
            format!("{module}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"),
        ),
    ]);
    zip(&files)
}

/// A ZIP archive without compression.
fn zip(files: &BTreeMap<String, String>) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for (name, content) in files {
        let offset = u32::try_from(archive.len()).unwrap();
        let size = u32::try_from(content.len()).unwrap();
        let mut fields = Vec::new();
        // Version, flags, method, time, date.
        for field in [20_u16, 0, 0, 0, 0x21] {
            fields.extend(field.to_le_bytes());
        }
        for field in [crc32(content.as_bytes()), size, size] {
            fields.extend(field.to_le_bytes());
        }
        fields.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        fields.extend([0, 0]);
        archive.extend(b"PK\x03\x04");
        archive.extend(&fields);
        archive.extend(name.as_bytes());
        archive.extend(content.as_bytes());
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let start = u32::try_from(archive.len()).unwrap();
    let size = u32::try_from(directory.len()).unwrap();
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(count);
    archive.extend(count);
    archive.extend(size.to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}
