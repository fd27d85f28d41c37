//! CUDA and cuDNN of GPU projects.

use cog_config::cuda::{tensorflow_rows, torch_rows};

use crate::support::{Project, versions, warnings};

#[test]
fn torch_decides() {
    for (lines, expected) in [
        (
            &[
                "torch==1.13.1",
                "torchvision==0.14.1",
                "torchaudio==0.13.1",
                "foo==1.0.0",
            ][..],
            "11.7/8",
        ),
        (&["torch==2.0.1"], "11.8/8"),
        (&["torch==1.11.0"], "11.3/8"),
        (&["torch==2.0.1+cu117"], "11.7/8"),
        (&["torch==2.9.0+cu130"], "13.0/9"),
        (&["torch==2.9"], "13.0/9"),
        (&["torch==2.9.*"], "13.0/9"),
        (&["torch>=2.0.1"], "11.8/8"),
        (&["torch==2.5.1; python_version > '3'"], "12.4/9"),
        (&["torch", "torch==2.5.1"], "12.4/9"),
    ] {
        assert_eq!(
            versions(&Project::gpu("", lines).completed()),
            expected,
            "{lines:?}"
        );
    }
}

#[test]
fn without_a_framework_there_is_a_default() {
    for lines in [
        &[][..],
        &["numpy"],
        &["Torch==2.9.0"],
        &["torch[x]==2.9.0"],
        &["torch==2.9.whl"],
        &["tensorflow"],
    ] {
        let completed = Project::gpu("", lines).completed();
        assert_eq!(versions(&completed), "11.8/8", "{lines:?}");
    }
}

#[test]
fn an_unknown_framework_needs_cuda() {
    for name in ["torch", "tensorflow"] {
        let line = format!("{name}==0.4.1");
        let error = Project::gpu("", &[&line]).error();
        let said = format!("cog doesn't know what CUDA version is compatible with {name}==0.4.1.");
        assert!(error.starts_with(&said), "{error}");
        assert!(
            error.contains("upgrade") && error.contains("`cuda`"),
            "{error}"
        );
        let completed = Project::gpu("cuda: '11.8'", &[&line]).completed();
        assert_eq!(versions(&completed), "11.8/8");
    }
}

#[test]
fn a_build_of_torch_can_say_its_cuda() {
    let line = "torch==2.6.0.dev20241112+cu124";
    assert_eq!(versions(&Project::gpu("", &[line]).completed()), "12.4/9");
    let line = "torch @ https://x/whl/torch-2.1.0%2Bcu118-cp311-cp311-linux_x86_64.whl";
    assert_eq!(versions(&Project::gpu("", &[line]).completed()), "11.8/8");
    let line = "torch==0.3+cu92";
    assert_eq!(
        Project::gpu("", &[line]).error(),
        "CUDA 9.2 is not supported by Cog"
    );
}

#[test]
fn an_open_torch_version_needs_cuda() {
    let error = Project::gpu("", &["torch"]).error();
    assert_eq!(error, "torch version must be specified when using CUDA");
    let error = Project::gpu("", &["torch", "tensorflow==2.12.0"]).error();
    assert_eq!(error, "torch version must be specified when using CUDA");
    // Projects that say their CUDA work today.
    let completed = Project::gpu("cuda: '12.1'", &["torch", "torchvision"]).completed();
    assert_eq!(versions(&completed), "12.1/8");
    assert_eq!(completed.requirements, ["torch", "torchvision"]);
    assert_eq!(completed.torch_wheel(), None);
}

#[test]
fn every_tensorflow_has_its_cuda() {
    for row in tensorflow_rows() {
        let line = format!("tensorflow=={}", row.tensorflow);
        let completed = Project::gpu("", &[&line, "torch==2.9.0"]).completed();
        let expected = format!("{}/{}", row.cuda.major_minor(), row.cudnn.major);
        assert_eq!(versions(&completed), expected, "{line}");
        assert!(completed.requirements.contains(&line), "{line}");
    }
}

#[test]
fn tensorflow_stays_with_an_explicit_cuda() {
    let completed = Project::gpu("cuda: '11.8'", &["tensorflow==2.12.0"]).completed();
    assert_eq!(completed.requirements, ["tensorflow==2.12.0"]);
    assert_eq!(versions(&completed), "11.8/8");
    let error = Project::gpu("cudnn: '9'", &["tensorflow==2.12.0"]).error();
    assert_eq!(
        error,
        "the specified cuDNN version 9 is not compatible with tensorflow==2.12.0.\nCompatible cuDNN version is: 8"
    );
}

#[test]
fn every_torch_is_completed() {
    for row in torch_rows().iter().filter(|row| row.usable) {
        let line = format!("torch=={}", row.torch);
        let cpu = Project::cpu("", &[&line]).completed();
        assert_eq!(versions(&cpu), "-/-", "{line}");
        let Some(cuda) = row.accelerator.cuda() else {
            continue;
        };
        let gpu = Project::gpu(&format!("cuda: '{cuda}'"), &[&line]).completed();
        assert_eq!(gpu.cuda, Some(cuda.to_string()));
        assert!(gpu.cudnn.is_some());
        assert!(
            warnings(&gpu)
                .iter()
                .all(|one| !one.contains("doesn't know")),
            "{line}"
        );
        // Its index and wheel are those of the row.
        assert_eq!(gpu.torch_index, row.index_url(), "{line}");
        let wheel = gpu.torch_wheel().expect("a pin");
        assert_eq!(
            (wheel.version, wheel.cuda),
            (row.torch.to_string(), Some(cuda.to_string()))
        );
        let tagged = format!("{line}+{}", row.accelerator.tag());
        let derived = Project::gpu("", &[&tagged]).completed();
        assert_eq!(derived.cuda, Some(cuda.to_string()), "{tagged}");
        assert_eq!(derived.torch_index, row.index_url(), "{tagged}");
    }
}

#[test]
fn an_uncertain_cuda_is_warned_of() {
    let completed = Project::gpu("cuda: '12.1'", &["torch==2.7.1"]).completed();
    let said = "Cog doesn't know if CUDA 12.1 is compatible with PyTorch 2.7.1. This might cause CUDA problems.";
    assert!(
        warnings(&completed).contains(&said.to_owned()),
        "{completed:?}"
    );
    let completed = Project::gpu("cuda: '11.6.2'", &["torch==1.12.1"]).completed();
    assert!(!format!("{:?}", warnings(&completed)).contains("doesn't know"));
    assert_eq!(versions(&completed), "11.6.2/8");
}

#[test]
fn cuda_is_checked_again_for_gpus() {
    for (cuda, said) in [
        ("12.x", "invalid minor version in CUDA version \"12.x\""),
        ("12.7", "CUDA 12.7 is not supported by Cog"),
        ("12.1.1.1", "CUDA 12.1.1.1 is not supported by Cog"),
        ("12.1.9", "CUDA 12.1.9 is not supported by Cog"),
    ] {
        let project = Project::gpu(&format!("cuda: '{cuda}'"), &[]);
        assert_eq!(project.error(), said);
        let project = Project::cpu(&format!("cuda: '{cuda}'"), &[]);
        assert_eq!(versions(&project.completed()), format!("{cuda}/-"));
    }
    let project = Project::gpu("cuda: '12.7', cudnn: '9'", &[]);
    assert_eq!(project.error(), "CUDA 12.7 is not supported by Cog");
}

#[test]
fn decisions_have_reasons() {
    let completed = Project::gpu("", &["torch==2.3"]).completed();
    let said: Vec<String> = completed
        .decisions
        .iter()
        .map(|one| format!("{}: {} ({})", one.subject, one.value, one.reason))
        .collect();
    assert_eq!(
        said,
        [
            "python: 3.11 (`build.python_version`)",
            "cuda: 12.1 (the newest that torch 2.3 is built for (11.8, 12.1))",
            "cudnn: 8 (the newest that base images with CUDA 12.1 have)",
            "torch: 2.3.1 (`torch==2.3` in the requirements: the newest that matches)",
            "torch index: https://download.pytorch.org/whl/cu121/ (it has torch 2.3.1 for the highest CUDA up to 12.1)",
            "base: r8.im/cog-base:cuda12.1-python3.11-torch2.3.1 (prebuilt with what the project asks for)",
            "base: nvidia/cuda:12.1.1-cudnn8-devel-ubuntu22.04 (the newest with CUDA 12.1 and cuDNN 8)",
        ]
    );
}

#[test]
fn the_label_has_what_was_completed() {
    let project = Project::gpu("", &["torch==2.0.1"]);
    let label = project.completed().fill_in(&project.config()).to_label();
    assert!(label.contains(r#""gpu":true"#), "{label}");
    assert!(label.contains(r#""cuda":"11.8","cudnn":"8""#), "{label}");
    let project = Project::cpu("", &["torch==2.0.1"]);
    let label = project.completed().fill_in(&project.config()).to_label();
    assert!(!label.contains("cuda"), "{label}");
}

#[test]
fn passwords_in_urls_are_not_shown() {
    let line = "torch @ https://user:secret@x/whl/torch-2.1.0%2Bcu118-cp311-cp311-linux_x86_64.whl?sig=secret";
    let index = "numpy==1.26.4 --extra-index-url=https://user:secret@x/simple";
    let own = "--index-url=https://user:secret@x/simple";
    let completed = Project::gpu("", &[own, line, index]).completed();
    assert_eq!(versions(&completed), "11.8/8");
    assert!(completed.requirements.contains(&line.to_owned()));
    let json = serde_json::to_string(&completed).expect("JSON");
    assert!(!json.contains("secret"), "{json}");
    assert!(json.contains("--index-url=https://***@x/simple"), "{json}");
    let error = Project::gpu("", &["torch @ https://user:secret@x/other.whl"]).error();
    assert!(error.contains("torch==https://***@x/other.whl"), "{error}");
}
