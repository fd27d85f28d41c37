use std::os::unix::fs::MetadataExt as _;

use super::*;

/// That of staged files.
const DATE: i64 = 1_700_000_000;

/// Reads as the configuration does, roughly.
fn reader(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().zip(1..);
    lines
        .map(|(line, number)| (number, line.to_owned()))
        .collect()
}

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
            "-f file:///wheels",
            "local requirements option \"-f\" is not supported",
        ),
        (
            "-rfile:///r.txt",
            "local requirements option \"-r\" is not supported",
        ),
        (
            "--constraint=",
            "local requirements option \"--constraint\" is not supported",
        ),
        (
            "./a.whl --no-deps",
            "do not support inline options or hashes",
        ),
        (
            "./a.whl --hash=sha256:00 -r x",
            "do not support inline options or hashes",
        ),
        (
            "./package --hash=sha256:00",
            "do not support inline options or hashes",
        ),
        ("a.tar.gz -f x", "do not support inline options or hashes"),
        ("a.zip -r x", "do not support inline options or hashes"),
        (
            "a.whl; python_version < '3.12'",
            "environment markers are not supported",
        ),
        ("./a.whl[extra]", "extras are not supported"),
        ("~/package", "is not a supported wheel or source archive"),
        ("./package; x", "is not a supported wheel or source archive"),
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
        let expected = Line::Artifact {
            path: line.to_owned(),
            hashes: Vec::new(),
        };
        assert_eq!(classify(line).expect(line), expected);
    }
}

#[test]
fn paths_in_the_project_are_told_from_packages() {
    let folder = |path: &str, extras: &str| Line::Folder {
        path: path.to_owned(),
        extras: extras.to_owned(),
    };
    let table = [
        ("./package", folder("./package", "")),
        ("-e ./package", folder("./package", "")),
        ("--editable=vendor/package", folder("vendor/package", "")),
        ("-e package", folder("package", "")),
        ("vendor/package[a,b]", folder("vendor/package", "[a,b]")),
        ("../package", folder("../package", "")),
        ("/opt/package", folder("/opt/package", "")),
        (".", folder(".", "")),
        ("-r other.txt", Line::File("other.txt".to_owned())),
        ("-rother.txt", Line::File("other.txt".to_owned())),
        ("-r\tother.txt", Line::File("other.txt".to_owned())),
        ("--requirement=a/o.txt", Line::File("a/o.txt".to_owned())),
        ("-c c.txt", Line::Constraints("c.txt".to_owned())),
        ("--constraint c.txt", Line::Constraints("c.txt".to_owned())),
        ("-f wheels", Line::Links("wheels".to_owned())),
        ("--find-links=./wheels", Line::Links("./wheels".to_owned())),
        (
            "./a b.whl --hash=sha256:0A --hash sha384:1",
            Line::Artifact {
                path: "./a b.whl".to_owned(),
                hashes: vec!["sha256:0a".to_owned(), "sha384:1".to_owned()],
            },
        ),
    ];
    for (line, expected) in table {
        assert_eq!(classify(line).expect(line), expected, "{line}");
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
fn several_options_in_one_line_all_count() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path();
    fs_err::create_dir(project.join("wheels")).expect("created");
    fs_err::write(project.join("more.txt"), "six==1.16.0\n").expect("written");
    let input = lines(&[
        "--pre -f https://example.com/wheels",
        "--no-index --find-links=./wheels --require-hashes",
        "--prefer-binary  -r more.txt",
        "-e git+https://example.com/a.git#egg=a --config-settings x=y",
    ]);
    let read = Requirements::read(&input, project, project, reader).expect("valid");
    assert_eq!(
        read.options,
        [
            "--pre",
            "-f https://example.com/wheels",
            "--no-index",
            "--find-links file:///tmp/local_package_artifacts/wheels",
            "--prefer-binary",
        ]
    );
    assert!(read.require_hashes);
    assert_eq!(
        read.packages,
        [
            "six==1.16.0",
            "-e git+https://example.com/a.git#egg=a --config-settings x=y"
        ]
    );
    // Where nothing in the project is named, the line stays as it was written.
    let flat = flatten(&input, project, project, reader).expect("valid");
    assert_eq!(flat[0], "--pre -f https://example.com/wheels");
    assert!(flat.contains(&"six==1.16.0".to_owned()), "{flat:?}");
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
    let read =
        Requirements::read(&input, &project.join("requirements"), project, reader).expect("valid");
    assert_eq!(
        read.text(),
        "--pre\n\
         /tmp/local_package_artifacts/wheels/real.whl\n\
         /tmp/local_package_artifacts/wheels/link.whl\n\
         /tmp/local_package_artifacts/wheels/real.whl\n"
    );
    assert_eq!(read.artifacts.len(), 2);
    let staged = tempfile::tempdir().expect("a temporary folder");
    // Read back from a file, they are the same.
    let written = serde_json::to_string(&read).expect("it is text");
    let again: Requirements = serde_json::from_str(&written).expect("as it was written");
    assert_eq!(again.artifacts, read.artifacts);
    let target = staged.path().join("again");
    again.stage(project, &target, DATE).expect("staged");
    let copy = target.join("wheels/link.whl");
    assert_eq!(fs_err::read(copy).expect("readable"), b"wheel");
    fs_err::write(project.join("wheels/real.whl"), "other").expect("written");
    assert!(matches!(
        read.stage(project, &staged.path().join("changed"), DATE),
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
        let error =
            Requirements::read(&lines(&[line]), &project, &project, reader).expect_err(line);
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

/// A project with these files; a name that ends in a slash is a folder.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().expect("it has a parent")).expect("created");
        fs_err::write(path, content).expect("written");
    }
    folder
}

#[test]
fn other_files_are_read_from_where_they_are() {
    let folder = project(&[
        (
            "requirements/more/gpu.txt",
            "-r ../cpu.txt\nb.whl\n-e ../../pkg[x]\n-e .\n-c ../c.txt\n-f wheels",
        ),
        ("requirements/cpu.txt", "torch==2.3.1"),
        ("requirements/c.txt", "numpy<2\n-r more/d.txt\ncog==1"),
        (
            "requirements/more/d.txt",
            "six<2 --hash=sha256:0A --hash=sha256:1\n-c ../c.txt",
        ),
        ("requirements/more/b.whl", "wheel"),
        ("requirements/more/wheels/w-1-py3-none-any.whl", "w"),
        ("requirements/more/wheels/notes.txt", "not counted"),
        ("pkg/pyproject.toml", ""),
        ("pkg/src/module.py", "x = 1"),
        ("pkg/src/venv/__init__.py", "a module"),
        ("pkg/venv/pyvenv.cfg", ""),
        ("pkg/venv/bin/activate", "an environment"),
    ]);
    let root = folder.path();
    let base = root.join("requirements");
    let mut flat =
        flatten(&lines(&["-r more/gpu.txt", "a==1"]), &base, root, reader).expect("valid");
    let outside = fs_err::canonicalize(root).expect("there").join("pkg");
    assert_eq!(
        flat,
        [
            "torch==2.3.1",
            "./more/b.whl",
            &format!("{}[x]", outside.display()),
            "-e .",
            "-c ./c.txt",
            "-f ./more/wheels",
            "a==1"
        ]
    );
    flat.retain(|line| line != "-e .");
    let read = Requirements::read(&flat, &base, root, reader).expect("valid");
    assert_eq!(read.constraints, ["numpy<2", "six<2"]);
    assert_eq!(read.hashes["six"], ["sha256:0a", "sha256:1"]);
    assert_eq!(
        read.options,
        ["--find-links file:///tmp/local_package_artifacts/requirements/more/wheels"]
    );
    assert_eq!(read.packages[2], "/tmp/local_package_artifacts/pkg[x]");
    assert_eq!(read.content().len(), 3);

    let staged = tempfile::tempdir().expect("a temporary folder");
    let artifacts = staged.path().join("artifacts");
    let written = serde_json::to_string(&read).expect("it is text");
    let stored: Requirements = serde_json::from_str(&written).expect("as it was written");
    stored.stage(root, &artifacts, DATE).expect("staged");
    assert!(artifacts.join("pkg/src/module.py").is_file());
    assert!(artifacts.join("pkg/src/venv/__init__.py").is_file());
    assert!(!artifacts.join("pkg/venv").exists());
    for path in ["", "pkg", "pkg/src", "pkg/src/module.py"] {
        let metadata = fs_err::metadata(artifacts.join(path)).expect("it is there");
        assert_eq!(metadata.mtime(), DATE, "{path}");
    }
    let wheels = artifacts.join("requirements/more/wheels");
    assert!(wheels.join("w-1-py3-none-any.whl").is_file());
    assert!(!wheels.join("notes.txt").exists());

    // What is in a folder is part of what keys are made of.
    fs_err::write(root.join("pkg/src/module.py"), "x = 2").expect("written");
    let changed = Requirements::read(&flat, &base, root, reader).expect("valid");
    assert_ne!(changed.content(), read.content());
    let again = staged.path().join("again");
    assert!(matches!(
        read.stage(root, &again, DATE),
        Err(RequirementError::Changed(_))
    ));
}

#[test]
fn a_line_of_another_file_is_named_with_its_place() {
    let folder = project(&[
        ("deps/more.txt", "six\n-r missing.txt"),
        ("deps/wrong.txt", "\nfile:///x/y.whl"),
        ("deps/limits.txt", "a\n./pkg"),
        ("bad.txt", "-r deps/more.txt"),
        ("binary.txt", ""),
    ]);
    let root = folder.path();
    fs_err::write(root.join("binary.txt"), b"\xff\xfe").expect("written");
    let long = fs_err::File::create(root.join("long.txt")).expect("made");
    long.set_len((16 << 20) + 1).expect("made longer");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe.txt"), mode).expect("made");
    let table = [
        (
            "-r long.txt",
            "could not read `long.txt`, which the requirements name: it is longer than 16 MiB",
        ),
        ("-c long.txt", "could not read `long.txt`"),
        (
            "-r pipe.txt",
            "`pipe.txt`, which the requirements name, is not a file",
        ),
        (
            "-r bad.txt",
            "`missing.txt`, which the requirements name, was not found (line 2 of deps/more.txt)",
        ),
        ("-c deps/limits.txt", "(line 2 of deps/limits.txt)"),
        ("-c deps/wrong.txt", "(line 2 of deps/wrong.txt)"),
        (
            "-r binary.txt",
            "could not read `binary.txt`, which the requirements name: ",
        ),
    ];
    for (line, expected) in table {
        let error = Requirements::read(&lines(&[line]), root, root, reader).expect_err(line);
        assert!(error.to_string().contains(expected), "{line}: {error}");
    }
}

#[test]
fn growth_has_an_end() {
    let names = |index: usize| format!("{index}.txt");
    let check = |files: Vec<(String, String)>, first: &str| {
        let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (&**a, &**b)).collect();
        let folder = project(&files);
        let root = folder.path();
        let error = flatten(&lines(&[first]), root, root, reader);
        let error = error.expect_err(first).to_string();
        assert!(error.contains("too many lines"), "{error}");
    };
    // Each names the next one twice.
    let doubling = (0..15).map(|index| (names(index), format!("-r {0}\n-r {0}", names(index + 1))));
    let last = (names(15), String::new());
    check(doubling.chain([last]).collect(), "-r 0.txt");
    let deep = (0..40).map(|index| (names(index), format!("-r {}", names(index + 1))));
    check(deep.collect(), "-r 0.txt");
    check(
        vec![("many.txt".to_owned(), "six\n".repeat(30_000))],
        "-r many.txt",
    );
}

#[test]
fn nothing_leads_out_of_the_project_and_nothing_runs_in_circles() {
    let folder = project(&[
        ("outside.txt", "six"),
        ("outside/pyproject.toml", ""),
        ("project/loop.txt", "-r sub/loop.txt"),
        ("project/sub/loop.txt", "-r ../loop.txt"),
        ("project/plain/module.py", ""),
        ("project/linked/pyproject.toml", ""),
        ("project/folder/pyproject.toml", ""),
    ]);
    let root = folder.path().join("project");
    let link = |target: &str, name: &str| {
        fs_err::os::unix::fs::symlink(target, root.join(name)).expect("linked");
    };
    link("../outside.txt", "link.txt");
    link("../outside", "outside");
    link("../../outside.txt", "linked/data.txt");
    link("../plain", "folder/link");
    let table = [
        ("-r ../outside.txt", "must be inside the project directory"),
        ("-r link.txt", "must be inside the project directory"),
        ("-r /etc/passwd", "must be inside the project directory"),
        ("-c ../outside.txt", "must be inside the project directory"),
        ("-f ..", "must be inside the project directory"),
        ("-e ../outside", "must be inside the project directory"),
        ("./outside", "must be inside the project directory"),
        ("./linked", "must be inside the project directory"),
        (
            "./folder",
            "`folder/link`, which the requirements name, is not a file",
        ),
        (
            "-r none.txt",
            "`none.txt`, which the requirements name, was not found",
        ),
        (
            "-r plain",
            "`plain`, which the requirements name, is not a file",
        ),
        ("-r loop.txt", "names itself"),
        ("./plain", "is not a supported wheel or source archive"),
        ("./none", "is not a supported wheel or source archive"),
        (".[extra]", "extras are not supported"),
    ];
    for (line, expected) in table {
        let error = Requirements::read(&lines(&[line]), &root, &root, reader).expect_err(line);
        assert!(error.to_string().contains(expected), "{line}: {error}");
    }
    let read = Requirements::read(&lines(&["-e .", "."]), &root, &root, reader).expect("valid");
    assert_eq!(read.itself, ["-e .", "."]);
    assert!(read.is_empty());
}

#[test]
fn a_local_artifact_is_the_one_that_is_wanted() {
    let folder = project(&[("a-1-py3-none-any.whl", "wheel")]);
    let root = folder.path();
    let right = "b4e5ed14d1de08d4d4b17c87b4ac4eac2f8a5bbf9b6e7a3b3c6a1b8c7b8f0b2d";
    let line = format!("./a-1-py3-none-any.whl --hash=sha256:{right}");
    let error = Requirements::read(&lines(&[&line]), root, root, reader).expect_err("wrong");
    let text = error.to_string();
    let RequirementError::Hash { found, .. } = error else {
        panic!("{text}");
    };
    assert!(text.starts_with("local Python package artifact \"a-1-py3-none-any.whl\" has none"));
    let line = format!("./a-1-py3-none-any.whl --hash={found}");
    let read = Requirements::read(&lines(&[&line]), root, root, reader).expect("right");
    assert_eq!(read.hashes["a"], [found]);
}

#[test]
fn lists_of_packages_become_an_option_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let given = lines(&[
        "--only-binary six,attrs",
        "--no-binary=docopt, x",
        "--only-binary :all:",
        "--pre --no-binary a,b",
        "six",
    ]);
    let requirements = Requirements::read(&given, folder.path(), folder.path(), reader).unwrap();
    assert_eq!(
        requirements.options,
        [
            "--only-binary six",
            "--only-binary attrs",
            "--no-binary docopt",
            "--no-binary x",
            "--only-binary :all:",
            "--pre",
            "--no-binary a",
            "--no-binary b",
        ]
    );
}
