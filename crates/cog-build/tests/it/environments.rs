//! What runs a project: an image without its source, and an environment on the host.

use std::process::Command;

use cog_build::{SchemaSource, host_environment, prepare};
use cog_engine::Embedded;

use crate::support::{Project, network_is_missing, shared_store, skipped, store_at};

#[test]
fn an_environment_is_the_image_without_its_source() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let project = Project::new();
    let built = project.build(&store).expect("it builds");
    let request = project.request(&store, Some(&Embedded));
    let environment = prepare(&request).expect("it is prepared");
    let layers = built.image.layers.len();
    assert_eq!(environment.layers, built.image.layers[..layers - 1]);
    assert_eq!(environment.env, built.image.config.env);
    assert_eq!(environment.schema, built.schema);
    let root = store.rootfs(&environment.layers).expect("unpacked");
    assert!(root.layers().iter().all(|layer| layer.is_dir()));

    let mut request = project.request(&store, Some(&Embedded));
    request.interface = project.interface(&SchemaSource::Omit);
    prepare(&request).expect("it is prepared");
    assert!(!project.path().join(".cog/openapi_schema.json").exists());
}

#[test]
fn the_host_gets_an_environment_with_packages_and_sdk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store_at(folder.path());
    let mut project = Project::new();
    project.build_section().python_packages = vec!["six".into()];
    let request = project.request(&store, None);
    let environment = match host_environment(&request) {
        Err(error) if network_is_missing(&error) => return,
        result => result.expect("it is made"),
    };
    let output = Command::new(&environment.python)
        .args(["-c", "import cog, six, requests; print(cog.__file__)"])
        .env_remove("PYTHONPATH")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.starts_with(&*environment.path.to_string_lossy()),
        "{text}"
    );
    let pip = Command::new(environment.path.join("bin/pip"))
        .arg("--version")
        .output();
    assert!(pip.expect("it starts").status.success());

    project.events.take_built();
    let again = host_environment(&project.request(&store, None)).expect("it is there");
    assert_eq!(again, environment);
    assert_eq!(project.events.take_built(), [""; 0]);
}

#[test]
fn a_missing_python_is_replaced_with_a_warning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store_at(folder.path());
    let mut project = Project::new();
    project.build_section().python_version.text = "3.99".into();
    match host_environment(&project.request(&store, None)) {
        Err(error) if network_is_missing(&error) => {}
        result => {
            result.expect("it is made");
            let warnings = project.events.warnings();
            assert!(
                warnings[0].starts_with("this machine has no Python 3.99, using Python 3."),
                "{warnings:?}"
            );
        }
    }
}
