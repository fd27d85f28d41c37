use cog_debian::{
    Architecture as DebianArchitecture, Archive, Lock as ArchiveLock, LockedPackage, Suite,
};
use cog_image::Digest;
use cog_python::resolution::{IndexFile, Origin as PythonOrigin};

use super::*;
use crate::base::{AddedPython, Origin};

fn text_of(one: &str) -> String {
    one.to_owned()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| text_of(one)).collect()
}

fn pinned(name: &str, version: Option<&str>, origin: PythonOrigin) -> Pinned {
    Pinned {
        name: name.to_owned(),
        version: version.map(str::to_owned),
        origin,
    }
}

fn hash(start: &str) -> String {
    format!("sha256:{}", start.repeat(32))
}

fn distributions() -> Vec<Pinned> {
    vec![
        pinned(
            "a-model",
            None,
            PythonOrigin::Local {
                path: "libs/a model".to_owned(),
                hashes: Vec::new(),
            },
        ),
        pinned(
            "direct",
            Some("1"),
            PythonOrigin::Archive {
                url: "https://e.com/direct-1.zip".to_owned(),
                hashes: vec![hash("04")],
                size: Some(7),
                subdirectory: Some("x".to_owned()),
            },
        ),
        pinned(
            "numpy",
            Some("2.2.0"),
            PythonOrigin::Index {
                files: vec![
                    IndexFile {
                        url: "numpy-2.2.0-a.whl".to_owned(),
                        hashes: vec![hash("01")],
                        size: Some(190),
                    },
                    IndexFile {
                        url: "numpy-2.2.0-b.whl".to_owned(),
                        hashes: Vec::new(),
                        size: None,
                    },
                ],
            },
        ),
        pinned(
            "repository",
            Some("3"),
            PythonOrigin::Git {
                url: "ssh://git@e.com/r.git".to_owned(),
                commit: "0123456789".to_owned(),
                subdirectory: None,
            },
        ),
    ]
}

fn debian() -> PinnedBase {
    let package = |name: &str, version: &str, archive| LockedPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: "0a".repeat(32),
        size: 12,
        archive,
        path: format!("pool/main/{name}_1.deb"),
    };
    PinnedBase {
        origin: Origin::Debian(Box::new(ArchiveLock {
            suite: Suite::Trixie,
            architecture: DebianArchitecture::Amd64,
            archives: vec![Archive::Main, Archive::Security],
            date: Some("2026-07-11T10:16:37Z".to_owned()),
            packages: vec![
                package("libc6", "2.41-12", Archive::Main),
                package("adduser", "1:3.134~x+b1", Archive::Security),
            ],
        })),
        python: Some(AddedPython {
            version: "3.12.5".to_owned(),
            sha256: "0b".repeat(32),
        }),
    }
}

fn system(name: &str) -> SystemPins {
    SystemPins {
        names: texts(&[name]),
        packages: vec![ListedPackage {
            name: name.to_owned(),
            version: "7:5.1.6-0+deb12u1".to_owned(),
            sha256: "0c".repeat(32),
        }],
    }
}

fn decided(subject: &str, value: &str, reason: &str) -> Decided {
    let [subject, value, reason] = [subject, value, reason].map(text_of);
    Decided {
        subject,
        value,
        reason,
    }
}

fn file() -> LockFile {
    let image = PinnedBase {
        origin: Origin::Image {
            reference: "python:3.12-slim".to_owned(),
            digest: Digest::of(b"x"),
        },
        python: None,
    };
    LockFile {
        cog: "1.2.3".to_owned(),
        inputs: Inputs {
            python: "3.12".to_owned(),
            bases: texts(&["debian"]),
            requirements: texts(&[
                "--extra-index-url https://e.com/whl",
                "numpy ; python_version > \"3\"",
                "back\\slash",
            ]),
            constraints: texts(&["six<2"]),
            files: vec![format!("libs/a model sha256:{}", "0d".repeat(32))],
            system_packages: texts(&["ffmpeg"]),
        },
        decisions: vec![decided("python", "3.12", "`build.python_version`")],
        platforms: vec![
            PlatformLock {
                architecture: Architecture::Amd64,
                decisions: vec![decided("base taken", "debian:trixie", "it is asked for")],
                base: debian(),
                implied: system("libgl1"),
                named: system("ffmpeg"),
                python: PythonPins {
                    source: PackageSource::SourceDistributions,
                    distributions: distributions(),
                },
            },
            PlatformLock {
                architecture: Architecture::Arm64,
                decisions: Vec::new(),
                base: image,
                implied: SystemPins::default(),
                named: SystemPins::default(),
                python: PythonPins {
                    source: PackageSource::Wheels,
                    distributions: Vec::new(),
                },
            },
        ],
    }
}

#[test]
fn it_reads_well() {
    insta::assert_snapshot!(file().text());
}

#[test]
fn what_is_written_is_read() {
    let written = file().text();
    let read = LockFile::parse(&written, "cog.lock").expect("it is ours");
    assert_eq!(read, file());
    assert_eq!(read.text(), written);
}

#[test]
fn a_newer_version_changes_the_lines_of_its_package_alone() {
    let before = file().text();
    let mut newer = file();
    newer.platforms[0].python.distributions[2].version = Some("2.3.0".to_owned());
    let after = newer.text();
    let lines = before.lines().zip(after.lines());
    let changed: Vec<_> = lines.filter(|(before, after)| before != after).collect();
    assert_eq!(changed, [("version = \"2.2.0\"", "version = \"2.3.0\"")]);
}

#[test]
fn texts_cannot_leave_their_quotes() {
    let mut odd = file();
    odd.decisions[0].reason = "a \"b\" \\ \u{e9} \u{1f600}".to_owned();
    let read = LockFile::parse(&odd.text(), "cog.lock").expect("it is ours");
    assert_eq!(read, odd);
    // No line break gets into the file as one, and none is taken out of it.
    odd.decisions[0].reason = "a\nb = \"c\"\u{7f}".to_owned();
    let text = odd.text();
    assert!(text.contains("\"a\\u000Ab = \\\"c\\\"\\u007F\""), "{text}");
    assert!(LockFile::parse(&text, "cog.lock").is_err());
}

#[track_caller]
fn check_refused(from: &str, to: &str, expected: &str) {
    let text = file().text();
    assert!(text.contains(from), "{from}");
    let line = text[..text.find(from).expect("it is there")]
        .matches('\n')
        .count()
        + 1;
    let changed = text.replacen(from, to, 1);
    let error = LockFile::parse(&changed, "cog.lock")
        .expect_err(to)
        .to_string();
    let expected = expected.replace("LINE", &format!("cog.lock, line {line}"));
    assert!(error.starts_with(&expected), "{error}\n{expected}");
}

#[test]
fn mistakes_are_told_with_their_line() {
    check_refused("python = \"3.12\"", "python = 3.12", "LINE: invalid type");
    check_refused("python = \"3.12\"", "python = ", "LINE: ");
    check_refused("bases = [", "basis = [", "LINE: unknown field `basis`");
    check_refused(
        "path = \"libs/a model\"",
        "path = \"../../etc/passwd\"",
        "LINE: \"../../etc/passwd\" is not a path in the project",
    );
    check_refused(
        "pool/main/libc6_1.deb",
        "../../x.deb",
        "LINE: \"../../x.deb\" is not a path in the Debian archive",
    );
    check_refused(
        "name = \"numpy\"",
        "name = \"numpy -r /etc/passwd\"",
        "LINE: \"numpy -r /etc/passwd\" is not the normalised name of a Python package",
    );
    check_refused(
        "https://e.com/direct-1.zip",
        "https://user:pass@e.com/direct-1.zip",
        "LINE: \"https://user:pass@e.com/direct-1.zip\" is not an address without credentials",
    );
    check_refused(
        "debian = \"trixie\"",
        "debian = \"sarge\"",
        "LINE: \"sarge\" is no release of Debian that bases are made of",
    );
    check_refused(
        "image = \"python:3.12-slim\"",
        "image = \"Python!\"",
        "LINE: ",
    );
    check_refused(
        "name = \"linux/arm64\"",
        "name = \"linux/amd64\"",
        "LINE: the platform is there twice",
    );
    check_refused(
        "name = \"linux/arm64\"",
        "name = \"linux/riscv64\"",
        "LINE: images are made for `linux/amd64` and `linux/arm64`, not for `linux/riscv64`",
    );
    check_refused(
        "name = \"linux/arm64\"",
        "name = \"linux/aarch64\"",
        "LINE: `linux/aarch64` is called `linux/arm64` in here",
    );
    check_refused(
        "version = 1",
        "version = 2",
        "cog.lock has format 2, and this cog knows format 1 only",
    );
    check_refused("[project]", "<<<<<<< HEAD\n[project]", "LINE: ");
    let sha256 = format!("hashes = [\"{}\"]", hash("01"));
    let nothing = "there is no hash in the list, so anything would be taken";
    check_refused(&sha256, "hashes = []", &format!("LINE: {nothing}"));
    let md5 = format!("hashes = [\"md5:{}\"]", "01".repeat(16));
    check_refused(&sha256, &md5, "LINE: \"md5:");
    check_refused(
        "size = 190",
        "size = 0",
        "LINE: 0 is not the size of a package",
    );
    let digest = Digest::of(b"x").to_string();
    check_refused(&digest, "sha256:0", "LINE: ");
}

#[test]
fn a_link_and_the_ends_of_lines_stay() {
    let project = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| project.path().join(name);
    fs_err::create_dir(path("locks")).expect("created");
    fs_err::write(path("locks/model.lock"), "a\r\nb\r\n").expect("written");
    std::os::unix::fs::symlink("locks/model.lock", path("cog.lock")).expect("linked");
    assert!(file().save(project.path(), "cog.lock").expect("written"));
    assert!(path("cog.lock").is_symlink());
    let text = fs_err::read_to_string(path("locks/model.lock")).expect("readable");
    assert_eq!(text.replace("\r\n", "\n"), file().text());
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    // It is the same file, for us.
    assert!(!file().save(project.path(), "cog.lock").expect("written"));
    let loaded = LockFile::load(project.path(), "cog.lock").expect("readable");
    assert_eq!(loaded, Some(file()));

    let outside = tempfile::tempdir().expect("a temporary folder");
    let victim = outside.path().join("victim");
    fs_err::write(&victim, "kept").expect("written");
    fs_err::remove_file(path("cog.lock")).expect("removed");
    std::os::unix::fs::symlink(&victim, path("cog.lock")).expect("linked");
    let error = file()
        .save(project.path(), "cog.lock")
        .expect_err("refused");
    let LockFileError::Unwritable { source, .. } = error else {
        panic!("{error}")
    };
    assert!(
        source.to_string().contains("out of the project"),
        "{source}"
    );
    assert_eq!(fs_err::read_to_string(&victim).expect("readable"), "kept");
}

#[test]
fn contradictions_are_told_with_their_line() {
    for (from, to) in [
        ("git = ", "url = \"https://e.com/x\"\ngit = "),
        ("commit = \"0123456789\"\n", ""),
        ("debian = \"trixie\"", "image = \"x\"\ndebian = \"trixie\""),
        ("name = \"numpy\"", "name = \"a-model\""),
    ] {
        let text = file().text();
        assert!(text.contains(from), "{from}");
        let error = LockFile::parse(&text.replacen(from, to, 1), "cog.lock");
        let error = error.expect_err(to).to_string();
        assert!(error.starts_with("cog.lock, line "), "{error}");
    }
}

#[test]
fn what_is_no_lock_file_at_all_is_refused() {
    for text in [
        "",
        "[]",
        "\u{0}",
        "version = \"1\"",
        "version = 1",
        "a = [[[[[[[[[",
    ] {
        let error = LockFile::parse(text, "cog.lock")
            .expect_err(text)
            .to_string();
        assert!(error.starts_with("cog.lock, line 1: "), "{text}: {error}");
    }
    let deep = format!("version = 1\nx = {}", "[".repeat(100_000));
    assert!(LockFile::parse(&deep, "cog.lock").is_err());
}

#[test]
fn no_change_of_a_character_does_more_than_fail() {
    let text = file().text();
    // A prime, so that all kinds of places come up.
    let places = text.char_indices().map(|(at, _)| at).step_by(7);
    for at in places {
        for other in ["", "\"", "\n", ".."] {
            let mut changed = text.clone();
            changed.replace_range(at..=at, other);
            if let Ok(read) = LockFile::parse(&changed, "cog.lock") {
                let again = LockFile::parse(&read.text(), "cog.lock");
                assert_eq!(again.expect("it was read"), read, "{changed}");
            }
        }
    }
}

#[test]
fn it_is_written_whole_and_only_if_it_is_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    assert_eq!(LockFile::load(path, "cog.lock").expect("none"), None);
    assert!(file().save(path, "cog.lock").expect("written"));
    assert!(!file().save(path, "cog.lock").expect("the same"));
    let read = LockFile::load(path, "cog.lock").expect("readable");
    assert_eq!(read, Some(file()));
    let names = fs_err::read_dir(path).expect("readable").count();
    assert_eq!(names, 1, "nothing else is left");

    // Neither is a link followed out of the project, nor what is behind it written.
    let outside = tempfile::NamedTempFile::new().expect("a temporary file");
    fs_err::remove_file(path.join("cog.lock")).expect("removed");
    fs_err::os::unix::fs::symlink(outside.path(), path.join("cog.lock")).expect("linked");
    let error = LockFile::load(path, "cog.lock").expect_err("it leads out");
    assert_eq!(error.to_string(), "failed to read cog.lock");
    let long = fs_err::File::create(path.join("x.lock")).expect("made");
    long.set_len(1 << 40).expect("made longer");
    assert!(LockFile::load(path, "x.lock").is_err());
}

#[test]
fn each_configuration_has_its_own() {
    assert_eq!(name_for("cog.yaml"), "cog.lock");
    assert_eq!(name_for("gpu.yaml"), "gpu.yaml.lock");
    assert_eq!(name_for("weights.yaml"), "weights.yaml.lock");
}
