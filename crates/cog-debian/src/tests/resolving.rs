//! Which release files and indices are believed.

use std::sync::Mutex;
use std::time::Duration;

use super::archive::{FakeArchive, Publication};
use crate::error::{DebianError, Result};
use crate::keyring::Keyring;
use crate::resolve::resolve_trusting;
use crate::{Archive, Lock, Progress, Request};

fn resolved(archive: &FakeArchive) -> Result<Lock> {
    resolve_trusting(&archive.request(), &archive.keyring())
}

/// The lock and the warnings.
fn with_warnings(archive: &FakeArchive, request: &Request<'_>) -> (Result<Lock>, Vec<String>) {
    let warnings = Mutex::new(Vec::new());
    let progress = |progress: Progress<'_>| {
        if let Progress::Warning { message } = progress {
            warnings.lock().unwrap().push(message.to_owned());
        }
    };
    let request = Request {
        progress: &progress,
        ..request.clone()
    };
    let lock = resolve_trusting(&request, &archive.keyring());
    (lock, warnings.into_inner().unwrap())
}

fn names(lock: &Lock) -> Vec<&str> {
    lock.packages
        .iter()
        .map(|package| package.name.as_str())
        .collect()
}

#[test]
fn the_usual_packages_are_found() {
    let archive = FakeArchive::new();
    let (lock, warnings) = with_warnings(&archive, &archive.request());
    let lock = lock.unwrap();
    assert_eq!(names(&lock)[..2], ["base-files", "apt"]);
    assert_eq!(lock.packages.len(), 7);
    assert_eq!(lock.archives, [Archive::Main]);
    assert_eq!(warnings, ["the Debian mirror has no security updates"]);
}

#[test]
fn packages_can_be_added_in_any_order() {
    let mut archive = FakeArchive::new();
    archive.add_package("x", "Depends: y\n", &[]);
    archive.add_package("y", "", &[]);
    archive.publish(&Publication::default());
    let lock = |extra: [&str; 2]| {
        let extra = extra.map(str::to_owned);
        let request = Request {
            extra_packages: &extra,
            ..archive.request()
        };
        resolve_trusting(&request, &archive.keyring()).unwrap()
    };
    let lock = [lock(["x", "y"]), lock(["y", "x"])];
    assert_eq!(lock[0], lock[1]);
    assert_ne!(lock[0].key(), resolved(&archive).unwrap().key());
}

#[test]
fn a_fresh_index_is_not_asked_for_again() {
    let archive = FakeArchive::new();
    let request = Request {
        freshness: Duration::from_hours(1),
        ..archive.request()
    };
    let resolve = || resolve_trusting(&request, &archive.keyring()).unwrap();
    let first = resolve();
    assert!(!archive.take_asked().is_empty());
    assert_eq!(resolve(), first);
    assert_eq!(archive.take_asked(), [""; 0]);
    // One that is not fresh is asked for, but what it describes is known.
    resolved(&archive).unwrap();
    let asked = archive.take_asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|path| path.ends_with("InRelease")),
        "{asked:?}"
    );
}

#[test]
fn release_files_that_cannot_be_trusted_are_refused() {
    let archive = FakeArchive::new();
    archive.change("bookworm/InRelease", |text| {
        let position = text.windows(4).position(|word| word == b"main").unwrap();
        text[position] = b'M';
    });
    assert!(matches!(
        resolved(&archive),
        Err(DebianError::Signature { .. })
    ));

    let archive = FakeArchive::new();
    let other = FakeArchive::new();
    let result = resolve_trusting(&archive.request(), &other.keyring());
    assert!(matches!(result, Err(DebianError::Signature { .. })));
    let result = resolve_trusting(&archive.request(), &Keyring::debian());
    assert!(matches!(result, Err(DebianError::Signature { .. })));

    archive.put(
        "debian/dists/bookworm/InRelease",
        b"Codename: bookworm\n".to_vec(),
    );
    assert!(matches!(
        resolved(&archive),
        Err(DebianError::Signature { .. })
    ));

    archive.publish(&Publication {
        fields: "Valid-Until: Sun, 12 Jul 2026 00:00:00 UTC\n",
        ..Publication::default()
    });
    let error = resolved(&archive).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("expired on Sun, 12 Jul 2026 00:00:00 UTC"),
        "{error}"
    );

    archive.publish(&Publication {
        codename: "bullseye",
        ..Publication::default()
    });
    let error = resolved(&archive).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it is of `bullseye`, not of `bookworm`"),
        "{error}"
    );

    archive.publish(&Publication {
        date: "yesterday",
        ..Publication::default()
    });
    assert!(matches!(
        resolved(&archive),
        Err(DebianError::Release { .. })
    ));
}

#[test]
fn an_older_release_does_not_replace_a_newer_one() {
    let mut archive = FakeArchive::new();
    let newer = resolved(&archive).unwrap();
    archive.add_package("zz", "Essential: yes\n", &[]);
    archive.publish(&Publication {
        date: "Fri, 10 Jul 2026 00:00:00 UTC",
        ..Publication::default()
    });
    assert_eq!(resolved(&archive).unwrap(), newer);
    archive.publish(&Publication {
        date: "Sun, 12 Jul 2026 00:00:00 UTC",
        ..Publication::default()
    });
    assert_ne!(resolved(&archive).unwrap(), newer);
}

#[test]
fn an_index_with_other_content_is_refused() {
    let archive = FakeArchive::new();
    let mut sum = String::new();
    archive.change("InRelease", |text| {
        let text = String::from_utf8_lossy(text);
        sum = text
            .split_whitespace()
            .find(|word| word.len() == 64)
            .unwrap()
            .to_owned();
    });
    archive.change(&sum, |index| index[20] ^= 1);
    let error = resolved(&archive).unwrap_err();
    assert!(matches!(error, DebianError::Corrupt { .. }) && error.is_outdated());
    archive.change(&sum, |index| index.extend_from_slice(&[0; 100]));
    assert!(matches!(
        resolved(&archive),
        Err(DebianError::TooLong { .. })
    ));
}

#[test]
fn without_a_connection_the_cache_will_do() {
    let archive = FakeArchive::new();
    let known = resolved(&archive).unwrap();
    archive.stop();
    let (lock, warnings) = with_warnings(&archive, &archive.request());
    assert_eq!(lock.unwrap(), known);
    assert!(warnings[0].contains("cannot be reached"), "{warnings:?}");

    let empty = tempfile::tempdir().unwrap();
    let request = Request {
        cache_dir: empty.path(),
        ..archive.request()
    };
    let error = resolve_trusting(&request, &archive.keyring()).unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[test]
fn a_mirror_without_the_release_is_an_error() {
    let archive = FakeArchive::new();
    archive.remove("debian/dists/bookworm/InRelease");
    let error = resolved(&archive).unwrap_err();
    assert!(
        matches!(error, DebianError::Refused { status: 404, .. }),
        "{error}"
    );
}

#[test]
fn security_updates_that_were_there_do_not_just_vanish() {
    let archive = FakeArchive::new();
    archive.publish_security();
    let known = resolved(&archive).unwrap();
    assert_eq!(known.archives, [Archive::Main, Archive::Security]);
    archive.remove("debian-security/dists/bookworm-security/InRelease");
    for _ in 0..2 {
        let error = resolved(&archive).unwrap_err();
        assert!(
            matches!(error, DebianError::Vanished { status: 404, .. }),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
    // What was verified is still there.
    archive.stop();
    assert_eq!(resolved(&archive).unwrap(), known);
}

#[test]
fn a_release_file_that_became_unusable_was_there_all_the_same() {
    let archive = FakeArchive::new();
    archive.publish_security();
    resolved(&archive).unwrap();
    let releases = archive.cache.path().join("releases");
    for entry in fs_err::read_dir(releases).unwrap() {
        fs_err::write(entry.unwrap().path(), "cut o").unwrap();
    }
    archive.remove("debian-security/dists/bookworm-security/InRelease");
    let error = resolved(&archive).unwrap_err();
    assert!(matches!(error, DebianError::Vanished { .. }), "{error}");
}

#[test]
fn security_updates_that_the_host_names_are_needed_at_once() {
    let archive = FakeArchive::new();
    let request = Request {
        mirror: archive.named_mirror(),
        freshness: Duration::from_hours(1),
        ..archive.request()
    };
    for _ in 0..2 {
        let error = resolve_trusting(&request, &archive.keyring()).unwrap_err();
        assert!(
            matches!(error, DebianError::Refused { status: 404, .. }),
            "{error}"
        );
    }
    archive.publish_security();
    let lock = resolve_trusting(&request, &archive.keyring()).unwrap();
    assert_eq!(lock.archives, [Archive::Main, Archive::Security]);
}
