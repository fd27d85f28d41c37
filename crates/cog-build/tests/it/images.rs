//! Whole images.

use crate::support::{Project, file, shared_store, skipped, store_at, text};
use cog_build::{BuildError, Secret, VERSION};
use cog_config::{Mount, RunCommand};
use cog_errors::Hint as _;

#[test]
fn a_project_becomes_an_image() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let project = Project::new();
    project.write("data.txt", "x");
    project.write("secret.txt", "x");
    project.write(".dockerignore", "secret.txt\n");
    let built = project.build(&store).expect("it builds");
    let config = &built.image.config;
    assert_eq!(config.working_dir.as_deref(), Some("/src"));
    assert_eq!(config.cmd.as_deref(), Some(&["coglet".to_owned()][..]));
    assert_eq!(config.entrypoint, None);
    assert!(config.exposed_ports.contains("5000/tcp"));
    assert!(
        config
            .env_value("PATH")
            .expect("set")
            .starts_with("/opt/venv/bin:")
    );
    assert_eq!(
        config.env_value("COG_PREDICT_TYPE_STUB"),
        Some("run.py:Runner")
    );

    let label = |name: &str| config.labels.get(name).map(String::as_str).expect(name);
    assert_eq!(label("run.cog.version"), VERSION);
    assert!(label("run.cog.config").contains(r#""predict":"run.py:Runner""#));
    let freeze = label("run.cog.pip_freeze");
    for package in ["structlog==", "requests==", &format!("coglet=={VERSION}\n")] {
        assert!(freeze.contains(package), "{freeze}");
    }
    let base_layer = label("run.cog.cog-base-image-last-layer-sha");
    assert!(
        built
            .image
            .layers
            .iter()
            .any(|layer| layer.diff_id.to_string() == base_layer)
    );

    let schema = built.schema.clone().expect("the model has one");
    assert_eq!(label("run.cog.openapi_schema"), schema);
    assert_eq!(text(&store, &built, "src/.cog/openapi_schema.json"), schema);
    let in_project = fs_err::read_to_string(project.path().join(".cog/openapi_schema.json"));
    assert_eq!(in_project.expect("it is there too"), schema);

    assert_eq!(text(&store, &built, "src/data.txt"), "x");
    assert!(file(&store, &built, "src/secret.txt").is_none());
    assert!(file(&store, &built, "src/.cog/cog.lock").is_none());
    assert!(text(&store, &built, "usr/local/bin/coglet").starts_with("#!"));
    let site = "opt/venv/lib/python3.11/site-packages";
    assert!(file(&store, &built, &format!("{site}/cog/__init__.py")).is_some());
    let compiled = format!("{site}/cog/__pycache__/__init__.cpython-311.pyc");
    assert!(file(&store, &built, &compiled).is_some());
    let report = cog_image::validate(&store, &built.image.name).expect("it can be checked");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn a_changed_line_changes_the_source_layer_alone() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let project = Project::new();
    let before = project.build(&store).expect("it builds");
    project.events.take_built();
    project.write("run.py", crate::support::MODEL.replace("hello", "goodbye"));
    let after = project.build(&store).expect("it builds");
    assert_eq!(project.events.take_built(), ["source"]);
    let (below, source) = after.image.layers.split_at(after.image.layers.len() - 1);
    assert_eq!(below, &before.image.layers[..below.len()]);
    assert_ne!(source, &before.image.layers[below.len()..]);
}

#[test]
fn the_name_of_the_configuration_does_not_matter_to_the_server() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let project = Project::new();
    project.write("cog.yaml", "other: true\n");
    project.write("gpu.yaml", "run: run.py:Runner\n");
    let mut request = project.request(&store, Some(&cog_engine::Embedded));
    request.config_file_name = "gpu.yaml";
    let built = cog_build::build(&request, "test/other").expect("it builds");
    assert_eq!(text(&store, &built, "src/cog.yaml"), "run: run.py:Runner\n");
}

#[test]
fn what_cannot_be_built_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store_at(folder.path());
    let mut project = Project::new();
    project.config.runner = None;
    let error = project.build(&store).expect_err("there is no model");
    assert!(matches!(error, BuildError::NoModel), "{error}");
    assert!(error.to_string().contains("predict"));
    let request = project.request(&store, None);
    let error = cog_build::build(&request, "Bad Name").expect_err("it is no name");
    assert!(error.to_string().contains("`Bad Name`"), "{error}");
    project.config.weights = vec![cog_config::Weights::default()];
    assert!(matches!(project.build(&store), Err(BuildError::Weights)));
    project.config.weights.clear();
    project.config.runner = Some("run.py:Runner".into());
    project.build_section().gpu = true;
    project.build_section().python_packages = vec!["torch".into()];
    let error = project
        .build(&store)
        .expect_err("which torch decides about CUDA");
    assert_eq!(
        error.to_string(),
        "torch version must be specified when using CUDA"
    );
}

#[test]
fn mistakes_in_the_projects_files_cost_no_build() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store_at(folder.path());
    let mut project = Project::new();
    // Whatever comes first needs an engine, or the network, or time.
    let fails = |project: &Project| {
        let built = cog_build::build(&project.request(&store, None), "test/image");
        assert!(project.events.take_built().is_empty());
        built.expect_err("it is a mistake")
    };
    project.write(".dockerignore", "a\n[\n");
    let broken = fails(&project).to_string();
    assert!(broken.starts_with("line 2 of `.dockerignore`"), "{broken}");
    project.write(".dockerignore", "*.py\n");
    let left_out = fails(&project);
    assert!(matches!(left_out, BuildError::Context(_)), "{left_out}");
    assert!(
        left_out
            .hint()
            .is_some_and(|hint| hint.contains("`!run.py`"))
    );
    project.write(".dockerignore", "");
    project.secrets = Secret::parse_all(["id=token,src=missing.txt"]).expect("it is well formed");
    project.build_section().run = vec![RunCommand {
        command: "cat token".into(),
        mounts: vec![Mount {
            kind: "secret".into(),
            id: "token".into(),
            target: "token".into(),
        }],
    }];
    let missing = fails(&project);
    assert!(matches!(missing, BuildError::Secret(_)), "{missing}");
}
