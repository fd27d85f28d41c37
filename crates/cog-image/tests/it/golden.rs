//! Digests that must never change by accident: everybody who has an image built would see all of its
//! layers change. If a library update changes only the compressed bytes, `diff_id` stays.

use cog_image::{Compression, Entry, EntryKind, LayerOptions};

use crate::support::{file, listing, options, test_store};

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
