//! What goes into a layer, byte for byte.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cog_image::{Compression, Entry, EntryKind, Error, LayerOptions, Modes, Owner};
use cog_testing::skip;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};

use crate::support::{
    decompressed, file, is_root, listing, names, noise, options, test_store, tree,
};

fn chmod(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn set_attribute(path: &Path, name: &str, value: &str) {
    rustix::fs::lsetxattr(path, name, value.as_bytes(), XattrFlags::empty()).unwrap();
}

#[test]
fn host_details_do_not_matter() {
    let store = test_store();
    let files = [("a/b", "1"), ("a-b", "2"), ("a/c/d", "3")];
    let (_first, first) = tree(&store, &files);
    let mut reversed = files;
    reversed.reverse();
    let (_second, second) = tree(&store, &reversed);
    chmod(&second.join("a"), 0o700);
    chmod(&second.join("a/b"), 0o600);
    fs_err::File::options()
        .write(true)
        .open(second.join("a-b"))
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let first = store.add_layer_from_dir(&first, &options()).unwrap();
    let second = store.add_layer_from_dir(&second, &options()).unwrap();
    assert_eq!(listing(&store, &first), listing(&store, &second));
    assert_eq!(first, second);
    assert_eq!(names(&store, &first), ["a/", "a-b", "a/b", "a/c/", "a/c/d"]);
}

#[test]
fn threads_do_not_matter() {
    let store = test_store();
    let half_random: Vec<u8> = noise(4_500_000, 1).iter().map(|byte| byte & 0x0f).collect();
    for compression in [Compression::Zstd, Compression::None] {
        let layer = |threads| {
            let options = LayerOptions {
                compression,
                threads,
                ..options()
            };
            store
                .add_layer_from_entries(vec![file("large", &half_random)], &options)
                .unwrap()
        };
        let one = layer(1);
        for threads in [0, 3] {
            assert_eq!(layer(threads), one, "{compression:?}, {threads} threads");
        }
    }
}

#[test]
fn time_and_owner_are_what_the_options_say() {
    let store = test_store();
    let (_scratch, root) = tree(&store, &[("file", "x")]);
    let owner = Owner::Ids { uid: 1000, gid: 50 };
    let options = LayerOptions {
        timestamp: 1_700_000_000,
        owner,
        ..options()
    };
    let layer = store.add_layer_from_dir(&root, &options).unwrap();
    assert_eq!(
        listing(&store, &layer),
        ["0 0644 1000:50 1700000000 file 2d711642b726"]
    );
    // The snapshot is what unpacking would give.
    let unpacked = fs_err::metadata(store.snapshot(&layer).unwrap().join("file")).unwrap();
    assert_eq!(unpacked.mtime(), 1_700_000_000);
    if is_root() {
        assert_eq!((unpacked.uid(), unpacked.gid()), (1000, 50));
    }
}

#[test]
fn permissions_are_normalised_or_kept() {
    let store = test_store();
    let make = |modes| {
        let (_scratch, root) = tree(&store, &[("tmp/x", "x"), ("su", "x"), ("private", "x")]);
        chmod(&root.join("tmp"), 0o1777);
        chmod(&root.join("su"), 0o4711);
        chmod(&root.join("private"), 0o600);
        let layer = store
            .add_layer_from_dir(&root, &LayerOptions { modes, ..options() })
            .unwrap();
        let modes = |name: &str| {
            let path = store.snapshot(&layer).unwrap().join(name);
            fs_err::metadata(path).unwrap().mode() & 0o7777
        };
        let archived: Vec<String> = listing(&store, &layer)
            .iter()
            .map(|line| line[2..6].to_owned())
            .collect();
        let on_disk: Vec<String> = ["private", "su", "tmp", "tmp/x"]
            .iter()
            .map(|name| format!("{:04o}", modes(name)))
            .collect();
        assert_eq!(archived, on_disk);
        on_disk.join(" ")
    };
    assert_eq!(make(Modes::Normalise), "0644 0755 0755 0644");
    assert_eq!(make(Modes::Keep), "0600 4711 1777 0644");
}

#[test]
fn links_within_the_tree_stay_links() {
    let store = test_store();
    let (scratch, root) = tree(&store, &[("b/original", "content"), ("own", "other")]);
    fs_err::hard_link(root.join("b/original"), root.join("c")).unwrap();
    // As package managers do from their caches.
    fs_err::hard_link(root.join("own"), scratch.path().join("cache")).unwrap();
    symlink("b/original", root.join("link")).unwrap();
    symlink("/nowhere", root.join("dangling")).unwrap();
    let layer = store.add_layer_from_dir(&root, &options()).unwrap();
    let expected = [
        "5 0755 0:0 0 b/",
        "0 0644 0:0 0 b/original ed7002b439e9",
        "1 0644 0:0 0 c -> b/original",
        "2 0777 0:0 0 dangling -> /nowhere",
        "2 0777 0:0 0 link -> b/original",
        "0 0644 0:0 0 own d9298a10d1b0",
    ];
    assert_eq!(listing(&store, &layer), expected);
    store.discard_snapshot(&layer.diff_id).unwrap();
    let snapshot = store.snapshot(&layer).unwrap();
    assert_eq!(fs_err::metadata(snapshot.join("c")).unwrap().nlink(), 2);
    assert_eq!(
        fs_err::read_link(snapshot.join("dangling")).unwrap(),
        Path::new("/nowhere")
    );
}

#[test]
fn excluded_paths_are_nowhere() {
    let store = test_store();
    let (_scratch, root) = tree(
        &store,
        &[
            ("var/lib/apt/lists/x", "1"),
            ("var/lib/dpkg/status", "2"),
            ("tmp/y", "3"),
        ],
    );
    let exclude = vec![
        PathBuf::from("var/lib/apt/lists"),
        PathBuf::from("tmp"),
        "absent".into(),
    ];
    let options = LayerOptions {
        exclude,
        ..options()
    };
    let layer = store.add_layer_from_dir(&root, &options).unwrap();
    let expected = [
        "var/",
        "var/lib/",
        "var/lib/apt/",
        "var/lib/dpkg/",
        "var/lib/dpkg/status",
    ];
    assert_eq!(names(&store, &layer), expected);
    let snapshot = store.snapshot(&layer).unwrap();
    assert!(!snapshot.join("tmp").exists() && !snapshot.join("var/lib/apt/lists").exists());
}

#[test]
fn deletions_survive_every_way() {
    let store = test_store();
    let (_scratch, upper) = tree(
        &store,
        &[("etc/kept", "1"), ("opt/new/file", "2"), ("old/x", "3")],
    );
    whiteout(&upper.join("etc/gone"));
    whiteout(&upper.join("top"));
    set_attribute(&upper.join("opt/new"), "user.overlay.opaque", "y");
    fs_err::write(upper.join("old/deleted"), "").unwrap();
    set_attribute(&upper.join("old/deleted"), "user.overlay.whiteout", "");
    set_attribute(&upper.join("old"), "user.overlay.opaque", "x");
    let layer = store.add_layer_from_upper(&upper, &options()).unwrap();
    let expected = [
        ".wh.top",
        "etc/",
        "etc/.wh.gone",
        "etc/kept",
        "old/",
        "old/.wh.deleted",
        "old/x",
        "opt/",
        "opt/new/",
        "opt/new/.wh..wh..opq",
        "opt/new/file",
    ];
    assert_eq!(names(&store, &layer), expected);

    // The upper directory as it was, and the same layer unpacked from its blob, say the same.
    for _ in 0..2 {
        let snapshot = store.snapshot(&layer).unwrap();
        for name in ["etc/gone", "top"] {
            let metadata = fs_err::symlink_metadata(snapshot.join(name)).unwrap();
            assert_eq!(metadata.rdev(), 0, "{name}");
            assert!(!metadata.is_file(), "{name}");
        }
        let mut value = [0; 8];
        let length = rustix::fs::lgetxattr(
            snapshot.join("opt/new"),
            "user.overlay.opaque",
            &mut value[..],
        );
        assert_eq!(&value[..length.unwrap()], b"y");
        store
            .put_image(
                "deletions",
                &cog_image::ImageConfig::default(),
                std::slice::from_ref(&layer),
            )
            .unwrap();
        let report = cog_image::validate(&store, "deletions").unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        store.discard_snapshot(&layer.diff_id).unwrap();
    }
}

#[test]
fn a_name_that_is_filled_again_is_not_deleted() {
    let store = test_store();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(0);
        tar.append_data(&mut header, name, std::io::empty())
            .unwrap();
    };
    add("file", tar::EntryType::Regular);
    add(".wh.file", tar::EntryType::Regular);
    add(".wh.dir", tar::EntryType::Regular);
    add("dir/", tar::EntryType::Directory);
    let tar = tar.into_inner().unwrap();
    let layer = crate::support::foreign_layer(&store, &tar, Compression::Gzip);
    let snapshot = store.snapshot(&layer).unwrap();
    assert!(snapshot.join("file").is_file());
    let mut value = [0; 8];
    rustix::fs::lgetxattr(snapshot.join("dir"), "user.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(value[0], b'y');
}

#[test]
fn entries_get_their_parents() {
    let store = test_store();
    let host = store.dir.path().join("host-file");
    fs_err::write(&host, "from the host").unwrap();
    let entries = vec![
        Entry {
            path: "src/b/link".into(),
            kind: EntryKind::Symlink("../a".into()),
            mode: 0,
        },
        file("src/a", "text"),
        Entry {
            path: "bin/tool".into(),
            kind: EntryKind::File(host),
            mode: 0o755,
        },
        Entry {
            path: "tmp".into(),
            kind: EntryKind::Directory,
            mode: 0o1777,
        },
    ];
    let layer = store.add_layer_from_entries(entries, &options()).unwrap();
    let expected = [
        "5 0755 0:0 0 bin/",
        "0 0755 0:0 0 bin/tool 1d2bf016cb57",
        "5 0755 0:0 0 src/",
        "0 0644 0:0 0 src/a 982d9e3eb996",
        "5 0755 0:0 0 src/b/",
        "2 0777 0:0 0 src/b/link -> ../a",
        "5 1777 0:0 0 tmp/",
    ];
    assert_eq!(listing(&store, &layer), expected);
    let snapshot = store.snapshot(&layer).unwrap();
    assert_eq!(
        fs_err::read_to_string(snapshot.join("src/b/link")).unwrap(),
        "text"
    );
    assert_eq!(
        fs_err::metadata(snapshot.join("tmp")).unwrap().mode() & 0o7777,
        0o1777
    );
}

#[test]
fn impossible_entries_are_refused() {
    let store = test_store();
    let symlink = Entry {
        path: "a".into(),
        kind: EntryKind::Symlink("b".into()),
        mode: 0,
    };
    for (entries, expected) in [
        (vec![file("/etc/passwd", "")], "relative and without `..`"),
        (vec![file("../x", "")], "relative and without `..`"),
        (vec![file("", "")], "is empty"),
        (vec![file("a", ""), file("./a", "")], "listed twice"),
        (vec![symlink, file("a/b", "")], "makes it a directory"),
        (vec![file("a/.wh.b", "")], "mean deletions"),
    ] {
        let error = store
            .add_layer_from_entries(entries, &options())
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn impossible_files_are_refused() {
    let store = test_store();
    let check = |upper, prepare: &dyn Fn(&Path), expected: &str| {
        let (_scratch, root) = tree(&store, &[("dir/file", "x")]);
        prepare(&root);
        let result = if upper {
            store.add_layer_from_upper(&root, &options())
        } else {
            store.add_layer_from_dir(&root, &options())
        };
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(
        false,
        &|root| fs_err::write(root.join("dir/.wh.x"), "").unwrap(),
        "mean deletions",
    );
    check(
        false,
        &|root| whiteout(&root.join("device")),
        "it is a device",
    );
    let redirect = |root: &Path| set_attribute(&root.join("dir"), "user.overlay.redirect", "/x");
    check(true, &redirect, "redirect_dir=off");
    let metacopy = |root: &Path| set_attribute(&root.join("dir/file"), "user.overlay.metacopy", "");
    check(true, &metacopy, "metacopy=off");
}

#[test]
fn sockets_are_left_out_and_pipes_kept() {
    let store = test_store();
    let (_scratch, root) = tree(&store, &[]);
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    mknodat(
        CWD,
        root.join("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let layer = store.add_layer_from_dir(&root, &options()).unwrap();
    assert_eq!(listing(&store, &layer), ["6 0644 0:0 0 pipe"]);
}

#[test]
fn a_directory_elsewhere_is_refused() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return skip("no second file system");
    };
    let store = test_store();
    fs_err::create_dir(elsewhere.path().join("tree")).unwrap();
    let error = store
        .add_layer_from_dir(&elsewhere.path().join("tree"), &options())
        .unwrap_err();
    assert!(matches!(error, Error::Unpackable { .. }), "{error}");
}

#[test]
fn an_ordinary_user_makes_the_same_layer() {
    use std::os::unix::process::CommandExt;
    if !is_root() {
        return skip("only root can be two users");
    }
    let digest = |uid: u32| {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(uid), Some(uid)).unwrap();
        let mut command =
            crate::children::command("print_layer_of_closed_tree", &dir.path().join("store"), "");
        let output = command.uid(uid).gid(uid).output();
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
            output => output.unwrap(),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.split_once("layer sha256:"));
        let error = String::from_utf8_lossy(&output.stderr);
        Some(line.unwrap_or_else(|| panic!("{text}{error}")).1.to_owned())
    };
    let Some(ordinary) = digest(65534) else {
        return skip("other users cannot run this binary");
    };
    assert_eq!(Some(ordinary), digest(0));
}

#[test]
fn what_unpacks_is_what_was_packed() {
    let store = test_store();
    let long = "a-long-directory-name/".repeat(20) + "file";
    let (_scratch, root) = tree(
        &store,
        &[("x", "1"), (&long, "2"), ("empty", ""), ("übung/ñ", "3")],
    );
    let layer = store.add_layer_from_dir(&root, &options()).unwrap();
    let moved = store.snapshot(&layer).unwrap();
    let before = crate::support::files_below(&moved);
    store.discard_snapshot(&layer.diff_id).unwrap();
    let unpacked = store.snapshot(&layer).unwrap();
    assert_eq!(crate::support::files_below(&unpacked), before);
    assert_eq!(fs_err::read_to_string(unpacked.join(&long)).unwrap(), "2");
    assert_eq!(
        cog_image::Digest::of(&decompressed(&store, &layer)),
        layer.diff_id.digest()
    );
}

#[test]
fn a_file_of_somebody_elses_folder_is_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs_err::write(&secret, "secret").unwrap();
    let project = folder.path().join("project");
    fs_err::create_dir_all(project.join("real")).unwrap();
    fs_err::write(project.join("real/file"), "secret").unwrap();
    fs_err::os::unix::fs::symlink(&secret, project.join("link")).unwrap();
    fs_err::os::unix::fs::symlink("real", project.join("folder")).unwrap();
    let store = test_store();
    let add = |path: &str| {
        let entry = Entry {
            path: path.into(),
            kind: EntryKind::FileIn {
                folder: project.clone(),
                path: path.into(),
            },
            mode: 0o644,
        };
        store.add_layer_from_entries(vec![entry], &options())
    };
    let layer = add("real/file").unwrap();
    assert!(listing(&store, &layer)[1].starts_with("0 0644 0:0 0 real/file"));
    for path in ["link", "folder/file"] {
        let error = add(path).unwrap_err().to_string();
        assert!(error.contains("it changed while it was read"), "{error}");
    }
    assert!(add("none").unwrap_err().to_string().contains("none"));
}
