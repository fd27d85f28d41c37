//! What a crash of the machine leaves, and whose the store is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use cog_image::{Error, Store};
use cog_testing::skip;

use crate::children;
use crate::support::{image, is_root, test_store};

/// Makes a snapshot look as if an earlier session of the machine had made it, with a file cut short.
fn crash(snapshot: &Path) {
    let info_path = snapshot.with_file_name("info.json");
    let mut info: serde_json::Value =
        serde_json::from_slice(&fs_err::read(&info_path).unwrap()).unwrap();
    info["boot"] = "earlier".into();
    fs_err::write(&info_path, info.to_string()).unwrap();
    fs_err::write(snapshot.join("usr/lib/data"), "").unwrap();
}

fn data(snapshot: &Path) -> String {
    fs_err::read_to_string(snapshot.join("usr/lib/data")).unwrap()
}

#[test]
fn a_snapshot_that_nothing_is_known_about_is_made_again() {
    let store = test_store();
    let layer = image(&store, "hello").layers.remove(0);
    let snapshot = store.snapshot(&layer).unwrap();
    for info in ["", "{", "[]"] {
        fs_err::write(snapshot.join("usr/lib/data"), "").unwrap();
        let path = snapshot.with_file_name("info.json");
        match info {
            "" => fs_err::remove_file(path).unwrap(),
            text => fs_err::write(path, text).unwrap(),
        }
        assert_eq!(store.snapshot(&layer).unwrap(), snapshot);
        assert_eq!(data(&snapshot), "data", "{info}");
    }
}

#[test]
fn a_damaged_snapshot_stays_until_there_is_a_new_one() {
    let store = test_store();
    let layer = image(&store, "hello").layers.remove(0);
    let snapshot = store.snapshot(&layer).unwrap();
    let blob = store.blob_path(&layer.blob.digest);
    let away = blob.with_extension("away");
    crash(&snapshot);
    fs_err::rename(&blob, &away).unwrap();
    let error = store.snapshot(&layer).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
    assert!(snapshot.exists());
    fs_err::rename(&away, &blob).unwrap();

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // The mode of a directory that is there: `exists` would hide other errors.
                fs_err::metadata(&snapshot).unwrap();
            }
        });
        let rounds = || {
            for _ in 0..100 {
                crash(&snapshot);
                store.snapshot(&layer)?;
                assert_eq!(data(&snapshot), "data");
            }
            Ok(())
        };
        let result: cog_image::Result<()> = rounds();
        done.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}

#[test]
fn a_finished_directory_replaces_one_that_is_there() {
    let store = test_store();
    let place = store.root().join("environments-test");
    for content in ["one", "two"] {
        let scratch = store.scratch().unwrap();
        let ready = scratch.path().join("ready");
        fs_err::create_dir(&ready).unwrap();
        fs_err::write(ready.join("file"), content).unwrap();
        store.publish(&ready, &place).unwrap();
        assert_eq!(fs_err::read_to_string(place.join("file")).unwrap(), content);
    }
}

#[test]
fn a_root_that_is_open_to_others_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o7777;
    let open = |root: &Path, mode: u32| {
        fs_err::create_dir(root).unwrap();
        fs_err::set_permissions(root, std::fs::Permissions::from_mode(mode)).unwrap();
        Store::open(root).unwrap();
    };
    for given in [0o755, 0o777, 0o1777] {
        let root = dir.path().join(format!("{given:o}"));
        open(&root, given);
        assert_eq!(mode(&root), 0o700, "{given:o}");
    }
    // A link is what its owner wanted: the cache is on another disk.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("755"), &link).unwrap();
    Store::open(&link).unwrap();
    let fresh = dir.path().join("made/store");
    let store = Store::open(&fresh).unwrap();
    assert_eq!(mode(&fresh), 0o700);
    assert_eq!(mode(&store.root().join("snapshots")), 0o700);
}

#[test]
fn a_root_of_somebody_else_is_refused() {
    if !is_root() {
        return skip("only root can give a directory away");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    fs_err::create_dir(&root).unwrap();
    std::os::unix::fs::chown(&root, Some(65_534), None).unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, Error::ForeignStore { .. }), "{error}");
    assert!(error.to_string().contains("user 65534"), "{error}");
    assert!(error.hint().unwrap().contains("COG_CACHE_DIR"));
    assert_eq!(fs_err::read_dir(&root).unwrap().count(), 0);
}

/// The system calls of one `put_image` that matter after a crash, by file.
fn calls(root: &Path) -> Option<Vec<String>> {
    let log = root.with_file_name("calls");
    let job = children::command("name_an_image", root, "hello");
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-y",
            "-e",
            "trace=fsync,fdatasync,rename,renameat,renameat2",
        ])
        .arg("-o")
        .arg(&log)
        .arg(job.get_program())
        .args(job.get_args())
        .envs(
            job.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let output = strace.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains("1 passed") {
        return None;
    }
    let lines = fs_err::read_to_string(&log).unwrap();
    Some(lines.lines().map(str::to_owned).collect())
}

#[test]
fn what_a_name_needs_is_on_disk_before_the_name() {
    let store = test_store();
    let Some(calls) = calls(store.root()) else {
        return skip("strace is not installed or may not trace here");
    };
    let root = store.root().display();
    let hello = store.image("hello").unwrap().unwrap();
    let at = |what: &str, file: &str| {
        let hit = |line: &String| line.contains(what) && line.contains(file);
        calls
            .iter()
            .rposition(hit)
            .unwrap_or_else(|| panic!("no {what} of {file} in {calls:#?}"))
    };
    let blob = |digest: cog_image::Digest| format!("{root}/blobs/sha256/{}>", digest.hex());
    let documents =
        [hello.manifest.digest, hello.config_blob.digest].map(|digest| at("sync(", &blob(digest)));
    let folder = at("sync(", &format!("{root}/blobs/sha256>"));
    let index = at("rename", &format!("{root}/index.json\""));
    let name = at("sync(", &format!("{root}>"));
    assert!(documents.iter().all(|at| *at < folder), "{calls:#?}");
    assert!(folder < index && index < name, "{calls:#?}");
    // The index itself is the only temporary file that is synced.
    let content = at("sync(", &format!("{root}/tmp/"));
    assert!(content < index, "{calls:#?}");
}

/// Everything about layers that other users of the machine, or other machines, could see.
#[test]
fn nothing_depends_on_the_umask() {
    let made = |umask: &str| {
        let store = test_store();
        let output = children::command("print_layers", store.root(), umask)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        let lines: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("made "))
            .map(str::to_owned)
            .collect();
        assert!(lines.len() > 10, "{text}");
        lines
    };
    let usual = made("022");
    assert_eq!(made("077"), usual);
    assert_eq!(made("000"), usual);
}
