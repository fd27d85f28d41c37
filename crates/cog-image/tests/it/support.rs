//! What the tests share: a store of their own, trees, layers, and looks into blobs.

use std::io::Read;
use std::path::{Path, PathBuf};

use cog_image::{
    Compression, Descriptor, Entry, EntryKind, ImageConfig, Layer, LayerOptions, Scratch, Store,
};

/// A store in a directory of its own.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

impl std::ops::Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

pub(crate) fn test_store() -> TestStore {
    let dir = tempfile::tempdir().unwrap();
    TestStore {
        store: Store::open(&dir.path().join("store")).unwrap(),
        dir,
    }
}

pub(crate) fn options() -> LayerOptions {
    LayerOptions {
        created_by: "test".into(),
        ..LayerOptions::default()
    }
}

pub(crate) fn file(path: &str, content: impl AsRef<[u8]>) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::Bytes(content.as_ref().to_vec()),
        mode: 0o644,
    }
}

/// As registries write it.
pub(crate) fn digest_of(hasher: sha2::Sha256) -> String {
    let bytes = sha2::Digest::finalize(hasher);
    let add = |text, byte| format!("{text}{byte:02x}");
    bytes.iter().fold("sha256:".to_owned(), add)
}

/// Bytes that do not compress, different for each `seed`.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A directory in a scratch directory, ready to become a layer.
pub(crate) fn tree(store: &Store, files: &[(&str, &str)]) -> (Scratch, PathBuf) {
    let scratch = store.scratch().unwrap();
    let root = scratch.path().join("tree");
    fs_err::create_dir(&root).unwrap();
    for (path, content) in files {
        let path = root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }
    (scratch, root)
}

/// An image of two layers: one from a tree, one from entries.
pub(crate) fn image(store: &Store, name: &str) -> cog_image::StoredImage {
    let (_scratch, root) = tree(
        store,
        &[("usr/lib/data", "data"), ("usr/bin/tool", "#!/bin/sh\n")],
    );
    let base = store.add_layer_from_dir(&root, &options()).unwrap();
    let source = store
        .add_layer_from_entries(vec![file("src/predict.py", name)], &options())
        .unwrap();
    let mut config = ImageConfig {
        created: 1_700_000_000,
        ..ImageConfig::default()
    };
    config.cmd = Some(vec!["coglet".into()]);
    config.set_env("PATH", "/opt/venv/bin:/usr/bin");
    config.labels.insert("run.cog.version".into(), "1".into());
    store.put_image(name, &config, &[base, source]).unwrap()
}

pub(crate) fn decompressed(store: &Store, layer: &Layer) -> Vec<u8> {
    let blob = fs_err::read(store.blob_path(&layer.blob.digest)).unwrap();
    plain(&blob)
}

pub(crate) fn plain(blob: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        zstd::Decoder::new(blob)
            .unwrap()
            .read_to_end(&mut content)
            .unwrap();
    } else if blob.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(blob)
            .read_to_end(&mut content)
            .unwrap();
    } else {
        content.extend(blob);
    }
    content
}

/// One line for each entry of a layer: kind, mode, owner, time, name, and link or content.
pub(crate) fn listing(store: &Store, layer: &Layer) -> Vec<String> {
    let content = decompressed(store, layer);
    let mut archive = tar::Archive::new(&content[..]);
    let describe = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let rest = match entry.link_name_bytes() {
            Some(link) => format!(" -> {}", String::from_utf8(link.into_owned()).unwrap()),
            None if content.is_empty() => String::new(),
            None => format!(" {}", cog_image::Digest::of(&content).short()),
        };
        let header = entry.header();
        format!(
            "{} {:04o} {}:{} {} {name}{rest}",
            char::from(header.entry_type().as_byte()),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
        )
    };
    archive.entries().unwrap().map(describe).collect()
}

/// Only the names of a layer's entries.
pub(crate) fn names(store: &Store, layer: &Layer) -> Vec<String> {
    listing(store, layer)
        .iter()
        .map(|line| {
            line.splitn(5, ' ')
                .nth(4)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

/// Changes one byte in the middle of a file.
pub(crate) fn flip_byte(path: &Path) {
    let mut bytes = fs_err::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(path, bytes).unwrap();
}

pub(crate) fn blob_of(compression: Compression, tar: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Zstd => zstd::encode_all(tar, 1).unwrap(),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, tar).unwrap();
            encoder.finish().unwrap()
        }
        Compression::None => tar.to_vec(),
    }
}

/// Puts an image whose only layer is `tar` into the store, the way one from elsewhere gets there.
pub(crate) fn foreign_layer(store: &TestStore, tar: &[u8], compression: Compression) -> Layer {
    import_blob(store, tar, &blob_of(compression, tar))
}

/// The same for any store.
pub(crate) fn import_layer(store: &Store, tar: &[u8]) -> Layer {
    import_blob(store, tar, &blob_of(Compression::Zstd, tar))
}

fn import_blob(store: &Store, tar: &[u8], blob: &[u8]) -> Layer {
    let layout = tempfile::tempdir().unwrap();
    write_layout(layout.path(), &[(blob, tar)]);
    let image = cog_image::import(
        store,
        cog_image::ImportSource::OciDir,
        layout.path(),
        "foreign",
    )
    .unwrap();
    image.layers.into_iter().next().unwrap()
}

/// Writes a layout of one image by hand: layers as pairs of blob and uncompressed content.
pub(crate) fn write_layout(dir: &Path, layers: &[(&[u8], &[u8])]) -> Descriptor {
    let blobs = dir.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = cog_image::Digest::of(bytes);
        fs_err::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({ "digest": digest, "size": bytes.len() })
    };
    let typed = |mut descriptor: serde_json::Value, kind: &str| {
        descriptor["mediaType"] = format!("application/vnd.oci.image.{kind}").into();
        descriptor
    };
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|(_, tar)| cog_image::Digest::of(tar).to_string())
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let layers: Vec<_> = layers
        .iter()
        .map(|(blob, _)| typed(put(blob), "layer.v1.tar+zstd"))
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": typed(put(config.to_string().as_bytes()), "config.v1+json"),
        "layers": layers,
    });
    let entry = typed(put(manifest.to_string().as_bytes()), "manifest.v1+json");
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    fs_err::write(dir.join("index.json"), index.to_string()).unwrap();
    fs_err::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    serde_json::from_value(entry).unwrap()
}

/// What is below `dir`, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(current) = pending.pop() {
        for entry in fs_err::read_dir(current).unwrap() {
            let entry = entry.unwrap();
            found.push(
                entry
                    .path()
                    .strip_prefix(dir)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `program` can be run; as root, Debian's `package` is installed if it cannot.
pub(crate) fn have(program: &str, package: &str) -> bool {
    let found = || {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
    };
    if !found() && is_root() {
        let _ = std::process::Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", package])
            .output();
    }
    found()
}
