//! Content that is in a registry comes by being asked for, whoever asks.

use std::sync::{Arc, Mutex};

use cog_image::registry::{Progress, RemoteImage, Wait};
use cog_image::{
    Compression, Error, ExportOptions, ExportTarget, Platform, Store, StoreOptions, Transfer,
    export, validate,
};

use crate::registry::{client, is_layer, large_image, run};
use crate::server::{Answer, Content, Server};
use crate::support::{TestStore, flip_byte, image, test_store};

/// A store that knows an image of `server`, but has none of its layers.
fn store_with_reference(server: &Server) -> (TestStore, RemoteImage) {
    let store = test_store();
    let reference = server.reference("a/b:1");
    let platform = Platform::linux_amd64();
    let remote = run(client().resolve(&store, &reference, &platform)).unwrap();
    store
        .put_image("based", &remote.config, &remote.layers)
        .unwrap();
    for layer in &remote.layers {
        assert!(!store.has_blob(&layer.blob));
    }
    (store, remote)
}

fn serve_two_layers() -> Server {
    let origin = test_store();
    let original = image(&origin, "hello");
    let mut content = Content::default();
    content.add(&origin, &original, "a/b", "1");
    Server::start(content)
}

#[test]
fn snapshots_fetch() {
    let server = serve_two_layers();
    let (store, remote) = store_with_reference(&server);
    for layer in &remote.layers {
        assert!(store.snapshot(layer).unwrap().is_dir());
    }
    let (store, remote) = store_with_reference(&server);
    let rootfs = store.rootfs(&remote.layers).unwrap();
    assert_eq!(rootfs.layers().len(), 2);
    assert!(rootfs.find("usr/bin/tool").is_some());
    assert!(rootfs.find("usr/bin/other").is_none());
}

#[test]
fn exports_fetch() {
    let server = serve_two_layers();
    for (target, compression) in [
        (ExportTarget::OciDir, None),
        (ExportTarget::OciArchive, None),
        (ExportTarget::DockerArchive, None),
        (ExportTarget::OciDir, Some(Compression::Gzip)),
    ] {
        let (store, _) = store_with_reference(&server);
        // Another process, which knows only what the store knows.
        let store = Store::open(store.root()).unwrap();
        let image = store.image("based").unwrap().unwrap();
        let path = store.root().with_file_name("out");
        export(
            &store,
            &image,
            target,
            &path,
            &ExportOptions { compression },
        )
        .unwrap();
        let report = validate(&store, "based").unwrap();
        assert!(report.is_sound() && report.absent == 0, "{report:?}");
    }
}

#[test]
fn damaged_blobs_are_fetched_again() {
    let server = serve_two_layers();
    let (store, remote) = store_with_reference(&server);
    let layer = &remote.layers[0];
    let path = store.blob_path(&layer.blob.digest);
    let damages: [fn(&std::path::Path); 2] =
        [flip_byte, |path| fs_err::write(path, "short").unwrap()];
    for damage in damages {
        store.snapshot(layer).unwrap();
        damage(&path);
        store.discard_snapshot(&layer.diff_id).unwrap();
        // What is damaged is found, and not hidden by fetching it.
        assert!(!validate(&store, "based").unwrap().is_sound());
        store.snapshot(layer).unwrap();
        store.snapshot(&remote.layers[1]).unwrap();
        assert!(validate(&store, "based").unwrap().is_sound());
    }
}

#[test]
fn asking_works_within_a_runtime() {
    let server = serve_two_layers();
    let (store, remote) = store_with_reference(&server);
    let current_thread = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    current_thread.block_on(async { store.rootfs(&remote.layers).unwrap() });
}

#[test]
fn transfers_are_told_one_by_one_and_in_sum() {
    let server = serve_two_layers();
    let (store, remote) = store_with_reference(&server);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let options = StoreOptions {
        observer: Some(Arc::new(move |transfer| log.lock().unwrap().push(transfer))),
        ..StoreOptions::default()
    };
    let store = Store::open_with(store.root(), options).unwrap();
    store.rootfs(&remote.layers).unwrap();
    let total = remote.layers.iter().map(|layer| layer.blob.size).sum();
    let told = std::mem::take(&mut *told.lock().unwrap());
    let start = Transfer::Started {
        blobs: 2,
        bytes: total,
    };
    assert_eq!(told.first(), Some(&start));
    assert_eq!(told.last(), Some(&Transfer::Ended));
    let all = Transfer::Advanced { done: total, total };
    assert!(told.contains(&all), "{told:?}");
    for layer in &remote.layers {
        let (digest, size) = (layer.blob.digest, layer.blob.size);
        for progress in [
            Progress::Started { digest, size },
            Progress::Advanced { digest, done: size },
            Progress::Finished { digest },
        ] {
            assert!(told.contains(&Transfer::Blob(progress)), "{progress:?}");
        }
    }
    // What is here is not talked about.
    let again = Arc::new(Mutex::new(0));
    let count = Arc::clone(&again);
    let options = StoreOptions {
        observer: Some(Arc::new(move |_| *count.lock().unwrap() += 1)),
        ..StoreOptions::default()
    };
    let store = Store::open_with(store.root(), options).unwrap();
    store.rootfs(&remote.layers).unwrap();
    assert_eq!(*again.lock().unwrap(), 0);
}

#[test]
fn questions_and_pauses_are_told() {
    let (_origin, _original, content) = large_image();
    let first = Mutex::new(true);
    let server = Server::start_with(content, move |_, _| {
        let is_first = std::mem::take(&mut *first.lock().unwrap());
        is_first.then(|| Answer::status(503).with("Retry-After", "0"))
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let options = StoreOptions {
        observer: Some(Arc::new(move |transfer| log.lock().unwrap().push(transfer))),
        ..StoreOptions::default()
    };
    let store = test_store();
    let store = Store::open_with(store.root(), options).unwrap();
    let reference = server.reference("a/b:1");
    let what = reference.familiar();
    store.pull(&reference, &Platform::linux_amd64()).unwrap();
    let told = told.lock().unwrap();
    let asking = Transfer::Asking {
        registry: server.address.clone(),
        what: what.clone(),
    };
    let wait = Transfer::Waiting(Wait {
        what,
        pause: std::time::Duration::ZERO,
        reason: "the answer was 503 Service Unavailable".into(),
    });
    assert_eq!(told[..3], [asking, wait, Transfer::Asked]);
    assert!(matches!(told[3], Transfer::Started { .. }), "{told:?}");
}

#[test]
fn what_nobody_has_is_named() {
    let (_origin, original, content) = large_image();
    let lost = original.clone();
    let server = Server::start_with(content, move |request, _| {
        is_layer(request, &lost).then(|| Answer::status(404))
    });
    let (store, remote) = store_with_reference(&server);
    let error = store.rootfs(&remote.layers).unwrap_err();
    let digest = remote.layers[0].blob.digest;
    let hint = error.hint().unwrap();
    assert!(hint.contains("`cog build` makes again"), "{hint}");
    let Error::NotFetched { blobs, source } = error else {
        panic!("{error}");
    };
    assert!(blobs.contains(&digest), "{blobs:?}");
    let said = source.to_string();
    assert!(
        said.contains("is not complete") && said.contains(&digest.to_string()),
        "{said}"
    );

    let other = test_store();
    let error = other.snapshot(&remote.layers[0]).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
}
