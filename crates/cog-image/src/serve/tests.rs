//! The server as a daemon sees it, and as somebody sees it who has no business there.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use super::*;
use crate::layer::{Entry, EntryKind, LayerOptions};
use crate::manifest::Manifest;
use crate::{ImageConfig, StoredImage};

struct Place {
    _folder: tempfile::TempDir,
    store: Store,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    Place {
        _folder: folder,
        store,
    }
}

fn image(store: &Store, name: &str, text: &str) -> StoredImage {
    let entry = Entry {
        path: "src/run.py".into(),
        kind: EntryKind::Bytes(text.as_bytes().to_vec()),
        mode: 0o644,
    };
    let layer = store
        .add_layer_from_entries(vec![entry], &LayerOptions::default())
        .unwrap();
    store
        .put_image(name, &ImageConfig::default(), &[layer])
        .unwrap()
}

fn serve(store: &Store, image: &StoredImage, zstd: Zstd) -> Served {
    let content = Content::of_image(store, image, zstd).unwrap();
    Served::start(store, content, "latest", Arc::new(|_| ())).unwrap()
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn ask(served: &Served, method: &str, path: &str) -> Answer {
    let mut connection = TcpStream::connect(served.server.address()).unwrap();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut all = Vec::new();
    connection.read_to_end(&mut all).unwrap();
    // The connection just ends where there is nothing to send.
    let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Answer {
            status: 0,
            head: String::new(),
            body: all,
        };
    };
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: all[end + 4..].to_vec(),
    }
}

impl Served {
    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.shared.repository)
    }
}

#[test]
fn an_image_is_read_and_what_was_sent_is_counted() {
    let place = place();
    let image = image(&place.store, "a:1", "text");
    let served = serve(&place.store, &image, Zstd::Understood);
    assert!(served.reference().starts_with("127.0.0.1:"));
    assert!(served.reference().ends_with(":latest"));
    assert_eq!(ask(&served, "GET", "/v2/").status, 200);
    assert!(!served.was_read());
    let answer = ask(&served, "GET", &served.path("manifests/latest"));
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("application/vnd.oci.image.manifest.v1+json")
    );
    assert_eq!(crate::Digest::of(&answer.body), image.manifest.digest);
    assert!(served.was_read());
    let by_digest = served.path(&format!("manifests/{}", image.manifest.digest));
    assert_eq!(ask(&served, "GET", &by_digest).body, answer.body);
    assert_eq!(served.sent(), 0, "documents do not count");
    for blob in Manifest::parse(&answer.body, "it").unwrap().blobs() {
        let path = served.path(&format!("blobs/{}", blob.digest));
        let head = ask(&served, "HEAD", &path);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert!(
            head.head
                .contains(&format!("content-length: {}", blob.size)),
            "{}",
            head.head
        );
        assert_eq!(
            crate::Digest::of(&ask(&served, "GET", &path).body),
            blob.digest
        );
    }
    assert_eq!(served.sent(), image.layers[0].blob.size);
}

#[test]
fn layers_go_without_compression_where_theirs_is_refused() {
    let place = place();
    let image = image(&place.store, "a:1", "text");
    let served = serve(&place.store, &image, Zstd::Refused);
    let manifest = ask(&served, "GET", &served.path("manifests/latest")).body;
    let manifest = Manifest::parse(&manifest, "it").unwrap();
    let [layer] = manifest.layers.as_slice() else {
        panic!("{manifest:?}")
    };
    assert_eq!(layer.digest, image.layers[0].diff_id.digest());
    assert_eq!(layer.media_type, "application/vnd.oci.image.layer.v1.tar");
    let blob = ask(
        &served,
        "GET",
        &served.path(&format!("blobs/{}", layer.digest)),
    );
    assert_eq!(blob.body.len() as u64, layer.size);
    assert_eq!(crate::Digest::of(&blob.body), layer.digest);
    // Its config is the same, so that it is the same image for a daemon.
    assert_eq!(manifest.config.digest, image.config_blob.digest);
}

#[test]
fn nothing_else_is_there_and_nothing_can_be_written() {
    let place = place();
    let other = image(&place.store, "other:1", "secret");
    let image = image(&place.store, "a:1", "text");
    let served = serve(&place.store, &image, Zstd::Understood);
    let layer = image.layers[0].blob.digest;
    let foreign = other.layers[0].blob.digest;
    let hex = layer.hex();
    for path in [
        served.path(&format!("blobs/{foreign}")),
        served.path(&format!("manifests/{}", other.manifest.digest)),
        served.path("manifests/other"),
        served.path("tags/list"),
        served.path("blobs/../../index.json"),
        served.path(&format!("blobs/sha256:../{hex}")),
        served.path(&format!("blobs/sha256:{hex}/..")),
        served.path("../a/manifests/latest"),
        "/v2/_catalog".to_owned(),
        "/v2/a/manifests/latest".to_owned(),
        format!("/v2/0{}/blobs/{layer}", &served.shared.repository[1..]),
        format!("/v2/blobs/{layer}"),
        "/".to_owned(),
        "/etc/passwd".to_owned(),
    ] {
        // One in sixteen names begins with the digit that is put in here.
        let path = if path == served.path(&format!("blobs/{layer}")) {
            path.replacen("/v2/0", "/v2/1", 1)
        } else {
            path
        };
        let answer = ask(&served, "GET", &path);
        assert_eq!(answer.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for path in [
            served.path("blobs/uploads/"),
            served.path("manifests/latest"),
        ] {
            assert_eq!(ask(&served, method, &path).status, 405, "{method} {path}");
        }
    }
    assert_eq!(served.sent(), 0);
    assert!(!served.was_read());
}

#[test]
fn a_damaged_layer_is_told_and_discarded() {
    let place = place();
    let image = image(&place.store, "a:1", "text");
    let blob = &image.layers[0].blob;
    let served = serve(&place.store, &image, Zstd::Understood);
    let size = usize::try_from(blob.size).unwrap();
    fs_err::write(place.store.blob_path(&blob.digest), vec![0; size]).unwrap();
    let path = served.path(&format!("blobs/{}", blob.digest));
    ask(&served, "GET", &path);
    // The bytes are there before their digest is known: whoever reads compares it, too.
    let failure = loop {
        if let Some(failure) = served.failure() {
            break failure.to_string();
        }
        std::thread::yield_now();
    };
    assert!(failure.contains("is corrupt"), "{failure}");
    assert!(!place.store.has_blob(blob));
    assert!(ask(&served, "GET", &path).body.is_empty());
    assert!(served.failure().is_some());
}

#[test]
fn an_archive_is_written_without_going_back() {
    let place = place();
    let image = image(&place.store, "a:1", "text");
    let content = Content::of_image(&place.store, &image, Zstd::Refused).unwrap();
    let mut archive = Vec::new();
    content
        .write_archive(&place.store, "a:1", &mut archive)
        .unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        names.push((
            entry.path().unwrap().display().to_string(),
            crate::Digest::of(&bytes),
        ));
    }
    let config = image.config_blob.digest;
    let layer = image.layers[0].diff_id.digest();
    assert_eq!(names[0].0, "manifest.json");
    assert_eq!(names[1], (format!("{}.json", config.hex()), config));
    assert_eq!(names[2], (format!("{}.tar", layer.hex()), layer));
    assert_eq!(names.len(), 3);
}

#[test]
fn layers_that_were_not_sent_are_in_a_layout() {
    let place = place();
    let layer = |name: &str, size: usize| {
        // Such bytes are not compressed.
        let mut random = vec![0; size];
        let mut source = fs_err::File::open("/dev/urandom").unwrap();
        source.read_exact(&mut random).unwrap();
        let entry = Entry {
            path: name.into(),
            kind: EntryKind::Bytes(random),
            mode: 0o644,
        };
        let options = LayerOptions::default();
        let layer = place.store.add_layer_from_entries(vec![entry], &options);
        layer.unwrap()
    };
    let layers = [
        layer("sent", 100),
        layer("huge", 30 << 20),
        layer("small", 1_000),
        layer("large", 2 << 20),
    ];
    let [sent, huge, small, large] = [0, 1, 2, 3].map(|number: usize| layers[number].blob.digest);
    let content = Content::of_layers(
        &place.store,
        &ImageConfig::default(),
        &layers,
        Zstd::Understood,
    )
    .unwrap();
    let served = Served::start(&place.store, content.clone(), "latest", Arc::new(|_| ())).unwrap();
    assert_eq!(served.given(), HashSet::new());
    ask(&served, "HEAD", &served.path(&format!("blobs/{huge}")));
    ask(&served, "GET", &served.path(&format!("blobs/{sent}")));
    // The connection may end a moment before.
    while served.given().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(served.given(), HashSet::from([sent]));
    let portions = content.portions(&served.given());
    let expected = [small, large, huge].map(|digest| HashSet::from([digest]));
    assert_eq!(portions, expected);
    assert!(
        content
            .portions(&HashSet::from([sent, huge, small, large]))
            .is_empty()
    );
    let mut archive = Vec::new();
    let name = "127.0.0.1:1/a:b";
    content
        .write_layout(
            &place.store,
            name,
            &HashSet::from([small, large]),
            &mut archive,
        )
        .unwrap();
    let mut documents = std::collections::HashMap::new();
    let mut archive = tar::Archive::new(archive.as_slice());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        documents.insert(path, bytes);
    }
    let mut paths: Vec<String> = [small, large]
        .into_iter()
        .chain(content.ids())
        .map(|digest| {
            let path = format!("blobs/sha256/{}", digest.hex());
            assert_eq!(Digest::of(&documents[&path]), digest);
            path
        })
        .collect();
    paths.extend(["index.json", "oci-layout"].map(str::to_owned));
    let mut found: Vec<&String> = documents.keys().collect();
    found.sort();
    paths.sort();
    assert_eq!(found, paths.iter().collect::<Vec<_>>());
    let index: serde_json::Value = serde_json::from_slice(&documents["index.json"]).unwrap();
    let [_, manifest] = content.ids();
    let entry = &index["manifests"][0];
    assert_eq!(entry["digest"], manifest.to_string());
    assert_eq!(entry["annotations"]["io.containerd.image.name"], name);
}
