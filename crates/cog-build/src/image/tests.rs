//! What a project becomes, field by field and file by file, from nothing but what is written here.
//!
//! Digests of layers must never change by accident: everybody would have to fetch them again. A difference shows as a
//! line: a field of the configuration, or a file.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use cog_config::{Build, Config, Options, PythonVersion, Revision};
use cog_image::{Compression, Descriptor, Entry, EntryKind, LayerOptions, Store};
use cog_python::requirements::Requirements;
use cog_python::resolution::Resolution;
use cog_python::venv::Interpreter;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::architecture::Architecture;
use crate::base::{BaseChoice, Inherited, LockedBase};
use crate::executor::Cache;
use crate::implied::ImpliedPolicy;
use crate::lock::{Lock, LockedPython, LockedRuntime, LockedSystem, PackageSource};
use crate::locking::LockPolicy;
use crate::model::Interface;
use crate::plan::Symbols;
use crate::reporter::Silent;
use crate::request::TorchIndex;
use crate::separated::SourceLayers;

const DATE: i64 = 1_700_000_000;
const MIB: usize = 1 << 20;

fn config() -> Config {
    Config {
        build: Some(Build {
            python_version: PythonVersion {
                major: 3,
                minor: 11,
                text: "3.11".into(),
            },
            python_packages: vec!["six==1.16.0".into()],
            ..Build::default()
        }),
        runner: Some("run.py:Runner".into()),
        image: Some("team/model".into()),
        ..Config::default()
    }
}

fn project(folder: &Path) {
    let large: Vec<u8> = (0..=250).cycle().take(9 * MIB).collect();
    for (path, content) in [
        ("run.py", b"class Runner: ...\n".to_vec()),
        ("cog.yaml", b"run: run.py:Runner\n".to_vec()),
        ("package/__init__.py", Vec::new()),
        ("package/größer.txt", b"x".to_vec()),
        ("start.sh", b"#!/bin/sh\n".to_vec()),
        ("ignored.txt", b"x".to_vec()),
        (".dockerignore", b"ignored.txt\n".to_vec()),
        ("weights/large.bin", large),
    ] {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().expect("it has one")).expect("created");
        fs_err::write(path, content).expect("written");
    }
    let executable = std::fs::Permissions::from_mode(0o700);
    fs_err::set_permissions(folder.join("start.sh"), executable).expect("set");
    std::os::unix::fs::symlink("run.py", folder.join("link.py")).expect("made");
}

/// Layers like those of a base and of the server, without what makes such.
fn layers_below(store: &Store) -> Vec<Layer> {
    let layer = |created_by: &str, path: &str, content: &[u8]| {
        let entry = Entry {
            path: path.into(),
            kind: EntryKind::Bytes(content.to_vec()),
            mode: 0o755,
        };
        let options = LayerOptions {
            created_by: created_by.into(),
            timestamp: DATE,
            ..LayerOptions::default()
        };
        let added = store.add_layer_from_entries(vec![entry], &options);
        added.expect("the layer is made")
    };
    vec![
        layer("base", "usr/bin/python3.11", b"python"),
        layer("cog: server", "usr/local/bin/coglet", b"server"),
    ]
}

fn lock(base: &Layer) -> Lock {
    Lock {
        base: LockedBase {
            architecture: Architecture::Amd64,
            name: "debian:bookworm".into(),
            layers: vec![base.clone()],
            interpreter: Interpreter {
                path: "/usr/bin/python3.11".into(),
                minor: "3.11".into(),
            },
            python_version: None,
            python_platform: "x86_64-manylinux_2_36".into(),
            environment: vec![("LANG".into(), "C.UTF-8".into())],
            debian: None,
            packages: Vec::new(),
            archive: None,
            added_python: None,
            installed: Vec::new(),
            compiler: None,
            inherited: Inherited {
                stop_signal: Some("SIGQUIT".into()),
                labels: [("maintainer".to_owned(), "us".to_owned())].into(),
                exposed_ports: ["80/tcp".to_owned()].into(),
                ..Inherited::default()
            },
        },
        certificates: None,
        system: LockedSystem::default(),
        python: LockedPython {
            requirements: Requirements::default(),
            resolution: Resolution::default(),
            source: PackageSource::Wheels,
        },
        runtime: LockedRuntime {
            version: "1".into(),
            sdk: "aa".into(),
            server: "bb".into(),
        },
    }
}

/// All that makes the digests: the configuration, and of each layer its digests and its files.
fn described(store: &Store, image: &StoredImage) -> String {
    let text = fs_err::read_to_string(store.blob_path(&image.config_blob.digest));
    let text = text.expect("it is there").replace(",\"", ",\n\"");
    let mut text = text.replace(VERSION, "{VERSION}") + "\n";
    for layer in &image.layers {
        let Descriptor {
            digest, media_type, ..
        } = &layer.blob;
        let by = &layer.created_by;
        let _ = writeln!(text, "\n{by}\n{} {digest} {media_type}", layer.diff_id);
        let root = store.snapshot(layer).expect("it is unpacked");
        list(&root, &root, &mut text);
    }
    text
}

fn list(root: &Path, folder: &Path, text: &mut String) {
    let entries = fs_err::read_dir(folder).expect("readable");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("it is there").path())
        .collect();
    paths.sort();
    for path in paths {
        let metadata = fs_err::symlink_metadata(&path).expect("it is there");
        let name = path.strip_prefix(root).expect("it is below").display();
        let _ = write!(text, "{:06o} {} {name}", metadata.mode(), metadata.mtime());
        if metadata.is_dir() {
            text.push_str("/\n");
            list(root, &path, text);
        } else if metadata.is_symlink() {
            let target = fs_err::read_link(&path).expect("readable");
            let _ = writeln!(text, " -> {}", target.display());
        } else {
            let content = fs_err::read(&path).expect("readable");
            let hash = hex::encode(Sha256::digest(&content));
            let _ = writeln!(text, " {} {}", content.len(), &hash[..12]);
        }
    }
}

fn build(folder: &Path, threads: usize) -> String {
    let project_dir = folder.join("project");
    project(&project_dir);
    let store = Store::open(&folder.join("store")).expect("it opens");
    let config = config();
    let request = BuildRequest {
        project_dir: &project_dir,
        config_file_name: "cog.yaml",
        config: &config,
        store: &store,
        engine: None,
        docker: None,
        dockerfile: None,
        base: BaseChoice::Debian,
        options: Options::default(),
        torch_index: TorchIndex::ByCuda,
        implied: ImpliedPolicy::Add,
        lock: LockPolicy::Update,
        architectures: vec![Architecture::host()],
        cache: Cache::Use,
        secrets: Vec::new(),
        interface: Interface::default(),
        server: None,
        timestamp: Some(DATE),
        push_id: Some("an-id".into()),
        symbols: Symbols::Kept,
        compression: Some(Compression::Zstd),
        user: Some("1000:1000".into()),
        attestations: Attestations::default(),
        source_layers: SourceLayers::BySize,
        threads,
        reporter: &Silent,
    };
    let model = Model {
        schema: Some(r#"{"openapi":"3.0.2"}"#.into()),
        concurrency: Some(2),
    };
    let below = layers_below(&store);
    let lock = lock(&below[0]);
    let environment = Environment {
        env: vec![
            ("PATH".into(), "/opt/venv/bin:/usr/bin".into()),
            ("COG_PREDICT_TYPE_STUB".into(), "run.py:Runner".into()),
        ],
        working_dir: "/src".into(),
        command: vec!["coglet".into()],
        pip_freeze: "six==1.16.0\n".into(),
        schema: None,
        layers: below,
    };
    let checkout = Checkout {
        revision: Revision {
            commit: Some("0".repeat(40)),
            description: Some("v1-dirty".into()),
        },
        date: None,
        took_too_long: false,
    };
    let source = Source {
        ignore: &context::ignore_for(&project_dir, &config).expect("it is valid"),
        config_file_name: "cog.yaml",
        schema: model.schema.as_deref(),
        layers: SourceLayers::BySize,
        limit: plan::source_limit(environment.layers.len()),
    };
    let source = source::run(&request.executor(), &source).expect("the layers are made");
    let completed = request.complete().expect("it is complete");
    let config = image_config(
        &request,
        &completed,
        (&environment, &lock),
        &model,
        &checkout,
    );
    let layers: Vec<Layer> = environment.layers.iter().cloned().chain(source).collect();
    let image = store.put_image("model", &config, &layers);
    described(&store, &image.expect("it is stored"))
}

#[test]
fn an_image_is_the_same_for_ever_and_everywhere() {
    let short = tempfile::tempdir().expect("a temporary folder");
    let made = build(short.path(), 1);
    // Elsewhere, with a path that does not fit into the address of a socket, and with more threads.
    let long = short
        .path()
        .join("long".repeat(30))
        .join("longer".repeat(20));
    fs_err::create_dir_all(&long).expect("created");
    assert_eq!(build(&long, 2), made);
    insta::assert_snapshot!(made);
}
