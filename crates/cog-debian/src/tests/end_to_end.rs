//! Real bases from the real archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cog_testing::skip;
use sha2::{Digest as _, Sha256};

use super::support::{Container, contents, no_containers, output, silent};
use crate::{
    Architecture, Archive, Assembled, Lock, Mirror, Progress, Request, Suite, assemble, resolve,
};
use hex::encode as hex;

const PATH: (&str, &str) = (
    "PATH",
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
);

/// Downloads are kept for the next run of the tests.
fn cache_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("debian-archive")
}

fn request(suite: Suite, cache_dir: &Path) -> Request<'_> {
    Request {
        suite,
        architecture: Architecture::host().expect("tests run where bases can be made"),
        extra_packages: &[],
        cache_dir,
        mirror: Mirror::from_environment().expect("the mirror is usable"),
        freshness: Duration::from_hours(1),
        threads: 0,
        progress: &silent,
    }
}

/// The lock, or nothing if the test cannot run here.
fn lock(request: &Request<'_>) -> Option<Lock> {
    if no_containers() {
        return None;
    }
    match resolve(request) {
        Err(error) if error.is_unreachable() => {
            skip(error);
            None
        }
        lock => Some(lock.expect("the archive is usable")),
    }
}

fn assemble_anew(request: &Request<'_>, lock: &Lock) -> (tempfile::TempDir, Assembled) {
    let folder = tempfile::tempdir().unwrap();
    let assembled = assemble(request, lock, &folder.path().join("root"), &Container).unwrap();
    (folder, assembled)
}

fn fingerprint(contents: &BTreeMap<PathBuf, String>) -> String {
    hex(Sha256::digest(format!("{contents:?}")))
}

fn check(suite: Suite) {
    let cache = cache_dir();
    let request = request(suite, &cache);
    let Some(lock) = lock(&request) else { return };
    let started = Instant::now();
    let (_first, Assembled { root, python }) = assemble_anew(&request, &lock);
    println!(
        "{suite:?}: {:?} for {} packages",
        started.elapsed(),
        lock.packages.len()
    );
    let first = contents(&root);
    // The same for everybody with the same packages, whoever runs this.
    println!(
        "{suite:?}: packages {}, tree {}",
        lock.key(),
        fingerprint(&first)
    );

    let program = "import ssl, sqlite3, ctypes, sys, zoneinfo, bz2, lzma, hashlib, json, uuid, curses, readline\n\
        zoneinfo.ZoneInfo('Europe/Berlin'); ssl.create_default_context()\n\
        assert ssl.create_default_context().cert_store_stats()['x509_ca'] > 100\n\
        print(sys.version_info[:2], json.__cached__ is not None)";
    let run = |command: &[&str]| output(&root, command, &[PATH]).unwrap();
    let minor = suite.python_version().trim_start_matches("3.");
    assert_eq!(
        run(&[&python, "-c", program]).trim(),
        format!("(3, {minor}) True")
    );
    assert!(run(&["apt-get", "--version"]).starts_with("apt "));
    assert_eq!(run(&["dpkg", "--audit"]), "");
    let listed = run(&[
        "dpkg-query",
        "--show",
        "--showformat",
        "${db:Status-Abbrev}\n",
    ]);
    assert_eq!(listed.lines().count(), lock.packages.len());
    assert!(listed.lines().all(|line| line.trim() == "ii"), "{listed}");
    // Nothing is checked again, nothing differs from what the packages say.
    assert_eq!(run(&["dpkg", "--configure", "--pending"]), "");

    let other_threads = Request {
        threads: 1,
        ..request
    };
    let (_second, again) = assemble_anew(&other_threads, &lock);
    let second = contents(&again.root);
    let differing: Vec<_> = first
        .iter()
        .filter(|(path, content)| second.get(*path) != Some(content))
        .map(|(path, _)| path)
        .chain(second.keys().filter(|path| !first.contains_key(*path)))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn bookworm_works_and_is_always_the_same() {
    check(Suite::Bookworm);
}

#[test]
fn trixie_works_and_is_always_the_same() {
    check(Suite::Trixie);
}

/// Prints how long each part takes from nothing, and how long `debootstrap` takes for the same packages.
#[test]
#[ignore = "a measurement, for root, with debootstrap installed; run it in release mode"]
fn from_nothing_beside_debootstrap() {
    let (cache, staging) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let started = Instant::now();
    let marks = Mutex::new(BTreeMap::new());
    let progress = |progress: Progress<'_>| {
        let part = match progress {
            Progress::Indexing { .. } => "1 index fetched",
            Progress::Downloading { .. } => "3 packages fetched",
            Progress::Unpacking { .. } => "4 packages unpacked",
            Progress::Configuring => "5 configuring begins",
            Progress::Warning { .. } => return,
        };
        marks.lock().unwrap().insert(part, started.elapsed());
    };
    let request = Request {
        progress: &progress,
        ..request(Suite::Bookworm, cache.path())
    };
    let Some(lock) = lock(&request) else { return };
    marks
        .lock()
        .unwrap()
        .insert("2 packages chosen", started.elapsed());
    assemble(&request, &lock, &staging.path().join("root"), &Container).unwrap();
    let ours = started.elapsed();
    println!("ours: {ours:?}, {:#?}", marks.lock().unwrap());

    let names: Vec<&str> = Suite::Bookworm.packages().collect();
    let started = Instant::now();
    let output = Command::new("debootstrap")
        .args([
            "--variant=minbase",
            &format!("--include={}", names.join(",")),
            "bookworm",
        ])
        .arg(staging.path().join("theirs"))
        .arg(request.mirror.address(Archive::Main).unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let theirs = started.elapsed();
    println!(
        "debootstrap: {theirs:?}, ratio {:.2}",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}
