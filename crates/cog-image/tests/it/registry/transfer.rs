//! Transfers that break, lie or are not allowed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cog_image::registry::{Client, ClientOptions, Progress, RegistryError, UploadOptions};
use cog_image::{Digest, Error, ImageConfig, Platform, StepKey, StepRecord, Store, validate};

use super::{client, is_layer, large_image, pull, pull_with, run};
use crate::server::{Answer, Content, Server};
use crate::support::{file, files_below, image, noise, options, test_store};

#[test]
fn pulled_images_are_complete() {
    let origin = test_store();
    let original = image(&origin, "hello");
    let mut content = Content::default();
    content.add(&origin, &original, "a/b", "1");
    let server = Server::start(content);
    let store = test_store();
    let pulled = pull(&store, &server, "a/b:1").unwrap();
    assert_eq!(pulled.name, format!("{}/a/b:1", server.address));
    assert_eq!(pulled.manifest.digest, original.manifest.digest);
    assert_eq!(
        (&pulled.layers, &pulled.config),
        (&original.layers, &original.config)
    );
    let report = validate(&store, &pulled.name).unwrap();
    assert!(
        report.is_sound() && report.absent == 0,
        "{:?}",
        report.problems
    );
    assert_eq!(files_below(&store.root().join("partial")), [""; 0]);
    // The second time, only the tag is looked up.
    let before = server.log().len();
    pull(&store, &server, "a/b:1").unwrap();
    assert_eq!(server.log()[before..], ["GET /v2/a/b/manifests/1"]);
}

#[test]
fn layers_stay_in_the_registry_until_needed() {
    let (_origin, original, content) = large_image();
    let server = Server::start(content);
    let store = test_store();
    let reference = server.reference("a/b:1");
    let client = client();
    let remote = run(client.resolve(&store, &reference, &Platform::linux_amd64())).unwrap();
    assert_eq!(remote.digest, original.manifest.digest);
    assert_eq!(remote.reference.digest(), Some(original.manifest.digest));
    assert!(
        !server
            .requests()
            .iter()
            .any(|request| is_layer(request, &original))
    );

    // What refers to them as those of a base is complete, an image can be named, and validation says what is absent.
    let key = StepKey::builder("base").finish();
    let record = StepRecord {
        layers: remote.layers.clone(),
        facts: serde_json::Value::Null,
    };
    store.record_step(&key, &record).unwrap();
    assert_eq!(store.step_of_others(&key).unwrap(), Some(record));
    assert_eq!(store.step(&key).unwrap(), None, "nobody made them here");
    store
        .put_image("based", &remote.config, &remote.layers)
        .unwrap();
    let report = validate(&store, "based").unwrap();
    assert!(report.is_sound() && report.absent == 1, "{report:?}");
    // Another process, which knows only what the store knows.
    let store = Store::open(store.root()).unwrap();
    let events = Mutex::new(Vec::new());
    let note = |event| events.lock().unwrap().push(event);
    let blobs = [remote.layers[0].blob.clone()];
    run(super::client().fetch_blobs(&store, &blobs, &note)).unwrap();
    store.snapshot(&remote.layers[0]).unwrap();
    let blob = &original.layers[0].blob;
    let events = events.into_inner().unwrap();
    assert_eq!(
        events[0],
        Progress::Started {
            digest: blob.digest,
            size: blob.size
        }
    );
    assert_eq!(
        events[events.len() - 2],
        Progress::Advanced {
            digest: blob.digest,
            done: blob.size
        }
    );
    assert_eq!(
        events[events.len() - 1],
        Progress::Finished {
            digest: blob.digest
        }
    );

    // Pinned and known, nothing is sent.
    let before = server.log().len();
    run(client.resolve(&store, &remote.reference, &Platform::linux_amd64())).unwrap();
    assert_eq!(server.log().len(), before);
}

#[test]
fn broken_transfers_are_continued() {
    let (_origin, original, content) = large_image();
    let size = original.layers[0].blob.size;
    let cuts = AtomicUsize::new(0);
    let layer = original.clone();
    let server = Server::start_with(content, move |request, content| {
        let cut = is_layer(request, &layer) && cuts.fetch_add(1, Ordering::Relaxed) < 3;
        cut.then(|| content.answer(request).cut_after(100_000))
    });
    let store = test_store();
    let pulled = pull(&store, &server, "a/b:1").unwrap();
    assert!(validate(&store, &pulled.name).unwrap().is_sound());
    let ranges: Vec<Option<String>> = server
        .requests()
        .iter()
        .filter(|request| is_layer(request, &original))
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    let range = |start: u64| Some(format!("bytes={start}-"));
    assert_eq!(
        ranges,
        [None, range(100_000), range(200_000), range(300_000)],
        "of {size} bytes"
    );
}

#[test]
fn the_next_process_continues() {
    let (_origin, original, content) = large_image();
    let blob = &original.layers[0].blob;
    let broken = AtomicUsize::new(1);
    let layer = original.clone();
    let server = Server::start_with(content, move |request, content| {
        // Until the second process comes, one piece arrives and then nothing.
        let first = request.header("range").is_none();
        let broken = is_layer(request, &layer) && broken.fetch_add(1, Ordering::Relaxed) <= 5;
        let cut = if first { 150_000 } else { 0 };
        broken.then(|| content.answer(request).cut_after(cut))
    });
    let store = test_store();
    let error = pull(&store, &server, "a/b:1").unwrap_err();
    let Error::Registry(RegistryError::Interrupted { done, size, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((done, size), (150_000, blob.size));
    let partial = store.root().join("partial").join(blob.digest.hex());
    assert_eq!(fs_err::metadata(&partial).unwrap().len(), 150_000);
    let before = server.log().len();
    pull(&store, &server, "a/b:1").unwrap();
    let new_requests = &server.requests()[before..];
    let request = new_requests
        .iter()
        .find(|request| is_layer(request, &original))
        .unwrap();
    assert_eq!(request.header("range"), Some("bytes=150000-"));
    assert!(!partial.exists());
}

#[test]
fn wrong_bytes_of_an_earlier_process_are_dropped() {
    let (_origin, original, content) = large_image();
    let blob = &original.layers[0].blob;
    let server = Server::start(content);
    let whole = usize::try_from(blob.size).unwrap();
    // Too few, exactly enough, too many.
    for length in [1000, whole, whole + 1] {
        let store = test_store();
        let partial = store.root().join("partial").join(blob.digest.hex());
        fs_err::write(&partial, noise(length, 99)).unwrap();
        let pulled = pull(&store, &server, "a/b:1").unwrap();
        assert!(
            validate(&store, &pulled.name).unwrap().is_sound(),
            "{length}"
        );
        assert!(!partial.exists());
    }
}

/// However much of it came, it is no advance if it is thrown away.
#[test]
fn a_registry_that_always_starts_over_and_breaks_off_is_given_up() {
    const MIB: usize = 1 << 20;
    for refuses_ranges in [false, true] {
        let origin = test_store();
        let layer = origin
            .add_layer_from_entries(vec![file("weights", noise(12 * MIB, 3))], &options())
            .unwrap();
        let original = origin
            .put_image("large", &ImageConfig::default(), &[layer])
            .unwrap();
        let mut content = Content::default();
        content.add(&origin, &original, "a/b", "1");
        let (count, layer) = (AtomicUsize::new(0), original.clone());
        let server = Server::start_with(content, move |request, content| {
            if !is_layer(request, &layer) {
                return None;
            }
            if refuses_ranges && request.header("range").is_some() {
                return Some(Answer::status(416));
            }
            let number = count.fetch_add(1, Ordering::Relaxed);
            assert!(number < 50, "it goes on for ever");
            let mut whole = request.clone();
            whole.headers.remove("range");
            let cut = if number.is_multiple_of(2) { 6 } else { 11 };
            Some(content.answer(&whole).cut_after(cut * MIB))
        });
        let store = test_store();
        let error = pull(&store, &server, "a/b:1").unwrap_err();
        assert!(
            matches!(error, Error::Registry(RegistryError::Interrupted { .. })),
            "{error}"
        );
    }
}

#[test]
fn registries_without_ranges_start_over() {
    for answer_to_range in [200, 416] {
        let (_origin, original, content) = large_image();
        let cuts = AtomicUsize::new(0);
        let layer = original.clone();
        let server = Server::start_with(content, move |request, content| {
            if !is_layer(request, &layer) {
                return None;
            }
            if request.header("range").is_some() && answer_to_range == 416 {
                return Some(Answer::status(416));
            }
            let mut whole = request.clone();
            whole.headers.remove("range");
            let answer = content.answer(&whole);
            let first = cuts.fetch_add(1, Ordering::Relaxed) == 0;
            Some(if first { answer.cut_after(100) } else { answer })
        });
        let store = test_store();
        let pulled = pull(&store, &server, "a/b:1").unwrap();
        assert!(
            validate(&store, &pulled.name).unwrap().is_sound(),
            "{answer_to_range}"
        );
    }
}

#[test]
fn passing_trouble_is_waited_out() {
    for status in [500, 502, 503, 429, 408] {
        let (_origin, _original, content) = large_image();
        let count = AtomicUsize::new(0);
        let server = Server::start_with(content, move |_, _| {
            let trouble = count.fetch_add(1, Ordering::Relaxed) % 3 != 2;
            trouble.then(|| Answer::status(status).with("Retry-After", "0"))
        });
        pull(&test_store(), &server, "a/b:1").unwrap_or_else(|error| panic!("{status}: {error}"));
    }
}

#[test]
fn every_pause_is_told() {
    let (_origin, original, content) = large_image();
    let seen = Mutex::new(std::collections::HashSet::new());
    let layer = original.clone();
    let server = Server::start_with(content, move |request, content| {
        let is_new = seen.lock().unwrap().insert(request.path.clone());
        let answer = content.answer(request);
        if is_new && is_layer(request, &layer) {
            return Some(answer.cut_after(1000));
        }
        // A document that breaks off, and one that is not there yet.
        if is_new && request.path.ends_with("/manifests/1") {
            return Some(answer.cut_after(10));
        }
        is_new.then(|| Answer {
            status: 503,
            ..Answer::ok(r#"{"errors":[{"code":"X","message":"we are moving"}]}"#)
        })
    });
    let waits = std::sync::Arc::new(Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&waits);
    let client = client().telling(std::sync::Arc::new(move |wait| {
        told.lock().unwrap().push(wait);
    }));
    pull_with(&client, &test_store(), &server, "a/b:1").unwrap();
    let waits = waits.lock().unwrap();
    let [manifest, config, blob] = &waits[..] else {
        panic!("{waits:?}")
    };
    assert_eq!(manifest.what, format!("{}/a/b:1", server.address));
    assert_eq!(
        config.reason,
        "the answer was 503 Service Unavailable: we are moving"
    );
    assert_eq!(blob.what, original.layers[0].blob.digest.short());
    let digest = original.layers[0].blob.digest.hex();
    assert!(!blob.reason.contains(&digest), "{blob:?}");
}

#[test]
fn pulls_are_as_patient_as_pushes() {
    assert_eq!(
        ClientOptions::default().back_off,
        UploadOptions::default().back_off
    );
}

#[test]
fn a_layer_that_the_registry_lost_is_no_misspelt_name() {
    let (_origin, original, content) = large_image();
    let layer = original.clone();
    let server = Server::start_with(content, move |request, _| {
        is_layer(request, &layer).then(|| Answer::status(404))
    });
    let error = pull(&test_store(), &server, "a/b:1").unwrap_err();
    let digest = original.layers[0].blob.digest;
    let expected = format!(
        "`a/b` in {} is not complete: it lacks `a/b@{digest}`",
        server.address
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().unwrap().contains("push it again"));
}

#[test]
fn lasting_trouble_is_reported() {
    let message = r#"{"errors":[{"code":"DENIED","message":"the cellar\nis flooded"}]}"#;
    let server = Server::start_with(Content::default(), move |_, _| {
        Some(Answer {
            status: 500,
            ..Answer::ok(message)
        })
    });
    let error = pull(&test_store(), &server, "a/b:1").unwrap_err();
    let expected = format!(
        "{0} answered 500 for `{0}/a/b:1`: the cellar is flooded",
        server.address
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(server.log().len(), 5);
}

#[test]
fn a_long_retry_after_is_obeyed() {
    let (_origin, _original, content) = large_image();
    let count = AtomicUsize::new(0);
    let server = Server::start_with(content, move |_, _| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        first.then(|| Answer::status(429).with("Retry-After", "1"))
    });
    let start = std::time::Instant::now();
    pull(&test_store(), &server, "a/b:1").unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn absence_refusal_and_silence_differ() {
    let server = Server::start(Content::default());
    let absent = pull(&test_store(), &server, "a/b:1").unwrap_err();
    let Error::Registry(absent) = absent else {
        panic!("{absent}")
    };
    assert!(matches!(absent, RegistryError::NotFound { .. }) && !absent.is_unreachable());
    assert_eq!(
        absent.to_string(),
        format!("no `{0}/a/b:1` in {0}", server.address)
    );
    assert_eq!(server.log().len(), 1, "not tried again");

    let server = Server::start_with(Content::default(), |_, _| Some(Answer::status(403)));
    let refused = pull(&test_store(), &server, "a/b:1").unwrap_err();
    let Error::Registry(refused) = refused else {
        panic!("{refused}")
    };
    assert!(matches!(refused, RegistryError::Unauthorized { .. }) && !refused.is_unreachable());

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let reference = format!("{address}/a/b:1").parse().unwrap();
    let store = test_store();
    let silent = run(client().resolve(&store, &reference, &Platform::linux_amd64())).unwrap_err();
    let Error::Registry(silent) = silent else {
        panic!("{silent}")
    };
    assert!(silent.is_unreachable(), "{silent}");
    assert_eq!(silent.to_string(), format!("could not reach {address}"));
}

#[test]
fn falsified_content_is_refused() {
    let (_origin, original, content) = large_image();
    let layer = original.clone();
    let server = Server::start_with(content, move |request, content| {
        is_layer(request, &layer).then(|| {
            let mut answer = content.answer(request);
            answer.body[1000] ^= 1;
            answer
        })
    });
    let store = test_store();
    let error = pull(&store, &server, "a/b:1").unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Corrupt { .. })),
        "{error}"
    );
    assert!(!store.has_blob(&original.layers[0].blob));
    assert_eq!(files_below(&store.root().join("partial")), [""; 0]);
    assert!(store.images().unwrap().is_empty());

    // A manifest that is not the one asked for, by digest or by the header that comes with a tag.
    let digest = Digest::of(b"something else");
    for version in [format!("a/b@{digest}"), "a/b:1".into()] {
        let server = Server::start_with(Content::default(), move |_, _| {
            Some(Answer::ok("{}").with("Docker-Content-Digest", digest.to_string()))
        });
        let error = pull(&test_store(), &server, &version).unwrap_err();
        assert!(
            matches!(error, Error::Registry(RegistryError::Corrupt { .. })),
            "{error}"
        );
    }
}

#[test]
fn more_than_announced_is_refused() {
    let (_origin, original, content) = large_image();
    let layer = original.clone();
    let server = Server::start_with(content, move |request, content| {
        is_layer(request, &layer).then(|| {
            let mut answer = content.answer(request);
            answer.body.extend([0; 100]);
            answer
        })
    });
    let store = test_store();
    let error = pull(&store, &server, "a/b:1").unwrap_err().to_string();
    assert!(error.contains("larger than announced"), "{error}");
    let server = Server::start_with(Content::default(), |_, _| {
        Some(Answer::ok(vec![b' '; 9 << 20]))
    });
    let error = pull(&store, &server, "a/b:1").unwrap_err().to_string();
    assert!(error.contains("its manifest is too long"), "{error}");
}

#[test]
fn nonsense_is_refused() {
    for body in [
        "",
        "{}",
        "[]",
        "<html>",
        r#"{"schemaVersion":1,"fsLayers":[]}"#,
        r#"{"layers":[]}"#,
    ] {
        let server = Server::start_with(Content::default(), move |_, _| Some(Answer::ok(body)));
        pull(&test_store(), &server, "a/b:1").expect_err(body);
    }
}

#[test]
fn the_platform_is_picked_from_the_index() {
    let (_origin, original, mut content) = large_image();
    let entry = |architecture: &str, digest: Digest, size: u64| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": architecture}
        })
    };
    let index = |entries: &[serde_json::Value]| {
        serde_json::json!({"schemaVersion": 2, "manifests": entries})
            .to_string()
            .into_bytes()
    };
    let arm = entry("arm64", Digest::of(b"arm"), 3);
    let amd = entry("amd64", original.manifest.digest, original.manifest.size);
    let kind = "application/vnd.docker.distribution.manifest.list.v2+json";
    content.put(
        "/v2/a/b/manifests/multi".into(),
        kind,
        index(&[arm.clone(), amd]),
    );
    content.put("/v2/a/b/manifests/arm".into(), kind, index(&[arm]));
    let server = Server::start(content);
    let store = test_store();
    let pulled = pull(&store, &server, "a/b:multi").unwrap();
    assert_eq!(pulled.manifest.digest, original.manifest.digest);
    let error = pull(&store, &server, "a/b:arm").unwrap_err().to_string();
    assert!(
        error.ends_with("is not available for linux/amd64, only for linux/arm64"),
        "{error}"
    );
}

#[test]
fn a_blob_is_fetched_once_by_many() {
    let (_origin, original, content) = large_image();
    let layer = original.clone();
    let server = Server::start_with(content, move |request, content| {
        is_layer(request, &layer).then(|| {
            // Long enough for the others to arrive.
            std::thread::sleep(Duration::from_millis(100));
            content.answer(request)
        })
    });
    let store = test_store();
    let reference = server.reference("a/b:1");
    let platform = Platform::linux_amd64();
    run(async {
        let pulls: Vec<Client> = (0..3).map(|_| client()).collect();
        let [one, two, three] = &pulls[..] else {
            panic!()
        };
        let pull = |client| Client::pull(client, &store, &reference, &platform, &|_| ());
        let (one, two, three) = tokio::join!(pull(one), pull(two), pull(three));
        one.and(two).and(three).unwrap();
    });
    let fetched = server
        .requests()
        .iter()
        .filter(|request| is_layer(request, &original))
        .count();
    assert_eq!(fetched, 1);
    assert_eq!(files_below(&store.root().join("partial")), [""; 0]);
}

#[test]
fn images_in_dockers_form_are_taken() {
    let origin = test_store();
    let original = image(&origin, "hello");
    let read = |digest: &Digest| fs_err::read(origin.blob_path(digest)).unwrap();
    let docker = String::from_utf8(read(&original.manifest.digest))
        .unwrap()
        .replace(
            "oci.image.manifest.v1+json",
            "docker.distribution.manifest.v2+json",
        )
        .replace("oci.image.config.v1+json", "docker.container.image.v1+json")
        .replace(
            "oci.image.layer.v1.tar+zstd",
            "docker.image.rootfs.diff.tar.zstd",
        );
    let mut content = Content::default();
    content.add(&origin, &original, "a/b", "1");
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    content.put(
        "/v2/a/b/manifests/docker".into(),
        kind,
        docker.clone().into(),
    );
    let server = Server::start(content);
    let store = test_store();
    let pulled = pull(&store, &server, "a/b:docker").unwrap();
    assert_eq!(pulled.manifest.digest, Digest::of(docker.as_bytes()));
    assert_eq!(pulled.layers, original.layers);
    // Elsewhere it goes in OCI's form.
    let path = store.dir.path().join("layout");
    let options = cog_image::ExportOptions::default();
    cog_image::export(
        &store,
        &pulled,
        cog_image::ExportTarget::OciDir,
        &path,
        &options,
    )
    .unwrap();
    let report = cog_image::validate_layout(cog_image::ImportSource::OciDir, &path).unwrap();
    assert!(report.is_sound() && report.blobs == 4, "{report:?}");
    assert!(
        !fs_err::read_to_string(path.join("index.json"))
            .unwrap()
            .contains("docker.distribution")
    );
}
