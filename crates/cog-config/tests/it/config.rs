//! Files as they are on disk, and what the other fields allow.

use cog_config::{Config, ConfigError, find, load};

use crate::support::Project;

fn warnings(yaml: &str) -> Vec<String> {
    let loaded = Project::new(yaml).load();
    let loaded = loaded.unwrap_or_else(|error| panic!("{yaml}: {error}"));
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn config(yaml: &str) -> Config {
    Project::new(yaml).config()
}

#[test]
fn the_file_is_found_from_below() {
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("some/sub/dir");
    fs_err::create_dir_all(&below).expect("folders");
    let missing = find(&below, "other.yaml").expect_err("there is none");
    assert_eq!(
        missing.to_string(),
        format!(
            "other.yaml not found in {} (or in any parent directories)",
            below.display()
        )
    );
    fs_err::write(folder.path().join("cog.yaml"), "run: run.py:Runner\n").expect("a file");
    let file = find(&below, "cog.yaml").expect("it is above");
    assert_eq!(file.directory, folder.path());
}

#[test]
fn requirements_may_be_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let requirements = elsewhere.path().join("r.txt");
    fs_err::write(&requirements, "-e .\ntensorflow==2.15.0\n").expect("a file");
    let yaml = format!(
        "build: {{python_version: '3.11', gpu: true, cuda: '11.8', python_requirements: '{}'}}\n",
        requirements.display()
    );
    fs_err::write(folder.path().join("cog.yaml"), &yaml).expect("a file");
    let file = find(folder.path(), "cog.yaml").expect("it is there");
    let error = load(&file).expect_err("its CUDA is another").to_string();
    assert!(
        error.starts_with("TensorFlow 2.15.0 is incompatible with CUDA 11.8"),
        "{error}"
    );
    fs_err::write(folder.path().join("cog.yaml"), yaml.replace("11.8", "12.2")).expect("a file");
    let config = load(&file).expect("it fits").config;
    let (lines, directory) = config.requirement_lines(folder.path()).expect("lines");
    assert_eq!(lines, ["tensorflow==2.15.0"]);
    assert_eq!(directory, elsewhere.path());
}

#[test]
fn requirements_that_lead_out_of_the_project_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("requirements.txt");
    fs_err::os::unix::fs::symlink("/etc/passwd", &path).expect("linked");
    let yaml = "build: {python_version: '3.11', python_requirements: requirements.txt}\n";
    fs_err::write(folder.path().join("cog.yaml"), yaml).expect("a file");
    let file = find(folder.path(), "cog.yaml").expect("it is there");
    let config = load(&file).expect("nothing is wrong with it").config;
    let error = config.requirement_lines(folder.path());
    let error = error.expect_err("it is a link");
    assert_eq!(error.to_string(), "could not read `requirements.txt`");
    let reason = std::error::Error::source(&error).expect("there is one");
    assert_eq!(reason.to_string(), "it leads out of the project");

    // Within the project it may be one.
    fs_err::remove_file(&path).expect("removed");
    fs_err::write(folder.path().join("cpu.txt"), "six\n").expect("a file");
    fs_err::os::unix::fs::symlink("cpu.txt", &path).expect("linked");
    let (lines, _) = config.requirement_lines(folder.path()).expect("lines");
    assert_eq!(lines, ["six"]);
}

#[test]
fn deprecated_fields_are_named_with_their_successors() {
    assert_eq!(
        warnings("predict: predict.py:Predictor\n"),
        ["deprecated field \"predict\": use \"run\" instead"]
    );
    assert_eq!(
        warnings(
            "build: {python_version: '3.11', python_packages: [a], pre_install: [b]}\nconcurrency: {max: 5}\n"
        ),
        [
            "deprecated field \"concurrency.max\": use \"@cog.concurrent(max=...)\" instead",
            "deprecated field \"build.python_packages\": use \"build.python_requirements\" instead, with the lines in a \
             requirements.txt",
            "deprecated field \"build.pre_install\": use \"build.run\" instead",
        ]
    );
}

#[test]
fn names_of_the_runtime_are_reserved() {
    for name in [
        "PATH",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "PYTHONUNBUFFERED",
        "R8_X",
        "R8_",
        "REPLICATE_API_TOKEN",
        "LIBRARY_PATH",
        "CUDA_HOME",
        "NVIDIA_VISIBLE_DEVICES",
        "NV_X",
        "PGET_X",
        "HF_ENDPOINT",
        "HF_HUB_ENABLE_HF_TRANSFER",
        "KUBERNETES_PORT",
    ] {
        let said = Project::new(&format!("environment: ['{name}=x']\n")).invalid();
        let expected = format!(
            "invalid environment: environment variable \"{name}\" is not allowed: reserved for internal use"
        );
        assert!(said.starts_with(&expected), "{said}");
    }
    for name in ["PATH2", "R8", "HF_HOME", "path"] {
        config(&format!("environment: ['{name}=x']\n"));
    }
}

#[test]
fn weight_targets_are_apart_in_either_order() {
    let yaml = |one: &str, other: &str| {
        format!(
            "model: m\nweights:\n- {{name: a, target: {one}, source: {{uri: x}}}}\n- {{name: b, target: {other}, source: {{uri: x}}}}\n"
        )
    };
    for (one, other) in [("/src/w", "/src/w/lora"), ("/src/w/lora", "/src/w")] {
        let said = Project::new(&yaml(one, other)).invalid();
        assert!(said.contains("target overlaps with \"a\""), "{said}");
    }
    let said = Project::new(&yaml("/a", "/b").replace("name: b", "name: a")).invalid();
    assert!(said.contains("duplicate weight name"), "{said}");
}

#[test]
fn json_and_yaml_say_the_same() {
    let yaml = "build:\n  python_version: '3.11'\n  run:\n  - echo a\n  - command: echo b\n  - command: echo c\n    mounts:\n    - type: secret\n      id: s\n      target: /s\n";
    let json = r#"{"build": {"python_version": "3.11", "run": ["echo a", {"command": "echo b"},
        {"command": "echo c", "mounts": [{"type": "secret", "id": "s", "target": "/s"}]}]}}"#;
    assert_eq!(config(yaml), config(json));
    assert_eq!(
        config(yaml).to_label(),
        config(&config(yaml).to_label()).to_label()
    );
}

#[test]
fn a_file_that_is_no_text_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("cog.yaml"), b"a: \xff\n").expect("a file");
    let file = find(folder.path(), "cog.yaml").expect("it is there");
    assert!(matches!(load(&file), Err(ConfigError::Unreadable { .. })));
}
