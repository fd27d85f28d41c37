use super::*;

const SITE: &str = "lib/python3.11/site-packages";

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs_err::create_dir_all(folder.path().join(SITE)).expect("created");
        Self { folder }
    }

    fn write(&self, path: &str, content: &str) -> &Self {
        let path = self.folder.path().join(path);
        fs_err::create_dir_all(path.parent().expect("it has a parent")).expect("created");
        fs_err::write(path, content).expect("written");
        self
    }

    fn distribution(&self, info: &str, record: &str) -> &Self {
        let (name, version) = info
            .trim_end_matches(".dist-info")
            .split_once('-')
            .expect("name and version");
        self.write(
            &format!("{SITE}/{info}/METADATA"),
            &format!("Name: {name}\nVersion: {version}\n\nText"),
        )
        .write(&format!("{SITE}/{info}/RECORD"), record)
    }

    fn read(&self, minor: &str) -> Result<Vec<Distribution>, DistributionError> {
        let interpreter = Interpreter {
            path: "/usr/bin/python3".to_owned(),
            minor: minor.to_owned(),
        };
        let artifacts = Path::new("/staging/artifacts");
        Prefix::open(self.folder.path(), artifacts, &interpreter)?.distributions()
    }
}

fn text<'a>(distribution: &'a Distribution, path: &str) -> &'a str {
    let file = distribution
        .files
        .iter()
        .find(|file| file.path == path)
        .expect(path);
    match &file.source {
        Source::Content(content) => std::str::from_utf8(content).expect("it is text"),
        Source::Staged(path) => panic!("`{}` was not changed", path.display()),
    }
}

#[test]
fn files_go_where_the_image_has_them() {
    let fixture = Fixture::new();
    fixture
        .distribution(
            "pip-26.3.dist-info",
            "pip/__init__.py,sha256=a,3\n../../../bin/pip3.11,sha256=host,9\n\
             ../../../share/man/pip.1,sha256=b,1\n../../../include/site/python3.11/pip/p.h,sha256=c,1\n\
             pip/__pycache__/__init__.cpython-311.pyc,,\npip-26.3.dist-info/uv_cache.json,sha256=d,2\n\
             pip-26.3.dist-info/direct_url.json,sha256=e,2\n\
             pip-26.3.dist-info/METADATA,sha256=f,2\npip-26.3.dist-info/RECORD,,\n",
        )
        .write(&format!("{SITE}/pip/__init__.py"), "x=1")
        .write("bin/pip3.11", "#!/home/me/bin/python\nimport pip\n")
        .write("share/man/pip.1", "m")
        .write("include/site/python3.11/pip/p.h", "h")
        .write(&format!("{SITE}/pip-26.3.dist-info/uv_cache.json"), "{}")
        .write(
            &format!("{SITE}/pip-26.3.dist-info/direct_url.json"),
            r#"{"url":"file:///staging/artifacts/pip.whl","archive_info":{}}"#,
        );
    let read = fixture.read("3.13").expect("valid");
    let paths: Vec<&str> = read[0]
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "opt/venv/bin/pip3.13",
            "opt/venv/include/site/python3.13/pip/p.h",
            "opt/venv/lib/python3.13/site-packages/pip-26.3.dist-info/METADATA",
            "opt/venv/lib/python3.13/site-packages/pip-26.3.dist-info/RECORD",
            "opt/venv/lib/python3.13/site-packages/pip-26.3.dist-info/direct_url.json",
            "opt/venv/lib/python3.13/site-packages/pip/__init__.py",
            "opt/venv/share/man/pip.1",
        ]
    );
    assert_eq!(
        text(&read[0], "opt/venv/bin/pip3.13"),
        "#!/opt/venv/bin/python\nimport pip\n"
    );
    let record = text(&read[0], paths[3]);
    assert!(record.contains("../../../bin/pip3.13,sha256="), "{record}");
    assert!(
        !record.contains("sha256=host") && !record.contains("uv_cache"),
        "{record}"
    );
    assert!(text(&read[0], paths[4]).contains("file:///tmp/local_package_artifacts/pip.whl"));
}

#[test]
fn fingerprints_follow_content_alone() {
    let make = |script: &str, hash: &str| {
        let fixture = Fixture::new();
        fixture
            .distribution(
                "a-1.dist-info",
                &format!("a.py,sha256={hash},3\n../../../bin/a,sha256=x,1\n"),
            )
            .write(&format!("{SITE}/a.py"), "x=1")
            .write("bin/a", script);
        fixture.read("3.11").expect("valid").remove(0).fingerprint
    };
    let one = make("#!/one/python\nrun()\n", "h");
    assert_eq!(
        one,
        make("#!/usr/bin/python3\nrun()\n", "h"),
        "the host's Python does not count"
    );
    assert_ne!(one, make("#!/one/python\nrun(1)\n", "h"));
    assert_ne!(one, make("#!/one/python\nrun()\n", "other"));
}

#[test]
fn the_sdk_and_shared_files_are_handled() {
    let fixture = Fixture::new();
    fixture
        .distribution("cog-0.9.dist-info", "cog.py,sha256=a,1\n")
        .distribution("coglet-0.9.dist-info", "coglet.py,sha256=a,1\n")
        .distribution(
            "b-1.dist-info",
            "ns/__init__.py,sha256=a,0\nb.py,sha256=a,1\n",
        )
        .distribution("a-1.dist-info", "ns/__init__.py,sha256=a,0\n")
        .write(&format!("{SITE}/ns/__init__.py"), "")
        .write(&format!("{SITE}/b.py"), "b")
        .write(&format!("{SITE}/cog.py"), "c");
    let read = fixture.read("3.11").expect("valid");
    let names: Vec<&str> = read.iter().map(|one| one.freeze.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let has_shared = |one: &Distribution| {
        one.files
            .iter()
            .any(|file| file.path.ends_with("ns/__init__.py"))
    };
    assert!(has_shared(&read[0]) && !has_shared(&read[1]));
}

#[test]
fn hostile_records_are_refused() {
    for (path, expected) in [
        ("../../../../../etc/passwd", "outside of the environment"),
        ("/etc/passwd", "outside of the environment"),
        ("link.py", "not a regular file"),
        ("\"open", "broken `RECORD`"),
    ] {
        let fixture = Fixture::new();
        fixture.distribution("a-1.dist-info", &format!("{path},,\n"));
        let link = fixture.folder.path().join(SITE).join("link.py");
        fs_err::os::unix::fs::symlink("/etc/passwd", link).expect("linked");
        let error = fixture.read("3.11").expect_err(path).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let empty = tempfile::tempdir().expect("a temporary folder");
    let interpreter = Interpreter {
        path: "/usr/bin/python3".into(),
        minor: "3.11".into(),
    };
    assert!(matches!(
        Prefix::open(empty.path(), Path::new("/"), &interpreter),
        Err(DistributionError::NoSitePackages)
    ));
}

#[test]
fn a_linked_folder_brings_nothing_from_elsewhere() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    fs_err::write(outside.path().join("id_rsa"), "secret").expect("written");
    let fixture = Fixture::new();
    fixture.distribution("a-1.dist-info", "a/id_rsa,,\na-1.dist-info/METADATA,,\n");
    let link = fixture.folder.path().join(SITE).join("a");
    std::os::unix::fs::symlink(outside.path(), link).expect("linked");
    assert_eq!(
        fixture.read("3.11").expect_err("it leads out").to_string(),
        "`a-1.dist-info` has `a/id_rsa`, which is not a regular file or is reached through a link"
    );
    let linked = Fixture::new();
    let lib = linked.folder.path().join("lib");
    fs_err::remove_dir_all(&lib).expect("removed");
    std::os::unix::fs::symlink(fixture.folder.path().join("lib"), lib).expect("linked");
    assert!(matches!(
        linked.read("3.11"),
        Err(DistributionError::NoSitePackages)
    ));
}
