use super::*;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

/// What is found, as `run libgl1`, `build curl`.
fn found(evidence: &Evidence<'_>) -> Vec<String> {
    let found = implied_packages(evidence).into_iter();
    found
        .map(|one| match one.stage {
            Stage::Build => format!("build {}", one.package),
            Stage::Run => format!("run {}", one.package),
        })
        .collect()
}

fn of_commands(commands: &[&str]) -> Vec<String> {
    found(&Evidence {
        commands: &texts(commands),
        suite: "trixie",
        ..Evidence::default()
    })
}

fn of_requirements(lines: &[&str]) -> Vec<String> {
    found(&Evidence {
        requirements: &texts(lines),
        suite: "bookworm",
        ..Evidence::default()
    })
}

fn of_source(text: &str) -> Vec<String> {
    found(&Evidence {
        sources: &[("run.py".to_owned(), text.to_owned())],
        suite: "bookworm",
        ..Evidence::default()
    })
}

#[test]
fn the_tables_are_whole() {
    for kind in [
        Kind::Program,
        Kind::Distribution,
        Kind::Text,
        Kind::Provides,
    ] {
        assert!(table::all(kind).count() > 0, "{kind:?}");
    }
    for row in table::all(Kind::Distribution) {
        assert_eq!(normalised(row.name), row.name);
        assert!(row.packages().all(|package| !package.is_empty()), "{row:?}");
        assert!(!row.reason.is_empty(), "{row:?}");
        let versions = VersionSpecifiers::from_str(row.versions);
        assert!(row.versions.is_empty() || versions.is_ok(), "{row:?}");
    }
    let known = include_str!("../../data/implied-packages.csv")
        .lines()
        .skip(1);
    for line in known {
        let mut cells = line.split(',');
        let kind = cells.next().expect("a kind");
        assert!(
            ["program", "distribution", "text", "provides"].contains(&kind),
            "{line}"
        );
        let stage = cells.nth(2).expect("a stage");
        let placed = matches!(
            (kind, stage),
            ("program" | "provides", "") | (_, "run" | "build")
        );
        assert!(placed, "{line}");
    }
}

#[test]
fn commands_need_their_programs_while_they_run() {
    let script = "curl -o /usr/local/bin/pget -L \"https://x/pget_$(uname -s)\" && chmod +x /usr/local/bin/pget";
    assert_eq!(of_commands(&[script]), ["build curl"]);
    assert_eq!(
        of_commands(&["git clone x && cd x && mkdir build && cmake .. -GNinja && make -j4"]),
        ["build git", "build cmake", "build build-essential"]
    );
    assert_eq!(
        of_commands(&["echo git; echo 'curl x'; ls /git # wget"]),
        [""; 0]
    );
}

#[test]
fn what_a_command_installs_is_there() {
    let install = "apt-get update && apt-get install -y --no-install-recommends git=1:2 curl";
    assert_eq!(
        of_commands(&[&format!("{install} && git clone x"), "curl x; wget y"]),
        ["build wget"]
    );
    assert_eq!(of_commands(&["git clone x", install]), ["build git"]);
}

#[test]
fn a_pip_install_says_as_much_as_a_requirement() {
    assert_eq!(
        of_commands(&["pip install --no-cache-dir git+https://github.com/x/y@main"]),
        ["build build-essential", "build python3-dev", "build git"]
    );
    assert_eq!(
        of_commands(&["pip3 install -r r.txt -f https://opencv-python 'opencv-python>=4' dlib"]),
        [
            "run libgl1",
            "run libglib2.0-0t64",
            "build cmake",
            "build build-essential",
            "build python3-dev"
        ]
    );
    for command in [
        "python -m pip install pydub",
        "uv pip install --python 3.11 pydub",
        "python3.11 -m pip install -U pydub",
    ] {
        assert_eq!(of_commands(&[command]), ["run ffmpeg"], "{command}");
    }
    for command in [
        "pip uninstall -y pydub",
        "pip download --no-deps six",
        "pip install -r pydub",
        "pipenv install x",
    ] {
        assert_eq!(of_commands(&[command]), [""; 0], "{command}");
    }
    assert_eq!(
        of_commands(&["python -c \"import os; os.system('git x')\""]),
        ["build git"]
    );
}

#[test]
fn requirements_need_what_they_load_and_run() {
    let opencv = ["run libgl1", "run libglib2.0-0"];
    assert_eq!(of_requirements(&["opencv-python==4.6.0.66"]), opencv);
    assert_eq!(of_requirements(&["OpenCV_Contrib.Python"]), opencv);
    assert_eq!(
        of_requirements(&["opencv-python-headless>=4", "imageio-ffmpeg", "moviepy"]),
        [""; 0]
    );
    assert_eq!(
        of_requirements(&["soundfile==0.10.3.post1"]),
        ["run libsndfile1"]
    );
    assert_eq!(of_requirements(&["soundfile==0.12.1"]), [""; 0]);
    assert_eq!(of_requirements(&["soundfile"]), [""; 0]);
    assert_eq!(of_requirements(&["mediapipe==0.10.14"]), [""; 0]);
    assert_eq!(
        of_requirements(&["mediapipe"]),
        ["run libegl1", "run libgles2"]
    );
    assert_eq!(
        of_requirements(&["clip @ git+https://github.com/openai/CLIP.git"]),
        ["build git"]
    );
    assert_eq!(
        of_requirements(&["git+https://github.com/openai/whisper.git"]),
        ["run ffmpeg", "build git"]
    );
    assert_eq!(
        of_requirements(&["https://x/opencv_python-4.8.1.78-cp37-abi3-manylinux.whl"]),
        opencv
    );
    assert_eq!(
        of_requirements(&["pycairo"]),
        [
            "run libcairo2",
            "build libcairo2-dev",
            "build pkg-config",
            "build build-essential",
            "build python3-dev"
        ]
    );
}

#[test]
fn resolved_distributions_count_too() {
    let distributions = [
        ("albumentations", "1.4.3"),
        ("opencv-python", "4.10.0.84"),
        ("soundfile", "0.10.2"),
    ];
    let distributions = distributions.map(|(name, version)| (name.to_owned(), version.to_owned()));
    let evidence = Evidence {
        requirements: &texts(&["albumentations"]),
        distributions: &distributions,
        built_from_source: &texts(&["insightface"]),
        suite: "trixie",
        ..Evidence::default()
    };
    assert_eq!(
        found(&evidence),
        [
            "run libgl1",
            "run libglib2.0-0t64",
            "run libsndfile1",
            "build build-essential",
            "build python3-dev"
        ]
    );
}

#[test]
fn the_model_shows_what_it_runs() {
    assert_eq!(
        of_source("import subprocess\nsubprocess.run(['ffmpeg', '-i', x])\n"),
        ["run ffmpeg"]
    );
    assert_eq!(
        of_source("import os\nos.system(f'sox {a} {b}; git log')\n"),
        ["run sox", "run git"]
    );
    assert_eq!(
        of_source("model = torch.compile(model)\n"),
        ["run gcc", "run libc6-dev", "run python3-dev"]
    );
    assert_eq!(
        of_source("# torch.compile(\nx = '# ['\nprint('ffmpeg')\n"),
        [""; 0]
    );
}

#[test]
fn what_is_there_is_not_added() {
    let evidence = Evidence {
        commands: &texts(&["ffmpeg -version; curl x; git x"]),
        requirements: &texts(&["opencv-python", "pydub", "cmake"]),
        present: &texts(&["libgl1-mesa-glx", "libglib2.0-0", "curl"]),
        suite: "trixie",
        ..Evidence::default()
    };
    let older = Evidence {
        suite: "bookworm",
        ..evidence
    };
    assert_eq!(found(&older), found(&evidence));
    // What the image needs is there in the build, too.
    assert_eq!(found(&evidence), ["run ffmpeg", "build git"]);
    let evidence = Evidence {
        commands: &texts(&["cmake ."]),
        ..evidence
    };
    assert_eq!(found(&evidence), ["run ffmpeg"]);
}

#[test]
fn each_says_why_and_how_to_say_it() {
    let evidence = Evidence {
        commands: &texts(&["wget x"]),
        requirements: &texts(&["pydub", "x @ git+https://token@example.com/x.git"]),
        suite: "bookworm",
        ..Evidence::default()
    };
    let found = implied_packages(&evidence);
    let reasons: Vec<&str> = found.iter().map(|one| one.because.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "`pydub` runs `ffmpeg`",
            "`build.run` runs `wget`",
            "a requirement comes from git: `git+https://***@example.com/x.git`",
        ]
    );
    assert_eq!(
        found[0].how_to_say_it,
        "add `ffmpeg` to `system_packages` in the `build` section of cog.yaml"
    );
}

#[test]
fn packages_have_other_names_in_other_releases() {
    let renamed = |package: &str, suite: &str| {
        let found = renamed_packages(&[package.to_owned()], suite);
        found.into_iter().next().map(|one| one.package)
    };
    for (package, bookworm, trixie) in [
        ("libgl1-mesa-glx", None, Some("libgl1")),
        ("libglib2.0-0", None, Some("libglib2.0-0t64")),
        ("libglib2.0-0t64", Some("libglib2.0-0"), None),
        ("libasound2t64", Some("libasound2"), None),
        ("libtiff5", Some("libtiff6"), Some("libtiff6")),
        ("netcat", Some("netcat-openbsd"), Some("netcat-openbsd")),
        ("libgl1", None, None),
        ("tnat64", None, None),
        ("ffmpeg", None, None),
    ] {
        assert_eq!(
            renamed(package, "bookworm").as_deref(),
            bookworm,
            "{package}"
        );
        assert_eq!(renamed(package, "trixie").as_deref(), trixie, "{package}");
        assert_eq!(renamed(package, "sid"), None, "{package}");
    }
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_read(text in "\\PC{0,80}", pieces in prop::collection::vec(prop::sample::select(vec![
            "git", "curl", " ", ";", "&&", "|", "$(", ")", "`", "'", "\"", "\\", "\n", "#", "<", ">", "2>&1", "{", "}",
            "sh -c", "find -exec", "sudo -u", "xargs", "timeout", "pip install", "git+https://x/y.git@z", "é", "[", "(",
            "subprocess.run", "os.system", "\"\"\"", "f", "=", "apt-get install", "python -c", "://", "-", "@", "#egg",
        ]), 0..30)) {
            for script in [text.clone(), pieces.concat()] {
                let all = [script];
                let sources = [("run.py".to_owned(), all[0].clone())];
                let evidence = Evidence { commands: &all, requirements: &all, sources: &sources, suite: "trixie", ..Evidence::default() };
                let found = implied_packages(&evidence);
                let mut names: Vec<&str> = found.iter().map(|one| one.package.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                prop_assert_eq!(names.len(), found.len());
            }
        }
    }
}
