//! What real projects say: all of it is completed, or refused for a Python that is too old.

use cog_config::{
    Completed, ConfigError, Evidence, ImageLabels, Labels, Stage, complete, implied_packages,
    requirements,
};
use cog_errors::Hint as _;
use serde_json::Value;

use crate::support::Project;

/// A project's cog.yaml with the facts of one line.
fn yaml(project: &Value) -> String {
    let mut build = serde_json::Map::new();
    let fields = [
        "python_version",
        "gpu",
        "cuda",
        "cudnn",
        "system_packages",
        "run",
    ];
    for field in fields {
        build.insert(field.to_owned(), project[field].clone());
    }
    build.insert(
        "python_packages".to_owned(),
        project["requirements"].clone(),
    );
    let mut root = serde_json::Map::new();
    root.insert("build".to_owned(), Value::Object(build));
    root.insert("run".to_owned(), Value::from("run.py:Runner"));
    if !project["environment"].is_null() {
        root.insert("environment".to_owned(), project["environment"].clone());
    }
    if !project["concurrency"].is_null() {
        root.insert("concurrency".to_owned(), project["concurrency"].clone());
    }
    // JSON is YAML.
    Value::Object(root).to_string()
}

fn completed(project: &Value) -> Result<Completed, ConfigError> {
    let loaded = Project::new(&yaml(project)).load()?;
    let build = loaded.config.build.clone().expect("it has one");
    let lines = requirements::lines(&build.python_packages.join("\n"));
    let completed = complete(&loaded.config, &lines, &cog_config::Options::default());
    Ok(completed.unwrap_or_else(|error| panic!("{project}: {error}")))
}

#[test]
fn real_projects_are_completed_or_too_old() {
    let corpus = include_str!("../../../../tests/corpus/projects.jsonl");
    let mut summary = Vec::new();
    for line in corpus.lines() {
        let project: Value = serde_json::from_str(line).expect("JSON");
        let id = project["id"].as_str().expect("a name");
        let (python, cuda) = (&project["python_version"], &project["cuda"]);
        match completed(&project) {
            Ok(completed) => {
                let base = completed.base().expect("a base");
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                summary.push(format!(
                    "{id} {} {} {}",
                    completed.cuda.clone().unwrap_or_default(),
                    completed
                        .torch_wheel()
                        .map(|wheel| wheel.version)
                        .unwrap_or_default(),
                    text(&base.reference).trim_start_matches("r8.im/cog-base:"),
                ));
                assert_eq!(
                    completed
                        .requirements
                        .iter()
                        .filter(|line| line.is_empty())
                        .count(),
                    0
                );
                assert!(serde_json::to_string(&completed).is_ok());
            }
            Err(error) => {
                let said = error.to_string();
                let old = format!("{python}: minimum supported Python version is 3.10");
                let too_old = said.contains(&old)
                    || said.contains("concurrency requires Python 3.11 or higher");
                assert!(too_old, "{id} {python} {cuda}: {said}");
                let hint = error.hint().expect("a hint");
                summary.push(format!("{id} refused: Python {python}, {hint}"));
            }
        }
    }
    assert_eq!(summary.len(), 47);
    assert_eq!(summary.join("\n"), include_str!("corpus.txt").trim_end());
}

/// In brackets what only the build needs.
#[test]
fn configurations_of_real_projects_are_read_back_from_their_labels() {
    let corpus = include_str!("../../../../tests/corpus/projects.jsonl");
    let mut count = 0;
    for line in corpus.lines() {
        let project: Value = serde_json::from_str(line).expect("JSON");
        let (Ok(loaded), Ok(completed)) =
            (Project::new(&yaml(&project)).load(), completed(&project))
        else {
            continue;
        };
        let config = completed.fill_in(&loaded.config);
        let labels = ImageLabels {
            config,
            ..ImageLabels::default()
        };
        let map = labels.to_map();
        assert_eq!(Labels::of(&map).read().expect("labels"), labels);
        count += 1;
    }
    assert!(count > 20, "only {count}");
}

#[test]
fn what_real_projects_imply_is_found() {
    let corpus = include_str!("../../../../tests/corpus/projects.jsonl");
    let mut summary = Vec::new();
    for line in corpus.lines() {
        let project: Value = serde_json::from_str(line).expect("JSON");
        let texts = |field: &str| -> Vec<String> {
            let list = project[field].as_array().cloned().unwrap_or_default();
            let text = |item: &Value| {
                item["command"]
                    .as_str()
                    .or(item.as_str())
                    .map(str::to_owned)
            };
            list.iter().filter_map(text).collect()
        };
        let suite = match project["python_version"].as_str() {
            Some("3.11") => "bookworm",
            _ => "trixie",
        };
        let found = implied_packages(&Evidence {
            commands: &texts("run"),
            requirements: &texts("requirements"),
            present: &texts("system_packages"),
            suite,
            ..Evidence::default()
        });
        let names: Vec<String> = found
            .iter()
            .map(|one| match one.stage {
                Stage::Run => format!(" {}", one.package),
                Stage::Build => format!(" ({})", one.package),
            })
            .collect();
        let id = project["id"].as_str().expect("a name");
        summary.push(format!("{id}:{}", names.concat()));
    }
    assert_eq!(summary.join("\n"), include_str!("implied.txt").trim_end());
}
