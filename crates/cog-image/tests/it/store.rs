//! What the store keeps, finds, repairs and removes.

use std::time::{Duration, SystemTime};

use cog_image::{Error, ImageConfig, Kind, PruneOptions, StepKey, StepRecord, validate};

use crate::support::{file, files_below, flip_byte, image, options, test_store, tree};

fn key(name: &str) -> StepKey {
    StepKey::builder(name).field("input", "1").finish()
}

#[test]
fn images_come_back_as_they_were() {
    let store = test_store();
    assert_eq!(store.image("hello").unwrap().map(|image| image.name), None);
    let stored = image(&store, "hello");
    let loaded = store
        .image("docker.io/library/hello:latest")
        .unwrap()
        .unwrap();
    assert_eq!(loaded.name, "hello:latest");
    assert_eq!(loaded.manifest, stored.manifest);
    assert_eq!(loaded.config, stored.config);
    assert_eq!(loaded.layers, stored.layers);
    let report = validate(&store, "hello").unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.blobs, 4);

    let other = image(&store, "other:1");
    let names = || -> Vec<String> {
        store
            .images()
            .unwrap()
            .into_iter()
            .map(|summary| summary.name)
            .collect()
    };
    assert_eq!(names(), ["hello:latest", "other:1"]);
    let summary = store.images().unwrap().remove(1);
    assert_eq!(
        (summary.digest, summary.created),
        (other.manifest.digest, 1_700_000_000)
    );
    assert_eq!(summary.size, other.size());

    image(&store, "hello");
    assert_eq!(names(), ["hello:latest", "other:1"]);
    assert!(store.remove_image("hello:latest").unwrap());
    assert!(!store.remove_image("hello").unwrap());
    assert_eq!(names(), ["other:1"]);
    assert!(matches!(
        store.image("not a name"),
        Err(Error::InvalidReference { .. })
    ));
    assert!(matches!(
        validate(&store, "hello"),
        Err(Error::NoSuchImage { .. })
    ));
}

#[test]
fn steps_are_remembered_while_their_layers_are_there() {
    let store = test_store();
    assert_eq!(store.step(&key("a")).unwrap(), None);
    let layer = store
        .add_layer_from_entries(vec![file("a", "content")], &options())
        .unwrap();
    let facts = serde_json::json!({"python": "3.12"});
    let record = StepRecord {
        layers: vec![layer.clone()],
        facts,
    };
    store.record_step(&key("a"), &record).unwrap();
    assert_eq!(store.step(&key("a")).unwrap(), Some(record.clone()));
    assert_eq!(store.step(&key("b")).unwrap(), None);

    let blob = store.blob_path(&layer.blob.digest);
    let content = fs_err::read(&blob).unwrap();
    fs_err::write(&blob, &content[1..]).unwrap();
    assert_eq!(
        store.step(&key("a")).unwrap(),
        None,
        "the blob is too short"
    );
    fs_err::remove_file(&blob).unwrap();
    assert_eq!(store.step(&key("a")).unwrap(), None, "the blob is gone");

    // Making the layer again makes the step valid again.
    store
        .add_layer_from_entries(vec![file("a", "content")], &options())
        .unwrap();
    assert_eq!(store.step(&key("a")).unwrap(), Some(record));
    fs_err::write(store.root().join("steps").join(key("a").to_string()), "{").unwrap();
    assert_eq!(
        store.step(&key("a")).unwrap(),
        None,
        "the record is damaged"
    );
}

#[test]
fn a_flipped_byte_in_a_blob_is_noticed() {
    let store = test_store();
    let stored = image(&store, "hello");
    let source = &stored.layers[1];
    flip_byte(&store.blob_path(&source.blob.digest));
    let error = store.snapshot(source).unwrap_err();
    assert!(matches!(error, Error::CorruptBlob { .. }), "{error}");
    assert!(
        error.to_string().contains(&source.blob.digest.to_string()),
        "{error}"
    );
    let report = validate(&store, "hello").unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(
        report.problems[0].subject,
        format!("layer {}", source.blob.digest)
    );

    // Making it again heals it.
    image(&store, "hello");
    assert!(validate(&store, "hello").unwrap().is_sound());
    store.snapshot(source).unwrap();
}

#[test]
fn flipped_documents_are_noticed() {
    let store = test_store();
    let stored = image(&store, "hello");
    for blob in [&stored.config_blob, &stored.manifest] {
        flip_byte(&store.blob_path(&blob.digest));
        assert!(matches!(
            store.image("hello"),
            Err(Error::CorruptBlob { .. })
        ));
        let report = validate(&store, "hello").unwrap();
        assert_eq!(report.problems.len(), 1);
        assert!(
            report.problems[0]
                .to_string()
                .contains(&blob.digest.to_string())
        );
        // The list still works, to say which image it is.
        assert_eq!(store.images().unwrap().len(), 1);
        flip_byte(&store.blob_path(&blob.digest));
    }
    assert!(validate(&store, "hello").unwrap().is_sound());
}

#[test]
fn a_changed_snapshot_is_noticed_and_replaced() {
    let store = test_store();
    let stored = image(&store, "hello");
    let base = &stored.layers[0];
    let snapshot = store.snapshot(base).unwrap();
    let problem = || {
        let report = validate(&store, "hello").unwrap();
        report
            .problems
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let discard = || {
        store.discard_snapshot(&base.diff_id).unwrap();
        store.snapshot(base).unwrap();
        assert_eq!(problem(), "");
    };
    flip_byte(&snapshot.join("usr/lib/data"));
    assert!(
        problem().ends_with("`usr/lib/data` has other content"),
        "{}",
        problem()
    );
    assert!(problem().contains(&base.diff_id.to_string()));
    discard();
    fs_err::remove_file(snapshot.join("usr/bin/tool")).unwrap();
    assert!(
        problem().ends_with("`usr/bin/tool` is missing"),
        "{}",
        problem()
    );
    discard();
    fs_err::write(snapshot.join("usr/extra"), "").unwrap();
    assert!(
        problem().ends_with("`usr/extra` should not be there"),
        "{}",
        problem()
    );
    discard();
    fs_err::set_permissions(
        snapshot.join("usr/lib/data"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    assert!(
        problem().ends_with("`usr/lib/data` has other permissions"),
        "{}",
        problem()
    );
    discard();
}

#[test]
fn snapshots_of_an_earlier_boot_are_looked_at() {
    let store = test_store();
    let layer = image(&store, "hello").layers.remove(0);
    let snapshot = store.snapshot(&layer).unwrap();
    let info_path = snapshot.with_file_name("info.json");
    let reboot = || {
        let mut info: serde_json::Value =
            serde_json::from_slice(&fs_err::read(&info_path).unwrap()).unwrap();
        info["boot"] = "earlier".into();
        fs_err::write(&info_path, info.to_string()).unwrap();
    };
    reboot();
    store.snapshot(&layer).unwrap();
    let settled = fs_err::read_to_string(&info_path).unwrap();
    assert!(settled.contains(r#""boot":"""#), "{settled}");

    // As a crash leaves files that had not reached the disk.
    reboot();
    fs_err::write(snapshot.join("usr/lib/data"), "").unwrap();
    store.snapshot(&layer).unwrap();
    assert_eq!(
        fs_err::read_to_string(snapshot.join("usr/lib/data")).unwrap(),
        "data"
    );
}

#[test]
fn a_snapshot_without_its_blob_is_still_there() {
    let store = test_store();
    let stored = image(&store, "hello");
    for layer in &stored.layers {
        store.discard_blob(&layer.blob.digest).unwrap();
    }
    store.snapshot(&stored.layers[0]).unwrap();
    let error = store.snapshot(&stored.layers[1]).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
}

#[test]
fn a_layer_with_a_false_diff_id_is_refused() {
    let store = test_store();
    let mut layer = store
        .add_layer_from_entries(vec![file("a", "1")], &options())
        .unwrap();
    let other = store
        .add_layer_from_entries(vec![file("a", "2")], &options())
        .unwrap();
    layer.diff_id = other.diff_id;
    let error = store.snapshot(&layer).unwrap_err();
    assert!(matches!(error, Error::WrongDiffId { .. }), "{error}");
    assert_eq!(files_below(&store.root().join("snapshots")), [""; 0]);
}

#[test]
fn pruning_keeps_what_is_used() {
    let store = test_store();
    image(&store, "keep");
    image(&store, "remove");
    store.remove_image("remove").unwrap();
    let layer = |name: &str| {
        let (_scratch, root) = tree(&store, &[(name, name)]);
        store.add_layer_from_dir(&root, &options()).unwrap()
    };
    let record = |name: &str| {
        let record = StepRecord {
            layers: vec![layer(name)],
            facts: serde_json::Value::Null,
        };
        store.record_step(&key(name), &record).unwrap();
        record
    };
    let (recent, old) = (record("recent"), record("old"));
    let day = Duration::from_hours(24);
    let age = fs_err::File::options()
        .write(true)
        .open(store.root().join("steps").join(key("old").to_string()))
        .unwrap();
    age.set_modified(SystemTime::now() - 10 * day).unwrap();

    let report = store.prune(&PruneOptions::default()).unwrap();
    // Of the removed image: manifest, config, source layer; of the old step: its layer.
    let counts = [Kind::Blobs, Kind::Snapshots, Kind::Steps].map(|kind| report.count(kind));
    assert_eq!(counts, [4, 1, 1]);
    assert!(report.bytes() > 0);
    assert!(validate(&store, "keep").unwrap().is_sound());
    assert_eq!(store.step(&key("recent")).unwrap(), Some(recent.clone()));
    assert_eq!(store.step(&key("old")).unwrap(), None);
    assert!(!store.has_blob(&old.layers[0].blob));

    let everything = PruneOptions::everything();
    store.prune(&everything).unwrap();
    assert!(store.images().unwrap().is_empty());
    let left = files_below(store.root());
    let left: Vec<_> = left
        .iter()
        .filter(|path| !path.starts_with("locks"))
        .collect();
    assert!(
        !left.iter().any(|path| path.starts_with("blobs/sha256/")),
        "{left:?}"
    );
    assert!(
        !left.iter().any(|path| path.starts_with("snapshots/")),
        "{left:?}"
    );
    assert_eq!(
        store.prune(&everything).unwrap(),
        cog_image::PruneReport::default()
    );
}

#[test]
fn using_a_step_keeps_it_young() {
    let store = test_store();
    let record = StepRecord {
        layers: Vec::new(),
        facts: 1.into(),
    };
    store.record_step(&key("old"), &record).unwrap();
    let path = store.root().join("steps").join(key("old").to_string());
    let long_ago = SystemTime::now() - Duration::from_hours(1000);
    fs_err::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    assert_eq!(store.step(&key("old")).unwrap(), Some(record));
    let report = store.prune(&PruneOptions::default()).unwrap();
    assert_eq!(report.count(Kind::Steps), 0);
}

#[test]
fn pruning_waits_for_leases() {
    let store = test_store();
    let lease = store.lease().unwrap();
    let (waits, waiting) = std::sync::mpsc::channel();
    let other = store.store.clone();
    let pruning = std::thread::spawn(move || {
        other.prune_or_report(&PruneOptions::default(), || waits.send(()).unwrap())
    });
    waiting.recv().unwrap();
    assert!(!pruning.is_finished());
    drop(lease);
    pruning.join().unwrap().unwrap();
}

#[test]
fn the_store_is_an_oci_layout() {
    let store = test_store();
    image(&store, "hello");
    let report = cog_image::validate_layout(cog_image::ImportSource::OciDir, store.root()).unwrap();
    assert!(report.is_sound() && report.blobs == 4, "{report:?}");
}

#[test]
fn a_damaged_index_is_named() {
    let store = test_store();
    image(&store, "hello");
    fs_err::write(store.root().join("index.json"), "{").unwrap();
    let error = store.images().unwrap_err().to_string();
    assert!(
        error.contains("index.json") && error.ends_with("is not valid"),
        "{error}"
    );
}

#[test]
fn an_unusable_root_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs_err::write(&file, "").unwrap();
    let error = cog_image::Store::open(&file.join("store"))
        .unwrap_err()
        .to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn names_must_be_references() {
    let store = test_store();
    let error = store
        .put_image("Bad Name", &ImageConfig::default(), &[])
        .unwrap_err();
    assert!(matches!(error, Error::InvalidReference { .. }), "{error}");
    assert_eq!(files_below(&store.root().join("blobs")), ["sha256"]);
}

/// The budget for a rebuild is 150 ms; this part of it should hardly be noticed.
#[test]
fn a_small_change_costs_milliseconds() {
    let store = test_store();
    let base = image(&store, "hello").layers.remove(0);
    let mut times: Vec<Duration> = (0..20)
        .map(|round| {
            let start = std::time::Instant::now();
            let fresh = cog_image::Store::open(store.root()).unwrap();
            let source = file("src/predict.py", format!("round {round}"));
            let source = fresh
                .add_layer_from_entries(vec![source], &options())
                .unwrap();
            let layers = [base.clone(), source];
            fresh
                .put_image("hello", &ImageConfig::default(), &layers)
                .unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    eprintln!(
        "adding a source layer and naming the image: median {:?}",
        times[10]
    );
    // The best one: machines that run tests are busy, and their disks more so.
    assert!(times[0] < Duration::from_millis(100), "{times:?}");
}
