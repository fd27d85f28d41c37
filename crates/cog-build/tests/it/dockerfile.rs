//! The Dockerfile that the published tool would have generated, from cog.yaml and requirement lines.

use std::collections::BTreeMap;

use cog_build::dockerfile::{Dockerfile, DockerfileOptions, SeparatedWeights, dockerfile};
use cog_build::{Certificates, SdkSources, SeparatedPath};
use cog_config::{CogBase, Config, CudaBase, Options, complete, requirements};
use serde_json::{Value, json};

/// A project without a file system.
#[derive(Default)]
struct Project {
    yaml: String,
    files: BTreeMap<String, String>,
    completion: Options,
    options: DockerfileOptions,
}

impl cog_config::Files for Project {
    fn exists(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }
}

impl Project {
    /// With these fields of `build`, these requirement lines, and no prebuilt base.
    fn new(build: &Value, lines: &[&str]) -> Self {
        let mut build = build.clone();
        build["python_requirements"] = json!("requirements.txt");
        let yaml = json!({ "build": build, "run": "run.py:Runner" }).to_string();
        let mut project = Self {
            yaml,
            ..Self::default()
        };
        project.completion.cog_base = CogBase::Off;
        let text = lines.join("\n");
        project.files.insert("requirements.txt".to_owned(), text);
        project
    }

    fn cpu(lines: &[&str]) -> Self {
        Self::new(&json!({ "python_version": "3.12" }), lines)
    }

    fn prebuilt(mut self) -> Self {
        self.completion.cog_base = CogBase::Required;
        self
    }

    fn config(&self) -> Config {
        let loaded = cog_config::parse(&self.yaml, "cog.yaml", self);
        loaded.expect("the yaml is valid").config
    }

    fn made(&self) -> Result<Dockerfile, String> {
        let config = self.config();
        let lines = self
            .files
            .get("requirements.txt")
            .cloned()
            .unwrap_or_default();
        let lines = requirements::lines(&lines);
        let completed =
            complete(&config, &lines, &self.completion).map_err(|error| error.to_string())?;
        dockerfile(&config, &completed, &self.options).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn text(&self) -> String {
        self.made().expect("it has a Dockerfile").text
    }
}

/// SDK sources by variables and `build.sdk_version`.
fn sources(variables: &[(&str, &str)], sdk_version: Option<&str>) -> SdkSources {
    let value = |name: &str| {
        let mut variables = variables.iter();
        let found = variables.find(|(one, _)| *one == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    SdkSources::read(value, sdk_version, std::path::Path::new("/")).expect("they are valid")
}

/// Checks that `text` has these parts in this order.
#[track_caller]
fn check_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else {
            panic!("`{part}` is not in what follows the part before it:\n{text}");
        };
        rest = &rest[at + part.len()..];
    }
}

const ALL: &[&str] = &["uv run pip install", "uv pip install"];

#[test]
fn a_slim_base_gets_everything_in_order() {
    let project = Project::cpu(&[]);
    let text = project.text();
    check_order(
        &text,
        &[
            "\nFROM python:3.12-slim\n",
            "ENV DEBIAN_FRONTEND=noninteractive\n",
            "ENV PYTHONUNBUFFERED=1\n",
            "ENV LD_LIBRARY_PATH=$LD_LIBRARY_PATH:/usr/lib/x86_64-linux-gnu:/usr/local/nvidia/lib64:/usr/local/nvidia/bin\n",
            "ENV NVIDIA_DRIVER_CAPABILITIES=all\n",
            "apt-get install -qqy curl",
            "https://github.com/krallin/tini/releases/download/v0.19.0/tini-",
            "ENTRYPOINT [\"/sbin/tini\", \"--\"]\n",
            "COPY --from=ghcr.io/astral-sh/uv:0.9.26 /uv /uvx /usr/local/bin/\n",
            "ENV UV_SYSTEM_PYTHON=true\n",
            "ENV CFLAGS=\"-O3 -funroll-loops -fno-strict-aliasing -flto -S\"\n",
            "RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-cache cog\n",
            "ENV CFLAGS=\n",
            "> /etc/ld.so.conf.d/cog.conf && \\\n    ldconfig\n",
            "WORKDIR /src\n",
            "EXPOSE 5000\n",
            "ENV COG_PREDICT_TYPE_STUB=run.py:Runner\n",
            "CMD [\"python\", \"-m\", \"cog.server.http\"]\n",
            "COPY . /src\n",
        ],
    );
    assert!(text.ends_with("COPY . /src\n"), "{text}");
    for absent in [
        "requirements.txt",
        "uv run pip",
        "--break-system-packages",
        "uv python",
        "native",
        "STOPSIGNAL",
        "USER",
        "HEALTHCHECK",
        "COG_MAX_CONCURRENCY",
        "COG_TRAIN_TYPE_STUB",
    ] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
}

#[test]
fn a_base_with_cuda_gets_a_python_of_uvs() {
    let build = json!({ "python_version": "3.12", "gpu": true });
    let text = Project::new(&build, &["numpy"]).text();
    check_order(
        &text,
        &[
            "\nFROM nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04\n",
            "ENTRYPOINT",
            "apt-get install -qqy wget curl xz-utils git ca-certificates",
            "COPY --from=ghcr.io/astral-sh/uv",
            "uv python install 3.12",
            "/usr/bin/python3",
            "/usr/local/bin/python",
            "ENV UV_PYTHON=3.12\n",
            "ENV PATH=\"/usr/local/bin:$PATH\"\n",
            "uv run pip install --break-system-packages --cache-dir /root/.cache/pip -r /tmp/requirements.txt",
            "uv pip install --break-system-packages --no-cache cog\n",
            "ldconfig",
        ],
    );
    for line in text.lines() {
        let installs = ALL.iter().any(|install| line.contains(install));
        assert!(
            !installs || line.contains("--break-system-packages"),
            "{line}"
        );
    }
}

#[test]
fn without_a_cuda_base_a_gpu_project_is_on_slim() {
    let build = json!({ "python_version": "3.12", "gpu": true });
    let mut project = Project::new(&build, &["numpy"]);
    project.completion.cuda_base = CudaBase::Off;
    let text = project.text();
    assert!(text.contains("\nFROM python:3.12-slim\n"), "{text}");
    assert!(!text.contains("--break-system-packages"), "{text}");
}

#[test]
fn pytorch_without_a_gpu_comes_from_its_index_for_processors() {
    let text = Project::cpu(&["torch==2.3.0", "pandas==1.2.0.12"]).text();
    let expected = "COPY <<'EOF' /tmp/requirements.txt\n\
                    --extra-index-url https://download.pytorch.org/whl/cpu/\n\
                    torch==2.3.0\npandas==1.2.0.12\nEOF\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_prebuilt_base_has_its_packages_already() {
    let build = |packages: Value| json!({ "python_version": "3.12", "system_packages": packages });
    let text = Project::new(&build(json!(["ffmpeg", "cowsay"])), &[])
        .prebuilt()
        .text();
    assert!(
        text.contains("\nFROM r8.im/cog-base:python3.12\n"),
        "{text}"
    );
    assert!(text.contains("apt-get install -qqy cowsay && "), "{text}");
    for absent in ["ffmpeg", "tini", "NVIDIA", "ldconfig", "ENTRYPOINT"] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
    let none_missing = Project::new(&build(json!(["ffmpeg"])), &[])
        .prebuilt()
        .text();
    assert!(
        none_missing.contains("apt-get install -qqy && "),
        "{none_missing}"
    );
}

#[test]
fn a_prebuilt_base_has_the_project_s_torch() {
    for (torch, has) in [("2.3", "2.3.1"), ("2.3.0", "2.3.0"), ("2.3.1", "2.3.1")] {
        let build = json!({ "python_version": "3.11", "gpu": true, "cuda": "11.8" });
        let text = Project::new(&build, &[&format!("torch=={torch}")])
            .prebuilt()
            .text();
        check_order(
            &text,
            &[
                &format!("\nFROM r8.im/cog-base:cuda11.8-python3.11-torch{has}\n"),
                "--extra-index-url https://download.pytorch.org/whl/cu118/\n",
                &format!("torch=={has}\n"),
            ],
        );
        assert!(!text.contains("--break-system-packages"), "{text}");
    }
}

#[test]
fn the_prebuilt_base_is_named_by_cuda_python_and_torch() {
    for (cuda, torch, tag) in [
        (None, None, "python3.10"),
        (
            Some("12.1"),
            Some("torch==2.1"),
            "cuda12.1-python3.10-torch2.1.2",
        ),
        (
            Some("11.8"),
            Some("torch==2.0.1+cu118"),
            "cuda11.8-python3.10-torch2.0.1",
        ),
    ] {
        let mut build = json!({ "python_version": "3.10" });
        if let Some(cuda) = cuda {
            build["gpu"] = json!(true);
            build["cuda"] = json!(cuda);
        }
        let lines: Vec<&str> = torch.into_iter().collect();
        let text = Project::new(&build, &lines).prebuilt().text();
        assert!(
            text.contains(&format!("\nFROM r8.im/cog-base:{tag}\n")),
            "{text}"
        );
    }
}

#[test]
fn a_prebuilt_base_that_there_is_not_is_an_error_where_it_is_asked_for() {
    let build = json!({ "python_version": "3.10", "cuda": "12.78" });
    let error = Project::new(&build, &[]).prebuilt().made();
    let error = error.expect_err("there is no such CUDA");
    assert!(
        error.starts_with("unsupported base image configuration: CUDA: 12.78 / Python: 3.10"),
        "{error}"
    );
    let error = Project::new(&json!({ "python_version": "3.99" }), &[])
        .prebuilt()
        .made()
        .expect_err("there is no such Python");
    assert!(
        error.contains("CUDA: (none) / Python: 3.99 / Torch: (none)"),
        "{error}"
    );
}

#[test]
fn a_gpu_project_without_prebuilt_base_is_on_cuda() {
    let build = json!({ "python_version": "3.10", "gpu": true });
    let text = Project::new(&build, &["torch==1.13.0"]).text();
    assert!(text.contains("\nFROM nvidia/cuda:11.7"), "{text}");
}

#[test]
fn cuda_bases_are_the_newest_that_match() {
    let build = json!({ "python_version": "3.10", "gpu": true, "cuda": "11.6", "cudnn": "8" });
    let text = Project::new(&build, &[]).text();
    assert!(
        text.contains("\nFROM nvidia/cuda:11.6.2-cudnn8-devel-ubuntu20.04\n"),
        "{text}"
    );
    let build = json!({ "python_version": "3.10", "gpu": true });
    let text = Project::new(&build, &["tensorflow==2.12.0"]).text();
    assert!(
        text.contains("\nFROM nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04\n"),
        "{text}"
    );
}

#[test]
fn pre_install_runs_after_the_sdk_and_after_run() {
    let build = json!({
        "python_version": "3.12",
        "pre_install": ["cowsay moo"],
        "run": [
            "echo hello world",
            {
                "command": "echo shh",
                "mounts": [{ "type": "secret", "id": "foo", "target": "secret.txt" }],
            },
        ],
    });
    check_order(
        &Project::new(&build, &[]).text(),
        &[
            "--no-cache cog\n",
            "ldconfig\n",
            "RUN echo hello world\n",
            "RUN --mount=type=secret,id=foo,target=secret.txt echo shh\n",
            "RUN cowsay moo\n",
            "WORKDIR /src\n",
        ],
    );
}

#[test]
fn a_command_of_two_lines_is_refused() {
    let build = json!({ "python_version": "3.12", "run": ["echo a\necho b"] });
    let error = Project::new(&build, &[]).made().expect_err("two lines");
    assert!(error.starts_with("One of the commands in 'run' contains a new line"));
}

#[test]
fn the_sdk_is_the_one_that_is_asked_for() {
    let install = |variables: &[(&str, &str)], version: Option<&str>| {
        let mut project = Project::cpu(&[]);
        project.options.sdk = sources(variables, version);
        let text = project.text();
        let lines = text.lines().filter(|line| line.contains("uv pip "));
        let lines = lines.map(|line| line.split("uv pip ").nth(1).expect("it has it").to_owned());
        lines.collect::<Vec<_>>()
    };
    let sdk = |value| [("COG_SDK_WHEEL", value)];
    assert_eq!(
        install(&sdk("pypi:0.17.0"), Some("0.18.0")),
        ["install --no-cache cog==0.17.0"]
    );
    assert_eq!(
        install(&[], Some("0.18.0")),
        ["install --no-cache cog==0.18.0"]
    );
    assert_eq!(
        install(&[], Some("0.17.0-rc1")),
        ["install --pre --no-cache cog==0.17.0rc1"]
    );
    assert_eq!(
        install(&[], Some("prerelease")),
        ["install --pre --no-cache cog"]
    );
    let url = "https://example.com/cog-1-py3-none-any.whl";
    assert_eq!(
        install(&sdk(url), None),
        [format!("install --no-cache {url}")]
    );
    assert_eq!(
        install(&[("COGLET_WHEEL", "pypi:0.2.0")], Some("0.18.0")),
        [
            "install --no-cache coglet==0.2.0",
            "install --no-cache cog==0.18.0"
        ]
    );
    // Older SDKs have a server of their own.
    assert_eq!(
        install(&[("COGLET_WHEEL", "pypi:0.2.0")], Some("0.16.3")),
        ["install --no-cache cog==0.16.3"]
    );
    // The newest server is what the SDK depends on anyway.
    assert_eq!(
        install(&[("COGLET_WHEEL", "pypi")], None),
        ["install --no-cache cog"]
    );
}

#[test]
fn an_old_sdk_is_refused() {
    let build = json!({ "python_version": "3.12", "sdk_version": "0.15.0" });
    let error = Project::new(&build, &[]).made().expect_err("too old");
    assert_eq!(
        error,
        "cog version 0.15.0 is below the minimum required version 0.16.0"
    );
}

#[test]
fn wheels_of_this_machine_are_staged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wheel = folder.path().join("cog-0.18.0-py3-none-any.whl");
    fs_err::write(&wheel, "").expect("written");
    let mut project = Project::cpu(&[]);
    let value = folder.path().to_string_lossy().into_owned();
    project.options.sdk = sources(&[("COG_SDK_WHEEL", &value)], None);
    let made = project.made().expect("it has a Dockerfile");
    check_order(
        &made.text,
        &[
            "COPY --from=staged cog-0.18.0-py3-none-any.whl /tmp/cog-0.18.0-py3-none-any.whl\n",
            "uv pip install --no-cache /tmp/cog-0.18.0-py3-none-any.whl\n",
        ],
    );
    assert_eq!(made.staged.len(), 1);
    assert_eq!(made.staged[0].source, wheel);
}

#[test]
fn the_older_server_replaces_the_sdk() {
    let url = "https://example.com/coglet-0.1.0-py3-none-any.whl";
    let mut project = Project::cpu(&[]);
    project.options.sdk = sources(&[("COG_SDK_WHEEL", url)], None);
    check_order(
        &project.text(),
        &[
            "RUN uv pip uninstall cog\n",
            "ENV R8_COG_VERSION=coglet\n",
            "ENV R8_PYTHON_VERSION=3.12\n",
            &format!("uv pip install --no-cache {url}\n"),
        ],
    );
    let mut project = Project::new(&json!({ "python_version": "3.12.1" }), &[]);
    project.options.sdk = sources(&[("COG_SDK_WHEEL", url)], None);
    assert_eq!(
        project.made().expect_err("a patch"),
        "Python version must be <major>.<minor> for coglet"
    );
}

#[test]
fn requirements_do_not_replace_the_sdk() {
    let mut project = Project::cpu(&["coglet==0.1.0", "Cog[x]>=0.9", "cogs==1.0"]);
    project.options.sdk = sources(&[], Some("0.18.0"));
    let made = project.made().expect("it has a Dockerfile");
    assert!(!made.text.contains("coglet"), "{}", made.text);
    assert!(made.text.contains("\ncogs==1.0\nEOF\n"), "{}", made.text);
    let [coglet, cog] = made.warnings.as_slice() else {
        panic!("{:?}", made.warnings);
    };
    assert!(
        coglet.starts_with("'coglet==0.1.0' found in requirements — overriding with cog==0.18.0. ")
    );
    assert!(cog.starts_with("'Cog[x]>=0.9' found in requirements — overriding with "));
    let only = Project::cpu(&["cog"]).text();
    assert!(!only.contains("uv run pip"), "{only}");
}

#[test]
fn local_artifacts_are_staged_and_do_not_replace_the_sdk() {
    let lines = [
        "./dist/a.tar.gz",
        "two words.zip",
        "torch==custom.whl",
        "/project/dist/a.tar.gz",
    ];
    let mut project = Project::cpu(&lines);
    project.options.project_dir = "/project".into();
    let made = project.made().expect("it has a Dockerfile");
    let folder = "/tmp/local_package_artifacts";
    check_order(
        &made.text,
        &[
            &format!(
                "COPY --from=staged local_package_artifacts/dist/a.tar.gz {folder}/dist/a.tar.gz\n"
            ),
            &format!(
                "COPY --from=staged [\"local_package_artifacts/two words.zip\", \"{folder}/two words.zip\"]\n"
            ),
            "COPY --from=staged local_package_artifacts/torch==custom.whl",
            &format!(
                "COPY <<'EOF' /tmp/requirements.txt\n{folder}/dist/a.tar.gz\n{folder}/two words.zip\n\
                 {folder}/torch==custom.whl\n{folder}/dist/a.tar.gz\nEOF\n"
            ),
            "uv run pip install",
            "RUN uv pip uninstall cog coglet\n",
            "uv pip install --no-cache cog\n",
        ],
    );
    let sources: Vec<_> = made.staged.iter().map(|file| &*file.path).collect();
    assert_eq!(
        sources,
        [
            "local_package_artifacts/dist/a.tar.gz",
            "local_package_artifacts/two words.zip",
            "local_package_artifacts/torch==custom.whl"
        ]
    );
    assert!(!made.text.contains("download.pytorch.org"), "{}", made.text);
}

#[test]
fn requirements_that_lead_out_of_the_project_are_refused() {
    for (line, expected) in [
        ("../x.whl", "must be inside the project directory"),
        ("/other/x.whl", "must be inside the project directory"),
        (
            "file:///x.whl",
            "local file URL requirements are not supported",
        ),
        ("x @ ./x.whl", "local direct reference requirements"),
        (
            "-r other.txt",
            "local requirements option \"-r\" is not supported",
        ),
        (
            "x.whl --hash=sha256:0",
            "do not support inline options or hashes",
        ),
        (
            "x.whl ; python_version > '3'",
            "environment markers are not supported",
        ),
        ("x.whl[extra]", "extras are not supported"),
        ("./folder", "is not a supported wheel or source archive"),
    ] {
        let mut project = Project::cpu(&[line]);
        project.options.project_dir = "/project".into();
        let error = project.made().expect_err(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn variables_are_sorted_and_mean_what_they_say() {
    let mut project = Project::cpu(&[]);
    let mut yaml: Value = serde_json::from_str(&project.yaml).expect("JSON");
    yaml["environment"] = json!(["NAME=michael", "B=two words $HOME", "A=x=y", "E="]);
    yaml["train"] = json!("train.py:Trainer");
    project.yaml = yaml.to_string();
    project.completion.decorated_concurrency = Some(4);
    check_order(
        &project.text(),
        &[
            "ENTRYPOINT",
            "ENV A=x=y B=\"two words \\$HOME\" E= NAME=michael\n",
            "COPY --from=ghcr.io/astral-sh/uv",
            "EXPOSE 5000\n",
            "ENV COG_TRAIN_TYPE_STUB=train.py:Trainer\n",
            "ENV COG_MAX_CONCURRENCY=4\n",
            "CMD ",
        ],
    );
}

#[test]
fn certificates_are_there_before_anything_is_fetched() {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
    let mut project = Project::cpu(&[]);
    project.options.certificates = Certificates::read(pem).expect("valid");
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    check_order(
        &project.text(),
        &[
            "FROM",
            &format!("COPY <<'EOF' /tmp/cog-ca-cert.crt\n{pem}\nEOF\n"),
            "/usr/local/share/ca-certificates/cog-ca-cert.crt",
            "update-ca-certificates",
            &format!("cat /tmp/cog-ca-cert.crt >> {bundle}\n"),
            &format!("ENV SSL_CERT_FILE={bundle} REQUESTS_CA_BUNDLE={bundle}\n"),
            "apt-get",
        ],
    );
}

#[test]
fn options_of_the_command_line_add_steps() {
    let mut project = Project::cpu(&["numpy"]);
    project.options.strip = true;
    project.options.precompile = true;
    project.options.config_file_name = "other cog.yaml".to_owned();
    let text = project.text();
    assert_eq!(text.matches("-exec strip -S {}").count(), 2, "{text}");
    check_order(
        &text,
        &[
            "uv run pip install",
            "strip -S",
            "--no-cache cog",
            "strip -S",
            "*.pyc",
            "touch -d @0",
            "compileall -q -l -o 2 --invalidation-mode timestamp",
            "ldconfig",
            "COPY . /src\nRUN cp '/src/other cog.yaml' /src/cog.yaml\n",
        ],
    );
}

#[test]
fn a_newer_prebuilt_base_needs_a_link_to_its_python() {
    let build = json!({ "python_version": "3.12", "cuda": "13.0" });
    let text = Project::new(&build, &["numpy"]).prebuilt().text();
    check_order(
        &text,
        &[
            "FROM r8.im/cog-base:cuda13.0-python3.12\n",
            "RUN ln -sf /usr/bin/python3 /usr/local/bin/python\n",
            "uv run pip install --break-system-packages",
            "uv pip install --break-system-packages",
        ],
    );
}

#[test]
fn separated_weights_come_from_an_image_of_their_own() {
    let mut project = Project::cpu(&[]);
    let separated = SeparatedWeights {
        image: "r8.im/test/x".to_owned(),
        paths: vec![
            SeparatedPath::Folder("checkpoints".to_owned()),
            SeparatedPath::File("root-large".to_owned()),
        ],
    };
    project.options.separated = Some(separated.clone());
    check_order(
        &project.text(),
        &[
            "FROM r8.im/test/x-weights AS weights\nFROM python:3.12-slim\n",
            "ldconfig\n",
            "COPY --link --from=weights /src/checkpoints /src/checkpoints\n",
            "COPY --link --from=weights /src/root-large /src/root-large\n",
            "WORKDIR /src\n",
        ],
    );
    let weights = cog_build::dockerfile::weights_dockerfile(&separated).expect("paths of one line");
    check_order(
        &weights,
        &[
            "FROM scratch\n",
            "COPY checkpoints /src/checkpoints\n",
            "COPY root-large /src/root-large\n",
        ],
    );
    assert_eq!(
        separated.exclude_patterns(),
        ["checkpoints", "checkpoints/**/*", "root-large"]
    );
}

/// The project of a line of the corpus.
fn of_corpus(facts: &Value) -> Project {
    let mut build = json!({});
    for field in [
        "python_version",
        "gpu",
        "cuda",
        "cudnn",
        "system_packages",
        "run",
    ] {
        build[field] = facts[field].clone();
    }
    let lines = facts["requirements"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    let mut project = Project::new(&build, &lines);
    project.completion = Options::default();
    let mut yaml: Value = serde_json::from_str(&project.yaml).expect("JSON");
    for field in ["environment", "concurrency"] {
        yaml[field] = facts[field].clone();
    }
    if yaml["concurrency"].is_null() {
        yaml.as_object_mut()
            .expect("a mapping")
            .remove("concurrency");
    }
    project.yaml = yaml.to_string();
    project
}

fn corpus() -> Vec<(String, Project)> {
    include_str!("../../../../tests/corpus/projects.jsonl")
        .lines()
        .map(|line| {
            let facts: Value = serde_json::from_str(line).expect("JSON");
            let id = facts["id"].as_str().expect("a name").to_owned();
            (id, of_corpus(&facts))
        })
        .collect()
}

#[test]
fn real_projects_have_a_dockerfile_or_are_too_old() {
    let (mut made, mut refused) = (0, 0);
    for (id, project) in corpus() {
        match cog_config::parse(&project.yaml, "cog.yaml", &project) {
            Ok(_) => {
                let text = project.text();
                assert!(text.ends_with("COPY . /src\n"), "{id}: {text}");
                made += 1;
            }
            Err(error) => {
                let said = error.to_string();
                let too_old = said.contains("minimum supported Python version is 3.10")
                    || said.contains("concurrency requires Python 3.11 or higher");
                assert!(too_old, "{id}: {said}");
                refused += 1;
            }
        }
    }
    assert_eq!(made + refused, 47);
    assert!(made > 20, "{made}");
}

#[test]
fn dockerfiles_of_real_projects_stay_as_they_are() {
    for id in ["p03", "p05", "p12"] {
        let projects = corpus();
        let (_, project) = projects
            .iter()
            .find(|(one, _)| one == id)
            .expect("it is there");
        insta::assert_snapshot!(id, project.text());
    }
}
