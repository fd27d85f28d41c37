//! The lines that are installed.

use crate::support::{Project, warnings};

fn index(channel: &str) -> String {
    format!("--extra-index-url https://download.pytorch.org/whl/{channel}/")
}

/// The lines of a GPU project with this CUDA.
fn gpu(cuda: &str, lines: &[&str]) -> Vec<String> {
    Project::gpu(&format!("cuda: '{cuda}'"), lines)
        .completed()
        .requirements
}

fn cpu(lines: &[&str]) -> Vec<String> {
    Project::cpu("", lines).completed().requirements
}

#[test]
fn a_gpu_project_gets_the_index_of_its_cuda() {
    let lines = [
        "torch==1.13.1",
        "torchvision==0.14.1",
        "torchaudio==0.13.1",
        "foo==1.0.0",
    ];
    let completed = Project::gpu("", &lines).completed();
    let mut expected = vec![index("cu117")];
    expected.extend(lines.map(str::to_owned));
    assert_eq!(completed.requirements, expected);
}

#[test]
fn a_cpu_project_gets_the_index_without_cuda() {
    for fields in ["", "cuda: '11.8'"] {
        let lines = ["torch==2.0.1", "torchvision==0.15.2", "torchaudio==2.0.2"];
        let completed = Project::cpu(fields, &lines).completed();
        let mut expected = vec![index("cpu")];
        expected.extend(lines.map(str::to_owned));
        assert_eq!(completed.requirements, expected, "{fields}");
        assert_eq!(
            completed.torch_wheel().expect("a pin").cuda,
            None,
            "{fields}"
        );
    }
    let lines = ["torch==2.3.0", "pandas==1.2.0.12"];
    assert_eq!(cpu(&lines), [&index("cpu"), lines[0], lines[1]]);
}

#[test]
fn versions_are_completed_for_their_cuda() {
    let cu118 = index("cu118");
    for (line, expected) in [
        ("torch==2.3", "torch==2.3.1"),
        ("torch==2.3.0", "torch==2.3.0"),
        ("torch==2.3.1", "torch==2.3.1"),
        ("torch==2.3.1+cu118", "torch==2.3.1"),
        ("torch == 2.3.1", "torch == 2.3.1"),
        ("torch == 2.3", "torch==2.3.1"),
        ("torchvision==0.18.1", "torchvision==0.18.1"),
        ("torchvision==0.18.1+cu118", "torchvision==0.18.1"),
    ] {
        assert_eq!(gpu("11.8", &[line]), [cu118.as_str(), expected], "{line}");
    }
    assert_eq!(gpu("11.7", &["torch==2.0.1"]), ["torch==2.0.1"]);
    assert_eq!(
        gpu("11.8", &["torch==1.13.0"]),
        [&index("cu117"), "torch==1.13.0"]
    );
    assert_eq!(
        gpu("12.1", &["torch==2.7.1"]),
        [&index("cu118"), "torch==2.7.1"]
    );
    assert_eq!(gpu("12.1", &["torch==2.8.0"]), ["torch==2.8.0"]);
    assert_eq!(
        gpu("11.6.2", &["torch==1.12.1"]),
        [&index("cu116"), "torch==1.12.1"]
    );
}

#[test]
fn torchvision_without_a_gpu_keeps_its_tag() {
    let cpu_index = index("cpu");
    for (line, expected) in [
        ("torchvision==0.14.1", "torchvision==0.14.1+cpu"),
        ("torchvision==0.14.1+cpu", "torchvision==0.14.1+cpu"),
        ("torchvision==0.15.2", "torchvision==0.15.2"),
    ] {
        assert_eq!(cpu(&[line]), [cpu_index.as_str(), expected], "{line}");
    }
    for line in [
        "torchvision==0.1",
        "torch==0.4.1",
        "torch==2.0.1+cu118",
        "torchaudio==2.0.2",
    ] {
        assert_eq!(cpu(&[line]), [line]);
    }
}

#[test]
fn an_unknown_torchvision_is_warned_of() {
    let completed = Project::gpu("cuda: '11.8'", &["torchvision==0.1"]).completed();
    assert_eq!(completed.requirements, ["torchvision==0.1"]);
    let said = warnings(&completed);
    assert!(
        said.iter().any(|one| one.contains("torchvision==0.1")),
        "{said:?}"
    );
}

#[test]
fn lines_that_are_no_pins_stay() {
    let lines = [
        "# a comment",
        "foo>=1,<2",
        "",
        "-f http://example.com/links",
        "torch>=2.0.1  # why",
        "bar[x]==1.0",
        "torch==2.5.*",
        "ruamel.yaml==0.17",
        "--pre -f https://mlc.ai/wheels",
        "git+https://example.com/x.git#egg=x",
    ];
    let expected = [
        "foo>=1,<2",
        "-f http://example.com/links",
        "torch>=2.0.1",
        "bar[x]==1.0",
        "torch==2.5.*",
        "ruamel.yaml==0.17",
        "--pre -f https://mlc.ai/wheels",
        "git+https://example.com/x.git#egg=x",
    ];
    assert_eq!(gpu("12.4", &lines), expected);
    assert_eq!(cpu(&lines), expected);
}

#[test]
fn continued_lines_are_one() {
    assert_eq!(
        gpu("12.4", &["torch==\\", "2.5.1  # note"]),
        [&index("cu124"), "torch==2.5.1"]
    );
    assert_eq!(
        gpu("12.4", &["-e .", "torch==2.5.1"]),
        [&index("cu124"), "torch==2.5.1"]
    );
}

#[test]
fn places_in_a_line_move_to_the_head() {
    assert_eq!(
        gpu(
            "11.3",
            &[
                "a==1 --find-links=https://links",
                "torch==1.13.0 --extra-index-url https://download.pytorch.org/whl/cu113",
                "torchvision==0.14.0 --extra-index-url=https://download.pytorch.org/whl/cu113",
            ]
        ),
        [
            "--find-links https://links",
            "--extra-index-url https://download.pytorch.org/whl/cu113",
            "a==1",
            "torch==1.13.0",
            "torchvision==0.14.0",
        ]
    );
}

#[test]
fn hashes_and_markers_stay() {
    let cu118 = index("cu118");
    let line = "torch==2.0.1 ; python_version >= '3.10'";
    assert_eq!(gpu("11.8", &[line]), [cu118.as_str(), line]);
    let line = "torch==2.0.1 --hash=sha256:00";
    assert_eq!(gpu("11.8", &[line]), [line]);
}

#[test]
fn an_index_is_named_once() {
    for own in [
        "--extra-index-url https://download.pytorch.org/whl/cu118",
        "--extra-index-url=https://download.pytorch.org/whl/cu118/",
    ] {
        assert_eq!(gpu("11.8", &[own, "torch==2.0.1"]), [own, "torch==2.0.1"]);
    }
}

#[test]
fn files_are_no_packages() {
    for line in ["torch==custom.whl", "./torch==2.0.1.zip"] {
        assert_eq!(gpu("11.8", &[line]), [line]);
    }
}
