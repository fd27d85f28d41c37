//! Archives that mean harm, and odd ones that do not.

use std::os::unix::fs::MetadataExt;

use cog_image::{Compression, Error};
use tar::EntryType;

use crate::support::{files_below, foreign_layer, test_store};

struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Writes names as they are, which the `tar` crate's own functions refuse to do.
    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name, "", "hostile")
    }

    fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", "")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, "")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, "")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Unpacking fails with `expected` in the message, and leaves nothing anywhere.
fn check_refused(archive: Archive, entry: &str, expected: &str) {
    let store = test_store();
    let outside = store.dir.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("canary"), "alive").unwrap();
    let layer = foreign_layer(&store, &archive.bytes(), Compression::Zstd);
    let error = store.snapshot(&layer).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::BadEntry { .. }), "{message}");
    assert!(
        message.contains(&layer.blob.digest.to_string()),
        "{message}"
    );
    assert!(message.contains(&format!("`{entry}`")), "{message}");
    assert!(message.contains(expected), "{message} lacks {expected}");
    assert_eq!(files_below(&store.root().join("snapshots")), [""; 0]);
    assert_eq!(files_below(&outside), ["canary"]);
    let canary = fs_err::metadata(outside.join("canary")).unwrap();
    assert_eq!((canary.nlink(), canary.len()), (1, 5));
    assert!(!store.dir.path().join("hostile").exists());
}

#[test]
fn paths_that_lead_out_are_refused() {
    for (name, expected) in [
        ("../outside/x", "`..`"),
        ("a/../../outside/x", "`..`"),
        ("..", "`..`"),
        ("/etc/hostile", "an absolute path"),
        ("//etc/hostile", "an absolute path"),
    ] {
        check_refused(Archive::new().file(name), name, expected);
        check_refused(Archive::new().dir(name), name, expected);
        check_refused(Archive::new().symlink(name, "x"), name, expected);
    }
}

#[test]
fn links_that_lead_out_are_not_followed() {
    let leads_out = "leads out of the layer";
    for target in ["/", "/etc", "..", "../outside", "a/../../outside"] {
        let archive = Archive::new()
            .dir("a")
            .symlink("link", target)
            .file("link/x");
        check_refused(archive, "link/x", leads_out);
    }
    // Through a second link, from further down, and as a parent of other kinds.
    let archive = Archive::new()
        .symlink("a", "b")
        .symlink("b", "../..")
        .dir("a/x");
    check_refused(archive, "a/x", leads_out);
    let archive = Archive::new()
        .symlink("d/up", "../..")
        .symlink("d/up/x", "y");
    check_refused(archive, "d/up/x", leads_out);
    let archive = Archive::new()
        .symlink("link", "/etc")
        .file("link/.wh.passwd");
    check_refused(archive, "link/.wh.passwd", leads_out);
    let archive = Archive::new()
        .symlink("link", "/etc")
        .file("link/.wh..wh..opq");
    check_refused(archive, "link/.wh..wh..opq", leads_out);
    let archive = Archive::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x");
    check_refused(archive, "a/x", "too many links");
    let archive = Archive::new().file("file").file("file/x");
    check_refused(archive, "file/x", "not a directory");
}

#[test]
fn hard_links_stay_inside() {
    let absent = "not in the layer";
    check_refused(
        Archive::new().hard_link("x", "../outside/canary"),
        "x",
        "`..`",
    );
    check_refused(
        Archive::new().hard_link("x", "/etc/passwd"),
        "x",
        "an absolute path",
    );
    check_refused(Archive::new().hard_link("x", "absent"), "x", absent);
    check_refused(Archive::new().hard_link("x", "no/such"), "x", absent);
    check_refused(Archive::new().hard_link("x", ""), "x", absent);
    check_refused(
        Archive::new().dir("d").hard_link("x", "d"),
        "x",
        "to a directory",
    );
    let archive = Archive::new()
        .symlink("l", "/etc")
        .hard_link("x", "l/passwd");
    check_refused(archive, "x", "leads out of the layer");
}

#[test]
fn devices_and_oddities_are_refused() {
    for kind in [EntryType::Char, EntryType::Block] {
        check_refused(
            Archive::new().entry(kind, "dev/sda", "", ""),
            "dev/sda",
            "device node",
        );
    }
    let sparse = Archive::new().entry(EntryType::GNUSparse, "s", "", "");
    check_refused(sparse, "s", "sparse");
    let unknown = Archive::new().entry(EntryType::new(b'Z'), "z", "", "");
    check_refused(unknown, "z", "unknown type `Z`");
    check_refused(Archive::new().symlink("l", ""), "l", "link to nothing");
    check_refused(Archive::new().file("a/.wh."), "a/.wh.", "deletes nothing");
    check_refused(
        Archive::new().file("a/.wh..."),
        "a/.wh...",
        "deletes nothing",
    );
    let escaped = Archive::new().file("../\x1b[31mred");
    check_refused(escaped, "../\\x1b[31mred", "`..`");
}

#[test]
fn deep_nesting_is_refused() {
    let mut archive = Archive::new();
    // Each link doubles the depth that a short name reaches.
    archive = archive.dir(&"d/".repeat(45));
    archive = archive.symlink("a", &"d/".repeat(45));
    for _ in 0..6 {
        archive = archive.dir(&format!("a/{}", "d/".repeat(45)));
    }
    let long = "d/".repeat(49) + "x";
    let mut name = String::from("a");
    for at in 0..8 {
        let link = format!("l{at}");
        archive = archive.dir(&format!("{name}/{}", "e/".repeat(40)));
        archive = archive.symlink(&link, &format!("{name}/{}", "e/".repeat(40)));
        name = link;
    }
    check_refused(
        archive.file(&format!("{name}/x")).file(&long),
        "l4/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/",
        "nested too deeply",
    );
}

#[test]
fn permissions_are_not_set_through_links() {
    // A directory's permissions are set at the end; by then a link is in its place.
    let store = test_store();
    let outside = store.dir.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::create_dir(outside.join("inner")).unwrap();
    let before = fs_err::metadata(outside.join("inner")).unwrap();
    let target = outside.to_str().unwrap();
    let archive = Archive::new()
        .dir("d")
        .dir("d/inner")
        .file("d")
        .symlink("d", target)
        .bytes();
    let layer = foreign_layer(&store, &archive, Compression::None);
    let snapshot = store.snapshot(&layer).unwrap();
    assert_eq!(fs_err::read_link(snapshot.join("d")).unwrap(), outside);
    let after = fs_err::metadata(outside.join("inner")).unwrap();
    assert_eq!(
        (before.mode(), before.mtime()),
        (after.mode(), after.mtime())
    );
}

#[test]
fn odd_but_harmless_archives_are_read() {
    let archive = Archive::new()
        .dir("./")
        .file("./usr/lib/real")
        .symlink("lib", "usr/./lib")
        .file("lib//through")
        .symlink("usr/up", "../usr")
        .file("usr/up/lib/again")
        .file("twice")
        .entry(EntryType::Regular, "twice", "", "second")
        .dir("becomes")
        .file("becomes/gone")
        .file("becomes")
        .hard_link("hard", "lib/real")
        .dir("lib/dir")
        .dir("lib/dir");
    let store = test_store();
    let layer = foreign_layer(&store, &archive.bytes(), Compression::Gzip);
    let snapshot = store.snapshot(&layer).unwrap();
    let expected = [
        "becomes",
        "hard",
        "lib",
        "twice",
        "usr",
        "usr/lib",
        "usr/lib/again",
        "usr/lib/dir",
        "usr/lib/real",
        "usr/lib/through",
        "usr/up",
    ];
    assert_eq!(files_below(&snapshot), expected);
    assert_eq!(
        fs_err::read_to_string(snapshot.join("twice")).unwrap(),
        "second"
    );
    assert_eq!(fs_err::metadata(snapshot.join("hard")).unwrap().nlink(), 2);
}

#[test]
fn announced_content_is_limited() {
    let store = test_store();
    // Content that is announced, but would take years to arrive.
    let mut header = tar::Header::new_gnu();
    header.set_path("large").unwrap();
    header.set_size(1 << 50);
    header.set_mode(0o644);
    header.set_cksum();
    let layer = foreign_layer(&store, header.as_bytes(), Compression::Zstd);
    let error = store.snapshot(&layer).unwrap_err().to_string();
    assert!(error.contains("unpacks to more than"), "{error}");
    assert_eq!(files_below(&store.root().join("snapshots")), [""; 0]);
}

#[test]
fn damaged_archives_are_named() {
    let store = test_store();
    let tar = Archive::new().file("a").bytes();
    for (content, expected) in [
        (&tar[..700], "it ends within an entry"),
        (&tar[..300], "it ends within a header"),
        (
            &b"not an archive at all, but long enough"[..],
            "it ends within a header",
        ),
    ] {
        let layer = foreign_layer(&store, content, Compression::Zstd);
        let error = store.snapshot(&layer).unwrap_err();
        assert!(matches!(error, Error::BadArchive { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
