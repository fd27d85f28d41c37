//! Pruning beside those who use the store.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, SystemTime};

use cog_image::{Kind, Layer, PruneOptions};

use crate::children::start;
use crate::support::{TestStore, file, image, import_layer, options, test_store, tree};

fn layer(store: &TestStore, name: &str) -> Layer {
    let (_scratch, root) = tree(store, &[(name, name)]);
    store.add_layer_from_dir(&root, &options()).unwrap()
}

#[test]
fn of_equal_layers_the_highest_counts() {
    let store = test_store();
    let [a, b, c] = ["a", "b", "c"].map(|name| layer(&store, name));
    let order = |layers: &[&Layer]| {
        let layers: Vec<Layer> = layers.iter().map(|layer| (*layer).clone()).collect();
        store.rootfs(&layers).unwrap().layers().to_vec()
    };
    let [in_a, in_b, in_c] = [&a, &b, &c].map(|layer| store.snapshot(layer).unwrap());
    assert_eq!(order(&[&a, &b, &a]), [in_b.clone(), in_a.clone()]);
    assert_eq!(order(&[&a, &b, &a, &c, &b]), [in_a, in_c, in_b]);
}

/// The same content with and without deletions between: as a mount would show it.
#[test]
fn files_come_from_the_highest_layer() {
    let store = test_store();
    let make = |content: &str| {
        let (_scratch, root) = tree(&store, &[("file", content)]);
        store.add_layer_from_dir(&root, &options()).unwrap()
    };
    let (a, b) = (make("a"), make("b"));
    let rootfs = store.rootfs(&[a.clone(), b, a]).unwrap();
    let found = rootfs.find("file").unwrap();
    assert_eq!(fs_err::read_to_string(found).unwrap(), "a");
}

#[test]
fn deletions_and_links_hide_what_is_below() {
    let store = test_store();
    let (_scratch, root) = tree(&store, &[("a/gone", "1"), ("a/kept", "2"), ("b/file", "3")]);
    let below = store.add_layer_from_dir(&root, &options()).unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs_err::write(outside.path().join("file"), "of the host").unwrap();
    let link = outside.path().to_str().unwrap();
    let above = import_layer(
        &store,
        &archive_with_link(&["a/.wh.gone", "c/.wh..wh..opq"], "b", link),
    );
    let rootfs = store.rootfs(&[below.clone(), above]).unwrap();
    assert!(rootfs.find("a/gone").is_none());
    assert!(rootfs.find("b/file").is_none(), "a link is in the way");
    assert!(rootfs.find("b").unwrap().is_symlink());
    assert!(rootfs.find("a/kept").is_some());
    assert!(rootfs.find("../etc").is_none() && rootfs.find("/etc").is_none());

    let opaque = import_layer(&store, &archive_with_link(&["a/.wh..wh..opq"], "l", "x"));
    let rootfs = store.rootfs(&[below, opaque]).unwrap();
    assert!(rootfs.find("a/kept").is_none());
    assert!(rootfs.find("a").is_some() && rootfs.find("b/file").is_some());
}

#[test]
fn links_are_followed_within_the_image() {
    let store = test_store();
    let files = [
        ("usr/bin/python3.11", "x"),
        ("opt/real/bin/tool", "y"),
        ("opt/real/gone", "z"),
    ];
    let (_scratch, root) = tree(&store, &files);
    for (link, target) in [
        ("usr/bin/python", "python3.11"),
        ("bin", "usr/bin"),
        ("opt/linked", "/opt/real"),
        ("usr/bin/tool", "../../opt/linked/bin/tool"),
        ("loop", "loop"),
        ("out", "/../../../../usr/bin/python"),
        ("nowhere", "/etc/passwd"),
    ] {
        fs_err::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    let below = store.add_layer_from_dir(&root, &options()).unwrap();
    let above = import_layer(
        &store,
        &archive_with_link(&["opt/real/.wh.gone", "opt/real/new"], "l", "x"),
    );
    let rootfs = store.rootfs(&[below, above]).unwrap();
    let resolved = |path: &str| {
        rootfs
            .resolve(path)
            .map(|path| path.to_str().unwrap().to_owned())
    };
    for (path, leads_to) in [
        ("usr/bin/python3.11", Some("usr/bin/python3.11")),
        ("bin/python", Some("usr/bin/python3.11")),
        ("/bin/python", Some("usr/bin/python3.11")),
        ("bin/tool", Some("opt/real/bin/tool")),
        ("out", Some("usr/bin/python3.11")),
        ("loop", None),
        ("nowhere", None),
        ("opt/linked/gone", None),
    ] {
        assert_eq!(resolved(path).as_deref(), leads_to, "{path}");
    }
    let names = |path: &str| rootfs.names(path).into_iter().collect::<Vec<_>>();
    assert_eq!(names("opt/real"), ["bin", "new"]);
    assert!(names("opt/linked").is_empty() && names("none").is_empty());
    assert_eq!(rootfs.read("opt/real/bin/tool", 1).unwrap(), b"y");
    assert!(rootfs.read("opt/real/bin/tool", 0).is_none());
    assert!(rootfs.read("nowhere", 99_999).is_none() && rootfs.read("opt", 99).is_none());
}

fn archive_with_link(files: &[&str], link: &str, target: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(0);
    for file in files {
        tar.append_data(&mut header, file, &b""[..]).unwrap();
    }
    header.set_entry_type(tar::EntryType::Symlink);
    tar.append_link(&mut header, link, target).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn pruning_leaves_what_is_in_use() {
    let store = test_store();
    let used = layer(&store, "used");
    layer(&store, "unused");
    let rootfs = store.rootfs(std::slice::from_ref(&used)).unwrap();
    let report = store
        .prune_or_report(&PruneOptions::everything(), || {
            panic!("a container is no reason to wait")
        })
        .unwrap();
    assert_eq!(report.count(Kind::Snapshots), 1);
    assert_eq!(
        fs_err::read_to_string(rootfs.layers()[0].join("used")).unwrap(),
        "used"
    );
    let path = rootfs.layers()[0].clone();
    drop(rootfs);
    let report = store.prune(&PruneOptions::everything()).unwrap();
    assert_eq!(report.count(Kind::Snapshots), 1);
    assert!(!path.exists());
}

#[test]
fn the_lease_of_a_killed_process_ends() {
    let store = test_store();
    image(&store, "held");
    let mut child = start("hold_a_root_file_system", store.root(), "held");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    while !line.contains("held:") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended");
    }
    let report = store.prune(&PruneOptions::everything()).unwrap();
    assert_eq!(report.count(Kind::Snapshots), 0, "{report:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let report = store.prune(&PruneOptions::everything()).unwrap();
    assert_eq!(report.count(Kind::Snapshots), 2, "{report:?}");
    assert_eq!(
        fs_err::read_dir(store.root().join("leases"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn everything_below_the_root_is_seen() {
    let store = test_store();
    image(&store, "hello");
    let write = |path: &str, age: u64| {
        let path = store.root().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, "12345").unwrap();
        let time = SystemTime::now() - Duration::from_hours(24 * age);
        let times = std::fs::FileTimes::new()
            .set_accessed(time)
            .set_modified(time);
        for path in [path.as_path(), path.parent().unwrap()] {
            fs_err::File::open(path).unwrap().set_times(times).unwrap();
        }
    };
    write("environments/old/pyvenv.cfg", 20);
    write("environments/new/pyvenv.cfg", 2);
    write("projects/sha256-old/.cog/cog.lock", 20);
    write("projects/sha256-new/.cog/cog.lock", 2);
    write("packages/amd64/old.deb", 20);
    write("packages/amd64/new.deb", 2);
    write("debian/files/old", 20);
    write("debian/files/new", 2);
    write("uv/0.1/bin/uv", 20);
    write("uv/0.2/bin/uv", 2);
    write("uv/cache/wheels/a/b", 20);
    write("uv/cache/wheels/new", 2);
    write("uv/builds/of-one-project/x", 2);
    write("somebody/elses", 20);
    for folder in ["uv/0.1", "projects/sha256-old", "projects/sha256-new"] {
        let age = if folder.ends_with("new") { 2 } else { 20 };
        fs_err::File::open(store.root().join(folder))
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_hours(24 * age))
            .unwrap();
    }
    let usage = store.usage().unwrap();
    for kind in [
        Kind::Environments,
        Kind::Projects,
        Kind::Packages,
        Kind::Debian,
        Kind::Tools,
    ] {
        let usage = usage.iter().find(|usage| usage.kind == kind).unwrap();
        assert_eq!((usage.count, usage.bytes), (2, 10), "{kind:?}");
        let age = usage.last_used.unwrap().elapsed().unwrap();
        let days = age.as_secs() / 86_400;
        assert!(days <= 2, "{kind:?} was used {days} days ago");
        if kind != Kind::Tools {
            assert_eq!(days, 2, "{kind:?}");
        }
    }
    let wheels = usage.iter().find(|usage| usage.kind == Kind::Wheels);
    let wheels = wheels.unwrap();
    assert_eq!((wheels.count, wheels.bytes), (2, 15));
    // Looking at it is no use of it.
    let report = store.prune(&PruneOptions::default()).unwrap();
    for kind in [
        Kind::Environments,
        Kind::Projects,
        Kind::Packages,
        Kind::Debian,
        Kind::Tools,
    ] {
        assert_eq!(report.count(kind), 1, "{kind:?}: {report:?}");
    }
    assert_eq!(report.bytes(), 25);
    for left in [
        "environments/new",
        "projects/sha256-new/.cog/cog.lock",
        "packages/amd64/new.deb",
        "debian/files/new",
        "uv/0.2/bin/uv",
        // As a whole it was used two days ago.
        "uv/cache/wheels/a/b",
    ] {
        assert!(store.root().join(left).exists(), "{left}");
    }

    let environment = store.root().join("environments/new");
    let lease = store.use_environment(&environment).unwrap().unwrap();
    let report = store.prune(&PruneOptions::everything()).unwrap();
    assert_eq!(report.count(Kind::Environments), 0);
    assert_eq!(report.count(Kind::Tools), 1);
    assert_eq!(report.count(Kind::Wheels), 2);
    drop(lease);
    store.prune(&PruneOptions::everything()).unwrap();
    assert!(!environment.exists());
    assert!(store.use_environment(&environment).unwrap().is_none());
    assert!(store.root().join("somebody/elses").exists());
}

#[test]
fn using_an_environment_keeps_it_young() {
    let store = test_store();
    let environment = store.root().join("environments/a");
    fs_err::create_dir_all(&environment).unwrap();
    fs_err::File::open(&environment)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_hours(1000))
        .unwrap();
    drop(store.use_environment(&environment).unwrap().unwrap());
    store.prune(&PruneOptions::default()).unwrap();
    assert!(environment.exists());
}

/// Entries alone make no snapshot before they are asked for: the lease covers what is made then.
#[test]
fn what_is_unpacked_for_a_lease_is_covered() {
    let store = test_store();
    let layer = store
        .add_layer_from_entries(vec![file("a", "content")], &options())
        .unwrap();
    let rootfs = store.rootfs(&[layer]).unwrap();
    store.prune(&PruneOptions::everything()).unwrap();
    assert!(rootfs.find("a").is_some());
}
