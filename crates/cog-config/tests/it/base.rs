//! The images to build on.

use cog_config::{
    BaseKind, CogBase, Completed, CudaBase, Options, Prebuilt, PrebuiltFilter, Version,
    prebuilt_images,
};

use crate::support::{Project, warnings};

fn options(cog_base: CogBase) -> Options {
    Options {
        cog_base,
        ..Options::default()
    }
}

fn references(completed: &Completed) -> Vec<&str> {
    let bases = completed.bases.iter();
    bases
        .map(|base| base.reference.as_deref().unwrap_or("none"))
        .collect()
}

#[test]
fn a_cpu_project_is_built_on_its_python() {
    let fields = "python_version: '3.12'";
    let completed = Project::cpu(fields, &[])
        .with(options(CogBase::Off))
        .completed();
    assert_eq!(references(&completed), ["python:3.12-slim"]);
    let completed = Project::cpu(fields, &[]).completed();
    assert_eq!(
        references(&completed),
        ["r8.im/cog-base:python3.12", "python:3.12-slim"]
    );
    assert!(completed.bases.iter().all(|base| !base.uv_python));
}

#[test]
fn a_gpu_project_is_built_on_cuda() {
    let base = |fields: &str, lines: &[&str]| {
        let completed = Project::gpu(fields, lines)
            .with(options(CogBase::Off))
            .completed();
        assert!(completed.bases[0].uv_python);
        references(&completed).join(" ")
    };
    let newest = "nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04";
    assert_eq!(base("python_version: '3.12'", &[]), newest);
    assert_eq!(base("", &["tensorflow==2.12.0"]), newest);
    assert_eq!(
        base("cuda: '11.6', cudnn: '8'", &[]),
        "nvidia/cuda:11.6.2-cudnn8-devel-ubuntu20.04"
    );
    assert_eq!(
        base("cuda: '12.1'", &[]),
        "nvidia/cuda:12.1.1-cudnn8-devel-ubuntu22.04"
    );
}

#[test]
fn a_base_with_cuda_can_be_declined() {
    let options = Options {
        cuda_base: CudaBase::Off,
        ..options(CogBase::Off)
    };
    let completed = Project::gpu("", &["torch==2.3.1"])
        .with(options)
        .completed();
    assert_eq!(references(&completed), ["python:3.11-slim"]);
    assert_eq!(completed.bases[0].kind, BaseKind::Slim);
}

#[test]
fn a_pair_without_an_image_says_so() {
    let completed = Project::gpu("", &["tensorflow==2.16.1"])
        .with(options(CogBase::Off))
        .completed();
    assert_eq!(references(&completed), ["none"]);
    let error = completed.base().expect_err("there is none").to_string();
    assert_eq!(error, "no matching base image for CUDA 12.3 and CuDNN 8");
}

#[test]
fn prebuilt_images_fit_torch() {
    for (lines, torch) in [
        ("torch==2.3", "2.3.1"),
        ("torch==2.3.0", "2.3.0"),
        ("torch==2.3.1", "2.3.1"),
    ] {
        let completed = Project::gpu("cuda: '11.8'", &[lines])
            .with(options(CogBase::Required))
            .completed();
        let reference = format!("r8.im/cog-base:cuda11.8-python3.11-torch{torch}");
        assert_eq!(references(&completed), [reference.as_str()]);
        assert_eq!(
            completed.requirements,
            [
                "--extra-index-url https://download.pytorch.org/whl/cu118/".to_owned(),
                format!("torch=={torch}")
            ]
        );
    }
}

#[test]
fn a_prebuilt_image_is_found_by_what_it_has() {
    for (cuda, python, torch, tag) in [
        (None, "3.10", None, "python3.10"),
        (
            Some("12.1"),
            "3.10",
            Some("2.1"),
            "cuda12.1-python3.10-torch2.1.2",
        ),
        (
            Some("12.1"),
            "3.10",
            Some("2.3"),
            "cuda12.1-python3.10-torch2.3.1",
        ),
        (None, "3.10", Some("2.1"), "python3.10-torch2.1.2"),
        (
            Some("11.8"),
            "3.10",
            Some("2.0.1+cu118"),
            "cuda11.8-python3.10-torch2.0.1",
        ),
        // No image has these; the torch is left out.
        (Some("11.7"), "3.10", Some("1.13.1"), "cuda11.7-python3.10"),
        (Some("12.1"), "3.12", Some("2.7.1"), "cuda12.1-python3.12"),
        (None, "3.14", Some("2.3.1"), "python3.14"),
    ] {
        let fields = match cuda {
            Some(cuda) => format!("python_version: '{python}', cuda: '{cuda}'"),
            None => format!("python_version: '{python}'"),
        };
        let lines: Vec<String> = torch
            .iter()
            .map(|torch| format!("torch=={torch}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        // A CUDA decides the image without a GPU too.
        let completed = Project::cpu(&fields, &lines).completed();
        assert_eq!(
            completed.bases[0].reference,
            Some(format!("r8.im/cog-base:{tag}"))
        );
        assert_eq!(completed.bases[1].kind, BaseKind::Slim);
    }
}

#[test]
fn what_no_prebuilt_image_has_is_an_error_if_asked_for() {
    for (fields, said) in [
        (
            "cuda: '12.78'",
            "unsupported base image configuration: CUDA: 12.78 / Python: 3.11 / Torch: (none)",
        ),
        (
            "cuda: '12.x'",
            "unsupported base image configuration: CUDA: 12.x / Python: 3.11 / Torch: (none)",
        ),
        (
            "python_version: '3.99'",
            "unsupported base image configuration: CUDA: (none) / Python: 3.99 / Torch: (none)",
        ),
    ] {
        let required = Project::cpu(fields, &[]).with(options(CogBase::Required));
        assert_eq!(required.error(), said);
        let completed = Project::cpu(fields, &[]).completed();
        assert_eq!(
            warnings(&completed),
            [format!(
                "Could not find a suitable base image, continuing without base image support ({said})."
            )]
        );
        assert_eq!(completed.base().expect("slim").kind, BaseKind::Slim);
    }
}

#[test]
fn prebuilt_images_have_no_patch_of_python() {
    let completed = Project::cpu("python_version: '3.10.6'", &[]).completed();
    assert_eq!(
        references(&completed),
        ["r8.im/cog-base:python3.10", "python:3.10.6-slim"]
    );
    assert_eq!(
        warnings(&completed),
        ["Stripping patch version from Python version 3.10.6 to 3.10"]
    );
    let completed = Project::cpu("python_version: '3.10.6'", &[])
        .with(options(CogBase::Off))
        .completed();
    assert_eq!(warnings(&completed), [""; 0]);
}

#[test]
fn promised_packages_are_not_installed_again() {
    let completed = Project::cpu("system_packages: [ffmpeg, cowsay]", &[]).completed();
    assert_eq!(completed.bases[0].system_packages, ["cowsay"]);
    assert_eq!(completed.bases[1].system_packages, ["ffmpeg", "cowsay"]);
}

#[test]
fn new_prebuilt_images_have_a_python_of_uv() {
    for (cuda, uv_python) in [("12.9", false), ("13.0", true)] {
        let completed = Project::cpu(&format!("cuda: '{cuda}'"), &[]).completed();
        assert_eq!(completed.bases[0].uv_python, uv_python, "{cuda}");
    }
}

#[test]
fn the_registry_can_be_another() {
    let options = Options {
        registry_host: "localhost:5000".to_owned(),
        ..Options::default()
    };
    let completed = Project::cpu("", &[]).with(options).completed();
    assert_eq!(
        references(&completed)[0],
        "localhost:5000/cog-base:python3.11"
    );
}

#[test]
fn the_prebuilt_images_are_all_there() {
    let images = prebuilt_images();
    let tags: Vec<String> = images.iter().map(Prebuilt::tag).collect();
    let mut unique = tags.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), tags.len());
    let without_torch: Vec<&Prebuilt> = images
        .iter()
        .filter(|image| image.torch.is_none())
        .collect();
    let mut cudas: Vec<String> = without_torch
        .iter()
        .filter_map(|image| image.cuda.as_ref().map(Version::to_string))
        .collect();
    cudas.dedup();
    assert_eq!(
        cudas,
        [
            "11.7", "11.8", "12.1", "12.4", "12.6", "12.8", "12.9", "13.0"
        ]
    );
    assert_eq!(without_torch.len(), 9 * 5);
    assert!(tags.contains(&"cuda11.7-python3.10-torch2.0.0".to_owned()));
    assert!(!tags.iter().any(|tag| tag.contains("torch1.")));
}

#[test]
fn no_build_means_the_newest_python() {
    let completed = Project::new("run: run.py:Runner\n").completed();
    assert_eq!(references(&completed)[1], "python:3.13-slim");
    assert_eq!(
        completed.decisions[0].reason,
        "cog.yaml has no `build.python_version`"
    );
}

#[test]
fn an_old_sdk_is_refused_when_building_only() {
    for good in ["0.18.0", "0.18.0a1", "prerelease", "0.16.0"] {
        let completed = Project::cpu(&format!("sdk_version: '{good}'"), &[]).completed();
        assert_eq!(completed.sdk_version.as_deref(), Some(good));
    }
    let project = Project::cpu("sdk_version: '0.15.0'", &[]);
    project.config();
    let error = project.error();
    assert!(
        error.contains("0.15.0") && error.contains("minimum required version"),
        "{error}"
    );
}

#[test]
fn concurrency_is_the_configurations_then_the_models() {
    let completed = |yaml: &str, decorated_concurrency| {
        let options = Options {
            decorated_concurrency,
            ..Options::default()
        };
        Project::new(yaml).with(options).completed().concurrency
    };
    assert_eq!(completed("concurrency: {max: 5}\n", Some(3)), Some(5));
    assert_eq!(completed("", Some(3)), Some(3));
    assert_eq!(completed("", None), None);
}

#[test]
fn it_reads_well_as_json() {
    let completed = Project::cpu(
        "python_version: '3.12', system_packages: [git, cowsay]",
        &["torch==2.3.1"],
    )
    .completed();
    let json = serde_json::to_string_pretty(&completed).expect("JSON");
    assert_eq!(json, include_str!("completed.json").trim_end());
}

#[test]
fn prebuilt_images_hold_torch_and_its_companions() {
    let image = Prebuilt {
        cuda: Version::parse("12.1"),
        python: (3, 10),
        torch: Version::parse("2.1.0"),
    };
    assert_eq!(
        image.packages(),
        [
            "torch==2.1.0",
            "opencv-python==4.12.0.88",
            "torchvision==0.16.0",
            "torchaudio==2.1.0"
        ]
    );
    for image in prebuilt_images() {
        let expected = if image.torch.is_some() { 4 } else { 0 };
        assert_eq!(image.packages().len(), expected, "{image:?}");
    }
}

#[test]
fn prebuilt_images_are_filtered_by_exact_versions() {
    let count = |cudas: &[&str], pythons: &[&str], torches: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        let filter = PrebuiltFilter {
            cudas: texts(cudas),
            pythons: texts(pythons),
            torches: texts(torches),
        };
        prebuilt_images()
            .iter()
            .filter(|image| filter.takes(image))
            .count()
    };
    assert_eq!(count(&[], &[], &[]), prebuilt_images().len());
    assert_eq!(count(&["12.1"], &["3.10", "3.11"], &["2.1.0", "2.1.2"]), 4);
    assert_eq!(count(&["12.1"], &["3.10"], &["2.1"]), 0);
    assert_eq!(count(&[], &["3.14"], &["2.9.0"]), 4);
}
