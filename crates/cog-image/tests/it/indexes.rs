//! Images for several platforms under one name.

use cog_image::{
    Artifact, Error, ExportOptions, ExportTarget, ImageConfig, ImportSource, Names, Platform,
    PruneOptions, Store, StoredImage, StoredIndex, export_index, import, validate, validate_layout,
};

use crate::support::{file, flip_byte, options, test_store};

/// The architecture that this machine is not.
fn other() -> &'static str {
    if Platform::host().architecture == "amd64" {
        "arm64"
    } else {
        "amd64"
    }
}

/// An image without a name, of a layer that all have and one of its own.
fn image_for(store: &Store, architecture: &str) -> StoredImage {
    let layer = |content: &str| {
        let entries = vec![file(content, content)];
        store.add_layer_from_entries(entries, &options()).unwrap()
    };
    let config = ImageConfig {
        architecture: architecture.into(),
        ..ImageConfig::default()
    };
    let layers = [layer("shared"), layer(architecture)];
    store.write_image("both:1", &config, &layers).unwrap()
}

fn both(store: &Store) -> StoredIndex {
    let images = ["arm64", "amd64"].map(|architecture| image_for(store, architecture));
    store.put_index("both:1", images.to_vec()).unwrap()
}

fn everything_unnamed() -> PruneOptions {
    PruneOptions {
        names: Names::Keep,
        keep_used_within: std::time::Duration::ZERO,
    }
}

#[test]
fn a_name_may_have_images_for_several_platforms() {
    let store = test_store();
    let index = both(&store);
    let found = store.image_index("both:1").unwrap().unwrap();
    assert_eq!(found.descriptor, index.descriptor);
    let platforms: Vec<String> = found
        .images
        .iter()
        .map(|image| image.platform().to_string())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let here = store.image("both:1").unwrap().unwrap();
    assert_eq!(here.platform(), Platform::host());
    let elsewhere = found
        .for_platform(&Platform::new("linux", other()))
        .unwrap();
    assert_ne!(elsewhere.manifest.digest, here.manifest.digest);

    let [summary] = store.images().unwrap().try_into().unwrap();
    assert_eq!(summary.digest, index.descriptor.digest);
    assert_eq!(summary.platforms.len(), 2);
    // The layer that both have counts once.
    let sizes = index.images.iter().map(StoredImage::size).sum::<u64>();
    let shared = here.layers[0].blob.size;
    assert_eq!(summary.size, sizes - shared + index.descriptor.size);
    assert!(store.artifact("both:1").is_err());
}

#[test]
fn the_order_of_images_decides_nothing() {
    let (one, two) = (test_store(), test_store());
    let first = both(&one);
    let images = ["amd64", "arm64"].map(|architecture| image_for(&two, architecture));
    let second = two.put_index("both:1", images.to_vec()).unwrap();
    assert_eq!(first.descriptor, second.descriptor);
}

#[test]
fn a_name_without_an_image_for_this_machine_is_its_first() {
    let store = test_store();
    let images = ["s390x", other()].map(|architecture| image_for(&store, architecture));
    let index = store.put_index("far", images.to_vec()).unwrap();
    let first = store.image("far").unwrap().unwrap();
    assert_eq!(first.manifest.digest, index.images[0].manifest.digest);
    assert_eq!(first.platform().to_string(), format!("linux/{}", other()));

    store.put_index("none", Vec::new()).unwrap();
    let error = store.image("none").unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("lists no image"), "{error}");
}

#[test]
fn pruning_keeps_all_that_an_index_lists() {
    let store = test_store();
    let index = both(&store);
    let elsewhere = index
        .for_platform(&Platform::new("linux", other()))
        .unwrap()
        .clone();
    let blob = store
        .add_blob("application/spdx+json", &b"its parts"[..])
        .unwrap();
    let said = Artifact {
        artifact_type: "application/spdx+json".into(),
        blobs: vec![blob],
        subject: Some(elsewhere.manifest.clone()),
        ..Artifact::default()
    };
    store.put_artifact(None, &said).unwrap();
    store.tag("both:1", "again").unwrap();
    store.remove_image("both:1").unwrap();
    store.prune(&everything_unnamed()).unwrap();
    assert!(validate(&store, "again").unwrap().is_sound());
    let subject = &elsewhere.manifest.digest;
    assert_eq!(store.referrers(subject).unwrap().len(), 1);

    store.remove_image("again").unwrap();
    store.prune(&everything_unnamed()).unwrap();
    let blobs = fs_err::read_dir(store.root().join("blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 0);
}

#[test]
fn damage_in_any_of_the_images_is_found() {
    let store = test_store();
    let index = both(&store);
    for image in &index.images {
        let layer = &image.layers[1].blob.digest;
        flip_byte(&store.blob_path(layer));
        let report = validate(&store, "both:1").unwrap();
        assert!(!report.is_sound(), "{report:?}");
        flip_byte(&store.blob_path(layer));
    }
    assert!(validate(&store, "both:1").unwrap().is_sound());
}

#[test]
fn an_index_is_exported_whole() {
    let store = test_store();
    let index = both(&store);
    for (target, source) in [
        (ExportTarget::OciDir, ImportSource::OciDir),
        (ExportTarget::OciArchive, ImportSource::OciArchive),
    ] {
        let path = store.dir.path().join(format!("{target:?}"));
        export_index(&store, &index, target, &path, &ExportOptions::default()).unwrap();
        let report = validate_layout(source, &path).unwrap();
        // Of each image manifest, config and layers; and the index.
        assert!(report.is_sound() && report.blobs == 9, "{report:?}");
        let copy = test_store();
        let imported = import(&copy, source, &path, "both:1").unwrap();
        assert_eq!(imported.platform(), Platform::linux_amd64());
    }
    let path = store.dir.path().join("archive.tar");
    let options = ExportOptions::default();
    let archive = export_index(&store, &index, ExportTarget::DockerArchive, &path, &options);
    assert!(archive.unwrap_err().to_string().contains("holds one"));
    assert!(!path.exists());
}
