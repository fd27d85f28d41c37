//! Artifacts beside images, what is said about images, and manifests that others wrote.

use std::io::Read as _;
use std::path::Path;

use cog_image::{
    Artifact, Compression, Descriptor, Digest, Error, ExportOptions, ExportTarget, ImportSource,
    Kind, Manifest, PruneOptions, Store, StoredArtifact, StoredImage, export, import, validate,
    validate_layout,
};

use crate::support::{TestStore, blob_of, flip_byte, image, test_store, write_layout};

/// A bill of materials for `subject`.
fn describe(store: &Store, subject: &Descriptor, content: &str) -> StoredArtifact {
    let blob = store
        .add_blob("application/spdx+json", content.as_bytes())
        .unwrap();
    let artifact = Artifact {
        artifact_type: "application/spdx+json".into(),
        blobs: vec![blob],
        subject: Some(subject.clone()),
        annotations: [("note".to_owned(), content.to_owned())].into(),
        ..Artifact::default()
    };
    store.put_artifact(None, &artifact).unwrap()
}

#[test]
fn artifacts_are_no_images() {
    let store = test_store();
    image(&store, "hello");
    let blob = store.add_blob("a/tar", &b"weights"[..]).unwrap();
    let artifact = Artifact {
        artifact_type: "a/weights".into(),
        config: Some(("a/config".into(), b"{\"name\":\"w\"}".to_vec())),
        blobs: vec![blob.clone()],
        ..Artifact::default()
    };
    let stored = store.put_artifact(Some("weights:1"), &artifact).unwrap();
    assert_eq!(stored.manifest.artifact_type.as_deref(), Some("a/weights"));
    assert_eq!(store.artifact("weights:1").unwrap(), Some(stored.clone()));
    assert_eq!(store.artifact("other").unwrap(), None);
    let mut content = String::new();
    let mut reader = store.blob(&stored.content.layers[0]).unwrap();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "weights");

    let names: Vec<String> = store
        .images()
        .unwrap()
        .into_iter()
        .map(|image| image.name)
        .collect();
    assert_eq!(names, ["hello:latest"]);
    let error = store.image("weights:1").unwrap_err().to_string();
    assert_eq!(error, "`weights:1`: it is no image but a `a/weights`");
    assert!(store.artifact("hello").is_err());
    assert!(validate(&store, "weights:1").unwrap().is_sound());
    flip_byte(&store.blob_path(&blob.digest));
    let report = validate(&store, "weights:1").unwrap();
    assert_eq!(report.problems[0].subject, format!("blob {}", blob.digest));
}

#[test]
fn what_nothing_keeps_or_nobody_has_is_refused() {
    let store = test_store();
    let hello = image(&store, "hello");
    let mut artifact = Artifact {
        artifact_type: "a/b".into(),
        ..Artifact::default()
    };
    let error = store.put_artifact(None, &artifact).unwrap_err().to_string();
    assert!(error.contains("neither a name nor a subject"), "{error}");
    artifact.blobs = vec![Descriptor::new("a/b", Digest::of(b"nowhere"), 7)];
    let error = store.put_artifact(Some("a"), &artifact).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
    let manifest = fs_err::read(store.blob_path(&hello.manifest.digest)).unwrap();
    let error = store
        .put_artifact_manifest(Some("a"), &manifest)
        .unwrap_err();
    assert!(error.to_string().contains("it is an image"), "{error}");
    assert_eq!(store.artifact("a").unwrap(), None);
}

#[test]
fn what_is_said_about_an_image_is_kept_with_it() {
    let store = test_store();
    let hello = image(&store, "hello");
    let bill = describe(&store, &hello.manifest, "bill");
    let signature = describe(&store, &bill.manifest, "signature");
    describe(&store, &hello.manifest, "bill");
    let referrers = store.referrers(&hello.manifest.digest).unwrap();
    assert_eq!(referrers, std::slice::from_ref(&bill.manifest));
    assert_eq!(referrers[0].annotations["note"], "bill");

    store.prune(&PruneOptions::default()).unwrap();
    for artifact in [&bill, &signature] {
        assert!(store.has_blob(&artifact.manifest));
        assert!(store.has_blob(&artifact.content.config));
        assert!(store.has_blob(&artifact.content.layers[0]));
    }
    assert_eq!(validate(&store, "hello").unwrap().blobs, 4 + 6);

    store.remove_image("hello").unwrap();
    let report = store.prune(&PruneOptions::default()).unwrap();
    // Image: manifest, config, two layers. Artifacts: manifest and content each, and one empty config.
    assert_eq!(report.count(Kind::Blobs), 4 + 2 * 2 + 1);
    assert_eq!(store.referrers(&hello.manifest.digest).unwrap(), []);
    assert_eq!(store.prune(&PruneOptions::default()).unwrap().bytes(), 0);
}

/// An image whose manifest another tool wrote: with spaces, and fields that we have no name for.
fn foreign_image(store: &TestStore) -> (StoredImage, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let tar = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let blob = blob_of(Compression::Zstd, &tar);
    let entry = write_layout(dir.path(), &[(&blob, &tar)]);
    let at = |digest: &Digest| dir.path().join("blobs/sha256").join(digest.hex());
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs_err::read(at(&entry.digest)).unwrap()).unwrap();
    manifest["org.example.new"] = serde_json::json!({ "field": [1, 2] });
    manifest["annotations"] = serde_json::json!({ "z": "1", "a": "2" });
    manifest["layers"][0]["urls"] = serde_json::json!(["https://example.org/layer"]);
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
    let mut entry = Descriptor::new(entry.media_type, Digest::of(&bytes), bytes.len() as u64);
    entry.extra.insert("other".into(), true.into());
    fs_err::write(at(&entry.digest), &bytes).unwrap();
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    fs_err::write(dir.path().join("index.json"), index.to_string()).unwrap();
    let image = import(store, ImportSource::OciDir, dir.path(), "foreign").unwrap();
    (image, bytes)
}

fn export_to(store: &Store, image: &StoredImage, target: ExportTarget, path: &Path) {
    export(store, image, target, path, &ExportOptions::default()).unwrap();
}

#[test]
fn layouts_carry_manifests_as_they_are_and_what_is_said_about_them() {
    let store = test_store();
    let (foreign, bytes) = foreign_image(&store);
    assert_eq!(foreign.manifest.digest, Digest::of(&bytes));
    let bill = describe(&store, &foreign.manifest, "bill");
    let signature = describe(&store, &bill.manifest, "signature");
    for (target, source) in [
        (ExportTarget::OciDir, ImportSource::OciDir),
        (ExportTarget::OciArchive, ImportSource::OciArchive),
    ] {
        let path = store.dir.path().join(format!("{target:?}"));
        export_to(&store, &foreign, target, &path);
        export_to(&store, &foreign, target, &path);
        let report = validate_layout(source, &path).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.blobs, 3 + 2 * 3);

        let other = test_store();
        let imported = import(&other, source, &path, "copy").unwrap();
        assert_eq!(imported.manifest.digest, foreign.manifest.digest);
        let kept = fs_err::read(other.blob_path(&imported.manifest.digest)).unwrap();
        assert_eq!(kept, bytes);
        let referrers = other.referrers(&imported.manifest.digest).unwrap();
        assert_eq!(referrers, std::slice::from_ref(&bill.manifest));
        let further = other.referrers(&bill.manifest.digest).unwrap();
        assert_eq!(further, std::slice::from_ref(&signature.manifest));
        other.prune(&PruneOptions::default()).unwrap();
        assert!(validate(&other, "copy").unwrap().is_sound());
        assert!(other.has_blob(&signature.content.layers[0]));
    }
}

#[test]
fn a_layout_keeps_what_others_wrote_into_its_index() {
    let store = test_store();
    let hello = image(&store, "hello:1");
    let path = store.dir.path().join("layout");
    export_to(&store, &hello, ExportTarget::OciDir, &path);
    let index = path.join("index.json");
    let mut content: serde_json::Value =
        serde_json::from_slice(&fs_err::read(&index).unwrap()).unwrap();
    content["annotations"] = serde_json::json!({ "of": "somebody" });
    fs_err::write(&index, content.to_string()).unwrap();
    let other = image(&store, "hello:2");
    export_to(&store, &other, ExportTarget::OciDir, &path);
    let content: serde_json::Value =
        serde_json::from_slice(&fs_err::read(&index).unwrap()).unwrap();
    assert_eq!(content["annotations"]["of"], "somebody");
    assert_eq!(content["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn a_converted_image_keeps_its_fields_and_nothing_that_is_said_about_another() {
    let store = test_store();
    let (foreign, _) = foreign_image(&store);
    describe(&store, &foreign.manifest, "bill");
    let path = store.dir.path().join("gzip");
    let options = ExportOptions {
        compression: Some(Compression::Gzip),
    };
    export(&store, &foreign, ExportTarget::OciDir, &path, &options).unwrap();
    let other = test_store();
    let converted = import(&other, ImportSource::OciDir, &path, "gzip").unwrap();
    assert_ne!(converted.manifest.digest, foreign.manifest.digest);
    let bytes = fs_err::read(other.blob_path(&converted.manifest.digest)).unwrap();
    let manifest = Manifest::parse(&bytes, "it").unwrap();
    assert_eq!(manifest.extra["org.example.new"]["field"][1], 2);
    assert_eq!(manifest.annotations["a"], "2");
    assert_eq!(other.referrers(&foreign.manifest.digest).unwrap(), []);
    assert_eq!(other.referrers(&converted.manifest.digest).unwrap(), []);
}
