//! What is served can be pulled, and what is still elsewhere is fetched only when it is asked for.

use std::sync::{Arc, Mutex};

use cog_image::serve::{Content, Served, Zstd};
use cog_image::{ImageRef, Platform, Store, StoredImage, validate};

use crate::registry::{client, run};
use crate::server;
use crate::support::{image, test_store};

fn serve(store: &Store, image: &StoredImage, zstd: Zstd) -> Served {
    let content = Content::of_image(store, image, zstd).unwrap();
    Served::start(store, content, "latest", Arc::new(|_| ())).unwrap()
}

fn reference(served: &Served) -> ImageRef {
    served.reference().parse().unwrap()
}

#[test]
fn another_store_pulls_the_same_image() {
    let origin = test_store();
    let original = image(&origin, "hello");
    let platform = Platform::linux_amd64();
    for zstd in [Zstd::Understood, Zstd::Refused] {
        let served = serve(&origin, &original, zstd);
        let store = test_store();
        let pulled = store.pull(&reference(&served), &platform).unwrap();
        assert_eq!(pulled.config_blob.digest, original.config_blob.digest);
        let is_same = pulled.manifest.digest == original.manifest.digest;
        assert_eq!(is_same, zstd == Zstd::Understood);
        let report = validate(&store, &pulled.name).unwrap();
        assert!(report.is_sound() && report.absent == 0, "{report:?}");
    }
}

#[test]
fn a_layer_in_a_registry_is_fetched_when_it_is_asked_for() {
    let elsewhere = test_store();
    let mut content = server::Content::default();
    content.add(&elsewhere, &image(&elsewhere, "hello"), "a/b", "1");
    let registry = server::Server::start(content);
    let platform = Platform::linux_amd64();
    let store = test_store();
    let remote = run(client().resolve(&store, &registry.reference("a/b:1"), &platform)).unwrap();
    let image = store
        .put_image("based", &remote.config, &remote.layers)
        .unwrap();
    let sent = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&sent);
    let content = Content::of_image(&store, &image, Zstd::Understood).unwrap();
    let served = Served::start(
        &store,
        content,
        "latest",
        Arc::new(move |bytes| *counted.lock().unwrap() = bytes),
    )
    .unwrap();
    let reader = test_store();
    run(client().resolve(&reader, &reference(&served), &platform)).unwrap();
    assert!(served.was_read());
    let [below, above] = remote.layers.as_slice() else {
        panic!("two layers")
    };
    assert!(!store.has_blob(&below.blob) && !store.has_blob(&above.blob));
    reader.fetch([&above.blob]).unwrap();
    assert!(!store.has_blob(&below.blob) && store.has_blob(&above.blob));
    assert_eq!(served.sent(), above.blob.size);
    assert_eq!(*sent.lock().unwrap(), above.blob.size);
}
