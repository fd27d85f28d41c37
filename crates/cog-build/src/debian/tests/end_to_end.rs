//! Real bases from the real archive.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::support::{Container, contents, no_containers, output, silent};
use crate::debian::{Architecture, Assembled, Lock, Mirror, Request, Suite, assemble, resolve};

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
            println!("skipped: {error}");
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
