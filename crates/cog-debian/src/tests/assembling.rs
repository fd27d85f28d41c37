//! From a lock to a tree, with packages of our own and no container.

use std::error::Error;
use std::path::Path;
use std::sync::Mutex;

use super::archive::{FakeArchive, Publication};
use super::packages::Entry;
use super::support::contents;
use crate::error::{DebianError, Result};
use crate::resolve::resolve_trusting;
use crate::{Assembled, Lock, Request, RunInRoot, assemble};

/// Records what it should run.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl RunInRoot for Recorder {
    fn run(
        &self,
        root: &Path,
        command: &[&str],
        env: &[(&str, &str)],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        assert!(root.join("var/lib/dpkg/status").exists());
        assert!(env.contains(&("DEBIAN_FRONTEND", "noninteractive")));
        *self.0.lock().unwrap() = command[3..].iter().map(|part| (*part).to_owned()).collect();
        Ok(())
    }
}

struct Broken;

impl RunInRoot for Broken {
    fn run(
        &self,
        _: &Path,
        _: &[&str],
        _: &[(&str, &str)],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err("exit status 1".into())
    }
}

fn lock(archive: &FakeArchive) -> Lock {
    resolve_trusting(&archive.request(), &archive.keyring()).unwrap()
}

fn assembled(archive: &FakeArchive, lock: &Lock) -> (tempfile::TempDir, Result<Assembled>) {
    let folder = tempfile::tempdir().unwrap();
    let result = assemble(
        &archive.request(),
        lock,
        &folder.path().join("root"),
        &Recorder::default(),
    );
    (folder, result)
}

#[test]
fn packages_become_a_tree_with_a_database() {
    let mut archive = FakeArchive::new();
    archive.add_package(
        "setup",
        "Essential: yes\nMulti-Arch: foreign\n",
        &[
            Entry::directory("./", 0o755),
            Entry::file("./bin/tool", "x"),
        ],
    );
    archive.publish(&Publication::default());
    let (_folder, result) = assembled(&archive, &lock(&archive));
    let Assembled { root, python } = result.unwrap();
    assert_eq!(python, "/usr/bin/python3.11");
    let text = |path: &str| fs_err::read_to_string(root.join(path)).unwrap();
    assert_eq!(
        fs_err::read_link(root.join("bin")).unwrap(),
        Path::new("usr/bin")
    );
    assert_eq!(text("usr/bin/tool"), "x");
    assert_eq!(text("var/lib/dpkg/info/setup.list"), "/.\n/bin/tool\n");
    assert!(text("var/lib/dpkg/status").contains("Package: setup\nStatus: install ok unpacked\n"));
    assert!(text("etc/apt/sources.list.d/debian.sources").contains("Suites: bookworm "));
    assert!(!text("etc/apt/sources.list.d/debian.sources").contains("127.0.0.1"));
}

#[test]
fn the_second_time_nothing_is_fetched_and_the_tree_is_the_same() {
    let archive = FakeArchive::new();
    let lock = lock(&archive);
    let (_first, first) = assembled(&archive, &lock);
    archive.take_asked();
    let (_second, second) = assembled(&archive, &lock);
    assert_eq!(archive.take_asked(), [""; 0]);
    assert_eq!(
        contents(&first.unwrap().root),
        contents(&second.unwrap().root)
    );
}

#[test]
fn a_damaged_download_is_fetched_again_and_a_wrong_one_refused() {
    let archive = FakeArchive::new();
    let lock = lock(&archive);
    assembled(&archive, &lock).1.unwrap();
    let cached = archive
        .cache
        .path()
        .join("files")
        .join(&lock.packages[0].sha256);
    fs_err::write(&cached, "damaged").unwrap();
    archive.take_asked();
    assembled(&archive, &lock).1.unwrap();
    assert_eq!(
        archive.take_asked(),
        [format!("debian/{}", lock.packages[0].path)]
    );

    fs_err::remove_file(&cached).unwrap();
    archive.change(&lock.packages[0].path, |content| content[100] ^= 1);
    let error = assembled(&archive, &lock).1.unwrap_err();
    assert!(matches!(error, DebianError::Corrupt { .. }), "{error}");
    assert!(error.is_other_content());
    assert!(!cached.exists());
}

#[test]
fn a_wrong_size_is_told() {
    let archive = FakeArchive::new();
    let right = lock(&archive);
    for (change, expected) in [(-1, "is longer than"), (1, "bytes instead of")] {
        let mut lock = right.clone();
        lock.packages[0].size = lock.packages[0].size.saturating_add_signed(change);
        let error = assembled(&archive, &lock).1.unwrap_err();
        assert!(error.is_other_content(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_package_that_is_gone_calls_for_a_new_lock() {
    let archive = FakeArchive::new();
    let lock = lock(&archive);
    archive.remove(&format!("debian/{}", lock.packages[2].path));
    assert!(assembled(&archive, &lock).1.unwrap_err().is_outdated());
}

#[test]
fn a_hostile_package_is_named() {
    let mut archive = FakeArchive::new();
    archive.add_package("evil", "Essential: yes\n", &[Entry::link("a", "../../etc")]);
    archive.publish(&Publication::default());
    let error = assembled(&archive, &lock(&archive)).1.unwrap_err();
    assert_eq!(error.to_string(), "package `evil` was refused");
    assert!(
        error
            .source()
            .unwrap()
            .to_string()
            .contains("leads out of the tree")
    );
}

#[test]
fn a_package_under_another_name_is_refused() {
    let archive = FakeArchive::new();
    let mut lock = lock(&archive);
    lock.packages[0].version = "2".to_owned();
    let error = assembled(&archive, &lock).1.unwrap_err();
    assert_eq!(
        error.source().unwrap().to_string(),
        "it is `base-files 1 all`"
    );
}

#[test]
fn files_are_replaced_only_with_permission() {
    for (first, second, expected) in [
        ("", "Replaces: one (<< 2)\n", Some("two")),
        ("Replaces: two\n", "", Some("one")),
        ("Replaces: two\n", "Replaces: one\n", Some("two")),
        ("", "Replaces: one (<< 1)\n", None),
        ("", "", None),
    ] {
        let mut archive = FakeArchive::new();
        archive.add_package(
            "one",
            &format!("Essential: yes\n{first}"),
            &[Entry::file("usr/x", "one")],
        );
        archive.add_package(
            "two",
            &format!("Essential: yes\n{second}"),
            &[Entry::file("usr/x", "two")],
        );
        archive.publish(&Publication::default());
        let (_folder, result) = assembled(&archive, &lock(&archive));
        let Some(winner) = expected else {
            let error = result.unwrap_err().to_string();
            assert_eq!(error, "packages `one` and `two` both contain `/usr/x`");
            continue;
        };
        let root = result.unwrap().root;
        assert_eq!(fs_err::read_to_string(root.join("usr/x")).unwrap(), winner);
        let owns = |name: &str| {
            let list = root.join(format!("var/lib/dpkg/info/{name}.list"));
            fs_err::read_to_string(list).unwrap().contains("/usr/x")
        };
        assert_eq!(
            (owns("one"), owns("two")),
            (winner == "one", winner == "two")
        );
    }
}

#[test]
fn packages_with_a_script_are_prepared_in_order() {
    let archive = FakeArchive::new();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::default();
    let root = folder.path().join("root");
    assemble(&archive.request(), &lock(&archive), &root, &recorder).unwrap();
    assert_eq!(recorder.0.into_inner().unwrap(), ["configure", "amd64"]);
    let error = assemble(&archive.request(), &lock(&archive), &root, &Broken).unwrap_err();
    assert!(matches!(error, DebianError::NotEmpty { .. }), "{error}");
    let other = folder.path().join("other");
    let error = assemble(&archive.request(), &lock(&archive), &other, &Broken).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the packages of Debian bookworm could not be configured"
    );
    assert_eq!(error.source().unwrap().to_string(), "exit status 1");
}

/// Stands in for a script that leaves links where files are changed or removed afterwards.
struct Planter<'a> {
    outside: &'a Path,
    links: &'a [(&'a str, &'a str)],
}

impl RunInRoot for Planter<'_> {
    fn run(
        &self,
        root: &Path,
        _: &[&str],
        _: &[(&str, &str)],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        for (place, target) in self.links {
            let place = root.join(place);
            if place.is_dir() {
                fs_err::remove_dir_all(&place)?;
            }
            fs_err::create_dir_all(place.parent().unwrap())?;
            let _ = fs_err::remove_file(&place);
            std::os::unix::fs::symlink(self.outside.join(target), place)?;
        }
        Ok(())
    }
}

#[test]
fn links_that_scripts_leave_lead_nowhere() {
    const FILES: [(&str, &str); 5] = [
        ("etc/shadow", "file"),
        ("etc/machine-id", "file"),
        ("usr/sbin/policy-rc.d", "file"),
        ("etc/apt/sources.list.d/debian.sources", "file"),
        ("usr/lib/x.pyc", "file"),
    ];
    const FOLDERS: [&str; 9] = [
        "tmp",
        "var/log",
        "var",
        "var/lib/dpkg",
        "etc",
        "etc/apt",
        "usr/sbin",
        "usr/lib",
        "var/cache/apt",
    ];
    let archive = FakeArchive::new();
    let lock = lock(&archive);
    let check = |links: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        for name in [
            "",
            "dpkg",
            "apt",
            "partial",
            "sources.list.d",
            "cache/apt/x",
        ] {
            fs_err::create_dir_all(outside.join(name)).unwrap();
        }
        for name in [
            "file",
            "shadow",
            "status-old",
            "lock",
            "dpkg/lock",
            "dir.pyc",
            "cache/apt/x/y",
        ] {
            fs_err::write(outside.join(name), "root:*:2:").unwrap();
        }
        let before = contents(&outside);
        let planter = Planter {
            outside: &outside,
            links,
        };
        // A tree with such links may be refused or cleaned.
        let _ = assemble(
            &archive.request(),
            &lock,
            &folder.path().join("root"),
            &planter,
        );
        assert_eq!(contents(&outside), before, "{links:?}");
    };
    check(&FILES);
    for name in FOLDERS {
        check(&[(name, "")]);
    }
}

/// Tells the test below that it is to print its tree.
const CHILD: &str = "COG_TEST_PRINT_TREE";

/// Its tree has all that is written by us and not by packages.
#[test]
fn trees_do_not_depend_on_the_surroundings() {
    let mut archive = FakeArchive::new();
    archive.add_package(
        "setup",
        "Essential: yes\nMulti-Arch: same\n",
        &[
            Entry::directory("usr/lib/deep", 0o750),
            Entry::file("usr/lib/deep/x", "x"),
            Entry::file("usr/no/entry/of/its/own", "x"),
            Entry::file("bin/tool", "x"),
        ],
    );
    archive.publish(&Publication::default());
    let is_child = std::env::var_os(CHILD).is_some();
    let request = Request {
        threads: if is_child { 1 } else { 4 },
        ..archive.request()
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    assemble(&request, &lock(&archive), &root, &Recorder::default()).unwrap();
    let tree = format!("{:#?}", contents(&root));
    if is_child {
        println!("{CHILD}{tree}{CHILD}");
        return;
    }
    let long = tempfile::Builder::new()
        .prefix(&"long".repeat(40))
        .tempdir()
        .unwrap();
    for (umask, home, other) in [
        (
            "077",
            long.path(),
            [("TZ", "Asia/Tokyo"), ("LANG", "de_DE.UTF-8")],
        ),
        (
            "000",
            Path::new("/"),
            [("TZ", ":bad"), ("LC_ALL", "tr_TR.UTF-8")],
        ),
        ("022", Path::new(""), [("TZ", "UTC"), ("TERM", "vt100")]),
    ] {
        let mut child = std::process::Command::new("/bin/sh");
        child
            .args(["-c", "umask \"$0\" && exec \"$@\"", umask])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("tests::assembling::trees_do_not_depend_on_the_surroundings")
            .env(CHILD, "1")
            .env("HOME", home)
            .envs(other);
        if home.is_dir() && home != Path::new("/") {
            child.env("TMPDIR", home);
        }
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let printed = text.split(CHILD).nth(1).unwrap_or_else(|| {
            panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
        });
        assert!(printed == tree, "umask {umask}: {printed}\n\n{tree}");
    }
}

#[test]
fn progress_reaches_its_end() {
    use crate::Progress;
    let archive = FakeArchive::new();
    let lock = lock(&archive);
    let seen = Mutex::new((0, 0, false));
    let progress = |progress: Progress<'_>| {
        let mut seen = seen.lock().unwrap();
        match progress {
            Progress::Downloading { done, total } => {
                assert!(done <= total);
                seen.0 = seen.0.max(done);
            }
            Progress::Unpacking { done, .. } => seen.1 = seen.1.max(done),
            Progress::Configuring => seen.2 = true,
            _ => {}
        }
    };
    let request = Request {
        progress: &progress,
        ..archive.request()
    };
    let folder = tempfile::tempdir().unwrap();
    assemble(
        &request,
        &lock,
        &folder.path().join("root"),
        &Recorder::default(),
    )
    .unwrap();
    let expected = (lock.download_size(), lock.packages.len(), true);
    assert_eq!(seen.into_inner().unwrap(), expected);
}
