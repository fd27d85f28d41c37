//! Tests that need another process: this binary runs itself, with one of the ignored tests below as its
//! only job.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use cog_image::{Entry, EntryKind, Modes, Store};

use crate::support::{file, noise, options};

const STORE: &str = "COG_IMAGE_TEST_STORE";
const NAME: &str = "COG_IMAGE_TEST_NAME";

/// A command that runs the ignored test `job` of this file on the store at `root`.
pub(crate) fn command(job: &str, root: &Path, name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &format!("children::{job}"),
            "--ignored",
            "--nocapture",
        ])
        .env(STORE, root)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn start(job: &str, root: &Path, name: &str) -> Child {
    command(job, root, name).spawn().unwrap()
}

fn store() -> Store {
    Store::open(Path::new(
        &std::env::var_os(STORE).expect("run by another test"),
    ))
    .unwrap()
}

fn name() -> String {
    std::env::var(NAME).unwrap()
}

/// Adds layers of every kind and names images, for ever.
#[test]
#[ignore = "a job for other tests"]
fn write_for_ever() {
    let store = store();
    for round in 0.. {
        write_once(&store, &name(), round);
    }
}

/// The same, twenty times.
#[test]
#[ignore = "a job for other tests"]
fn write_twenty_times() {
    let store = store();
    for round in 0..20 {
        write_once(&store, &name(), round);
    }
}

fn write_once(store: &Store, name: &str, round: u64) {
    // Half of the content is the same in all processes, so that they meet.
    let shared = noise(200_000, round % 5);
    let scratch = store.scratch().unwrap();
    let root = scratch.path().join("tree");
    fs_err::create_dir_all(root.join("lib")).unwrap();
    fs_err::write(root.join("lib/shared"), shared).unwrap();
    let base = store.add_layer_from_dir(&root, &options()).unwrap();
    let own = file("src/own", format!("{name} {round}"));
    let own = store.add_layer_from_entries(vec![own], &options()).unwrap();
    store.snapshot(&base).unwrap();
    store.snapshot(&own).unwrap();
    let config = cog_image::ImageConfig::default();
    store
        .put_image(&format!("{name}:{}", round % 10), &config, &[base, own])
        .unwrap();
}

/// Makes a layer of a tree that its owner may not read, and prints the digest.
#[test]
#[ignore = "a job for other tests"]
fn print_layer_of_closed_tree() {
    use std::os::unix::fs::PermissionsExt;
    let store = store();
    let scratch = store.scratch().unwrap();
    let root = scratch.path().join("tree");
    fs_err::create_dir_all(root.join("closed/inner")).unwrap();
    fs_err::write(root.join("closed/inner/file"), "content").unwrap();
    let close = |path: &str, mode| {
        fs_err::set_permissions(root.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    close("closed/inner/file", 0o000);
    close("closed/inner", 0o311);
    close("closed", 0o755);
    let keep = cog_image::LayerOptions {
        modes: Modes::Keep,
        ..options()
    };
    let layer = store.add_layer_from_dir(&root, &keep).unwrap();
    // A store of its own: this time, unpacked from the blob.
    store.discard_snapshot(&layer.diff_id).unwrap();
    store.snapshot(&layer).unwrap();
    println!("layer {}", layer.blob.digest);
    // A file of a project is opened for the moment, and closed again.
    let folder = scratch.path().join("project");
    fs_err::create_dir(&folder).unwrap();
    let path = folder.join("file");
    fs_err::write(&path, "content").unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let entry = Entry {
        path: "file".into(),
        kind: EntryKind::FileIn {
            folder,
            path: "file".into(),
        },
        mode: 0o644,
    };
    let copy = store.add_layer_from_entries(vec![entry], &options());
    let content = store.snapshot(&copy.unwrap()).unwrap().join("file");
    assert_eq!(fs_err::read_to_string(content).unwrap(), "content");
    let closed = fs_err::metadata(&path).unwrap().permissions();
    assert_eq!(closed.mode() & 0o777, 0);
}

/// Holds the root file system of an image until it is killed.
#[test]
#[ignore = "a job for other tests"]
fn hold_a_root_file_system() {
    let store = store();
    let image = store.image(&name()).unwrap().unwrap();
    let rootfs = store.rootfs(&image.layers).unwrap();
    println!("held: {}", rootfs.layers().len());
    loop {
        std::thread::park();
    }
}

/// Pushes an image whose layer is a file of 2 GiB without content to a registry in this process, and prints how
/// much memory that took at most, in kilobytes.
#[test]
#[ignore = "a job for other tests"]
fn push_a_sparse_layer() {
    use crate::hub::{Hub, Manners};
    use cog_image::registry::UploadOptions;
    const SIZE: u64 = 2 << 30;
    let store = store();
    let digest = zeros(SIZE);
    let path = store.blob_path(&digest);
    fs_err::File::create(&path).unwrap().set_len(SIZE).unwrap();
    let layer = cog_image::Layer {
        diff_id: cog_image::DiffId::new(digest),
        blob: cog_image::Descriptor::new("application/vnd.oci.image.layer.v1.tar", digest, SIZE),
        created_by: "test".into(),
    };
    let config = cog_image::ImageConfig::default();
    let image = store.put_image("sparse", &config, &[layer]).unwrap();
    let hub = Hub::start(Manners {
        discards: true,
        ..Manners::default()
    });
    let target = hub.reference("a/b:1");
    let options = UploadOptions::default();
    let client = crate::registry::client();
    crate::registry::run(client.push(&store, &image, &target, &options, &|_| ())).unwrap();
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!("peak {}", peak.unwrap().split_whitespace().nth(1).unwrap());
}

/// Pushes other images to the target that the name gives, until it is killed.
#[test]
#[ignore = "a job for other tests"]
fn push_for_ever() {
    let store = store();
    let target = name().parse().unwrap();
    let options = cog_image::registry::UploadOptions::default();
    let client = crate::registry::client();
    for round in 0.. {
        let name = format!("{round}-{}", std::process::id());
        let image = crate::support::image(&store, &name);
        crate::registry::run(client.push(&store, &image, &target, &options, &|_| ())).unwrap();
    }
}

fn zeros(size: u64) -> cog_image::Digest {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let piece = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        hasher.update(&piece);
    }
    crate::support::digest_of(hasher).parse().unwrap()
}

#[test]
#[ignore = "a job for other tests"]
fn name_an_image() {
    crate::support::image(&store(), &name());
}

/// Makes layers in every way under the umask that the name gives, and prints their digests and how their
/// files came out.
#[test]
#[ignore = "a job for other tests"]
fn print_layers() {
    let umask = u32::from_str_radix(&name(), 8).unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    let store = store();
    let scratch = store.scratch().unwrap();
    let plain = scratch.path().join("plain");
    fs_err::create_dir_all(plain.join("dir/inner")).unwrap();
    fs_err::write(plain.join("dir/inner/file"), "content").unwrap();
    let entries = vec![file("a/b/file", "content")];
    let layers = [
        store.add_layer_from_dir(&plain, &options()).unwrap(),
        store.add_layer_from_entries(entries, &options()).unwrap(),
        foreign(&store),
    ];
    for layer in &layers {
        println!("made {} {}", layer.diff_id, layer.blob.digest);
        for _ in 0..2 {
            let mut lines = Vec::new();
            modes(&store.snapshot(layer).unwrap(), Path::new(""), &mut lines);
            for line in lines {
                println!("made {line}");
            }
            // The second time, it is made from the blob.
            store.discard_snapshot(&layer.diff_id).unwrap();
        }
    }
}

/// A layer that lists no parents, and has what needs system calls of its own.
fn foreign(store: &Store) -> cog_image::Layer {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, mode) in [
        (tar::EntryType::Regular, "un/listed/file", 0o666),
        (tar::EntryType::Fifo, "un/fifo", 0o666),
        (tar::EntryType::Directory, "open", 0o1777),
        (tar::EntryType::Regular, "open/.wh.gone", 0o644),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, path, &b""[..]).unwrap();
    }
    crate::support::import_layer(store, &tar.into_inner().unwrap())
}

fn modes(root: &Path, path: &Path, lines: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt;
    let full = root.join(path);
    let metadata = fs_err::symlink_metadata(&full).unwrap();
    // A deletion has no permissions that anybody sees.
    if !path.ends_with("gone") {
        lines.push(format!("{} {:o}", path.display(), metadata.mode()));
    }
    if metadata.is_dir() {
        let mut names: Vec<_> = fs_err::read_dir(&full)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            modes(root, &path.join(name), lines);
        }
    }
}
