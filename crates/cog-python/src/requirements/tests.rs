use super::*;

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn what_cannot_be_built_is_refused_with_its_reason() {
    let table = [
        (
            "file:///x/y.whl",
            "local file URL requirements are not supported",
        ),
        (
            "FILE:./y.whl",
            "local file URL requirements are not supported",
        ),
        (
            "name @ file:///y.whl",
            "local file URL requirements are not supported",
        ),
        (
            "name @ File:y.whl",
            "local file URL requirements are not supported",
        ),
        ("name @ ./x", "local direct reference requirements"),
        ("name@./x", "local direct reference requirements"),
        (
            "name[extra] @ ../x.whl",
            "local direct reference requirements",
        ),
        ("name @ x.whl", "local direct reference requirements"),
        (
            "-r other.txt",
            "local requirements option \"-r\" is not supported",
        ),
        (
            "-rother.txt",
            "local requirements option \"-r\" is not supported",
        ),
        (
            "-r\tother.txt",
            "local requirements option \"-r\" is not supported",
        ),
        (
            "--requirement=other.txt",
            "local requirements option \"--requirement\" is not supported",
        ),
        (
            "--requirement other.txt",
            "local requirements option \"--requirement\" is not supported",
        ),
        (
            "-f wheels",
            "local requirements option \"-f\" is not supported",
        ),
        (
            "--find-links=./wheels",
            "local requirements option \"--find-links\" is not supported",
        ),
        (
            "--find-links\t./wheels",
            "local requirements option \"--find-links\" is not supported",
        ),
        (
            "-f file:///wheels",
            "local requirements option \"-f\" is not supported",
        ),
        (
            "-e ./package",
            "local requirements option \"-e\" is not supported",
        ),
        (
            "./a.whl --hash=sha256:00",
            "do not support inline options or hashes",
        ),
        ("a.tar.gz -f x", "do not support inline options or hashes"),
        ("a.zip -r x", "do not support inline options or hashes"),
        (
            "a.whl; python_version < '3.12'",
            "environment markers are not supported",
        ),
        ("./a.whl[extra]", "extras are not supported"),
        ("./package", "is not a supported wheel or source archive"),
        ("../package", "is not a supported wheel or source archive"),
        ("/opt/package", "is not a supported wheel or source archive"),
        (
            "vendor/package",
            "is not a supported wheel or source archive",
        ),
        (".", "is not a supported wheel or source archive"),
    ];
    for (line, expected) in table {
        let error = classify(line).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn what_can_be_built_passes() {
    let packages = [
        "torch",
        "torch==2.7.0",
        "torch[opt]>=2 ; python_version >= '3.10'",
        "name @ https://example.com/a.whl",
        "name@https://example.com/a.tar.gz",
        "https://example.com/a.whl",
        "git+https://example.com/a.git@v1#subdirectory=x",
        "name @ git+ssh://git@example.com/a.git",
        "-e git+https://example.com/a.git#egg=a",
        "foo ; sys_platform == 'linux/x'",
        "requests --hash=sha256:00",
    ];
    for line in packages {
        assert_eq!(classify(line).expect(line), Line::Package(line.to_owned()));
    }
    let options = [
        "--find-links https://example.com/wheels",
        "-rhttps://example.com/r.txt",
        "-f https://example.com/x",
        "--extra-index-url https://example.com/simple",
        "--pre",
        "--no-index",
    ];
    for line in options {
        assert_eq!(classify(line).expect(line), Line::Option(line.to_owned()));
    }
    let artifacts = [
        "./a.whl",
        "a.whl",
        "../x/a.TAR.GZ",
        "/p/a.tgz",
        "dir with space/a b@1.zip",
        "torch==custom.whl",
        "a@1.tar.xz",
        "a.tar.bz2",
    ];
    for line in artifacts {
        assert_eq!(classify(line).expect(line), Line::Artifact(line.to_owned()));
    }
}

#[test]
fn the_sdk_is_left_to_the_image() {
    for line in [
        "cog",
        "coglet==0.1.0",
        "Cog>=0.9",
        "cog[dev]",
        "COGLET ; x",
        "cog @ https://e.com/c.whl",
    ] {
        assert_eq!(classify(line).expect(line), Line::Sdk(line.to_owned()));
    }
    for line in ["cogs", "cog-tools", "coglet2==1", "cog.x"] {
        assert_eq!(classify(line).expect(line), Line::Package(line.to_owned()));
    }
}

#[test]
fn artifacts_are_staged_under_the_name_as_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path();
    fs_err::create_dir(project.join("wheels")).expect("created");
    fs_err::write(project.join("wheels/real.whl"), "wheel").expect("written");
    fs_err::os::unix::fs::symlink("real.whl", project.join("wheels/link.whl")).expect("linked");
    let input = lines(&[
        "--pre",
        "cog",
        "../wheels/real.whl",
        "../wheels/./link.whl",
        "../wheels/real.whl",
    ]);
    fs_err::create_dir(project.join("requirements")).expect("created");
    let read = Requirements::read(&input, &project.join("requirements"), project).expect("valid");
    assert_eq!(
        read.text(),
        "--pre\n\
         /tmp/local_package_artifacts/wheels/real.whl\n\
         /tmp/local_package_artifacts/wheels/link.whl\n\
         /tmp/local_package_artifacts/wheels/real.whl\n"
    );
    assert_eq!(read.artifacts.len(), 2);
    let staged = tempfile::tempdir().expect("a temporary folder");
    let copy = read.artifacts[1].stage(staged.path()).expect("staged");
    assert_eq!(copy, staged.path().join("wheels/link.whl"));
    assert_eq!(fs_err::read(copy).expect("readable"), b"wheel");
    fs_err::write(project.join("wheels/real.whl"), "other").expect("written");
    assert!(matches!(
        read.artifacts[0].stage(staged.path()),
        Err(RequirementError::Changed(_))
    ));
    assert_eq!(read.overridden, ["cog"]);
}

#[test]
fn artifacts_stay_inside_the_project() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("project");
    fs_err::create_dir(&project).expect("created");
    fs_err::create_dir(project.join("folder.whl")).expect("created");
    fs_err::write(folder.path().join("outside.whl"), "x").expect("written");
    fs_err::os::unix::fs::symlink("../outside.whl", project.join("link.whl")).expect("linked");
    let table = [
        (
            "missing.whl",
            "local Python package artifact \"missing.whl\" not found",
        ),
        ("folder.whl", "must be a regular file"),
        ("../outside.whl", "must be inside the project directory"),
        ("link.whl", "must be inside the project directory"),
    ];
    for (line, expected) in table {
        let error = Requirements::read(&lines(&[line]), &project, &project).expect_err(line);
        assert!(error.to_string().contains(expected), "{line}: {error}");
    }
}

#[test]
fn names_compare_normalised() {
    assert_eq!(
        package_name("Typing_Extensions>=4"),
        Some("typing-extensions".to_owned())
    );
    assert_eq!(
        package_name("ruamel.yaml[jinja]"),
        Some("ruamel-yaml".to_owned())
    );
    assert_eq!(package_name("a--b"), Some("a-b".to_owned()));
    assert_eq!(package_name("/tmp/x.whl"), None);
    let requirements = Requirements {
        packages: lines(&["PyYAML==6"]),
        ..Requirements::default()
    };
    assert!(requirements.mentions("pyyaml"));
    assert!(!requirements.mentions("yaml"));
}
