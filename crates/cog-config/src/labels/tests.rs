use serde_json::json;

use super::*;
use crate::config::{Build, EnvironmentVariable, Mount, RunCommand, WeightSource, Weights};

fn everything() -> ImageLabels {
    let source = |uri: &str, include: &[&str]| WeightSource {
        uri: uri.to_owned(),
        include: include.iter().map(ToString::to_string).collect(),
        exclude: Vec::new(),
    };
    let weights = |name: &str, sources| Weights {
        name: name.to_owned(),
        target: format!("/src/{name}"),
        sources,
    };
    let config = Config {
        build: Some(Build {
            gpu: true,
            python_version: "3.11.4".to_owned().into(),
            python_requirements: Some("requirements.txt".into()),
            python_packages: vec!["torch==2.0.1".into()],
            run: vec![
                RunCommand {
                    command: "echo <a> && b".into(),
                    mounts: Vec::new(),
                },
                RunCommand {
                    command: "make".into(),
                    mounts: vec![Mount {
                        kind: "secret".into(),
                        id: "s".into(),
                        target: "/s".into(),
                    }],
                },
            ],
            system_packages: vec!["git".into()],
            pre_install: vec!["true".into()],
            cuda: Some("11.8".into()),
            cudnn: Some("8".into()),
            sdk_version: Some("0.16".into()),
        }),
        image: Some("r8.im/a/b".into()),
        model: Some("host/model".into()),
        runner: Some("run.py:Runner".into()),
        train: Some("train.py:train".into()),
        concurrency_max: Some(4),
        environment: vec![EnvironmentVariable {
            name: "A".into(),
            value: "b=c \"é😀\"".into(),
        }],
        weights: vec![
            weights("one", vec![source("hf://a/b", &["*.bin"])]),
            weights("two", vec![source("x", &[]), source("y", &[])]),
        ],
    };
    ImageLabels {
        version: "0.30.0".into(),
        config,
        schema: Some(r#"{"openapi":"3.0.2"}"#.into()),
        pip_freeze: "coglet==0.30.0\ntorch==2.0.1\n".into(),
        base: Some(BaseLayer {
            name: "debian:bookworm".into(),
            diff_id: "sha256:ab".into(),
            index: 3,
        }),
        revision: Revision {
            commit: Some("fafafaf".into()),
            description: Some("v1-2-gfafafaf-dirty".into()),
        },
        push_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".into()),
    }
}

fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn what_is_written_is_read_back() {
    let labels = everything();
    let map = labels.to_map();
    assert_eq!(map.len(), 11);
    assert_eq!(map[HAS_INIT], "true");
    assert_eq!(Labels::of(&map).read().unwrap(), labels);
    let bare = ImageLabels::default();
    let map = bare.to_map();
    assert_eq!(map.len(), 5);
    assert_eq!((map[CONFIG].as_str(), map[SCHEMA].as_str()), ("{}", ""));
    assert_eq!(Labels::of(&map).read().unwrap(), bare);
}

#[test]
fn the_configuration_has_fixed_keys_in_order() {
    assert_eq!(
        config_text(&everything().config),
        concat!(
            r#"{"build":{"gpu":true,"python_version":"3.11.4","python_requirements":"requirements.txt","#,
            r#""python_packages":["torch==2.0.1"],"run":[{"command":"echo \u003ca\u003e \u0026\u0026 b"},"#,
            r#"{"command":"make","mounts":[{"type":"secret","id":"s","target":"/s"}]}],"system_packages":["git"],"#,
            r#""pre_install":["true"],"cuda":"11.8","cudnn":"8","sdk_version":"0.16"},"image":"r8.im/a/b","#,
            r#""model":"host/model","predict":"run.py:Runner","train":"train.py:train","concurrency":{"max":4},"#,
            r#""environment":["A=b=c \"é😀\""],"weights":[{"name":"one","target":"/src/one","source":"#,
            r#"{"uri":"hf://a/b","include":["*.bin"]}},{"name":"two","target":"/src/two","source":"#,
            r#"[{"uri":"x"},{"uri":"y"}]}]}"#,
        )
    );
}

#[test]
fn labels_of_the_reference_and_of_long_ago_are_read() {
    let text = json!({
        "build": {"python_version": "3.8", "run": ["a", {"command": "b", "mounts": []}], "fast": true},
        "predict": "predict.py:Predictor",
        "concurrency": {"max": 1, "default_target": 2},
        "stats": null,
    });
    let labels = map(&[(OLD_CONFIG, &text.to_string())]);
    let config = Labels::of(&labels).config().unwrap();
    let build = config.build.clone().unwrap();
    assert_eq!(
        (build.python_version.major, build.python_version.minor),
        (3, 8)
    );
    let commands: Vec<_> = build.run.iter().map(|run| run.command.as_str()).collect();
    assert_eq!(commands, ["a", "b"]);
    assert_eq!(config.concurrency_max, Some(1));
    assert!(!config.gpu());
    let newer = map(&[(OLD_CONFIG, "{}"), (CONFIG, r#"{"build":{"gpu":true}}"#)]);
    assert!(Labels::of(&newer).config().unwrap().gpu());
}

#[test]
fn what_cannot_be_read_names_its_label() {
    let said = |result: Result<String, LabelError>| {
        let error = result.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        (error.to_string(), cause.unwrap_or_default())
    };
    let config = |text: &str| {
        let labels = map(&[(CONFIG, text)]);
        said(
            Labels::of(&labels)
                .config()
                .map(|config| format!("{config:?}")),
        )
    };
    let unreadable = "the image's label `run.cog.config` can't be read; build the image again";
    for (text, cause) in [
        ("{", "EOF"),
        ("[1]", "invalid"),
        (r#"{"build":{"gpu":"yes"}}"#, "expected a boolean"),
        (r#"{"environment":[1]}"#, "expected a string"),
    ] {
        let (message, found) = config(text);
        assert_eq!(message, unreadable, "{text}");
        assert!(found.contains(cause), "{text}: {found}");
    }
    assert_eq!(config("").0, "image is not a Cog model");

    let schema = |labels: &[(&str, &str)]| {
        let labels = map(labels);
        said(
            Labels::of(&labels)
                .schema()
                .map(|schema| schema.to_string()),
        )
        .0
    };
    assert_eq!(schema(&[("vendor", "x")]), "image is not a Cog model");
    let missing =
        "the image's label `run.cog.openapi_schema` is missing or empty; build the image again";
    assert_eq!(schema(&[(CONFIG, "{}")]), missing);
    assert_eq!(schema(&[(CONFIG, "{}"), (SCHEMA, "")]), missing);
    let broken = schema(&[(SCHEMA, "no JSON")]);
    assert!(broken.starts_with("the image's label `run.cog.openapi_schema` can't be read"));

    let base = |index: &str| {
        let labels = map(&[
            (BASE_NAME, "b"),
            (BASE_LAYER, "sha256:x"),
            (BASE_INDEX, index),
        ]);
        said(Labels::of(&labels).base().map(|base| format!("{base:?}"))).0
    };
    assert!(base("-1").contains("last-layer-idx` is no number"));
    assert!(base("").contains("last-layer-idx` is missing"));
    assert!(
        Labels::of(&map(&[(BASE_NAME, "b")]))
            .base()
            .unwrap()
            .is_none()
    );
}

/// Images of strangers: whatever is in a label, reading it ends, with values or an error.
#[test]
fn no_label_exhausts_the_stack() {
    for text in ["[".repeat(100_000), r#"{"build":"#.repeat(100_000)] {
        let labels = map(&[(CONFIG, &text), (SCHEMA, &text)]);
        assert!(Labels::of(&labels).config().is_err());
        assert!(Labels::of(&labels).schema().is_err());
    }
}
