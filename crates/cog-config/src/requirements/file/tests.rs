use std::collections::BTreeMap;

use super::*;

fn expanded(files: &[(&str, &str)]) -> Result<Expanded, ExpandError> {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    expand("requirements.txt", &mut |path| {
        files
            .get(path)
            .map(|&text| text.to_owned())
            .ok_or_else(missing)
    })
}

fn error(files: &[(&str, &str)]) -> String {
    expanded(files).expect_err("it is wrong").to_string()
}

#[test]
fn lines_name_files() {
    let path = |path: &str| path.to_owned();
    for (line, kind) in [
        ("torch==2.0", LineKind::Package),
        ("name @ https://x/y.whl", LineKind::Package),
        ("git+https://x/y.git@v1", LineKind::Package),
        ("-e git+https://x/y.git#egg=y", LineKind::Package),
        ("https://x/y.whl", LineKind::Package),
        ("--extra-index-url https://x", LineKind::Option),
        ("--pre -f https://x", LineKind::Option),
        ("-f https://x", LineKind::Option),
        ("-rhttps://x/r.txt", LineKind::Option),
        ("--requirements-like", LineKind::Option),
        ("-r other.txt", LineKind::Include(path("other.txt"))),
        ("-rother.txt", LineKind::Include(path("other.txt"))),
        ("--requirement=a/b.txt", LineKind::Include(path("a/b.txt"))),
        ("--requirement\ta/b.txt", LineKind::Include(path("a/b.txt"))),
        ("-c c.txt", LineKind::Constraints(path("c.txt"))),
        ("--find-links ./wheels", LineKind::Links(path("./wheels"))),
        ("-f wheels", LineKind::Links(path("wheels"))),
        ("-e .", LineKind::Editable(path("."))),
        ("-e ./pkg[x]", LineKind::Editable(path("./pkg[x]"))),
        ("--editable=pkg", LineKind::Editable(path("pkg"))),
        ("./pkg", LineKind::Folder(path("./pkg"))),
        (
            "./pkg ; python_version > '3'",
            LineKind::Folder(path("./pkg")),
        ),
        (".", LineKind::Folder(path("."))),
        ("./a b.whl", LineKind::Archive(path("./a b.whl"))),
        ("dist/a.TAR.gz", LineKind::Archive(path("dist/a.TAR.gz"))),
        (
            "torch==custom.whl",
            LineKind::Archive(path("torch==custom.whl")),
        ),
        ("a.whl --hash=sha256:0", LineKind::Archive(path("a.whl"))),
        (
            "file:///x/y.whl",
            LineKind::FileUrl(path("file:///x/y.whl")),
        ),
        ("name @ FILE:x", LineKind::FileUrl(path("name @ FILE:x"))),
        ("-e file:///x", LineKind::FileUrl(path("file:///x"))),
        ("-e git+file:///x", LineKind::FileUrl(path("git+file:///x"))),
    ] {
        assert_eq!(line_kind(line), kind, "{line}");
    }
}

#[test]
fn lines_know_their_place() {
    let lines = numbered_lines(
        "# a\ntorch==\\\r\n  # no\nb\\\n==1\n\n-e .  # c\nd \\",
        "r.txt",
    );
    let places: Vec<(usize, &str)> = lines
        .iter()
        .map(|line| (line.number, line.text.as_str()))
        .collect();
    assert_eq!(places, [(2, "torch=="), (4, "b==1"), (7, "-e ."), (8, "d")]);
}

#[test]
fn included_files_stand_for_their_line() {
    let expanded = expanded(&[
        (
            "requirements.txt",
            "a\n-r deps/more.txt\nb\n-c limits.txt\n",
        ),
        ("deps/more.txt", "c\n-r ../last.txt\n-f ./wheels\n"),
        ("last.txt", "d\n"),
        ("limits.txt", "e<2\n-r last.txt\n"),
    ])
    .expect("it fits");
    let texts = |lines: &[RequirementLine]| -> Vec<String> {
        lines
            .iter()
            .map(|line| format!("{}:{} {}", line.file, line.number, line.text))
            .collect()
    };
    assert_eq!(
        texts(&expanded.lines),
        [
            "requirements.txt:1 a",
            "deps/more.txt:1 c",
            "last.txt:1 d",
            "deps/more.txt:3 -f ./wheels",
            "requirements.txt:3 b",
        ]
    );
    assert_eq!(
        texts(&expanded.constraints),
        ["limits.txt:1 e<2", "last.txt:1 d"]
    );
}

#[test]
fn files_that_can_not_be_put_together_are_named() {
    assert_eq!(
        error(&[("requirements.txt", "a\n-r ../x.txt\n")]),
        "`../x.txt` in line 2 of requirements.txt is outside of the project directory"
    );
    assert!(error(&[("requirements.txt", "-r /etc/x.txt\n")]).contains("outside"));
    assert_eq!(
        error(&[
            ("requirements.txt", "-r a.txt\n"),
            ("a.txt", "\n-r ./requirements.txt")
        ]),
        "`./requirements.txt` in line 2 of a.txt includes itself"
    );
    assert_eq!(
        error(&[("requirements.txt", "-r a.txt\n")]),
        "could not read a.txt, named in line 1 of requirements.txt"
    );
    assert_eq!(error(&[]), "could not read requirements.txt");
}

#[test]
fn files_beside_an_absolute_one_are_absolute() {
    assert_eq!(beside("/x/r.txt", "../y.txt").as_deref(), Some("/y.txt"));
    assert_eq!(beside("/r.txt", "../y.txt"), None);
    assert_eq!(
        beside("a/r.txt", "./b//y.txt").as_deref(),
        Some("a/b/y.txt")
    );
}

#[test]
fn growth_has_an_end() {
    let many = "-r b.txt\n".repeat(300);
    let lines = "x\n".repeat(300);
    let said = error(&[("requirements.txt", &many), ("b.txt", &lines)]);
    assert!(said.contains("too many lines"), "{said}");
    let mut files: Vec<(String, String)> = (0..40)
        .map(|index| (format!("{index}.txt"), format!("-r {}.txt\n", index + 1)))
        .collect();
    files.push(("requirements.txt".to_owned(), "-r 0.txt\n".to_owned()));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    assert!(error(&files).contains("too deeply"));
}
