//! Images to and from files, and what other tools think of them.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use cog_image::{
    Compression, Digest, Error, ExportOptions, ExportTarget, ImportSource, export, import,
    validate, validate_layout,
};
use cog_testing::skip;

use crate::support::{TestStore, flip_byte, have, image, plain, test_store, write_layout};

fn export_to(store: &TestStore, name: &str, target: ExportTarget, to: &str) -> std::path::PathBuf {
    let image = store.image(name).unwrap().unwrap();
    let path = store.dir.path().join(to);
    export(store, &image, target, &path, &ExportOptions::default()).unwrap();
    path
}

#[test]
fn layouts_round_trip() {
    let store = test_store();
    let original = image(&store, "hello:1");
    for (target, source) in [
        (ExportTarget::OciDir, ImportSource::OciDir),
        (ExportTarget::OciArchive, ImportSource::OciArchive),
    ] {
        let path = export_to(&store, "hello:1", target, &format!("{target:?}"));
        let report = validate_layout(source, &path).unwrap();
        assert!(report.is_sound() && report.blobs == 4, "{report:?}");
        let other = test_store();
        let imported = import(&other, source, &path, "copy").unwrap();
        assert_eq!(imported.name, "copy:latest");
        assert_eq!(imported.manifest.digest, original.manifest.digest);
        assert_eq!(imported.layers, original.layers);
        assert_eq!(imported.config, original.config);
        assert!(validate(&other, "copy").unwrap().is_sound());
        for layer in &imported.layers {
            other.snapshot(layer).unwrap();
        }
    }
}

#[test]
fn archives_are_the_same_every_time() {
    let (one, two) = (test_store(), test_store());
    for target in [ExportTarget::OciArchive, ExportTarget::DockerArchive] {
        let digest = |store: &TestStore| {
            image(store, "hello");
            Digest::of(&fs_err::read(export_to(store, "hello", target, "out")).unwrap())
        };
        assert_eq!(digest(&one), digest(&two));
    }
}

#[test]
fn a_directory_collects_images() {
    let store = test_store();
    image(&store, "hello:1");
    image(&store, "hello:2");
    let path = export_to(&store, "hello:1", ExportTarget::OciDir, "layout");
    export_to(&store, "hello:2", ExportTarget::OciDir, "layout");
    export_to(&store, "hello:1", ExportTarget::OciDir, "layout");
    assert_eq!(
        validate_layout(ImportSource::OciDir, &path).unwrap().blobs,
        8
    );
    let other = test_store();
    for tag in ["hello:1", "hello:2"] {
        let imported = import(&other, ImportSource::OciDir, &path, tag).unwrap();
        let original = store.image(tag).unwrap().unwrap();
        assert_eq!(imported.manifest.digest, original.manifest.digest);
    }
}

#[test]
fn other_peoples_files_are_left_alone() {
    let store = test_store();
    let image = image(&store, "hello");
    let occupied = store.dir.path().join("occupied");
    fs_err::create_dir(&occupied).unwrap();
    fs_err::write(occupied.join("thesis.txt"), "important").unwrap();
    let options = ExportOptions::default();
    let error = export(&store, &image, ExportTarget::OciDir, &occupied, &options).unwrap_err();
    assert!(error.to_string().contains("not an OCI layout"), "{error}");
    let error = export(
        &store,
        &image,
        ExportTarget::OciDir,
        &occupied.join("thesis.txt"),
        &options,
    );
    assert!(error.unwrap_err().to_string().contains("not a directory"));
    let error = export(
        &store,
        &image,
        ExportTarget::OciArchive,
        &occupied,
        &options,
    )
    .unwrap_err();
    assert!(error.to_string().contains("occupied"), "{error}");
    assert_eq!(crate::support::files_below(&occupied), ["thesis.txt"]);
}

#[test]
fn layers_become_gzip_once() {
    let store = test_store();
    let image = image(&store, "hello");
    let options = ExportOptions {
        compression: Some(Compression::Gzip),
    };
    let path = store.dir.path().join("gzip");
    export(&store, &image, ExportTarget::OciDir, &path, &options).unwrap();
    assert!(
        validate_layout(ImportSource::OciDir, &path)
            .unwrap()
            .is_sound()
    );
    let imported = import(&store, ImportSource::OciDir, &path, "gzip").unwrap();
    for (gzip, zstd) in imported.layers.iter().zip(&image.layers) {
        assert_eq!(gzip.diff_id, zstd.diff_id);
        assert_eq!(gzip.created_by, zstd.created_by);
        assert!(gzip.blob.media_type.ends_with("+gzip"));
        let blob = fs_err::read(store.blob_path(&gzip.blob.digest)).unwrap();
        assert_eq!(Digest::of(&plain(&blob)), zstd.diff_id.digest());
    }
    // The second time nothing is read: damage to the original goes unnoticed.
    flip_byte(&store.blob_path(&image.layers[0].blob.digest));
    let again = store.dir.path().join("again");
    export(&store, &image, ExportTarget::OciArchive, &again, &options).unwrap();
}

#[test]
fn damage_stops_every_export() {
    let store = test_store();
    let image = image(&store, "hello");
    let blob = store.blob_path(&image.layers[1].blob.digest);
    flip_byte(&blob);
    let damaged_blob = fs_err::read(&blob).unwrap();
    for target in [
        ExportTarget::OciDir,
        ExportTarget::OciArchive,
        ExportTarget::DockerArchive,
    ] {
        fs_err::write(&blob, &damaged_blob).unwrap();
        let path = store.dir.path().join(format!("{target:?}"));
        let error = export(&store, &image, target, &path, &ExportOptions::default()).unwrap_err();
        let damaged = matches!(error, Error::CorruptBlob { .. } | Error::BadArchive { .. });
        assert!(damaged, "{error}");
        assert!(!path.is_file() && !path.join("index.json").exists());
    }
    store.discard_blob(&image.layers[1].blob.digest).unwrap();
    let path = store.dir.path().join("missing");
    let error = export(
        &store,
        &image,
        ExportTarget::OciArchive,
        &path,
        &ExportOptions::default(),
    );
    assert!(matches!(error, Err(Error::MissingBlob { .. })));
}

#[test]
fn damaged_layouts_are_not_imported() {
    let store = test_store();
    let image = image(&store, "hello");
    let path = export_to(&store, "hello", ExportTarget::OciDir, "layout");
    for blob in [&image.layers[0].blob, &image.config_blob, &image.manifest] {
        let file = path.join("blobs/sha256").join(blob.digest.hex());
        flip_byte(&file);
        let other = test_store();
        let error = import(&other, ImportSource::OciDir, &path, "x").unwrap_err();
        assert!(matches!(error, Error::CorruptBlob { .. }), "{error}");
        assert!(other.images().unwrap().is_empty());
        let report = validate_layout(ImportSource::OciDir, &path).unwrap();
        assert!(
            report.problems[0]
                .to_string()
                .contains(&blob.digest.to_string())
        );
        flip_byte(&file);
    }
}

#[test]
fn strange_layouts_are_refused_by_name() {
    let store = test_store();
    let path = store.dir.path().join("layout");
    let error_of = |source| import(&store, source, &path, "x").unwrap_err().to_string();
    fs_err::create_dir(&path).unwrap();
    assert!(error_of(ImportSource::OciDir).contains("holds no image for `x:latest`"));
    fs_err::write(path.join("index.json"), "[").unwrap();
    assert!(error_of(ImportSource::OciDir).contains("`index.json` of"));
    // An index of indexes that never ends cannot exist, but one for other machines can.
    let entry = write_layout(&path, &[]);
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": entry.media_type, "digest": entry.digest, "size": entry.size,
         "platform": {"os": "linux", "architecture": "riscv64"}}]});
    let index = index.to_string();
    let digest = Digest::of(index.as_bytes());
    fs_err::write(path.join("blobs/sha256").join(digest.hex()), &index).unwrap();
    let outer = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": index.len()}]});
    fs_err::write(path.join("index.json"), outer.to_string()).unwrap();
    assert!(error_of(ImportSource::OciDir).contains("no image for platform linux/amd64"));
    fs_err::remove_dir_all(&path).unwrap();
    fs_err::write(&path, "not an archive").unwrap();
    assert!(error_of(ImportSource::OciArchive).contains("not a readable archive"));
}

#[test]
fn docker_archives_hold_what_docker_wants() {
    let store = test_store();
    let image = image(&store, "hello:1");
    let path = export_to(&store, "hello:1", ExportTarget::DockerArchive, "docker.tar");
    let mut files = std::collections::HashMap::new();
    let mut archive = tar::Archive::new(fs_err::File::open(&path).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["hello:1"]));
    let config = &files[manifest[0]["Config"].as_str().unwrap()];
    assert_eq!(Digest::of(config), image.config_blob.digest);
    let layers = manifest[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for (name, layer) in layers.iter().zip(&image.layers) {
        assert_eq!(
            Digest::of(&files[name.as_str().unwrap()]),
            layer.diff_id.digest()
        );
    }
}

fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn skopeo_takes_what_we_write() {
    if !have("skopeo", "skopeo") {
        return skip("skopeo is not installed and cannot be");
    }
    let store = test_store();
    let image = image(&store, "hello:1");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let root = text(store.dir.path());
    let layout = text(&export_to(
        &store,
        "hello:1",
        ExportTarget::OciDir,
        "layout",
    ));
    let archive = text(&export_to(
        &store,
        "hello:1",
        ExportTarget::OciArchive,
        "oci.tar",
    ));
    let docker = text(&export_to(
        &store,
        "hello:1",
        ExportTarget::DockerArchive,
        "docker.tar",
    ));
    let gzip = ExportOptions {
        compression: Some(Compression::Gzip),
    };
    let gzip_path = store.dir.path().join("gzip");
    export(&store, &image, ExportTarget::OciDir, &gzip_path, &gzip).unwrap();
    let gzip = text(&gzip_path);

    let sources = [
        format!("oci:{layout}:1"),
        format!("oci:{}:hello:1", store.root().display()),
        format!("oci:{gzip}"),
        format!("oci-archive:{archive}"),
        format!("docker-archive:{docker}"),
    ];
    for (at, source) in sources.iter().enumerate() {
        let about: serde_json::Value = serde_json::from_str(&skopeo(&["inspect", source])).unwrap();
        assert_eq!(about["Labels"]["run.cog.version"], "1", "{source}");
        assert_eq!(about["Layers"].as_array().unwrap().len(), 2, "{source}");
        assert_eq!(about["Created"], "2023-11-14T22:13:20Z", "{source}");
        // Copying verifies every digest; to an OCI layout, so that we can read the result.
        let copy = format!("{root}/copy{at}");
        skopeo(&[
            "--insecure-policy",
            "copy",
            source,
            &format!("oci:{copy}:x"),
        ]);
        skopeo(&[
            "--insecure-policy",
            "copy",
            source,
            &format!("dir:{root}/dir{at}"),
        ]);
        let other = test_store();
        let imported = import(&other, ImportSource::OciDir, Path::new(&copy), "x").unwrap();
        assert!(validate(&other, "x").unwrap().is_sound(), "{source}");
        let diff_ids = |layers: &[cog_image::Layer]| -> Vec<_> {
            layers.iter().map(|layer| layer.diff_id).collect()
        };
        assert_eq!(
            diff_ids(&imported.layers),
            diff_ids(&image.layers),
            "{source}"
        );
        assert_eq!(imported.config, image.config, "{source}");
    }
}
