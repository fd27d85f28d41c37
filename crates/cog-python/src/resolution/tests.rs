use super::*;
use crate::requirements::Requirements;

const PYLOCK: &str = r#"
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "torch"
version = "2.3.1+cpu"
wheels = [{ url = "https://u:p@e.com/whl/torch-2.3.1%2Bcpu-cp311.whl", upload-time = 2024-12-08T15:25:45Z, size = 190000000, hashes = { sha256 = "01" } }]

[[packages]]
name = "NumPy"
version = "2.2.0"
sdist = { url = "https://e.com/numpy-2.2.0.tar.gz?Signature=x#y", size = 5, hashes = { sha256 = "02", md5 = "f" } }
wheels = [
    { url = "https://e.com/numpy-2.2.0-b.whl", hashes = { sha512 = "03" } },
    { url = "https://e.com/numpy-2.2.0-a.whl" },
]

[[packages]]
name = "direct"
version = "1"
archive = { url = "https://tok@e.com/direct-1.zip", subdirectory = "x", hashes = { sha256 = "04" } }

[[packages]]
name = "repository"
version = "3"
vcs = { type = "git", url = "ssh://git@e.com/r.git", requested-revision = "main", commit-id = "abc" }

[[packages]]
name = "a"
version = "1"
archive = { path = "artifacts/my wheels/a-1.whl", hashes = { sha256 = "05" } }

[[packages]]
name = "b"
directory = { path = "/s/artifacts/pkg", editable = true }

[[packages]]
name = "c"
version = "1"
wheels = [{ url = "file:///s/artifacts/my%20wheels/c-1.whl", hashes = { sha256 = "06" } }]
"#;

fn resolution(text: &str) -> Result<Resolution, PylockError> {
    let options = [
        "--extra-index-url https://me:secret@e.com/whl".to_owned(),
        format!("--find-links {}/wheels", file_url(Path::new(ARTIFACTS_DIR))),
    ];
    Resolution::from_pylock(text, Path::new("/s/artifacts"), &options)
}

#[test]
fn a_lock_holds_neither_credentials_nor_paths_and_comes_back() {
    let resolution = resolution(PYLOCK).unwrap();
    let json = serde_json::to_string(&resolution).unwrap();
    for secret in ["secret", "u:p", "tok@", "Signature", "/s/", "2024-12"] {
        assert!(!json.contains(secret), "{secret}: {json}");
    }
    let read: Resolution = serde_json::from_str(&json).unwrap();
    assert_eq!(read, resolution);
    assert_eq!(
        json.split("},{\"name\"").next().unwrap(),
        "{\"options\":[\"--extra-index-url https://e.com/whl\",\
         \"--find-links file:///tmp/local_package_artifacts/wheels\"],\
         \"distributions\":[{\"name\":\"a\",\"version\":\"1\",\"origin\":{\"local\":\
         {\"path\":\"my wheels/a-1.whl\",\"hashes\":[\"sha256:05\"]}}"
    );
}

#[test]
fn the_order_in_which_uv_tells_makes_no_difference() {
    let mut parts: Vec<&str> = PYLOCK.split("[[packages]]").collect();
    let head = parts.remove(0);
    parts.reverse();
    let other = format!("{head}[[packages]]{}", parts.join("[[packages]]"));
    assert_eq!(resolution(&other).unwrap(), resolution(PYLOCK).unwrap());
}

#[test]
fn it_is_written_for_installing() {
    let resolution = resolution(PYLOCK).unwrap();
    assert_eq!(
        resolution.requirements(Path::new("/o dir"), &Credentials::default()),
        "--extra-index-url https://e.com/whl\n\
         --find-links file:///o%20dir/wheels\n\
         a @ file:///o%20dir/my%20wheels/a-1.whl \\\n    --hash=sha256:05\n\
         b @ file:///o%20dir/pkg\n\
         c===1 \\\n    --hash=sha256:06\n\
         direct @ https://e.com/direct-1.zip#subdirectory=x \\\n    --hash=sha256:04\n\
         numpy===2.2.0 \\\n    --hash=sha256:02 \\\n    --hash=sha512:03\n\
         repository @ git+ssh://git@e.com/r.git@abc\n\
         torch===2.3.1+cpu \\\n    --hash=sha256:01\n"
    );
}

#[test]
fn credentials_come_back_from_the_requirements() {
    let lines = [
        "--index-url https://a:b@e.com/one/simple",
        "--extra-index-url https://c:d@e.com/two/simple",
        "x @ https://e:f@e.com/x.whl?token=1 --hash=sha256:0",
        "y @ git+https://${USER}:${KEY}@g.com/y@main",
        "git+ssh://git@g.com/z",
    ];
    let credentials = Credentials::from_lines(lines.into_iter());
    for line in lines {
        let public = credentials::public_line(line);
        assert!(
            !public.contains("token") && !public.contains(":b@"),
            "{public}"
        );
        assert_eq!(credentials.line(&public), line);
    }
    let url = |public: &str| credentials.url(public);
    assert_eq!(url("https://g.com/y"), "https://${USER}:${KEY}@g.com/y");
    assert_eq!(
        url("https://e.com/two/w.whl"),
        "https://c:d@e.com/two/w.whl"
    );
    assert_eq!(url("https://other.com/w.whl"), "https://other.com/w.whl");
    assert_eq!(url("ssh://git@g.com/z"), "ssh://git@g.com/z");
    assert!(!format!("{credentials:?}").contains("a:b"));
}

#[test]
fn layers_do_not_depend_on_the_mirror() {
    let mirror = PYLOCK.replace("https://e.com/numpy", "https://mirror.org/numpy");
    let (one, other) = (resolution(PYLOCK).unwrap(), resolution(&mirror).unwrap());
    let identity = |resolution: &Resolution, name| resolution.pin(name).unwrap().identity();
    assert_eq!(identity(&one, "numpy"), "numpy==2.2.0 sha256:02 sha512:03");
    assert_eq!(identity(&one, "numpy"), identity(&other, "numpy"));
    assert_eq!(
        identity(&one, "repository"),
        "repository==3 @ ssh://git@e.com/r.git@abc"
    );
    assert_eq!(one.pin("nump"), None);
}

#[test]
fn without_addresses_only_names_of_files_are_left() {
    let url = |resolution: &Resolution, name| match &resolution.pin(name).unwrap().origin {
        Origin::Index { files } => files[0].url.clone(),
        other => panic!("{other:?}"),
    };
    let found = resolution(PYLOCK).unwrap().without_addresses();
    assert_eq!(url(&found, "torch"), "torch-2.3.1+cpu-cp311.whl");
    assert_eq!(url(&found, "numpy"), "numpy-2.2.0-a.whl");
    assert_eq!(url(&found, "c"), "c-1.whl");
    let mirror = PYLOCK.replace("https://e.com/numpy", "https://mirror.org/a/numpy");
    let mirror = mirror.replace("https://u:p@e.com/whl", "https://e.com/other");
    assert_eq!(resolution(&mirror).unwrap().without_addresses(), found);
    assert_eq!(found.clone().without_addresses(), found);
}

#[test]
fn what_has_to_be_built_is_known() {
    let origins = [
        ("wheels = [{ url = \"https://e.com/a.WHL?x=1\" }]", false),
        ("sdist = { url = \"https://e.com/a-1.tar.gz\" }", true),
        (
            "archive = { url = \"https://e.com/a.whl#sha256=0\" }",
            false,
        ),
        ("archive = { url = \"https://e.com/a.zip\" }", true),
        ("archive = { path = \"artifacts/a.whl\" }", false),
        ("archive = { path = \"artifacts/a.tar.gz\" }", true),
        ("directory = { path = \"artifacts/a\" }", true),
        (
            "vcs = { type = \"git\", url = \"https://e.com/a\", commit-id = \"0\" }",
            true,
        ),
    ];
    for (origin, expected) in origins {
        let text = format!("lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\n{origin}\n");
        let resolution = resolution(&text).unwrap();
        assert_eq!(resolution.without_wheel().is_some(), expected, "{origin}");
    }
}

#[test]
fn what_is_not_of_the_project_is_refused() {
    let outside = PYLOCK.replace("/s/artifacts/pkg", "/home/me/pkg");
    assert_eq!(
        resolution(&outside).unwrap_err().to_string(),
        "`b` comes from `/home/me/pkg`, which is outside of the project"
    );
    assert!(matches!(
        resolution("packages = 3"),
        Err(PylockError::Syntax(_))
    ));
    let nowhere = "lock-version = \"1.0\"\n[[packages]]\nname = \"x\"\nversion = \"1\"\n";
    assert!(matches!(resolution(nowhere), Err(PylockError::NoOrigin(_))));
    assert!(matches!(resolution(""), Err(PylockError::Syntax(_))));
    let empty = resolution("lock-version = \"1.0\"\n").unwrap();
    assert_eq!(empty.distributions, []);
}

fn requirements(lines: &[&str]) -> Requirements {
    let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
    let folder = tempfile::tempdir().unwrap();
    Requirements {
        source: "requirements.txt".to_owned(),
        ..Requirements::read(&lines, folder.path(), folder.path(), |_| Vec::new()).unwrap()
    }
}

#[test]
fn hashes_of_the_requirements_are_the_only_ones_that_count() {
    let allow = |lines: &[&str]| {
        let mut resolution = resolution(PYLOCK).unwrap();
        let allowed = resolution.allow_only(&requirements(lines));
        allowed.map(|()| resolution)
    };
    let one = allow(&["numpy==2.2.0 --hash=sha256:02 --hash=sha256:99"]).unwrap();
    // The wheel of which only another hash is known, or none, may be it.
    assert_eq!(
        one.pin("numpy").unwrap().hashes(),
        ["sha256:02", "sha256:99"]
    );
    assert_eq!(
        allow(&["torch==2.3.1 --hash sha256:0A"])
            .unwrap_err()
            .to_string(),
        "no file of `torch` 2.3.1+cpu has a hash that requirements.txt allows; it has sha256:01"
    );
    assert!(allow(&["https://e.com/direct-1.zip --hash=sha256:99"]).is_err());
    assert!(allow(&["https://e.com/direct-1.zip --hash=sha256:04"]).is_ok());
    assert!(allow(&["repository @ git+ssh://git@e.com/r.git --hash=sha256:1"]).is_err());
    assert_eq!(
        allow(&["--require-hashes", "a==1 --hash=sha256:05"])
            .unwrap_err()
            .to_string(),
        "requirements.txt has `--require-hashes`, and there is no hash for `b`, which is to be installed"
    );
}
