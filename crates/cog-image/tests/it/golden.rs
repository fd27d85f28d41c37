//! Digests that must never change by accident: everybody who has an image built would see all of its
//! layers change. If a library update changes only the compressed bytes, `diff_id` stays.

use std::fmt::Write as _;

use cog_image::{
    Artifact, Compression, Descriptor, Entry, EntryKind, ImageConfig, Index, Layer, LayerOptions,
    Modes, Owner, Platform, Store, StoredImage,
};

use crate::support::{file, listing, options, test_store, tree};

const DIFF_ID: &str = "sha256:10001f646ce68ba08c40a21bd09cec35b1e60e33a6a8afd3815b077bf523a4ab";
const ZSTD: &str = "sha256:1d1ff1d7b3c21ee87c72f43aa18bb04abfed77e1587b862277089c7e4141cad5";
const GZIP: &str = "sha256:cc060336a43db11bed4c0140ee5861bbe5248e80cb04e69fe6c52f7128cf6672";
const LARGE_ZSTD: &str = "sha256:63585ee275cda59e04312908aa4ef538703596878274b6177b0f5fd79a08ff24";
const LARGE_GZIP: &str = "sha256:d1484a66b406cfff1a527dd04f76cec8b12db6b48041b815764bedd5a62beff8";
const MANIFEST: &str = "sha256:3cb945d4610c387e2909b04bbad1018e8021228315294f34d3299fa7ff0d6194";

/// What [`listing`] says about the small layer; `{deep}` stands for a name of 120 characters.
const ENTRIES: [&str; 6] = [
    "5 0755 0:0 1700000000 {deep}/",
    "0 0644 0:0 1700000000 {deep}/file",
    "5 0755 0:0 1700000000 src/",
    "2 0777 0:0 1700000000 src/link -> predict.py",
    "0 0644 0:0 1700000000 src/predict.py bf72ab6400ef",
    "5 1777 0:0 1700000000 tmp/",
];

fn entries() -> Vec<Entry> {
    let symlink = EntryKind::Symlink("predict.py".into());
    vec![
        file("src/predict.py", "class Predictor: ...\n".repeat(100)),
        Entry {
            path: "src/link".into(),
            kind: symlink,
            mode: 0,
        },
        file(&format!("{}/file", "deep".repeat(30)), ""),
        Entry {
            path: "tmp".into(),
            kind: EntryKind::Directory,
            mode: 0o1777,
        },
    ]
}

/// Compressible, and large enough to be compressed by several threads.
fn large() -> Vec<Entry> {
    let lines = (0..1_200_000).map(|number: u32| format!("{number:08}\n"));
    vec![file("large", lines.collect::<String>())]
}

#[test]
fn digests_are_golden() {
    let store = test_store();
    let layer = |entries, compression| {
        let options = LayerOptions {
            compression,
            timestamp: 1_700_000_000,
            ..options()
        };
        store.add_layer_from_entries(entries, &options).unwrap()
    };
    let zstd = layer(entries(), Compression::Zstd);
    // Before the digests: this says what differs.
    let expected = ENTRIES.map(|line| line.replace("{deep}", &"deep".repeat(30)));
    assert_eq!(listing(&store, &zstd), expected);
    assert_eq!(
        zstd.diff_id.to_string(),
        DIFF_ID,
        "entries are equal, so headers differ"
    );
    assert_eq!(
        zstd.blob.digest.to_string(),
        ZSTD,
        "only the compression differs"
    );
    let gzip = layer(entries(), Compression::Gzip);
    assert_eq!(
        gzip.blob.digest.to_string(),
        GZIP,
        "only the compression differs"
    );
    let large_zstd = layer(large(), Compression::Zstd);
    assert_eq!(
        large_zstd.blob.digest.to_string(),
        LARGE_ZSTD,
        "only the compression differs"
    );
    let large_gzip = layer(large(), Compression::Gzip);
    assert_eq!(
        large_gzip.blob.digest.to_string(),
        LARGE_GZIP,
        "only the compression differs"
    );

    let mut config = cog_image::ImageConfig {
        created: 1_700_000_000,
        ..Default::default()
    };
    config.set_env("A", "b");
    config.labels.insert("k".into(), "v".into());
    config.exposed_ports.insert("5000/tcp".into());
    let image = store.put_image("golden", &config, &[zstd, gzip]).unwrap();
    let text = |digest| fs_err::read_to_string(store.blob_path(digest)).unwrap();
    let documents = text(&image.manifest.digest) + "\n" + &text(&image.config_blob.digest);
    assert_eq!(image.manifest.digest.to_string(), MANIFEST, "{documents}");
}

/// A base, packages, a server and source as builds make them, from nothing but what is written here.
fn model_layers(store: &Store) -> Vec<Layer> {
    let with = |created_by: &str, owner, modes| LayerOptions {
        created_by: created_by.into(),
        timestamp: 1_700_000_000,
        owner,
        modes,
        ..LayerOptions::default()
    };
    let (_scratch, base) = tree(
        store,
        &[
            ("etc/os-release", "ID=debian\n"),
            ("usr/bin/su", "su"),
            ("usr/lib/libm.so", "library"),
            ("var/tmp/empty", ""),
        ],
    );
    let chmod = |path: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(base.join(path), permissions).unwrap();
    };
    // The umask has no say: each has what it is given here.
    for path in ["etc", "usr", "usr/bin", "usr/lib", "var"] {
        chmod(path, 0o755);
    }
    for path in ["etc/os-release", "usr/lib/libm.so", "var/tmp/empty"] {
        chmod(path, 0o644);
    }
    chmod("var/tmp", 0o1777);
    chmod("usr/bin/su", 0o4755);
    fs_err::hard_link(base.join("usr/bin/su"), base.join("usr/bin/also-su")).unwrap();
    std::os::unix::fs::symlink("usr/lib", base.join("lib")).unwrap();
    let package = "opt/venv/lib/python3.11/site-packages/größer";
    let long = format!("{package}/{}/module.py", "deeply".repeat(20));
    let program = Entry {
        mode: 0o755,
        ..file("usr/local/bin/coglet", b"\x7fELF server".as_slice())
    };
    let layers = [
        (
            vec![
                file(&format!("{package}/__init__.py"), "x = 1\n"),
                file(&long, ""),
            ],
            with("cog: Python packages", Owner::Root, Modes::Normalise),
        ),
        (
            vec![program],
            with("cog: server", Owner::Root, Modes::Normalise),
        ),
        (
            vec![
                file("src/run.py", "class Runner: ...\n"),
                file("src/cog.yaml", "run: run.py:Runner\n"),
                file("src/weights/0", vec![7; 5000]),
            ],
            with(
                "cog: source",
                Owner::Ids { uid: 1000, gid: 50 },
                Modes::Normalise,
            ),
        ),
    ];
    let base = store.add_layer_from_dir(&base, &with("base", Owner::Root, Modes::Keep));
    let above = layers
        .into_iter()
        .map(|(entries, options)| store.add_layer_from_entries(entries, &options));
    [base]
        .into_iter()
        .chain(above)
        .collect::<Result<_, _>>()
        .unwrap()
}

fn model_config() -> ImageConfig {
    let mut config = ImageConfig {
        created: 1_700_000_000,
        ..ImageConfig::default()
    };
    config.set_env("PATH", "/opt/venv/bin:/usr/bin");
    config.set_env("COG_PREDICT_TYPE_STUB", "run.py:Runner");
    config.cmd = Some(vec!["coglet".into()]);
    config.working_dir = Some("/src".into());
    config.user = Some("1000:50".into());
    config.stop_signal = Some("SIGTERM".into());
    config.exposed_ports.insert("5000/tcp".into());
    config.volumes.insert("/data".into());
    for (label, value) in [
        ("run.cog.version", "1"),
        ("run.cog.config", r#"{"build":{"python_version":"3.11"}}"#),
        ("org.opencontainers.image.revision", "0".repeat(40).as_str()),
    ] {
        config.labels.insert(label.into(), value.into());
    }
    config
}

/// All that makes the digest of an image, so that a difference shows as a line.
fn described(store: &Store, image: &StoredImage) -> String {
    let mut text = String::new();
    for (what, blob) in [
        ("manifest", &image.manifest),
        ("config", &image.config_blob),
    ] {
        let _ = writeln!(text, "{what} {}\n{}", blob.digest, document(store, blob));
    }
    for layer in &image.layers {
        let (by, blob) = (&layer.created_by, &layer.blob);
        let _ = writeln!(text, "layer {by}\n  diff id {}", layer.diff_id);
        let _ = writeln!(text, "  blob    {} {}", blob.digest, blob.media_type);
        for line in listing(store, layer) {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// The bytes of the document, on a line for each field.
fn document(store: &Store, blob: &Descriptor) -> String {
    let text = fs_err::read_to_string(store.blob_path(&blob.digest)).unwrap();
    format!("  {}", text.replace(",\"", ",\n  \""))
}

#[test]
fn images_are_golden() {
    let store = test_store();
    let layers = model_layers(&store);
    let image = store.put_image("model", &model_config(), &layers).unwrap();
    insta::assert_snapshot!("image", described(&store, &image));

    let gzip = store.recompress(&layers, Compression::Gzip).unwrap();
    let image = store.put_image("model", &model_config(), &gzip).unwrap();
    insta::assert_snapshot!("image-gzip", described(&store, &image));
}

#[test]
fn what_is_said_about_an_image_is_golden() {
    let store = test_store();
    let layers = model_layers(&store);
    let image = store.put_image("model", &model_config(), &layers).unwrap();
    let blob = store.add_blob("application/spdx+json", &b"{}"[..]).unwrap();
    let artifact = Artifact {
        artifact_type: "application/spdx+json".into(),
        config: None,
        blobs: vec![blob],
        subject: Some(image.manifest.clone()),
        annotations: [("key".to_owned(), "value".to_owned())].into(),
    };
    let said = store.put_artifact(None, &artifact).unwrap();
    let index = Index {
        manifests: vec![Descriptor {
            platform: Some(Platform::linux_amd64()),
            ..image.manifest
        }],
        ..Index::default()
    };
    let text = format!(
        "{}\n{}\n{}",
        said.manifest.digest,
        document(&store, &said.manifest),
        serde_json::to_string_pretty(&index).unwrap()
    );
    insta::assert_snapshot!("referrer-and-index", text);
}
