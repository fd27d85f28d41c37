//! Behaviour by example: a file in, its configuration or its mistakes out.

use crate::{Config, ConfigError, Files, Loaded, parse};

struct Present(&'static [&'static str]);

impl Files for Present {
    fn exists(&self, path: &str) -> bool {
        self.0.contains(&path)
    }

    fn read(&self, path: &str) -> Option<String> {
        self.exists(path).then(|| "torch==2.0.1\n".to_owned())
    }
}

fn read(text: &str) -> Result<Loaded, ConfigError> {
    parse(text, "cog.yaml", &Present(&["requirements.txt"]))
}

fn config(text: &str) -> Config {
    read(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .config
}

fn error(text: &str) -> String {
    match read(text) {
        Ok(loaded) => panic!("{text} is {loaded:?}"),
        Err(error) => error.to_string(),
    }
}

/// A `build` section with this in it.
fn build(rest: &str) -> String {
    format!("build:\n  python_version: \"3.11\"\n  {rest}\n")
}

#[test]
fn versions_keep_their_text() {
    assert_eq!(
        config("build:\n  python_version: 3.10\n").python_version(),
        Some("3.10")
    );
    assert_eq!(
        config("build:\n  python_version: \" 3.12.1 \"\n").python_version(),
        Some("3.12.1")
    );
    for (version, why) in [
        ("3.7", "minimum supported Python version is 3.10"),
        ("3", "must include major and minor version (e.g., '3.11')"),
        ("3.x", "invalid minor version number"),
        ("x.1", "invalid major version number"),
    ] {
        let said = error(&format!("build:\n  python_version: \"{version}\"\n"));
        assert!(
            said.contains(&format!(
                "invalid build.python_version \"{version}\": {why}"
            )),
            "{said}"
        );
        assert!(said.contains("cog.yaml:2:19"), "{said}");
    }
}

#[test]
fn a_build_needs_a_version_and_no_build_needs_none() {
    assert!(error("build: {gpu: true}").contains("python_version is required"));
    assert!(error("build: {}").contains("python_version is required"));
    assert_eq!(config("run: run.py:Runner\n").build, None);
    assert_eq!(config(""), Config::default());
    assert_eq!(config("build:\n"), Config::default());
}

#[test]
fn the_model_is_named_once_and_in_form() {
    assert!(
        error("predict: invalid_format").contains("must be in the form 'predict.py:Predictor'")
    );
    assert!(error("run: invalid_format").contains("must be in the form 'run.py:Runner'"));
    assert!(
        error("run: a.py:A\npredict: a.py:A\n").contains("only one of run or predict can be set")
    );
    assert!(error("train: x").contains("must be in the form 'train.py:Trainer'"));
    let loaded = read("run: \"\"\npredict: predict.py:Predictor\n").unwrap();
    assert_eq!(
        loaded.config.runner.as_deref(),
        Some("predict.py:Predictor")
    );
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["deprecated field \"predict\": use \"run\" instead"]
    );
}

#[test]
fn older_fields_work_and_name_their_successors() {
    let text = build("python_packages: [a, b]\n  pre_install: [echo]") + "concurrency: {max: 5}\n";
    let loaded = read(&text).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 3);
    assert!(
        warnings[0].contains("concurrency.max") && warnings[0].contains("@cog.concurrent(max=...)")
    );
    assert!(warnings[2].contains("build.run"));
    assert_eq!(loaded.config.concurrency_max, Some(5));
    let both = build("python_packages: [a]\n  python_requirements: requirements.txt");
    assert!(error(&both).contains("only one of python_packages or python_requirements can be set"));
}

#[test]
fn concurrency_is_a_mapping_or_a_number() {
    for yaml in ["concurrency: {max: 5}\n", "concurrency: 5\n"] {
        assert_eq!(config(yaml).concurrency_max, Some(5));
    }
    for (yaml, why) in [
        ("concurrency: many\n", "must be a mapping"),
        ("concurrency: {max: many}\n", "must be a integer"),
        ("concurrency: {}\n", "max is required"),
        ("concurrency: 0\n", "must be at least 1"),
    ] {
        assert!(error(yaml).contains(why), "{yaml}");
    }
}

#[test]
fn cuda_versions_have_two_parts() {
    for good in ["12.4", "11.0", "12.4.1"] {
        config(&build(&format!("cuda: \"{good}\"")));
    }
    for bad in ["11-2", "11", "9.1"] {
        assert!(
            error(&build(&format!("cuda: \"{bad}\""))).contains("invalid build.cuda"),
            "{bad}"
        );
    }
}

#[test]
fn environment_entries_split_at_the_first_equals_sign() {
    let variables = config("environment: [NAME=VALUE=EQUAL WITH SPACES, E=, name=x]\n").environment;
    let pairs: Vec<_> = variables
        .iter()
        .map(|one| (one.name.as_str(), one.value.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("NAME", "VALUE=EQUAL WITH SPACES"),
            ("E", ""),
            ("name", "x")
        ]
    );
    for (entry, why) in [
        ("NAME", "is not in the KEY=VALUE format"),
        ("=VALUE", "is not in the KEY=VALUE format"),
        ("PATH=x", "reserved for internal use"),
        ("CUDA_HOME=x", "reserved for internal use"),
        ("R8_X=x", "reserved for internal use"),
    ] {
        assert!(
            error(&format!("environment: [\"{entry}\"]\n")).contains(why),
            "{entry}"
        );
    }
    assert!(error("environment: [A=1, A=2]\n").contains("is already defined"));
}

#[test]
fn models_are_bare_repositories() {
    config("model: localhost:5000/acme/m\n");
    config("model: m\n");
    for model in [
        "registry.example.com/acme/m:v1",
        "registry.example.com/acme/m@sha256:00",
    ] {
        assert!(
            error(&format!("model: {model}\n")).contains("must be a bare repository"),
            "{model}"
        );
    }
    assert!(error("model: Upper\n").contains("invalid repository"));
    assert!(error("model: m\nimage: i\n").contains("cannot both be set"));
}

#[test]
fn weights_have_names_targets_and_sources() {
    let weights = |name: &str, target: &str, source: &str| {
        format!("model: m\nweights:\n  - {{name: {name}, target: {target}, source: {source}}}\n")
    };
    let good = config(&weights(
        "z-image.turbo_v1",
        "/src/w",
        "{uri: x, include: [a]}",
    ));
    assert_eq!(good.weights[0].sources[0].include, ["a"]);
    for (name, target, source, why) in [
        ("MyModel", "/w", "{uri: x}", "must contain only lowercase"),
        ("-base", "/w", "{uri: x}", "must contain only lowercase"),
        ("a", "w", "{uri: x}", "target must be an absolute path"),
        ("a", "/", "{uri: x}", "container root"),
        ("a", "/w", "[]", "source is required"),
        ("a", "/w", "[plain]", "must be a mapping"),
        ("a", "/w", "{uri: x, include: ['!b']}", "negation patterns"),
        (
            "a",
            "/w",
            "{uri: x, exclude: ['']}",
            "pattern must not be empty",
        ),
        ("a", "/w", "{uri: x, exclude: ['a\\b']}", "forward slashes"),
    ] {
        let said = error(&weights(name, target, source));
        assert!(said.contains(why), "{name} {target} {source}: {said}");
    }
    let two = "model: m\nweights:\n  - {name: a, target: /src/w, source: {uri: x}}\n  - {name: b, target: /src/w/l, source: {uri: x}}\n";
    assert!(error(two).contains("target overlaps with \"a\""));
    config(&two.replace("/src/w/l", "/src/w2"));
    assert!(error(&two.replace("model: m\n", "")).contains("weights require 'model' in cog.yaml"));
    assert!(
        error(&two.replace("model: m", "image: m"))
            .contains("weights require 'model', not 'image'")
    );
}

#[test]
fn commands_are_text_or_have_mounts() {
    let text = build(
        "run: [\"echo a\", {command: echo b}, {command: echo c, mounts: [{type: secret, id: s, target: /s}]}]",
    );
    let commands = config(&text).commands();
    assert_eq!(commands.len(), 3);
    assert_eq!(commands[2].mounts[0].id, "s");
    assert!(
        error(&text.replace("type: secret", "type: bind"))
            .contains("schema error in \"build.run.2.mounts.0.type\"")
    );
    assert!(error(&build("run: [{mounts: []}]")).contains("command is required"));
    assert!(
        error(&build("gpu: maybe")).contains("schema error in \"build.gpu\": must be a boolean")
    );
}

#[test]
fn unknown_fields_are_ignored_with_a_warning() {
    let loaded = read(&(build("fast: true") + "stats: {a: 1}\n")).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "unknown field \"build.fast\" in line 3 is ignored",
            "unknown field \"stats\" in line 4 is ignored"
        ]
    );
}

#[test]
fn misspelt_fields_name_what_may_be_meant() {
    let warnings = |text: &str| -> Vec<String> {
        let loaded = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        loaded.warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        warnings("build: {python_version: '3.11', sytem_packages: [a]}\nenv: [A=1]\n"),
        [
            "unknown field \"build.sytem_packages\" in line 1 is ignored: did you mean `build.system_packages`?",
            "unknown field \"env\" in line 2 is ignored: did you mean `environment`?",
        ]
    );
    // In every mapping, each once.
    let text = "model: m\nconcurrency: {max: 1, default_target: 2, mix: 3}\nweights:\n- {name: a, target: /a, source: {uri: x, includes: []}}\nbuild: {python_version: '3.11', run: [{command: x, mount: []}]}\n";
    let said = warnings(text).join("\n");
    for field in [
        "concurrency.mix",
        "weights.0.source.includes",
        "build.run.0.mount",
    ] {
        let expected = format!("unknown field \"{field}\"");
        assert_eq!(said.matches(&expected).count(), 1, "{said}");
    }
    assert!(!said.contains("default_target"), "{said}");
    // Nor does one act on the terminal that shows it.
    let said = warnings("model: m\n\"\\e]0;mine\\a\": 1\n").join("\n");
    assert!(
        said.contains(r#"unknown field "\u{1b}]0;mine\u{7}""#),
        "{said:?}"
    );
}

#[test]
fn a_misspelt_field_may_be_the_missing_one() {
    let error = read("build: {pyton_version: '3.11'}\n").unwrap_err();
    assert!(error.to_string().contains("python_version is required"));
    let hint = cog_errors::Hint::hint(&error).unwrap();
    assert!(
        hint.contains("did you mean `build.python_version`?"),
        "{hint}"
    );
}

#[test]
fn a_field_comes_once() {
    let said = error("build:\n  python_version: '3.11'\n  gpu: false\n  python_version: '3.12'\n");
    assert_eq!(
        said,
        "failed to parse cog.yaml: invalid YAML: `python_version` is already there in line 2 (cog.yaml:4:3)"
    );
}

#[test]
fn mappings_can_be_merged() {
    let text = "x: &x {python_version: '3.11', gpu: true}\nbuild:\n  <<: *x\n  gpu: false\n";
    let config = config(text);
    assert_eq!(config.python_version(), Some("3.11"));
    assert!(!config.gpu());
}

#[test]
fn an_empty_file_is_called_empty() {
    for text in ["", "# nothing\n", "---\n", "~\n"] {
        let warnings = read(text).unwrap().warnings;
        assert_eq!(warnings[0].to_string(), "cog.yaml is empty", "{text}");
        assert_eq!(warnings.len(), 1);
    }
}

#[test]
fn of_schema_errors_the_deepest_is_told_and_of_those_a_type() {
    let said = error("image: [a]\nbuild: {python_version: '3.11', run: [{mounts: []}, [a]]}\n");
    assert!(
        said.starts_with("schema error in \"build.run.1\": must be a string or mapping"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = error("build: {python_version: [3]}\n");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn comments_are_allowed_everywhere() {
    let text = "# a\nbuild: # b\n  # c\n  gpu: false # d\n  # e\n  python_version: \"3.13\"\n  # system_packages:\n  #   - x\n# f\n";
    assert_eq!(config(text).python_version(), Some("3.13"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let said = error(
        "build:\n  python_version: \"3.7\"\n  python_requirements: none.txt\nenvironment: [X]\n",
    );
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.contains("file does not exist"));
}

#[test]
fn broken_yaml_is_located() {
    let said = error("build: [\n");
    assert!(
        said.starts_with("failed to parse cog.yaml: invalid YAML: "),
        "{said}"
    );
}

#[test]
fn aliases_can_not_explode() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = format!("*a{}, ", level - 1).repeat(10);
        text.extend([
            "a",
            &level.to_string(),
            ": &a",
            &level.to_string(),
            " [",
            &inner,
            "]\n",
        ]);
    }
    assert!(error(&text).contains("too many values"));
}

#[test]
fn the_label_has_fixed_keys_and_escapes() {
    let text = "build:\n  system_packages: [a]\n  python_version: \"3.11\"\n  run: [\"echo <a> && b\"]\nrun: r.py:R\nenvironment: [A=1]\n";
    assert_eq!(
        config(text).to_label(),
        r#"{"build":{"python_version":"3.11","run":[{"command":"echo \u003ca\u003e \u0026\u0026 b"}],"system_packages":["a"]},"predict":"r.py:R","environment":["A=1"]}"#
    );
}

#[test]
fn requirement_files_become_lines() {
    let text =
        "torch==\\\n2.5.1  # note\r\n\n# c\n-e .\n-f http://x\npkg @ git+https://h/p#egg=p\n";
    assert_eq!(
        crate::requirements::lines(text),
        ["torch==2.5.1", "-f http://x", "pkg @ git+https://h/p#egg=p"]
    );
}

mod never_panics {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn on_any_text(text in "\\PC{0,200}") {
            let _ = super::read(&text);
        }

        #[test]
        fn on_pieces_of_yaml(pieces in prop::collection::vec(prop::sample::select(vec![
            "build:", "\n", "  ", "- ", "python_version", ": ", "\"3.11\"", "[", "]", "{", "}", "run", "&a", "*a", "|", ">",
            "weights", "source", "environment", "null", "~", "!!str", "? ", "#", "'", "concurrency", "max", "9999999999999",
        ]), 0..40)) {
            let _ = super::read(&pieces.concat());
        }
    }
}
