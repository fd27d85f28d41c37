use cog_config::{Build, EnvironmentVariable};
use cog_debian::ListedPackage;
use cog_image::{Descriptor, DiffId, Digest, Layer};
use cog_python::freeze::Freeze;
use cog_python::requirements::Requirements;
use serde_json::{Value, json};

use super::*;
use crate::architecture::Architecture;
use crate::base::Inherited;
use crate::{Backend, Result};
use cog_python::resolution::Resolution;

fn lock() -> Lock {
    let layer = Layer {
        diff_id: DiffId::new(Digest::of(b"base")),
        blob: Descriptor::new("x", Digest::of(b""), 0),
        created_by: "base".to_owned(),
    };
    Lock {
        base: LockedBase {
            architecture: Architecture::Amd64,
            name: "debian:bookworm".to_owned(),
            layers: vec![layer],
            interpreter: Interpreter {
                path: "/usr/bin/python3.11".into(),
                minor: "3.11".into(),
            },
            python_version: None,
            python_platform: "x86_64-manylinux_2_36".to_owned(),
            environment: vec![("LANG".to_owned(), "C.UTF-8".to_owned())],
            debian: None,
            packages: Vec::new(),
            archive: None,
            added_python: None,
            installed: Vec::new(),
            compiler: None,
            inherited: Inherited::default(),
        },
        certificates: Certificates::read(
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        )
        .expect("valid"),
        system: LockedSystem {
            implied: Versions::Any,
            named: Versions::Exactly(vec![ListedPackage {
                name: "zsh".to_owned(),
                version: "5.9".to_owned(),
                sha256: "ab".repeat(32),
            }]),
        },
        python: LockedPython {
            requirements: Requirements {
                packages: vec!["six".to_owned()],
                ..Requirements::default()
            },
            resolution: resolution(),
            source: PackageSource::SourceDistributions,
        },
        runtime: LockedRuntime {
            version: "1".to_owned(),
            sdk: "aa".to_owned(),
            server: "bb".to_owned(),
        },
    }
}

fn resolution() -> Resolution {
    let pylock = "lock-version = \"1.0\"\n[[packages]]\nname = \"six\"\nversion = \"1\"\n\
        wheels = [{ url = \"https://e.com/six-1.whl\", hashes = { sha256 = \"00\" } }]\n";
    Resolution::from_pylock(pylock, std::path::Path::new("/artifacts"), &[]).unwrap()
}

fn config() -> Config {
    let command = |text: &str| RunCommand {
        command: text.to_owned(),
        mounts: Vec::new(),
    };
    let mount = Mount {
        kind: "secret".to_owned(),
        id: "token".to_owned(),
        target: "/t".to_owned(),
    };
    Config {
        build: Some(Build {
            system_packages: vec!["ffmpeg".to_owned(), "zsh".to_owned()],
            run: vec![
                command(" echo hello "),
                RunCommand {
                    mounts: vec![mount],
                    ..command("cowsay moo")
                },
            ],
            ..Build::default()
        }),
        environment: vec![EnvironmentVariable {
            name: "A".to_owned(),
            value: "1".to_owned(),
        }],
        ..Config::default()
    }
}

fn implied() -> ImpliedPackages {
    ImpliedPackages {
        image: vec!["libgl1".to_owned()],
        tools: vec!["curl".to_owned()],
        source_tools: vec!["build-essential".to_owned()],
        renamed: Vec::new(),
    }
}

const SETTINGS: PlanSettings = PlanSettings {
    layers: LayerSettings {
        timestamp: 0,
        compression: Compression::Zstd,
    },
    bytecode: Bytecode::Compiled,
    symbols: Symbols::Kept,
};

fn plan() -> BuildPlan {
    BuildPlan::new(&config(), &lock(), &implied(), SETTINGS).expect("the commands are valid")
}

fn titles(plan: &BuildPlan) -> Vec<String> {
    plan.steps.iter().map(Step::title).collect()
}

#[test]
fn steps_come_in_order() {
    assert_eq!(
        titles(&plan()),
        [
            "implied packages: libgl1",
            "certificates",
            "system packages: ffmpeg, zsh",
            "python packages: 1 requirement",
            "run: echo hello",
            "run: cowsay moo",
            "runtime",
        ]
    );
}

#[test]
fn what_a_prebuilt_base_has_is_not_installed_again() {
    let python = |plan: &BuildPlan| {
        let mut steps = plan.steps.iter();
        let found = steps.find_map(|step| match step {
            Step::PythonPackages(python) => Some(python.clone()),
            _ => None,
        });
        found.expect("every plan has the step")
    };
    let mut lock = lock();
    assert_eq!(python(&plan()).below, BasePackages::Hidden);
    lock.base.name = "r8.im/cog-base:python3.11".to_owned();
    lock.base.installed = vec![Installed {
        freeze: Freeze {
            name: "six".to_owned(),
            version: "1".to_owned(),
            origin: None,
        },
        names: vec!["six.py".to_owned()],
        programs: Vec::new(),
    }];
    let planned = |lock: &Lock| {
        BuildPlan::new(&config(), lock, &ImpliedPackages::default(), SETTINGS).expect("valid")
    };
    let plan = planned(&lock);
    assert_eq!(
        titles(&plan)[..2],
        ["certificates", "system packages: zsh"],
        "ffmpeg is in the base"
    );
    let step = python(&plan);
    assert_eq!(step.below, BasePackages::Seen);
    assert!(step.python.resolution.distributions.is_empty());
    assert_eq!(step.python.requirements.packages, ["six"]);

    lock.base.installed[0].freeze.version = "2".to_owned();
    let step = python(&planned(&lock));
    assert_eq!(step.python.resolution.distributions.len(), 1);
}

#[test]
fn a_small_project_needs_two_steps() {
    let mut lock = lock();
    lock.certificates = None;
    lock.python.requirements = Requirements::default();
    let plan = BuildPlan::new(
        &Config::default(),
        &lock,
        &ImpliedPackages::default(),
        SETTINGS,
    )
    .expect("there are no commands");
    assert_eq!(titles(&plan), ["python environment", "runtime"]);
}

/// All places in `value` that hold text, a number or a truth value.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                leaves(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                leaves(item, &format!("{path}/{number}"), found);
            }
        }
        Value::Null => {}
        _ => found.push(path.to_owned()),
    }
}

/// Another value of the same kind, that the plan still is one with.
fn changed(plan: &Value, path: &str) -> BuildPlan {
    let others = |value: &Value| match value {
        Value::Number(number) => vec![json!(number.as_u64().unwrap_or(0) + 1)],
        Value::Bool(value) => vec![json!(!value)],
        _ => [
            "compiled",
            "kept",
            "stripped",
            "seen",
            "hidden",
            "absent",
            "zstd",
            "gzip",
            "wheels",
            "source_distributions",
            "changed",
        ]
        .into_iter()
        .filter(|other| value != other)
        .map(Value::from)
        .collect(),
    };
    let before = plan.pointer(path).expect("it was found there");
    let mut candidates = others(before).into_iter().filter_map(|other| {
        let mut plan = plan.clone();
        *plan.pointer_mut(path)? = other;
        serde_json::from_value(plan).ok()
    });
    candidates
        .next_back()
        .unwrap_or_else(|| panic!("nothing else fits {path}"))
}

/// What an image takes over, and what people read: no layer depends on it.
const NO_INPUTS: [&str; 3] = ["/base/name", "/base/inherited", "/environment"];

#[test]
fn each_field_changes_the_keys_from_there_on_and_no_others() {
    let plan = plan();
    let keys = plan.keys();
    let value = serde_json::to_value(&plan).expect("plans are values");
    let mut found = Vec::new();
    leaves(&value, "", &mut found);
    assert!(found.len() > 60, "{found:?}");
    for path in found {
        if path.ends_with("/step") || NO_INPUTS.iter().any(|start| path.starts_with(start)) {
            continue;
        }
        let known_to_the_base_alone = [
            "/blob/",
            "/created_by",
            "/python_platform",
            "/environment/",
            "/architecture",
        ]
        .iter()
        .any(|part| path.starts_with("/base/") && path.contains(part))
            || path == "/base/interpreter/minor";
        if known_to_the_base_alone || path.ends_with("diff_id") {
            continue;
        }
        let first = path
            .strip_prefix("/steps/")
            .and_then(|rest| rest.split('/').next()?.parse().ok())
            .unwrap_or(0);
        let after = changed(&value, &path).keys();
        assert_eq!(
            after[..first],
            keys[..first],
            "{path} changes what is below"
        );
        for number in first..keys.len() {
            assert_ne!(after[number], keys[number], "{path} leaves step {number}");
        }
    }
}

#[test]
fn another_base_changes_all_keys() {
    let mut other = plan();
    other.base.layers[0].diff_id = DiffId::new(Digest::of(b"other"));
    assert!(other.keys().iter().zip(plan().keys()).all(|(a, b)| *a != b));
}

#[test]
fn plans_survive_being_written() {
    let text = serde_json::to_string(&plan()).expect("written");
    let read: BuildPlan = serde_json::from_str(&text).expect("read");
    assert_eq!(read, plan());
    assert_eq!(read.keys(), plan().keys());
}

#[test]
fn a_command_of_two_lines_is_refused() {
    let mut config = config();
    config.build.as_mut().expect("it has one").run[0].command = "a\nb".to_owned();
    assert!(matches!(
        BuildPlan::new(&config, &lock(), &implied(), SETTINGS),
        Err(CommandError::NewLine(_))
    ));
}

/// A backend that does nothing.
struct Lister;

impl Backend for Lister {
    type Output = Vec<String>;

    fn execute(&self, plan: &BuildPlan) -> Result<Self::Output> {
        Ok(titles(plan))
    }
}

#[test]
fn a_backend_needs_the_plan_alone() {
    assert_eq!(Lister.execute(&plan()).expect("it lists").len(), 7);
}
