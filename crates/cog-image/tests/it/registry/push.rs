//! Pushing, to registries that break off, lie, forget or want other pieces.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cog_image::registry::{
    Arrival, ClientOptions, Keychain, PulledReferrers, PushEvent, RegistryError, UploadOptions,
    Wait,
};
use cog_image::{
    Artifact, Descriptor, Digest, Error, ImageConfig, Index, Platform, Store, StoreOptions,
    StoredImage, validate,
};

use super::{client, client_with, large_image, run};
use crate::hub::{Fault, Hub, Manners};
use crate::server::{Answer, Content, Request, Server};
use crate::support::{TestStore, file, files_below, flip_byte, image, noise, options, test_store};

/// Without pauses; layers of tests are small, and are sent as larger ones would be.
fn quick() -> UploadOptions {
    UploadOptions {
        at_once_limit: 0,
        back_off: Duration::from_millis(1),
        ..UploadOptions::default()
    }
}

fn push_with(
    store: &Store,
    image: &StoredImage,
    hub: &Hub,
    name: &str,
    options: &UploadOptions,
) -> cog_image::Result<Descriptor> {
    run(client().push(store, image, &hub.reference(name), options, &|_| ()))
}

fn push(
    store: &Store,
    image: &StoredImage,
    hub: &Hub,
    name: &str,
) -> cog_image::Result<Descriptor> {
    push_with(store, image, hub, name, &quick())
}

fn pull(hub: &Hub, name: &str) -> (TestStore, StoredImage) {
    let store = test_store();
    let reference = hub.reference(name);
    let platform = Platform::linux_amd64();
    let pulled = run(client().pull(&store, &reference, &platform, &|_| ())).unwrap();
    assert!(validate(&store, &pulled.name).unwrap().is_sound());
    (store, pulled)
}

fn layer_of(image: &StoredImage) -> &Descriptor {
    &image.layers[0].blob
}

fn is_patch(request: &Request) -> bool {
    request.method == "PATCH"
}

/// Those of a large layer; configs are smaller.
fn is_large_patch(request: &Request) -> bool {
    is_patch(request) && request.length() > 10_000
}

/// It was sent whole.
const ALL: &str = "all";

/// What of a large layer each request sent.
fn ranges(hub: &Hub) -> Vec<String> {
    let requests = hub.requests();
    let patches = requests.iter().filter(|request| {
        is_patch(request)
            && (request.length() > 10_000 || request.header("content-range").is_some())
    });
    patches
        .map(|request| request.header("content-range").unwrap_or(ALL).to_owned())
        .collect()
}

fn range(from: u64, to: u64) -> String {
    format!("{from}-{}", to - 1)
}

#[test]
fn pushed_images_are_complete_and_sent_once() {
    let store = test_store();
    let original = image(&store, "hello");
    let hub = Hub::start(Manners::default());
    let pushed = push(&store, &original, &hub, "a/b:1").unwrap();
    assert_eq!(pushed.digest, original.manifest.digest);
    assert_eq!(pushed.platform, Some(Platform::linux_amd64()));
    let (_, pulled) = pull(&hub, "a/b:1");
    assert_eq!(pulled.manifest.digest, original.manifest.digest);
    assert_eq!(pulled.layers, original.layers);
    assert_eq!(hub.count("PATCH"), 3, "two layers and a config");

    // The next image has the same layers: one question, as the same store has pushed them.
    let next = next_of(&store, &original);
    let before = hub.log().len();
    push(&store, &next, &hub, "a/b:2").unwrap();
    let asked = format!("HEAD /v2/a/b/manifests/{}", original.manifest.digest);
    let log = hub.log();
    let heads: Vec<&String> = log[before..]
        .iter()
        .filter(|line| line.starts_with("HEAD "))
        .collect();
    assert_eq!(heads, [&asked]);

    // Who has not pushed it asks for each blob, and so does who pushes the same again.
    let (other, pulled) = pull(&hub, "a/b:2");
    for (store, image) in [(&other, &pulled), (&store, &next)] {
        let before = hub.log().len();
        push(store, image, &hub, "a/b:3").unwrap();
        let log = hub.log();
        let (last, heads) = log[before..].split_last().unwrap();
        assert!(
            heads
                .iter()
                .all(|line| line.starts_with("HEAD /v2/a/b/blobs/")),
            "{log:?}"
        );
        assert_eq!((heads.len(), last.as_str()), (3, "PUT /v2/a/b/manifests/3"));
    }
    assert_eq!(hub.unfinished(), 0);
}

#[test]
fn of_the_next_image_only_what_is_large_and_new_is_asked_for() {
    let (store, first, content) = large_image();
    drop(content);
    let hub = Hub::start(Manners::default());
    push(&store, &first, &hub, "a/b:1").unwrap();
    let layer = |name: &str, size| {
        let entry = file(name, noise(size, 9));
        store
            .add_layer_from_entries(vec![entry], &options())
            .unwrap()
    };
    let layers = [
        first.layers[0].clone(),
        layer("large", 200_000),
        layer("small", 100),
    ];
    let next = store
        .put_image("next", &ImageConfig::default(), &layers)
        .unwrap();
    let before = hub.log().len();
    push(&store, &next, &hub, "a/b:2").unwrap();
    // Asked at the same time, in any order.
    let heads: BTreeSet<String> = hub
        .log()
        .drain(before..)
        .filter(|line| line.starts_with("HEAD "))
        .collect();
    let manifest = format!("HEAD /v2/a/b/manifests/{}", first.manifest.digest);
    let large = format!("HEAD /v2/a/b/blobs/{}", layers[1].blob.digest);
    assert_eq!(heads, BTreeSet::from([manifest, large]));
    let (_, pulled) = pull(&hub, "a/b:2");
    assert_eq!(pulled.layers, layers);
}

/// The same layers, and another configuration.
fn next_of(store: &Store, image: &StoredImage) -> StoredImage {
    let config = ImageConfig {
        created: 1_767_225_600,
        ..image.config.clone()
    };
    store.put_image("next", &config, &image.layers).unwrap()
}

/// A registry may have lost parts of an image that it still names, or the image.
#[test]
fn what_a_registry_has_lost_is_sent_again() {
    for (loses_image, is_same) in [(false, false), (true, false), (false, true)] {
        let (store, original, _) = large_image();
        let next = next_of(&store, &original);
        let next = if is_same { &original } else { &next };
        let hub = Hub::start(Manners::default());
        push(&store, &original, &hub, "a/b:1").unwrap();
        hub.lose_blobs("a/b");
        if loses_image {
            hub.lose_manifests("a/b");
        }
        push(&store, next, &hub, "a/b:2").unwrap();
        let (_, pulled) = pull(&hub, "a/b:2");
        assert_eq!(pulled.layers, original.layers);
    }
}

/// Registries have many ways to refuse a manifest that names what they have not.
#[test]
fn whatever_a_registry_says_of_what_it_lost_it_is_sent_again() {
    for status in [403, 404, 409, 412, 422, 500] {
        let (store, original, _) = large_image();
        let next = next_of(&store, &original);
        let uploads = AtomicUsize::new(0);
        let hub = Hub::start_with(Manners::default(), move |request| {
            let begun = match request.method.as_str() {
                "POST" => uploads.fetch_add(1, Ordering::Relaxed) + 1,
                _ => uploads.load(Ordering::Relaxed),
            };
            // Two for the first image, one for the next one's configuration.
            let is_refused = request.path.ends_with("/manifests/2") && begun < 4;
            is_refused.then(|| Fault::Answer(Answer::status(status)))
        });
        push(&store, &original, &hub, "a/b:1").unwrap();
        hub.lose_blobs("a/b");
        let told = Mutex::new(Vec::new());
        let tell = |event| {
            if let PushEvent::Arrived { digest, .. } = event {
                told.lock().unwrap().push(digest);
            }
        };
        let target = hub.reference("a/b:2");
        run(client().push(&store, &next, &target, &quick(), &tell))
            .unwrap_or_else(|error| panic!("{status}: {error}"));
        let mut told = told.into_inner().unwrap();
        told.sort();
        let mut parts = [next.config_blob.digest, next.layers[0].blob.digest];
        parts.sort();
        assert_eq!(told, parts, "each is told once");
    }
}

/// How many of the repository's `blobs` or `manifests` were asked for since the log was so long.
fn asked_since(hub: &Hub, before: usize, what: &str) -> usize {
    let asked = format!("HEAD /v2/a/b/{what}/");
    let log = hub.log();
    let lines = log[before..].iter();
    lines.filter(|line| line.starts_with(&asked)).count()
}

/// What is refused for good is not believed to be there any more.
#[test]
fn a_push_that_failed_is_remembered_as_none() {
    let (store, original, _) = large_image();
    let next = next_of(&store, &original);
    let hub = Hub::start_with(Manners::default(), |request| {
        let is_refused = request.path.ends_with("/manifests/2");
        is_refused.then(|| Fault::Answer(Answer::status(422)))
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    push(&store, &next, &hub, "a/b:2").unwrap_err();
    let before = hub.log().len();
    push(&store, &next, &hub, "a/b:3").unwrap();
    assert_eq!(asked_since(&hub, before, "blobs"), 2);
}

/// It only spares questions.
#[test]
fn whether_an_image_is_there_is_asked_once() {
    let (store, original, _) = large_image();
    let next = next_of(&store, &original);
    let hub = Hub::start_with(Manners::default(), |request| {
        let is_asked = request.method == "HEAD" && request.path.contains("/manifests/");
        is_asked.then(|| Fault::Answer(Answer::status(503)))
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    let before = hub.log().len();
    push(&store, &next, &hub, "a/b:2").unwrap();
    assert_eq!(asked_since(&hub, before, "manifests"), 1);
}

/// A registry that has manifests, and answers `status` to whoever only asks for their heads.
fn hub_without_heads(status: u16, names_no_digest: bool) -> Hub {
    let manners = Manners {
        names_no_digest,
        ..Manners::default()
    };
    Hub::start_with(manners, move |request| {
        let is_head = request.method == "HEAD" && request.path.contains("/manifests/");
        is_head.then(|| Fault::Answer(Answer::status(status)))
    })
}

#[test]
fn registries_that_do_not_tell_of_manifests_are_asked_for_each_blob() {
    for (status, names_no_digest) in [(404, false), (405, false), (404, true), (405, true)] {
        let (store, original, _) = large_image();
        let hub = hub_without_heads(status, names_no_digest);
        push(&store, &original, &hub, "a/b:1").unwrap_or_else(|error| panic!("{status}: {error}"));
        let sent = hub.count("PATCH");
        let before = hub.log().len();
        push(&store, &original, &hub, "a/b:2").unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(hub.count("PATCH"), sent, "everything was there");
        let log = hub.log();
        for blob in [layer_of(&original), &original.config_blob] {
            let asked = format!("HEAD /v2/a/b/blobs/{}", blob.digest);
            assert!(log[before..].contains(&asked), "{status}: {log:?}");
        }
        // One layer more, and a registry that has lost another.
        hub.lose_blobs("a/b");
        let entry = file("more", noise(100, 9));
        let more = store.add_layer_from_entries(vec![entry], &options());
        let layers = [original.layers[0].clone(), more.unwrap()];
        let next = store
            .put_image("next", &ImageConfig::default(), &layers)
            .unwrap();
        push(&store, &next, &hub, "a/b:3").unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(pull(&hub, "a/b:3").1.layers, layers);
    }
}

#[test]
fn manifests_that_are_stored_differently_are_noticed_without_their_heads() {
    let (store, original, _) = large_image();
    let manners = Manners {
        names_no_digest: true,
        ..Manners::default()
    };
    let hub = Hub::start_with(manners, |request| {
        let is_asked = request.method != "PUT" && request.path.contains("/manifests/");
        let status = if request.method == "HEAD" { 405 } else { 200 };
        is_asked.then(|| {
            Fault::Answer(Answer {
                status,
                ..Answer::ok("{}")
            })
        })
    });
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Registry(RegistryError::StoredDifferently { .. })
        ),
        "{error}"
    );
}

/// As users have it, without pauses.
fn usual() -> UploadOptions {
    UploadOptions {
        back_off: Duration::from_millis(1),
        ..UploadOptions::default()
    }
}

#[test]
fn small_blobs_come_with_the_request_that_completes_them() {
    let (store, original, _) = large_image();
    let hub = Hub::start(Manners::default());
    push_with(&store, &original, &hub, "a/b:1", &usual()).unwrap();
    assert_eq!(hub.count("PATCH"), 0, "{:?}", hub.log());
    let (_, pulled) = pull(&hub, "a/b:1");
    assert_eq!(pulled.layers, original.layers);
    assert_eq!(hub.unfinished(), 0);
}

#[test]
fn registries_that_take_nothing_at_once_get_it_in_two_requests() {
    let (store, original, _) = large_image();
    for refusal in [400, 405, 411, 415, 416, 500] {
        let hub = Hub::start_with(Manners::default(), move |request| {
            let at_once = request.path.contains("digest=") && request.length() > 0;
            at_once.then(|| Fault::Answer(Answer::status(refusal)))
        });
        push_with(&store, &original, &hub, "a/b:1", &usual()).unwrap();
        pull(&hub, "a/b:1");
        assert_eq!(hub.unfinished(), 0, "{refusal}");
    }
}

#[test]
fn small_blobs_that_broke_off_are_sent_again() {
    let (store, original, _) = large_image();
    let faults: [fn() -> Fault; 2] = [|| Fault::Cut(50_000), || Fault::Mute];
    for fault in faults {
        let cuts = AtomicUsize::new(0);
        let hub = Hub::start_with(Manners::default(), move |request| {
            let at_once = request.path.contains("digest=") && request.length() > 10_000;
            let is_first = at_once && cuts.fetch_add(1, Ordering::Relaxed) == 0;
            is_first.then(fault)
        });
        push_with(&store, &original, &hub, "a/b:1", &usual()).unwrap();
        pull(&hub, "a/b:1");
    }
}

#[test]
fn a_layer_that_occurs_twice_is_sent_once() {
    let (store, large, _) = large_image();
    let layer = large.layers[0].clone();
    let twice = store
        .put_image("twice", &ImageConfig::default(), &[layer.clone(), layer])
        .unwrap();
    let hub = Hub::start(Manners::default());
    push(&store, &twice, &hub, "a/b:1").unwrap();
    assert_eq!(
        hub.requests()
            .iter()
            .filter(|one| is_large_patch(one))
            .count(),
        1
    );
    assert_eq!(pull(&hub, "a/b:1").1.layers.len(), 2);
}

#[test]
fn blobs_are_mounted_from_where_they_were_pushed_or_pulled() {
    let (store, original, _) = large_image();
    let hub = Hub::start(Manners {
        mounts: true,
        ..Manners::default()
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    push(&store, &original, &hub, "c/d:1").unwrap();
    assert_eq!(ranges(&hub), [ALL], "{:?}", hub.log());
    pull(&hub, "c/d:1");

    // A store that has only heard of the layers.
    let other = test_store();
    let reference = hub.reference("a/b:1");
    let remote = run(client().resolve(&other, &reference, &Platform::linux_amd64())).unwrap();
    let based = other
        .put_image("based", &remote.config, &remote.layers)
        .unwrap();
    let gets = hub.count("GET");
    push(&other, &based, &hub, "e/f:1").unwrap();
    assert!(!other.has_blob(layer_of(&based)));
    assert_eq!(hub.count("GET"), gets, "nothing was downloaded");
    pull(&hub, "e/f:1");
}

#[test]
fn registries_that_do_not_mount_get_the_content() {
    let (store, original, _) = large_image();
    for refusal in [None, Some(400), Some(403), Some(404)] {
        let hub = Hub::start_with(Manners::default(), move |request| {
            let mounts = request.path.contains("mount=");
            let status = refusal.filter(|_| mounts)?;
            Some(Fault::Answer(Answer::status(status)))
        });
        push(&store, &original, &hub, "a/b:1").unwrap();
        push(&store, &original, &hub, "c/d:1").unwrap();
        assert!(hub.log().iter().any(|line| line.contains("from=a/b")));
        pull(&hub, "c/d:1");
    }
}

/// A store that knows of an image in `origin`, and has none of its layers.
fn based_on(origin: &Server) -> (TestStore, StoredImage) {
    let store = test_store();
    let reference = origin.reference("a/b:1");
    let remote = run(client().resolve(&store, &reference, &Platform::linux_amd64())).unwrap();
    let based = store
        .put_image("based", &remote.config, &remote.layers)
        .unwrap();
    assert!(!store.has_blob(layer_of(&based)));
    (store, based)
}

#[test]
fn layers_of_other_registries_go_through_without_a_file() {
    let (origin_store, original, content) = large_image();
    let origin = Server::start(content);
    let (store, based) = based_on(&origin);
    let hub = Hub::start(Manners::default());
    push(&store, &based, &hub, "c/d:1").unwrap();
    let layer = layer_of(&original);
    let expected = fs_err::read(origin_store.blob_path(&layer.digest)).unwrap();
    assert_eq!(hub.blob("c/d", &layer.digest), Some(expected));
    assert!(!store.has_blob(layer));
    assert_eq!(files_below(&store.root().join("partial")), [""; 0]);
    pull(&hub, "c/d:1");
}

#[test]
fn layers_on_their_way_through_are_continued_when_either_side_breaks_off() {
    let (_origin_store, original, content) = large_image();
    let size = layer_of(&original).size;
    let digest = layer_of(&original).digest.to_string();
    let cuts = AtomicUsize::new(0);
    let origin = Server::start_with(content, move |request, content| {
        let is_first = request.path.contains(&digest) && cuts.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| content.answer(request).cut_after(200_000))
    });
    let (store, based) = based_on(&origin);
    let cuts = AtomicUsize::new(0);
    let hub = Hub::start_with(Manners::default(), move |request| {
        // The first breaks off by itself.
        let second = is_large_patch(request) && cuts.fetch_add(1, Ordering::Relaxed) == 1;
        second.then_some(Fault::Cut(50_000))
    });
    push(&store, &based, &hub, "c/d:1").unwrap();
    let ranges = ranges(&hub);
    assert_eq!(ranges.len(), 3, "{ranges:?} of {size} bytes");
    // Of the first, nothing may have arrived.
    assert_ne!(ranges[2], ALL, "{ranges:?}");
    pull(&hub, "c/d:1");
}

#[test]
fn falsified_layers_do_not_get_through() {
    let (_origin_store, original, content) = large_image();
    let digest = layer_of(&original).digest.to_string();
    let origin = Server::start_with(content, move |request, content| {
        request.path.contains(&digest).then(|| {
            let mut answer = content.answer(request);
            answer.body[1000] ^= 1;
            answer
        })
    });
    let (store, based) = based_on(&origin);
    let hub = Hub::start(Manners::default());
    let error = push(&store, &based, &hub, "c/d:1").unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Corrupt { .. })),
        "{error}"
    );
    assert_eq!(hub.manifest("c/d", "1"), None);
    assert_eq!(hub.blob("c/d", &layer_of(&original).digest), None);
}

#[test]
fn damaged_blobs_do_not_leave_the_store() {
    let (store, original, _) = large_image();
    let layer = layer_of(&original);
    flip_byte(&store.blob_path(&layer.digest));
    let hub = Hub::start(Manners::default());
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    assert!(matches!(error, Error::CorruptBlob { .. }), "{error}");
    assert_eq!(hub.blob("a/b", &layer.digest), None);
    assert_eq!(hub.manifest("a/b", "1"), None);
    assert!(!store.has_blob(layer), "it is made or fetched again");
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
}

#[test]
fn cut_uploads_are_continued() {
    let (store, original, _) = large_image();
    let size = layer_of(&original).size;
    let cuts = AtomicUsize::new(0);
    let hub = Hub::start_with(Manners::default(), move |request| {
        let cut = is_large_patch(request) && cuts.fetch_add(1, Ordering::Relaxed) < 3;
        cut.then_some(Fault::Cut(100_000))
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    assert_eq!(
        ranges(&hub),
        [
            ALL.to_owned(),
            range(100_000, size),
            range(200_000, size),
            range(300_000, size)
        ]
    );
    pull(&hub, "a/b:1");
}

#[test]
fn forgotten_uploads_begin_anew() {
    let (store, original, _) = large_image();
    let count = AtomicUsize::new(0);
    let hub = Hub::start_with(Manners::default(), move |request| {
        match count.fetch_add(usize::from(is_large_patch(request)), Ordering::Relaxed) {
            0 if is_large_patch(request) => Some(Fault::Cut(100_000)),
            1 if request.method == "GET" => Some(Fault::Forget),
            _ => None,
        }
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    assert_eq!(ranges(&hub), [ALL, ALL]);
    pull(&hub, "a/b:1");
}

#[test]
fn a_registry_that_always_forgets_is_given_up() {
    let (store, original, _) = large_image();
    let hub = Hub::start_with(Manners::default(), |request| {
        is_large_patch(request).then_some(Fault::Forget)
    });
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Registry(RegistryError::UploadInterrupted { .. })
        ),
        "{error}"
    );
    assert_eq!(ranges(&hub).len(), 5);
    assert_eq!(hub.manifest("a/b", "1"), None);
}

#[test]
fn an_answer_that_is_lost_is_looked_for() {
    let (store, original, _) = large_image();
    let count = AtomicUsize::new(0);
    let hub = Hub::start_with(Manners::default(), move |request| {
        let is_commit = request.method == "PUT" && request.path.contains("digest=");
        (is_commit && count.fetch_add(1, Ordering::Relaxed) < 2).then_some(Fault::Mute)
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    assert_eq!(ranges(&hub), [ALL], "nothing was sent twice");
    pull(&hub, "a/b:1");
}

#[test]
fn passing_trouble_is_waited_out() {
    for status in [408, 429, 499, 500, 502, 503, 504, 522] {
        let (store, original, _) = large_image();
        let counts = Mutex::new(HashMap::new());
        let hub = Hub::start_with(Manners::default(), move |request| {
            let mut counts = counts.lock().unwrap();
            let count = counts
                .entry((request.method.clone(), request.path.clone()))
                .or_insert(0);
            *count += 1;
            let answer = Answer::status(status).with("Retry-After", "0");
            (*count <= 2).then_some(Fault::Answer(answer))
        });
        push(&store, &original, &hub, "a/b:1").unwrap_or_else(|error| panic!("{status}: {error}"));
        assert!(hub.manifest("a/b", "1").is_some());
    }
}

#[test]
fn lasting_trouble_is_told_and_leaves_no_name() {
    let (store, original, _) = large_image();
    let hub = Hub::start_with(Manners::default(), |request| {
        let body = r#"{"errors":[{"code":"X","message":"the cellar is flooded"}]}"#;
        let answer = Answer {
            status: 503,
            ..Answer::ok(body)
        };
        is_large_patch(request).then_some(Fault::Answer(answer))
    });
    let waits = Mutex::new(Vec::new());
    let tell = |event| {
        if let PushEvent::Waiting(Wait { reason, .. }) = event {
            waits.lock().unwrap().push(reason);
        }
    };
    let target = hub.reference("a/b:1");
    let error = run(client().push(&store, &original, &target, &quick(), &tell)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("answered 503") && text.ends_with(": the cellar is flooded"),
        "{text}"
    );
    let waits = waits.into_inner().unwrap();
    // Without the blob's name: it is the same for all blobs.
    assert_eq!(waits, ["the answer was 503: the cellar is flooded"; 4]);
    assert_eq!(hub.manifest("a/b", "1"), None);
}

#[test]
fn every_pause_is_told() {
    let (store, original, _) = large_image();
    let seen = Mutex::new(HashSet::new());
    let hub = Hub::start_with(Manners::default(), move |request| {
        let path = (request.method.clone(), request.path.clone());
        let is_new = seen.lock().unwrap().insert(path);
        let is_first = is_new && !request.path.starts_with("/upload/");
        is_first.then(|| Fault::Answer(Answer::status(503)))
    });
    let waits = Mutex::new(Vec::new());
    let tell = |event| {
        if let PushEvent::Waiting(Wait { what, reason, .. }) = event {
            waits.lock().unwrap().push((what, reason));
        }
    };
    let target = hub.reference("a/b:1");
    run(client().push(&store, &original, &target, &quick(), &tell)).unwrap();
    let waits = waits.into_inner().unwrap();
    // Looking for two blobs, beginning an upload, and the name.
    assert_eq!(waits.len(), 4, "{waits:?}");
    let last = (
        target.familiar(),
        "the answer was 503 Service Unavailable".to_owned(),
    );
    assert_eq!(waits.last(), Some(&last));
}

/// What is said when the registry answers `status` and `body` to requests of `method`, and what to do about it.
fn said_of(method: &'static str, status: u16, kind: &'static str, body: &'static str) -> String {
    let (store, original, _) = large_image();
    let hub = Hub::start_with(Manners::default(), move |request| {
        let answer = Answer {
            status,
            ..Answer::ok(body)
        };
        let is_meant = request.method == method;
        is_meant.then(|| Fault::Answer(answer.with("Content-Type", kind)))
    });
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    let text = format!("{error}\n{}", error.hint().unwrap_or_default());
    text.replace(&hub.address, "HOST")
}

#[test]
fn the_registrys_own_words_are_told() {
    let json = "application/json";
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"make the project first"}]}"#;
    let said = said_of("POST", 404, json, unknown);
    assert!(
        said.starts_with("HOST has no repository `a/b`: make the project first\ncheck the name"),
        "{said}"
    );
    let parts = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#;
    for status in [400, 404] {
        let said = said_of("PUT", status, json, parts);
        // Completing a blob is a PUT as well, and comes first.
        assert!(!said.contains("check the spelling"), "{said}");
        assert!(said.contains("blob unknown"), "{said}");
    }
    let plain = said_of(
        "POST",
        400,
        "text/plain; charset=utf-8",
        "quota is used up\n",
    );
    assert_eq!(
        plain.lines().next(),
        Some("HOST answered 400 for `a/b@DIGEST`: quota is used up")
            .map(|line| line.replace("DIGEST", &digest_in(&plain)))
            .as_deref()
    );
    let html = said_of("POST", 400, "text/html", "<html>no</html>");
    assert!(!html.contains("html"), "{html}");
}

fn digest_in(text: &str) -> String {
    let (_, rest) = text.split_once('@').unwrap();
    rest.split_once('`').unwrap().0.to_owned()
}

#[test]
fn an_upload_that_is_lost_for_good_keeps_the_registrys_words() {
    let body = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload went away"}]}"#;
    let said = said_of("PATCH", 404, "application/json", body);
    let first = said.lines().next().unwrap();
    assert!(first.ends_with(" bytes: upload went away"), "{said}");
}

#[test]
fn bodies_that_are_too_large_for_a_proxy_are_answered_with_the_variables() {
    let said = said_of("PATCH", 413, "text/html", "<h1>413</h1>");
    assert!(said.contains("answered 413"), "{said}");
    assert!(
        said.contains("`COG_PUSH_MULTIPART_THRESHOLD` and `COG_PUSH_DEFAULT_CHUNK_SIZE`"),
        "{said}"
    );
}

#[test]
fn a_layer_that_the_registry_lost_meanwhile_is_no_misspelt_name() {
    let (store, original, _) = large_image();
    let blobs = [layer_of(&original).clone(), original.config_blob.clone()];
    let hub = Hub::start_with(Manners::default(), move |request| {
        // It says that it has all of them, and has none.
        let is_asked = |blob: &&Descriptor| request.path.ends_with(&blob.digest.to_string());
        let asked = blobs.iter().find(is_asked)?;
        let answer = Answer::status(200).with("Content-Length", asked.size.to_string());
        (request.method == "HEAD").then_some(Fault::Answer(answer))
    });
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::PartsMissing { .. })),
        "{error}"
    );
    assert!(error.hint().unwrap().starts_with("push again"));
}

#[test]
fn a_refusal_is_not_tried_again() {
    let (store, original, _) = large_image();
    let hub = Hub::start_with(Manners::default(), |request| {
        let refused = request.method == "POST";
        refused.then(|| Fault::Answer(Answer::status(403)))
    });
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Unauthorized { .. })),
        "{error}"
    );
    assert!(hub.count("POST") <= 2);
}

fn in_chunks(chunk_size: u64) -> UploadOptions {
    UploadOptions {
        multipart_threshold: 100_000,
        chunk_size,
        ..quick()
    }
}

#[test]
fn large_blobs_go_in_pieces() {
    let (store, original, _) = large_image();
    let size = layer_of(&original).size;
    let (min, max) = ("OCI-Chunk-Min-Length", "OCI-Chunk-Max-Length");
    let table = [
        (vec![], 150_000),
        (vec![(min, "200000")], 200_000),
        (vec![(max, "265536")], 200_000),
        (vec![(max, "265536"), (min, "250000")], 250_000),
    ];
    for (headers, expected) in table {
        let on_begin = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let hub = Hub::start(Manners {
            on_begin,
            ..Manners::default()
        });
        push_with(&store, &original, &hub, "a/b:1", &in_chunks(150_000)).unwrap();
        let mut pieces = Vec::new();
        let mut from = 0;
        while from < size {
            let to = (from + expected).min(size);
            pieces.push(range(from, to));
            from = to;
        }
        assert_eq!(ranges(&hub), pieces, "{headers:?}");
        pull(&hub, "a/b:1");
    }
}

#[test]
fn pieces_are_continued_where_they_broke_off() {
    let (store, original, _) = large_image();
    let size = layer_of(&original).size;
    let count = AtomicUsize::new(0);
    let hub = Hub::start_with(Manners::default(), move |request| {
        let second = is_large_patch(request) && count.fetch_add(1, Ordering::Relaxed) == 1;
        second.then_some(Fault::Cut(30_000))
    });
    push_with(&store, &original, &hub, "a/b:1", &in_chunks(200_000)).unwrap();
    assert_eq!(
        ranges(&hub),
        [
            range(0, 200_000),
            range(200_000, 400_000),
            range(230_000, 430_000),
            range(430_000, size)
        ]
    );
    pull(&hub, "a/b:1");
}

#[test]
fn registries_that_dislike_pieces_get_the_whole() {
    let (store, original, _) = large_image();
    for status in [400, 416] {
        let hub = Hub::start_with(Manners::default(), move |request| {
            let piece = request.header("content-range").is_some();
            piece.then(|| Fault::Answer(Answer::status(status)))
        });
        push_with(&store, &original, &hub, "a/b:1", &in_chunks(200_000)).unwrap();
        assert_eq!(ranges(&hub), [range(0, 200_000), ALL.to_owned()]);
        assert_eq!(hub.unfinished(), 0, "the first upload was given up");
        pull(&hub, "a/b:1");
    }
    // And those that like neither are told of once.
    let hub = Hub::start_with(Manners::default(), |request| {
        is_large_patch(request).then(|| Fault::Answer(Answer::status(400)))
    });
    let error = push_with(&store, &original, &hub, "a/b:1", &in_chunks(200_000)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Registry(RegistryError::Status { status: 400, .. })
        ),
        "{error}"
    );
    assert_eq!(ranges(&hub).len(), 2);
}

#[test]
fn lies_about_digests_are_noticed() {
    let (store, original, _) = large_image();
    for lying in ["digest=", "/manifests/1"] {
        let manners = Manners {
            names_no_digest: true,
            ..Manners::default()
        };
        let other = Digest::of(b"something else").to_string();
        let hub = Hub::start_with(manners, move |request| {
            let lies = request.method == "PUT" && request.path.contains(lying);
            lies.then(|| Fault::Header("Docker-Content-Digest", other.clone()))
        });
        let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
        assert!(
            matches!(
                error,
                Error::Registry(RegistryError::StoredDifferently { .. })
            ),
            "{lying}: {error}"
        );
    }
}

#[test]
fn registries_that_name_no_digest_are_asked() {
    let (store, original, _) = large_image();
    let hub = Hub::start(Manners {
        names_no_digest: true,
        ..Manners::default()
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    let asked = format!("HEAD /v2/a/b/manifests/{}", original.manifest.digest);
    assert_eq!(hub.log().last(), Some(&asked));
}

#[test]
fn credentials_stay_with_the_registry() {
    let (store, original, _) = large_image();
    let storage = Hub::start(Manners::default());
    let elsewhere = storage.address.replace("127.0.0.1", "localhost");
    let hub = Hub::start_with(
        Manners {
            upload_host: Some(elsewhere),
            ..Manners::default()
        },
        |request| {
            let known = request.header("authorization").is_some();
            let challenge = Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\"");
            (!known).then_some(Fault::Answer(challenge))
        },
    );
    let path = store.dir.path().join("config.json");
    let auths = serde_json::json!({"auths": {
        &hub.address: {"auth": "dXNlcjpzZWNyZXQ="},
        &storage.address: {"auth": "dXNlcjpzZWNyZXQ="},
    }});
    fs_err::write(&path, auths.to_string()).unwrap();
    let client = client_with(Keychain::files(vec![path]));
    let target = hub.reference("a/b:1");
    // The storage knows nothing of these uploads, and says so.
    run(client.push(&store, &original, &target, &quick(), &|_| ())).unwrap_err();
    let requests = storage.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[test]
fn challenges_from_elsewhere_are_not_answered() {
    let (store, original, _) = large_image();
    let thief = Hub::start_with(Manners::default(), |request| {
        let host = request.header("host").unwrap();
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        let answer = Answer::status(401).with("WWW-Authenticate", challenge);
        Some(Fault::Answer(answer))
    });
    let hub = Hub::start(Manners {
        upload_host: Some(thief.address.replace("127.0.0.1", "localhost")),
        ..Manners::default()
    });
    let path = store.dir.path().join("config.json");
    let auths = serde_json::json!({"auths": {&hub.address: {"auth": "dXNlcjpzZWNyZXQ="}}});
    fs_err::write(&path, auths.to_string()).unwrap();
    let client = client_with(Keychain::files(vec![path]));
    let target = hub.reference("a/b:1");
    let error = run(client.push(&store, &original, &target, &quick(), &|_| ())).unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Unauthorized { .. })),
        "{error}"
    );
    assert!(
        thief.log().iter().all(|line| !line.contains("/token")),
        "{:?}",
        thief.log()
    );
}

#[test]
fn a_token_that_expires_on_the_way_is_renewed() {
    let (store, original, _) = large_image();
    let count = AtomicUsize::new(0);
    let hub = Hub::start_with(Manners::default(), move |request| {
        let host = request.header("host").unwrap();
        if request.path.starts_with("/token") {
            return Some(Fault::Answer(Answer::ok(r#"{"token":"good"}"#)));
        }
        let refused = match request.header("authorization") {
            None => true,
            Some(_) => is_large_patch(request) && count.fetch_add(1, Ordering::Relaxed) == 0,
        };
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        let answer = Answer::status(401).with("WWW-Authenticate", challenge);
        refused.then_some(Fault::Answer(answer))
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    let tokens: Vec<String> = hub
        .log()
        .into_iter()
        .filter(|line| line.contains("/token"))
        .collect();
    // One for all that began together, and one more.
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    assert!(
        tokens[0].ends_with("scope=repository%3Aa%2Fb%3Apull%2Cpush"),
        "{tokens:?}"
    );
}

#[test]
fn a_fresh_token_that_is_refused_keeps_the_registrys_words() {
    let (store, original, _) = large_image();
    let hub = Hub::start_with(Manners::default(), |request| {
        let host = request.header("host").unwrap();
        if request.path.starts_with("/token") {
            return Some(Fault::Answer(Answer::ok(r#"{"token":"good"}"#)));
        }
        if request.header("authorization").is_some() && !is_patch(request) {
            return None;
        }
        let body = r#"{"errors":[{"code":"DENIED","message":"you may not write"}]}"#;
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        let answer = Answer {
            status: 401,
            ..Answer::ok(body)
        };
        Some(Fault::Answer(answer.with("WWW-Authenticate", challenge)))
    });
    let error = push(&store, &original, &hub, "a/b:1").unwrap_err();
    let Error::Registry(RegistryError::Unauthorized { reason, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(reason, "you may not write");
}

#[test]
fn trouble_of_a_token_service_is_told_with_its_name() {
    let (store, original, _) = large_image();
    let tries = AtomicUsize::new(0);
    let hub = Hub::start_with(Manners::default(), move |request| {
        let host = request.header("host").unwrap();
        if request.path.starts_with("/token") {
            // Twice for the first push, then always.
            let answer = match tries.fetch_add(1, Ordering::Relaxed) {
                1 => Answer::ok(r#"{"token":"good"}"#),
                _ => Answer::status(503),
            };
            return Some(Fault::Answer(answer));
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        let answer = Answer::status(401).with("WWW-Authenticate", challenge);
        let is_known = request.header("authorization").is_some();
        (!is_known).then_some(Fault::Answer(answer))
    });
    let waits = Mutex::new(Vec::new());
    let tell = |event| {
        if let PushEvent::Waiting(Wait { what, .. }) = event {
            waits.lock().unwrap().push(what);
        }
    };
    let target = hub.reference("a/b:1");
    run(client().push(&store, &original, &target, &quick(), &tell)).unwrap();
    let service = hub.address.split(':').next().unwrap();
    let waited = format!("a token for {}", hub.address);
    assert_eq!(waits.into_inner().unwrap(), [waited.as_str()]);
    let error = push(&store, &original, &hub, "a/b:2").unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(service) && text.contains("answered 503") && text.contains(&waited),
        "{text}"
    );
}

#[test]
fn a_registry_that_takes_nothing_is_given_up() {
    let (store, original, _) = large_image();
    let hub = Hub::start_with(Manners::default(), |request| {
        is_large_patch(request).then_some(Fault::Hang)
    });
    let options = UploadOptions {
        stall_limit: Duration::from_millis(20),
        answer_limit: Duration::from_millis(20),
        ..quick()
    };
    let error = push_with(&store, &original, &hub, "a/b:1", &options).unwrap_err();
    let Error::Registry(RegistryError::UploadInterrupted { done, size, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((done, size), (0, layer_of(&original).size));
}

/// A bill of materials for `subject`.
fn describe(store: &Store, subject: &Descriptor, content: &str) -> Descriptor {
    let blob = store.add_blob("a/bill", content.as_bytes()).unwrap();
    let artifact = Artifact {
        artifact_type: "a/bill".into(),
        blobs: vec![blob],
        subject: Some(subject.clone()),
        ..Artifact::default()
    };
    store.put_artifact(None, &artifact).unwrap().manifest
}

#[test]
fn what_is_said_about_an_image_goes_with_it() {
    for lists_referrers in [true, false] {
        let store = test_store();
        let hello = image(&store, "hello");
        let bill = describe(&store, &hello.manifest, "bill");
        let signature = describe(&store, &bill, "signature");
        let hub = Hub::start(Manners {
            lists_referrers,
            ..Manners::default()
        });
        push(&store, &hello, &hub, "a/b:1").unwrap();
        for artifact in [&bill, &signature] {
            let digest = artifact.digest.to_string();
            let sent = hub.manifest("a/b", &digest).unwrap();
            assert_eq!(
                sent,
                fs_err::read(store.blob_path(&artifact.digest)).unwrap()
            );
        }
        let last = hub.log().last().cloned();
        assert_eq!(last.as_deref(), Some("PUT /v2/a/b/manifests/1"));
        let (other, pulled) = pull(&hub, "a/b:1");
        let reference = hub.reference("a/b:1");
        let subject = pulled.manifest.digest;
        let found = run(client().pull_referrers(&other, &reference, subject)).unwrap();
        let both = PulledReferrers {
            taken: 2,
            left_out: 0,
        };
        assert_eq!(found, both);
        assert_eq!(
            other.referrers(&subject).unwrap(),
            std::slice::from_ref(&bill)
        );
        assert_eq!(
            other.referrers(&bill.digest).unwrap(),
            std::slice::from_ref(&signature)
        );
        assert!(validate(&other, &pulled.name).unwrap().is_sound());
        let listed = |subject: &Descriptor| {
            let tag = format!("sha256-{}", subject.digest.hex());
            hub.manifest("a/b", &tag)
        };
        if lists_referrers {
            assert_eq!(listed(&hello.manifest), None);
            continue;
        }
        let index = Index::parse(&listed(&hello.manifest).unwrap(), "it").unwrap();
        assert_eq!(index.manifests, std::slice::from_ref(&bill));
        assert_eq!(index.manifests[0].artifact_type.as_deref(), Some("a/bill"));
        let index = Index::parse(&listed(&bill).unwrap(), "it").unwrap();
        assert_eq!(index.manifests, std::slice::from_ref(&signature));
        // What is listed stays, and nothing is listed twice.
        let other = describe(&store, &hello.manifest, "another bill");
        push(&store, &hello, &hub, "a/b:2").unwrap();
        push(&store, &hello, &hub, "a/b:3").unwrap();
        let index = Index::parse(&listed(&hello.manifest).unwrap(), "it").unwrap();
        assert_eq!(index.manifests, [bill, other]);
    }
}

#[test]
fn indexes_name_what_was_pushed() {
    let store = test_store();
    let hello = image(&store, "hello");
    let hub = Hub::start(Manners::default());
    let by_digest = hub.reference("a/b").with_digest(hello.manifest.digest);
    let pushed = run(client().push(&store, &hello, &by_digest, &quick(), &|_| ())).unwrap();
    let index = Index {
        manifests: vec![pushed],
        ..Index::default()
    };
    let target = hub.reference("a/b:multi");
    let listed = run(client().push_index(&target, &index, &quick(), &|_| ())).unwrap();
    let (_, pulled) = pull(&hub, "a/b:multi");
    assert_eq!(pulled.manifest.digest, hello.manifest.digest);
    assert_eq!(
        Digest::of(&hub.manifest("a/b", "multi").unwrap()),
        listed.digest
    );
    // A pin to something else is a mistake.
    let pinned = hub.reference("a/b").with_digest(listed.digest);
    let error = run(client().push(&store, &hello, &pinned, &quick(), &|_| ())).unwrap_err();
    assert!(
        error.to_string().contains("pinned to another image"),
        "{error}"
    );
}

/// The same store, and what is told of pushes out of it.
fn observed(store: &Store) -> (Store, Arc<Mutex<Vec<PushEvent>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let options = StoreOptions {
        registries: Some(ClientOptions {
            keychain: Keychain::empty(),
            ..ClientOptions::default()
        }),
        uploads: Some(quick()),
        observer: Some(Arc::new(move |transfer| {
            if let cog_image::Transfer::Push(event) = transfer {
                log.lock().unwrap().push(event);
            }
        })),
    };
    (Store::open_with(store.root(), options).unwrap(), told)
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it never comes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_a_registry_has_is_asked_before_there_is_an_image() {
    for loses_blobs in [false, true] {
        let (store, original, _) = large_image();
        let (store, _) = observed(&store);
        let hub = Hub::start(Manners::default());
        let [first, second] = ["a/b:1", "a/b:2"].map(|name| hub.reference(name));
        let to_first = store.pushing_to(&first).unwrap();
        to_first.image(&original, &first).unwrap();
        let asked = format!("HEAD /v2/a/b/manifests/{}", original.manifest.digest);
        let times = || hub.log().iter().filter(|line| **line == asked).count();
        assert_eq!(times(), 0, "nothing is known of it");
        let to_second = store.pushing_to(&second).unwrap();
        until(|| times() == 1);
        if loses_blobs {
            hub.lose_blobs("a/b");
        }
        to_second.image(&original, &second).unwrap();
        assert_eq!(times(), 1);
        let (_, pulled) = pull(&hub, "a/b:2");
        assert_eq!(pulled.layers, original.layers);
    }
}

#[test]
fn what_happens_is_told() {
    let (store, original, _) = large_image();
    let hub = Hub::start(Manners::default());
    let layer = layer_of(&original).clone();
    let (observed, told) = observed(&store);
    let target = hub.reference("a/b:1");
    observed
        .pushing_to(&target)
        .unwrap()
        .image(&original, &target)
        .unwrap();
    let events = std::mem::take(&mut *told.lock().unwrap());
    let config = &original.config_blob;
    let started = PushEvent::Started {
        blobs: 2,
        bytes: layer.size + config.size,
    };
    assert_eq!(events.first(), Some(&started));
    assert_eq!(events.last(), Some(&PushEvent::Ended));
    let (digest, size) = (layer.digest, layer.size);
    let arrived = |arrival| PushEvent::Arrived {
        digest,
        size,
        arrival,
    };
    let expected = [
        PushEvent::Sending { digest, size },
        PushEvent::Advanced { digest, done: size },
        arrived(Arrival::Sent),
    ];
    let places: Vec<_> = expected
        .iter()
        .map(|wanted| events.iter().position(|event| event == wanted))
        .collect();
    assert!(places.iter().all(Option::is_some), "{events:?}");
    assert!(places.is_sorted(), "{events:?}");
    observed
        .pushing_to(&target)
        .unwrap()
        .image(&original, &target)
        .unwrap();
    let events = std::mem::take(&mut *told.lock().unwrap());
    assert!(events.contains(&arrived(Arrival::Present)), "{events:?}");
}

#[test]
fn content_of_another_registry_that_is_gone_is_named() {
    let (_origin_store, original, content) = large_image();
    let digest = layer_of(&original).digest.to_string();
    let origin = Server::start_with(content, move |request, _: &Content| {
        request.path.contains(&digest).then(|| Answer::status(404))
    });
    let (store, based) = based_on(&origin);
    let hub = Hub::start(Manners::default());
    let error = push(&store, &based, &hub, "c/d:1").unwrap_err();
    let Error::PartNotFetched { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(**source, RegistryError::PartGone { .. }),
        "{source}"
    );
}

#[test]
fn a_lost_layer_of_which_the_registries_are_gone_is_named_with_them() {
    let (store, original, _) = large_image();
    let layer = layer_of(&original).digest;
    // The system gives it to nobody for a while.
    let gone = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (first, latest) = (gone(), gone());
    let origins = serde_json::json!([[latest, "team/model"], [first, "a/b"]]);
    let path = store.root().join("origins");
    fs_err::create_dir_all(&path).unwrap();
    fs_err::write(path.join(layer.hex()), origins.to_string()).unwrap();
    fs_err::remove_file(store.blob_path(&layer)).unwrap();
    let hub = Hub::start(Manners::default());
    let error = push(&store, &original, &hub, "c/d:1").unwrap_err();
    let expected = format!(
        "layer {layer} is not in the store, and could not be fetched from `{latest}/team/model` or `{first}/a/b`"
    );
    assert_eq!(error.to_string(), expected);
    let Error::PartNotFetched { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.to_string(), format!("could not reach {latest}"));
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("`cog push` without `--no-build` makes again"),
        "{hint}"
    );
    assert_eq!(hub.manifest("c/d", "1"), None);
}

#[test]
fn two_gigabytes_need_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let output = crate::children::command("push_a_sparse_layer", &root, "").output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let peak = text.lines().find_map(|line| line.strip_prefix("peak "));
    let kilobytes: u64 = peak.unwrap().parse().unwrap();
    assert!(kilobytes < 200 * 1024, "{kilobytes} kB");
}

#[test]
fn pushes_that_are_killed_leave_everything_usable() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let hub = Hub::start(Manners::default());
    for round in 1..=10 {
        let target = format!("{}/a/b:{round}", hub.address);
        let mut child = crate::children::start("push_for_ever", &root, &target);
        let before = hub.log().len();
        // Another moment each time.
        while hub.log().len() < before + 3 * round {
            assert_eq!(child.try_wait().unwrap(), None, "it goes on for ever");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = Store::open(&root).unwrap();
    let image = image(&store, "good");
    push(&store, &image, &hub, "a/b:good").unwrap();
    let (_, pulled) = pull(&hub, "a/b:good");
    assert_eq!(pulled.manifest.digest, image.manifest.digest);
    // Whatever has a name is whole.
    for round in 1..=10 {
        if hub.manifest("a/b", &round.to_string()).is_some() {
            pull(&hub, &format!("a/b:{round}"));
        }
    }
}

#[test]
fn only_what_is_said_about_an_image_is_taken_for_it() {
    let store = test_store();
    let [hello, other] = ["hello", "other"].map(|name| image(&store, name));
    describe(&store, &other.manifest, "of another");
    let huge = Descriptor::new("a/huge", Digest::of(b"huge"), 1 << 40);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "a/huge",
        "config": {"mediaType": "a/config", "digest": Digest::of(b"{}"), "size": 2},
        "layers": [huge],
        "subject": hello.manifest,
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = Digest::of(&manifest).to_string();
    let absent = Digest::of(b"absent").to_string();
    let entry = |digest: &str| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
        })
    };
    let foreign = store.referrers(&other.manifest.digest).unwrap();
    let foreign = foreign[0].digest.to_string();
    let list = [
        &digest,
        &absent,
        &foreign,
        &hello.manifest.digest.to_string(),
    ]
    .map(|one| entry(one));
    let mut content = Content::default();
    content.add(&store, &hello, "a/b", "1");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    content.put(format!("/v2/a/b/manifests/{digest}"), kind, manifest);
    let bytes = fs_err::read(store.blob_path(&foreign.parse().unwrap())).unwrap();
    content.put(format!("/v2/a/b/manifests/{foreign}"), kind, bytes);
    let index = serde_json::json!({"schemaVersion": 2, "manifests": list});
    content.put(
        format!("/v2/a/b/referrers/{}", hello.manifest.digest),
        "application/vnd.oci.image.index.v1+json",
        index.to_string().into_bytes(),
    );
    let server = Server::start(content);
    let target = test_store();
    let reference = server.reference("a/b:1");
    let subject = hello.manifest.digest;
    let found = run(client().pull_referrers(&target, &reference, subject)).unwrap();
    let none = PulledReferrers {
        taken: 0,
        left_out: 3,
    };
    assert_eq!(found, none, "the image itself says nothing of itself");
    assert_eq!(target.referrers(&subject).unwrap(), []);
}

#[test]
fn mounting_asks_for_the_right_to_read_there() {
    let (store, original, _) = large_image();
    let manners = Manners {
        mounts: true,
        ..Manners::default()
    };
    let hub = Hub::start_with(manners, |request| {
        let host = request.header("host").unwrap();
        if let Some(query) = request.path.strip_prefix("/token?") {
            // A token is what it allows.
            let token = serde_json::json!({ "token": query.replace("scope=", "") });
            return Some(Fault::Answer(Answer::ok(token.to_string())));
        }
        let mounts = request.path.contains("mount=");
        let allowed = request.header("authorization").is_some_and(|token| {
            !mounts || token.ends_with("%3Apull%2Cpush&repository%3Aa%2Fb%3Apull")
        });
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        let answer = Answer::status(401).with("WWW-Authenticate", challenge);
        (!allowed).then_some(Fault::Answer(answer))
    });
    push(&store, &original, &hub, "a/b:1").unwrap();
    push(&store, &original, &hub, "c/d:1").unwrap();
    assert_eq!(ranges(&hub), [ALL]);
    let log = hub.log();
    let tokens = log.iter().filter(|line| line.contains("/token"));
    assert_eq!(tokens.count(), 3, "one for each set of rights: {log:?}");
}
