use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;

const CONFIG: &str = "build:\n  python_version: \"3.11\"\npredict: predict.py:Predictor  # old\n";
const MODEL: &str = "from cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n    def predict(self) -> str:\n        return \"\"\n";

/// Names and contents.
type Files<'a> = &'a [(&'a str, &'a str)];

fn project(files: Files<'_>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs_err::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn read(folder: &tempfile::TempDir, name: &str) -> String {
    fs_err::read_to_string(folder.path().join(name)).unwrap()
}

fn found(check: fn(&Subject) -> Vec<Finding>, files: Files<'_>) -> Vec<String> {
    let folder = project(files);
    let found = check(&Subject::in_folder(folder.path()));
    found.iter().map(ToString::to_string).collect()
}

fn refusal(folder: &Path) -> String {
    let why = interface::fix(&Subject::in_folder(folder)).unwrap_err();
    why.to_string()
}

#[test]
fn a_predictor_is_migrated_with_its_permissions_and_comments() {
    let folder = project(&[("cog.yaml", CONFIG), ("predict.py", MODEL)]);
    let old = folder.path().join("predict.py");
    fs_err::set_permissions(&old, std::fs::Permissions::from_mode(0o750)).unwrap();
    let subject = Subject::in_folder(folder.path());
    assert_eq!(
        interface::find(&subject)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "cog.yaml:3 — predict in cog.yaml is deprecated; use run with run.py:Runner",
            "predict.py:4 — predict.py uses deprecated Predictor/BasePredictor/predict() names",
        ]
    );
    interface::fix(&subject).unwrap();
    assert!(!old.exists());
    assert_eq!(
        read(&folder, "cog.yaml"),
        CONFIG.replace("predict: predict.py:Predictor", "run: \"run.py:Runner\"")
    );
    assert!(read(&folder, "run.py").contains("class Runner(BaseRunner):\n    def run(self)"));
    let mode = fs_err::metadata(folder.path().join("run.py"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
    let subject = Subject::in_folder(folder.path());
    assert_eq!(interface::find(&subject), []);
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2);
}

/// What is there when the one who mends is killed, step by step.
#[test]
fn a_migration_that_was_killed_goes_on() {
    let whole = project(&[("cog.yaml", CONFIG), ("predict.py", MODEL)]);
    interface::fix(&Subject::in_folder(whole.path())).unwrap();
    let (config, model) = (read(&whole, "cog.yaml"), read(&whole, "run.py"));
    // A process that has ended has no such number any more.
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let [half_model, half_config] =
        ["run.py", "cog.yaml"].map(|name| format!(".{name}.{}", ended.id()));
    let old = [("cog.yaml", CONFIG), ("predict.py", MODEL)];
    let steps: [&[(&str, &str)]; 4] = [
        &[old[0], old[1], (&half_model, &model[..9])],
        &[old[0], old[1], ("run.py", &model)],
        &[old[0], old[1], ("run.py", &model), (&half_config, "buil")],
        &[("cog.yaml", &config), old[1], ("run.py", &model)],
    ];
    for files in steps {
        let folder = project(files);
        let subject = Subject::in_folder(folder.path());
        assert_eq!(reference::find(&subject), [], "{files:?}");
        assert_ne!(interface::find(&subject), [], "{files:?}");
        interface::fix(&subject).unwrap();
        assert_eq!(interface::find(&Subject::in_folder(folder.path())), []);
        let mut names: Vec<_> = fs_err::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["cog.yaml", "run.py"], "{files:?}");
        assert_eq!(read(&folder, "cog.yaml"), config);
        assert_eq!(read(&folder, "run.py"), model);
    }
}

/// Whatever is not sure to be our own leaving stays.
#[test]
fn an_old_file_that_is_somebodys_is_left_alone() {
    let whole = project(&[("cog.yaml", CONFIG), ("predict.py", MODEL)]);
    interface::fix(&Subject::in_folder(whole.path())).unwrap();
    let (config, model) = (read(&whole, "cog.yaml"), read(&whole, "run.py"));
    let trained = format!("{config}train: predict.py:Predictor\n");
    for (config, old) in [(&config, "x = 1\n"), (&trained, MODEL)] {
        let files = [
            ("cog.yaml", config.as_str()),
            ("run.py", &model),
            ("predict.py", old),
        ];
        assert_eq!(found(interface::find, &files), [""; 0]);
    }
}

#[test]
fn a_trainer_in_the_same_file_follows() {
    let config = format!("{CONFIG}train: 'predict.py:train'\n");
    let model = format!("{MODEL}\n\ndef train() -> str: ...\n");
    let folder = project(&[("cog.yaml", &config), ("predict.py", &model)]);
    interface::fix(&Subject::in_folder(folder.path())).unwrap();
    assert!(read(&folder, "cog.yaml").ends_with("train: \"run.py:train\"\n"));
}

#[test]
fn what_cannot_be_migrated_stays_as_it_is() {
    let other = CONFIG.replace("Predictor", "Other");
    let both = format!("{CONFIG}run: run.py:Runner\n");
    let trainer = format!("{CONFIG}train: predict.py:Predictor\n");
    let table: [(&str, Files<'_>, &str); 7] = [
        (&both, &[("predict.py", MODEL)], "cog.yaml has `run`, too"),
        (
            &other,
            &[("predict.py", MODEL)],
            "Manual migration required: automatic migration only supports predict.py:Predictor",
        ),
        (
            CONFIG,
            &[("predict.py", MODEL), ("run.py", "")],
            "cannot migrate predict.py to run.py because run.py already exists",
        ),
        (CONFIG, &[], "predict.py not found"),
        (
            CONFIG,
            &[("predict.py", "x = 1\n")],
            "no class Predictor in predict.py",
        ),
        (
            CONFIG,
            &[
                ("predict.py", MODEL),
                ("train.py", "import os\nimport predict\n"),
            ],
            "train.py:2 imports from predict.py",
        ),
        (
            &trainer,
            &[("predict.py", MODEL)],
            "`train` names the class Predictor, too",
        ),
    ];
    for (config, files, why) in table {
        let mut all = vec![("cog.yaml", config)];
        all.extend_from_slice(files);
        let folder = project(&all);
        assert!(
            refusal(folder.path()).starts_with(why),
            "{why}: {}",
            refusal(folder.path())
        );
        for (name, content) in all {
            assert_eq!(read(&folder, name), content);
        }
    }
}

#[test]
fn links_are_not_written_through() {
    let outside = project(&[("predict.py", MODEL), ("cog.yaml", CONFIG)]);
    let folder = project(&[("cog.yaml", CONFIG)]);
    symlink(
        outside.path().join("predict.py"),
        folder.path().join("predict.py"),
    )
    .unwrap();
    assert!(
        refusal(folder.path()).contains("is a link"),
        "{}",
        refusal(folder.path())
    );
    fs_err::remove_file(folder.path().join("predict.py")).unwrap();
    fs_err::remove_file(folder.path().join("cog.yaml")).unwrap();
    fs_err::write(folder.path().join("predict.py"), MODEL).unwrap();
    symlink(
        outside.path().join("cog.yaml"),
        folder.path().join("cog.yaml"),
    )
    .unwrap();
    assert!(refusal(folder.path()).contains("cog.yaml is a link"));
    assert_eq!(read(&outside, "cog.yaml"), CONFIG);
    assert!(!folder.path().join("run.py").exists());
}

#[test]
fn references_lead_somewhere() {
    let config = |reference: &str| format!("build:\n  python_version: \"3.11\"\n{reference}\n");
    for (reference, files, told) in [
        (
            "run: run.py:Runner",
            &[][..],
            vec!["cog.yaml:3 — run.py not found"],
        ),
        (
            "predict: p.py:C",
            &[("p.py", "class A: ...\nclass B: ...\n")],
            vec!["cog.yaml:3 — class \"C\" not found in p.py; found: A, B"],
        ),
        ("run: p.py:f", &[("p.py", "def f() -> str: ...\n")], vec![]),
        (
            "run: 'p.py:'",
            &[],
            vec!["cog.yaml:3 — run must be in the form 'file.py:ClassName'"],
        ),
        (
            "run: p.py:A",
            &[("p.py", "class A(:\n")],
            vec!["p.py — syntax error in p.py, line 1"],
        ),
    ] {
        let config = config(reference);
        let mut all = vec![("cog.yaml", config.as_str())];
        all.extend_from_slice(files);
        let said = found(reference::find, &all);
        assert_eq!(said.len(), told.len(), "{reference}: {said:?}");
        for (said, told) in said.iter().zip(told) {
            assert!(said.starts_with(told), "{said}");
        }
    }
}

#[test]
fn a_broken_cog_yaml_is_told_once_and_hides_no_mistake_in_python() {
    let broken = [
        ("cog.yaml", "predict: predict.py:Predictor\nbuild: [\n"),
        ("predict.py", "class Other: ...\n"),
    ];
    let told = found(config::syntax, &broken);
    assert!(told[0].contains("cog.yaml has invalid YAML: "), "{told:?}");
    assert_eq!(found(config::rules, &broken), Vec::<String>::new());
    assert_eq!(found(reference::find, &broken).len(), 1);
    let invalid = [(
        "cog.yaml",
        "build:\n  python_version: \"3.7\"\n  gup: true\n",
    )];
    let told = found(config::rules, &invalid);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0]
            .starts_with("cog.yaml:2 — cog.yaml validation failed: invalid build.python_version"),
        "{told:?}"
    );
}

#[test]
fn old_fields_and_impossible_versions_are_told() {
    let old = [(
        "cog.yaml",
        "build:\n  python_version: \"3.11\"\n  python_packages: [\"x==1\"]\nconcurrency: 2\n",
    )];
    let told = found(config::deprecated, &old);
    assert!(
        told[0].starts_with("cog.yaml:4 — \"concurrency.max\" is deprecated: "),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("cog.yaml:3 — \"build.python_packages\" is deprecated: "),
        "{told:?}"
    );
    let impossible = [(
        "cog.yaml",
        "build:\n  python_version: \"3.11\"\n  gpu: true\n  python_packages: [torch]\n",
    )];
    let told = found(config::versions, &impossible);
    assert!(
        told[0].contains("torch version must be specified when using CUDA"),
        "{told:?}"
    );
}

#[test]
fn models_and_imports_are_mended() {
    let files = [
        (
            "cog.yaml",
            "build:\n  python_version: \"3.11\"\nrun: run.py:Runner\n",
        ),
        (
            "run.py",
            "from cog import BaseRunner, Path\n\
             from cog.types import ExperimentalFeatureWarning\n\
             from pydantic import BaseModel, ConfigDict\n\n\n\
             class Output(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=True)\n    file: Path\n\n\n\
             class Runner(BaseRunner):\n    def run(self):\n        ...\n",
        ),
    ];
    assert_eq!(
        found(annotations::find, &files),
        ["run.py:12 — Runner.run() is missing a return type annotation"]
    );
    assert_eq!(
        found(imports::find, &files),
        [
            "run.py:2 — ExperimentalFeatureWarning was removed in cog 0.17; current_scope().record_metric() is no longer experimental"
        ]
    );
    let folder = project(&files);
    pydantic::fix(&Subject::in_folder(folder.path())).unwrap();
    imports::fix(&Subject::in_folder(folder.path())).unwrap();
    let subject = Subject::in_folder(folder.path());
    assert_eq!(
        (pydantic::find(&subject), imports::find(&subject)),
        (vec![], vec![])
    );
    let model = read(&folder, "run.py");
    assert!(
        model.starts_with("from cog import BaseRunner, Path, BaseModel\n\n\nclass Output(BaseModel):\n    file: Path\n"),
        "{model}"
    );
}
