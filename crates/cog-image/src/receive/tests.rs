//! The registry as a daemon sees it that pushes, and as somebody sees it who has no business there.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;
use crate::ImageConfig;
use crate::layer::{Compression, Entry, EntryKind, LayerOptions};
use crate::manifest::{OCI_CONFIG, OCI_INDEX, Platform, to_json};

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

/// A layer with one file, and the blob that a daemon pushes of it.
fn layer(store: &Store, name: &str) -> (Layer, Vec<u8>) {
    let entry = Entry {
        path: name.into(),
        kind: EntryKind::Bytes(name.into()),
        mode: 0o644,
    };
    let options = LayerOptions {
        compression: Compression::Gzip,
        ..LayerOptions::default()
    };
    let layer = store.add_layer_from_entries(vec![entry], &options).unwrap();
    let bytes = fs_err::read(store.blob_path(&layer.blob.digest)).unwrap();
    (layer, bytes)
}

fn waiting(store: &Store, lacking: &[Digest]) -> Receiving {
    let expected = Expected {
        lacking: lacking.iter().copied().collect(),
        most: 1 << 20,
    };
    Receiving::start(store, expected, "tag", Arc::new(|_| ())).unwrap()
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value)
    }
}

fn ask(receiving: &Receiving, method: &str, path: &str, body: &[u8]) -> Answer {
    let mut connection = TcpStream::connect(receiving.server.address()).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    // Whoever refuses may hang up before the end.
    let _ = connection.write_all(body);
    let mut all = Vec::new();
    let _ = connection.read_to_end(&mut all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: all[end + 4..].to_vec(),
        head,
    }
}

/// Of Docker's kind: the bytes first, then their digest.
fn upload(receiving: &Receiving, blob: &[u8]) -> Answer {
    let begun = ask(receiving, "POST", &path(receiving, "blobs/uploads/"), b"");
    assert_eq!(begun.status, 202);
    let place = begun.header("location").unwrap().to_owned();
    let middle = blob.len() / 2;
    for (piece, last) in [(&blob[..middle], middle), (&blob[middle..], blob.len())] {
        let sent = ask(receiving, "PATCH", &place, piece);
        assert_eq!(sent.status, 202);
        assert_eq!(
            sent.header("range"),
            Some(format!("0-{}", last - 1).as_str())
        );
    }
    let digest = Digest::of(blob).to_string().replace(':', "%3A");
    ask(receiving, "PUT", &format!("{place}?digest={digest}"), b"")
}

fn path(receiving: &Receiving, rest: &str) -> String {
    format!("/v2/{}/{rest}", receiving.shared.repository)
}

fn config(layers: &[Layer]) -> Vec<u8> {
    let mut config = ImageConfig::default();
    config.set_env("A", "b");
    config.to_document(layers)
}

fn manifest(config: &[u8], layers: &[Descriptor]) -> Vec<u8> {
    let config = Descriptor::new(OCI_CONFIG, Digest::of(config), config.len() as u64);
    to_json(&Manifest::new(config, layers.to_vec()))
}

fn is_here(receiving: &Receiving, digest: &Digest) -> u16 {
    let asked = ask(
        receiving,
        "HEAD",
        &path(receiving, &format!("blobs/{digest}")),
        b"",
    );
    asked.status
}

#[test]
fn what_is_known_is_not_sent_and_what_is_new_is_taken() {
    let place = place();
    let (below, _) = layer(&place.store, "below");
    let (new, blob) = layer(&place.store, "new");
    let config = config(&[below.clone(), new.clone()]);
    let receiving = waiting(&place.store, &[Digest::of(&config)]);
    let (repository, tag) = receiving.reference();
    assert!(repository.starts_with("127.0.0.1:"), "{repository}");
    assert_eq!(tag, "tag");
    assert_eq!(ask(&receiving, "GET", "/v2/", b"").status, 200);
    assert!(!receiving.was_reached());
    // By a digest that only the daemon knows the layer by.
    let elsewhere = Digest::of(b"from another registry");
    assert_eq!(is_here(&receiving, &elsewhere), 200);
    assert!(receiving.was_reached());
    assert_eq!(is_here(&receiving, &Digest::of(&config)), 404);
    for blob in [&blob, &config] {
        let sent = upload(&receiving, blob);
        assert_eq!(sent.status, 201);
        let digest = Digest::of(blob);
        assert_eq!(
            sent.header("docker-content-digest"),
            Some(digest.to_string().as_str())
        );
        assert_eq!(is_here(&receiving, &digest), 200);
    }
    assert_eq!(receiving.received(), (blob.len() + config.len()) as u64);
    let layers = [Descriptor::new("x", elsewhere, 1), new.blob.clone()];
    let manifest = manifest(&config, &layers);
    let place_of = path(&receiving, "manifests/tag");
    assert_eq!(ask(&receiving, "HEAD", &place_of, b"").status, 404);
    assert_eq!(ask(&receiving, "PUT", &place_of, &manifest).status, 201);
    let taken = receiving
        .take(&place.store, std::slice::from_ref(&below))
        .unwrap();
    let Taken::Image(image) = taken else {
        panic!("{taken:?}")
    };
    assert_eq!(image.config().env_value("A"), Some("b"));
    let into = tempfile::tempdir().unwrap();
    image.unpack(1, into.path()).unwrap();
    assert_eq!(fs_err::read(into.path().join("new")).unwrap(), b"new");
    let layers = image.layers(&place.store, Compression::Gzip, 1).unwrap();
    assert_eq!(layers, [below, new]);
}

#[test]
fn what_should_have_come_is_told_by_the_name_that_it_was_asked_for_by() {
    let place = place();
    let (below, _) = layer(&place.store, "below");
    let (new, _) = layer(&place.store, "new");
    let config = config(&[below.clone(), new.clone()]);
    let asked = [Digest::of(b"1"), Digest::of(b"2")];
    let layers = asked.map(|digest| Descriptor::new("x", digest, 1));
    let push = |lacking: &[Digest], with_config: bool| {
        let receiving = waiting(&place.store, lacking);
        if with_config {
            upload(&receiving, &config);
        }
        let manifest = manifest(&config, &layers);
        ask(
            &receiving,
            "PUT",
            &path(&receiving, "manifests/tag"),
            &manifest,
        );
        match receiving.take(&place.store, std::slice::from_ref(&below)) {
            Ok(Taken::Lacks(lacking)) => lacking,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(push(&[], false), HashSet::from([Digest::of(&config)]));
    assert_eq!(push(&[], true), HashSet::from([asked[1]]));
    let receiving = waiting(&place.store, &[asked[1]]);
    assert_eq!(is_here(&receiving, &asked[0]), 200);
    assert_eq!(is_here(&receiving, &asked[1]), 404);
}

#[test]
fn of_an_index_the_image_is_taken() {
    let place = place();
    let (new, blob) = layer(&place.store, "new");
    let config = config(std::slice::from_ref(&new));
    let receiving = waiting(&place.store, &[]);
    // Of containerd's kind: all in one request.
    for blob in [&blob, &config] {
        let begun = ask(&receiving, "POST", &path(&receiving, "blobs/uploads/"), b"");
        let place = begun.header("location").unwrap();
        let place = format!("{place}?digest={}", Digest::of(blob));
        assert_eq!(ask(&receiving, "PUT", &place, blob).status, 201);
    }
    let manifest = manifest(&config, std::slice::from_ref(&new.blob));
    let said_of_it = b"{}".to_vec();
    let entry = |document: &[u8], platform| Descriptor {
        platform: Some(platform),
        ..Descriptor::new("x", Digest::of(document), document.len() as u64)
    };
    let index = to_json(&Index {
        manifests: vec![
            entry(&said_of_it, Platform::new("unknown", "unknown")),
            entry(&manifest, Platform::host()),
        ],
        ..Index::default()
    });
    assert!(String::from_utf8_lossy(&index).contains(OCI_INDEX));
    for document in [&said_of_it, &manifest] {
        let place = path(&receiving, &format!("manifests/{}", Digest::of(document)));
        assert_eq!(ask(&receiving, "PUT", &place, document).status, 201);
    }
    let place_of = path(&receiving, "manifests/tag");
    assert_eq!(ask(&receiving, "PUT", &place_of, &index).status, 201);
    let taken = receiving.take(&place.store, &[]).unwrap();
    assert!(matches!(taken, Taken::Image(image) if image.layer_count() == 1));
}

#[test]
fn nothing_comes_from_strangers_and_nothing_is_read() {
    let place = place();
    let (new, blob) = layer(&place.store, "new");
    let receiving = waiting(&place.store, &[]);
    let foreign = format!("/v2/0{}", &receiving.shared.repository[1..]);
    // One in sixteen names begins with the digit that is put in here.
    let foreign = if foreign == path(&receiving, "").trim_end_matches('/') {
        foreign.replacen("/v2/0", "/v2/1", 1)
    } else {
        foreign
    };
    for (method, rest) in [
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/tag"),
        ("HEAD", "blobs/x"),
    ] {
        let asked = ask(&receiving, method, &format!("{foreign}/{rest}"), b"{}");
        assert_eq!(asked.status, 404, "{method} {rest}");
    }
    assert!(!receiving.was_reached());
    upload(&receiving, &blob);
    let digest = new.blob.digest;
    for rest in [
        format!("blobs/{digest}"),
        "blobs/uploads/0".to_owned(),
        "blobs/uploads/../../etc".to_owned(),
        "manifests/tag".to_owned(),
        "tags/list".to_owned(),
    ] {
        let asked = ask(&receiving, "GET", &path(&receiving, &rest), b"");
        assert!(
            [404, 405].contains(&asked.status),
            "{rest}: {}",
            asked.status
        );
        assert!(!asked.body.windows(3).any(|three| three == b"new"));
    }
    for (method, rest) in [
        ("PATCH", "blobs/uploads/7".to_owned()),
        ("PATCH", "blobs/uploads/0".to_owned()),
        ("PUT", format!("blobs/uploads/7?digest={digest}")),
        ("PUT", "manifests/other".to_owned()),
        ("PUT", format!("manifests/{digest}")),
        ("DELETE", format!("blobs/{digest}")),
        ("POST", "manifests/tag".to_owned()),
    ] {
        let asked = ask(&receiving, method, &path(&receiving, &rest), b"{}");
        assert!((400..500).contains(&asked.status), "{method} {rest}");
    }
    let missing = receiving.take(&place.store, &[]).unwrap_err().to_string();
    assert!(missing.contains("its manifest has not come"), "{missing}");
}

#[test]
fn a_blob_is_what_it_is_called() {
    let place = place();
    let receiving = waiting(&place.store, &[]);
    let begun = ask(&receiving, "POST", &path(&receiving, "blobs/uploads/"), b"");
    let place_of = begun.header("location").unwrap();
    let wrong = format!("{place_of}?digest={}", Digest::of(b"another"));
    assert_eq!(ask(&receiving, "PUT", &wrong, b"this").status, 400);
    assert!(receiving.shared.state().blobs.is_empty());
}

#[test]
fn there_is_an_end_to_what_is_taken() {
    let place = place();
    let receiving = waiting(&place.store, &[]);
    let begun = ask(&receiving, "POST", &path(&receiving, "blobs/uploads/"), b"");
    let place_of = begun.header("location").unwrap();
    ask(&receiving, "PATCH", place_of, &vec![0; 2 << 20]);
    let failure = receiving.failure().unwrap().to_string();
    assert!(failure.contains("more than 1048576 bytes"), "{failure}");
    let manifests = (0..20).map(|number| {
        let document = format!("{{\"number\": {number}}}");
        let place = path(
            &receiving,
            &format!("manifests/{}", Digest::of(document.as_bytes())),
        );
        ask(&receiving, "PUT", &place, document.as_bytes()).status
    });
    let taken = manifests.filter(|status| *status == 201).count();
    assert_eq!(taken, 16);
    let large = vec![b' '; usize::try_from(MAX_DOCUMENT).unwrap() + 1];
    let place_of = path(&receiving, "manifests/tag");
    assert!(ask(&receiving, "PUT", &place_of, &large).status >= 400);
    let uploads = (0..1_100)
        .map(|_| ask(&receiving, "POST", &path(&receiving, "blobs/uploads/"), b"").status);
    assert_eq!(uploads.filter(|status| *status == 202).count(), 999);
}

#[test]
fn a_manifest_and_a_config_that_do_not_fit_are_told() {
    let place = place();
    let (one, _) = layer(&place.store, "one");
    let config = config(std::slice::from_ref(&one));
    let told = |document: &[u8]| {
        let receiving = waiting(&place.store, &[]);
        upload(&receiving, &config);
        ask(
            &receiving,
            "PUT",
            &path(&receiving, "manifests/tag"),
            document,
        );
        receiving.take(&place.store, &[]).unwrap_err().to_string()
    };
    let two = [one.blob.clone(), one.blob.clone()];
    let found = told(&manifest(&config, &two));
    assert!(
        found.contains("it lists 2 layers, and its config 1"),
        "{found}"
    );
    assert!(told(b"{").contains("the manifest of the pushed image is not valid"));
}
