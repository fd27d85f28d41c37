use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::tests::packages::{DebFile, Entry, deb};

/// Unpacks packages of these entries one after another into a tree of their own.
fn unpacked(packages: &[&[Entry<'_>]]) -> (tempfile::TempDir, Result<Vec<Unpacked>, DebError>) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs_err::create_dir(&root).unwrap();
    let tree = Tree::new(root);
    let unpack_one = |(number, entries): (usize, &&[Entry<'_>])| {
        let path = folder.path().join(format!("{number}.deb"));
        fs_err::write(
            &path,
            deb(&DebFile {
                entries,
                ..DebFile::default()
            }),
        )
        .unwrap();
        unpack(&path, number, &tree, Part::Everything)
    };
    let result: Result<Vec<Unpacked>, DebError> =
        packages.iter().enumerate().map(unpack_one).collect();
    let result = result.and_then(|unpacked| tree.finish().map(|()| unpacked));
    (folder, result)
}

fn refusal(packages: &[&[Entry<'_>]]) -> String {
    let (folder, result) = unpacked(packages);
    let error = result.expect_err("it is refused").to_string();
    let outside: Vec<_> = fs_err::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".deb") && name != "root")
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    error
}

#[test]
fn hostile_packages_are_refused() {
    let file = |path| Entry::file(path, "x");
    let evil = tempfile::tempdir().unwrap();
    let absolute = evil.path().to_str().unwrap().to_owned();
    for (entries, expected) in [
        (vec![file("../x")], "not a path below the root"),
        (vec![file("./usr/../../x")], "not a path below the root"),
        (vec![file("/etc/x")], "not a path below the root"),
        (
            vec![Entry::directory("..", 0o755)],
            "not a path below the root",
        ),
        (vec![file("usr/a\nb")], "not a path below the root"),
        (vec![file("")], "not a path below the root"),
        (vec![Entry::link("out", "../x")], "leads out of the tree"),
        (
            vec![Entry::link("usr/out", "a/../../../x")],
            "leads out of the tree",
        ),
        (vec![Entry::link("out", "/../x")], "leads out of the tree"),
        (vec![Entry::link("out", "")], "leads out of the tree"),
        (
            vec![Entry::hard_link("out", "../x")],
            "not a path below the root",
        ),
        (
            vec![Entry::hard_link("out", "/etc/passwd")],
            "not a path below the root",
        ),
        (vec![Entry::hard_link("out", "missing")], "does not contain"),
        (
            vec![Entry::link("a", "b"), Entry::hard_link("out", "a")],
            "does not contain",
        ),
        (
            vec![Entry::special("dev/sda", b'4')],
            "neither file, directory nor link",
        ),
        (
            vec![Entry::special("dev/tty", b'3')],
            "neither file, directory nor link",
        ),
        (
            vec![Entry::special("run/fifo", b'6')],
            "neither file, directory nor link",
        ),
        (vec![file("a"), file("a/b")], "not below a directory"),
        (
            vec![file("a/b"), file("a")],
            "in the place of something else",
        ),
        (
            vec![file("a/b"), Entry::link("a", "c")],
            "in the place of something else",
        ),
        (
            vec![Entry::link("a", "b"), Entry::link("b", "a"), file("a/x")],
            "not a path below the root",
        ),
    ] {
        let error = refusal(&[&entries]);
        assert!(error.contains(expected), "{entries:?}: {error}");
    }
    // A link to an absolute path leads to the tree's own.
    let (folder, result) =
        unpacked(&[&[Entry::link("out", &absolute), Entry::file("out/x", "new")]]);
    result.unwrap();
    assert!(fs_err::read_dir(evil.path()).unwrap().next().is_none());
    let inside = folder
        .path()
        .join("root")
        .join(absolute.trim_start_matches('/'));
    assert_eq!(fs_err::read_to_string(inside.join("x")).unwrap(), "new");
}

#[test]
fn a_link_of_one_package_does_not_lead_another_one_out() {
    let first = [Entry::link("var/lib", "../usr/share/..")];
    let second = [Entry::file("var/lib/x", "new")];
    let (folder, result) = unpacked(&[&first, &second]);
    result.unwrap();
    assert!(folder.path().join("root/usr/x").exists());
}

#[test]
fn malformed_packages_are_refused() {
    let entries: &[Entry<'_>] = &[Entry::file("a", "x")];
    let good = deb(&DebFile {
        entries,
        ..DebFile::default()
    });
    let named = |control, data| {
        deb(&DebFile {
            entries,
            control_name: control,
            data_name: data,
            ..DebFile::default()
        })
    };
    let controlled = |control| {
        deb(&DebFile {
            entries,
            control,
            ..DebFile::default()
        })
    };
    // Says that it is compressed, and is not.
    let header = good
        .windows(16)
        .position(|name| name == b"control.tar     ")
        .unwrap();
    let mut misnamed = good.clone();
    misnamed[header..header + 16].copy_from_slice(b"control.tar.xz  ");
    let mut cut = good.clone();
    cut.truncate(cut.len() - 100);
    for (bytes, expected) in [
        (b"nothing".to_vec(), "not a Debian package"),
        (cut, "cut off"),
        (named("data.tar", "control.tar"), "wrong order"),
        (named("control.tar", "data.tar.rar"), "unknown way"),
        (misnamed, "recognized"),
        (controlled(""), "it is empty"),
        (
            controlled("Package: ../a\nVersion: 1\nArchitecture: all\n"),
            "no proper name",
        ),
        (
            controlled("Package: a\nVersion: 1\nArchitecture: a/b\n"),
            "no proper name",
        ),
        (controlled("Package: a\n\nPackage: b\n"), "second stanza"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.deb");
        fs_err::write(&path, bytes).unwrap();
        let tree = Tree::new(folder.path().join("root"));
        fs_err::create_dir(tree.root()).unwrap();
        let error = unpack(&path, 0, &tree, Part::Everything)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn packages_are_unpacked_as_they_are() {
    let entries = [
        Entry::directory("./", 0o755),
        Entry::directory("./tmp/", 0o1777),
        Entry::directory("./root/", 0o700),
        Entry {
            mode: 0o4755,
            ..Entry::file("./usr/bin/su", "program")
        },
        Entry::hard_link("./usr/bin/other", "./usr/bin/su"),
        Entry::link("./usr/bin/link", "su"),
        Entry::file("./etc/a.conf", "settings"),
        Entry::file("./usr/share/doc/a/copyright", "free"),
        Entry::file("./usr/share/doc/a/changelog.gz", "old"),
        Entry::file("./usr/share/man/man1/su.1.gz", "help"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.deb");
    let tree = Tree::new(folder.path().join("root"));
    fs_err::create_dir(tree.root()).unwrap();
    let package = DebFile {
        entries: &entries,
        files: &[("conffiles", "/etc/a.conf\n"), ("postinst", "#!/bin/sh\n")],
        ..DebFile::default()
    };
    fs_err::write(&path, deb(&package)).unwrap();
    let unpacked = unpack(&path, 0, &tree, Part::Everything).unwrap();
    tree.finish().unwrap();

    let text = |path: &str| fs_err::read_to_string(tree.root().join(path)).ok();
    let mode = |path: &str| {
        let found = fs_err::symlink_metadata(tree.root().join(path)).unwrap();
        found.permissions().mode() & MODE
    };
    assert_eq!(text("usr/bin/other").as_deref(), Some("program"));
    assert_eq!(text("usr/bin/link").as_deref(), Some("program"));
    assert_eq!(text("etc/a.conf.dpkg-new").as_deref(), Some("settings"));
    assert_eq!(text("usr/share/doc/a/copyright").as_deref(), Some("free"));
    assert!(text("etc/a.conf").is_none() && text("usr/share/doc/a/changelog.gz").is_none());
    assert!(!tree.root().join("usr/share/man/man1").exists());
    assert_eq!(
        (mode("usr/bin/su"), mode("tmp"), mode("root")),
        (0o4755, 0o1777, 0o700)
    );
    // Everything is in the database, also what was left out.
    assert_eq!(unpacked.paths.len(), entries.len());
    assert_eq!(
        unpacked.control.files.keys().collect::<Vec<_>>(),
        ["conffiles", "postinst"]
    );
}

#[test]
fn every_compression_of_the_archive_is_read() {
    for suffix in ["", ".gz", ".xz", ".zst"] {
        let (control, data) = (format!("control.tar{suffix}"), format!("data.tar{suffix}"));
        let package = DebFile {
            entries: &[Entry::file("a", "content")],
            control_name: &control,
            data_name: &data,
            ..DebFile::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.deb");
        fs_err::write(&path, deb(&package)).unwrap();
        let tree = Tree::new(folder.path().join("root"));
        fs_err::create_dir(tree.root()).unwrap();
        unpack(&path, 0, &tree, Part::Everything).unwrap();
        assert_eq!(
            fs_err::read_to_string(tree.root().join("a")).unwrap(),
            "content",
            "{suffix}"
        );
    }
}

#[test]
fn the_lowest_package_decides_about_a_directory() {
    let first = [Entry::directory("srv", 0o2775)];
    let second = [Entry::directory("srv", 0o755)];
    for packages in [[&first[..], &second[..]], [&second[..], &first[..]]] {
        let (folder, result) = unpacked(&packages);
        result.unwrap();
        let found = fs_err::metadata(folder.path().join("root/srv")).unwrap();
        assert_eq!(found.permissions().mode() & MODE, packages[0][0].mode);
    }
}

#[test]
fn files_of_two_packages_are_told() {
    let (_folder, result) = unpacked(&[
        &[Entry::file("usr/a", "1"), Entry::file("usr/b", "1")],
        &[Entry::file("usr/b", "2"), Entry::file("usr/c", "2")],
    ]);
    let overlaps: BTreeMap<usize, Vec<(PathBuf, usize)>> = result
        .unwrap()
        .into_iter()
        .map(|package| package.overlaps)
        .enumerate()
        .collect();
    assert_eq!(overlaps[&0], []);
    assert_eq!(overlaps[&1], [(PathBuf::from("usr/b"), 0)]);
}

#[test]
fn documentation_and_translations_are_left_out() {
    for (path, expected) in [
        ("usr/share/doc", false),
        ("usr/share/doc/a", false),
        ("usr/share/doc/a/copyright", false),
        ("usr/share/doc/a/README", true),
        ("usr/share/doc/a/examples/copyright", false),
        ("usr/share/man", false),
        ("usr/share/man/man1/a.1.gz", true),
        ("usr/share/locale/locale.alias", false),
        ("usr/share/locale/de/LC_MESSAGES/a.mo", true),
        ("usr/share/info/dir", true),
        ("usr/share/zoneinfo/UTC", false),
        ("usr/lib/locale/C.utf8/LC_CTYPE", false),
        ("usr/bin/man", false),
    ] {
        assert_eq!(is_left_out(Path::new(path)), expected, "{path}");
    }
}
