//! Python packages.

use crate::support::{Project, file, shared_store, skipped, text};
use cog_build::{BuildError, Cache};
use cog_python::requirements::RequirementError;
use cog_python::uv::UvError;

fn requirements(project: &mut Project, lines: &[&str]) {
    project.build_section().python_packages = lines.iter().map(|&line| line.to_owned()).collect();
}

#[test]
fn a_missing_package_is_explained() {
    if skipped() {
        return;
    }
    let mut project = Project::new();
    requirements(&mut project, &["no-such-package-8f3a1c"]);
    let error = project
        .build(&shared_store())
        .expect_err("there is no such package");
    assert!(
        matches!(error, BuildError::Uv(UvError::NoSuchVersion { .. })),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("no-such-package-8f3a1c was not found"),
        "{text}"
    );
    assert!(text.lines().count() < 8, "{text}");
}

#[test]
fn large_packages_have_layers_of_their_own_that_images_share() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    requirements(&mut project, &["pillow"]);
    let one = project.build(&store).expect("it builds");
    requirements(&mut project, &["pillow", "six"]);
    let two = project.build(&store).expect("it builds");
    let pillow = |image: &cog_build::BuiltImage| {
        let layers = image.image.layers.iter();
        layers
            .filter(|layer| layer.created_by.contains("pillow"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(pillow(&one).len(), 1);
    assert_eq!(pillow(&one), pillow(&two));
    let site = "opt/venv/lib/python3.11/site-packages";
    assert!(file(&store, &two, &format!("{site}/six.py")).is_some());
    assert!(file(&store, &one, &format!("{site}/six.py")).is_none());
    assert!(text(&store, &one, "opt/venv/bin/pip3.11").starts_with("#!/opt/venv/bin/python\n"));
    assert_eq!(text(&store, &two, "tmp/requirements.txt"), "pillow\nsix\n");
}

#[test]
fn source_distributions_are_built_in_a_container() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    // A version of which only the source was published.
    requirements(&mut project, &["docopt==0.6.2"]);
    let built = project.build(&store).expect("it builds");
    let site = "opt/venv/lib/python3.11/site-packages";
    assert!(text(&store, &built, &format!("{site}/docopt.py")).contains("Pythonic"));

    let request = project.request(&store, None);
    let error = cog_build::build(&request, "test/image").expect_err("nothing can run");
    // What was resolved is remembered, and that it has to be built.
    assert!(
        matches!(error, BuildError::NeedsContainer { .. }),
        "{error}"
    );
}

#[test]
fn local_wheels_are_installed_and_cannot_replace_the_sdk() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    let wheel = |name: &str| wheel(name, "1.0");
    project.write("wheels/my model-1.0-py3-none-any.whl", "not a wheel");
    project.write("wheels/mymodel-1.0-py3-none-any.whl", wheel("mymodel"));
    project.write("wheels/cog-1.0-py3-none-any.whl", wheel("cog"));
    requirements(
        &mut project,
        &[
            "wheels/mymodel-1.0-py3-none-any.whl",
            "./wheels/cog-1.0-py3-none-any.whl",
            "coglet==0.1.0",
        ],
    );
    let built = project.build(&store).expect("it builds");
    let site = "opt/venv/lib/python3.11/site-packages";
    assert_eq!(
        text(&store, &built, &format!("{site}/mymodel.py")),
        "NAME = \"mymodel\"\n"
    );
    assert!(file(&store, &built, &format!("{site}/cog.py")).is_none());
    assert!(file(&store, &built, &format!("{site}/cog/__init__.py")).is_some());
    let freeze = &built.image.config.labels["run.cog.pip_freeze"];
    assert!(
        freeze.contains("mymodel @ file:///tmp/local_package_artifacts/wheels/mymodel-1.0"),
        "{freeze}"
    );
    let staged = "tmp/local_package_artifacts/wheels/mymodel-1.0-py3-none-any.whl";
    assert!(file(&store, &built, staged).is_some());
    let warnings = project.events.warnings();
    assert!(
        warnings
            .iter()
            .any(|text| text.starts_with("'coglet==0.1.0' found in requirements"))
    );

    requirements(&mut project, &["./wheels"]);
    let error = project.build(&store).expect_err("a folder is no package");
    let unsupported = RequirementError::UnsupportedPath("./wheels".into()).to_string();
    assert_eq!(error.to_string(), unsupported);
}

#[test]
fn a_resolution_is_remembered_until_the_cache_is_ignored() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    requirements(&mut project, &["iniconfig"]);
    let first = project.build(&store).expect("it builds");
    project.events.take_built();
    let second = project.build(&store).expect("it builds");
    assert_eq!(project.events.take_built(), ["source"]);
    project.cache = Cache::Ignore;
    let third = project.build(&store).expect("it builds");
    assert!(project.events.take_built().len() > 2);
    assert_eq!(first.image.manifest.digest, second.image.manifest.digest);
    assert_eq!(first.image.layers, third.image.layers);
}

#[test]
fn what_the_requirements_name_in_the_project_is_built_and_installed() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    let wheel = |name: &str| wheel(name, "1.0");
    project.write(
        "wheels/fromwheels-1.0-py3-none-any.whl",
        wheel("fromwheels"),
    );
    project.write(
        "parts/more.txt",
        "-e ../packages/own\n-f ../wheels\nfromwheels\n-c limits.txt\n",
    );
    project.write("parts/limits.txt", "iniconfig<2\n");
    project.write(
        "packages/own/pyproject.toml",
        "[build-system]\nrequires = [\"setuptools<81\"]\nbuild-backend = \"setuptools.build_meta\"\n\
         [project]\nname = \"own\"\nversion = \"3\"\n[tool.setuptools]\npy-modules = [\"own\"]\n",
    );
    project.write("packages/own/own.py", "ANSWER = 41\n");
    requirements(&mut project, &["-r parts/more.txt", "iniconfig", "-e ."]);
    let built = project.build(&store).expect("it builds");
    let site = "opt/venv/lib/python3.11/site-packages";
    let own = |built: &cog_build::BuiltImage| text(&store, built, &format!("{site}/own.py"));
    assert_eq!(own(&built), "ANSWER = 41\n");
    assert!(file(&store, &built, &format!("{site}/fromwheels.py")).is_some());
    let freeze = &built.image.config.labels["run.cog.pip_freeze"];
    assert!(freeze.contains("iniconfig==1."), "{freeze}");
    assert!(
        freeze.contains("own @ file:///tmp/local_package_artifacts/packages/own\n"),
        "{freeze}"
    );
    let warnings = project.events.warnings();
    let left_out = |text: &&String| text.starts_with("`-e .` is left out");
    assert_eq!(warnings.iter().filter(left_out).count(), 1, "{warnings:?}");

    project.write("packages/own/own.py", "ANSWER = 42\n");
    let changed = project.build(&store).expect("it builds");
    assert_eq!(own(&changed), "ANSWER = 42\n");
}

#[test]
fn a_source_distribution_has_the_hash_that_is_asked_for() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    let wrong = "0".repeat(64);
    let line = format!("docopt==0.6.2 --hash=sha256:{wrong}");
    requirements(&mut project, &[&line]);
    let error = project.build(&store).expect_err("the hash is wrong");
    assert!(matches!(error, BuildError::Uv(UvError::Hash(_))), "{error}");
    assert!(error.to_string().contains("`docopt` 0.6.2"), "{error}");
    let right = "49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491";
    let line = format!("docopt==0.6.2 --hash=sha256:{right}");
    requirements(&mut project, &[&line]);
    project.build(&store).expect("it builds");
}

/// A wheel with one module, written with Python's own archive module.
fn wheel(name: &str, version: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("wheel.whl");
    let script = "import sys, zipfile\n\
        path, name, version = sys.argv[1:]\n\
        info = f'{name}-{version}.dist-info'\n\
        with zipfile.ZipFile(path, 'w') as wheel:\n\
        \x20   wheel.writestr(f'{name}.py', f'NAME = \"{name}\"\\n')\n\
        \x20   wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')\n\
        \x20   wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        \x20   wheel.writestr(f'{info}/RECORD', f'{name}.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/RECORD,,\\n')\n";
    let status = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .args([name, version])
        .status()
        .expect("the host has Python");
    assert!(status.success());
    fs_err::read(path).expect("readable")
}
