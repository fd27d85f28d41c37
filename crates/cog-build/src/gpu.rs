//! Whether a GPU project's packages can use the GPU: what was resolved, against what cog.yaml says and the driver that
//! this machine may have. Pure; nothing is refused, since a model may use its GPU in a way that is not seen here.

use cog_config::cuda::has_cpu_torch;
use cog_config::{Completed, Version};
use cog_engine::{Cuda, Driver};
use cog_python::accelerator::{
    FrameworkBuild, Target, onnxruntime_builds, tensorflow_build, torch_build,
};
use cog_python::resolution::Resolution;

/// PyTorch's index for the CPU, as a line of requirements names it.
const CPU_INDEX: &str = "https://download.pytorch.org/whl/cpu";

/// What the user should know, each with what can be done.
pub(crate) fn warnings(
    completed: &Completed,
    resolution: &Resolution,
    has_cuda: BaseCuda,
    driver: Option<&Driver>,
) -> Vec<String> {
    if !completed.gpu {
        return useless(completed, resolution).into_iter().collect();
    }
    let torch = torch_build(resolution);
    let onnx = onnxruntime_builds(resolution);
    let tensorflow = tensorflow_build(resolution);
    let frameworks: Vec<&FrameworkBuild> = torch.iter().chain(&tensorflow).collect();
    let mut warnings: Vec<String> = frameworks.iter().filter_map(|one| cpu_only(one)).collect();
    warnings.extend(
        torch
            .as_ref()
            .and_then(|torch| other_cuda(torch, completed)),
    );
    warnings.extend(
        tensorflow
            .as_ref()
            .and_then(|one| no_libraries(one, has_cuda)),
    );
    warnings.extend(driver.and_then(|driver| old_driver(driver, &frameworks)));
    warnings.extend(onnx_warning(&onnx, frameworks.is_empty()));
    warnings
}

/// CUDA in a project without a GPU. Who names a place where torch is means the one that is there.
fn useless(completed: &Completed, resolution: &Resolution) -> Option<String> {
    if completed.uses_torch_index() {
        return None;
    }
    let libraries = resolution.distributions.iter();
    let libraries: Vec<&str> = libraries
        .map(|one| one.name.as_str())
        .filter(|name| is_cuda_library(name))
        .collect();
    let torch = torch_build(resolution).filter(|torch| matches!(torch.target, Target::Cuda(_)));
    let packages = |libraries: &[&str]| match libraries {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first, ..] => format!("{} packages such as `{first}`", libraries.len()),
    };
    let Some(torch) = torch else {
        return (!libraries.is_empty()).then(|| {
            format!(
                "`gpu: false`, but the packages bring CUDA, which only a GPU uses: {}; write `gpu: true`, or ask for a \
                 package that does without, such as `tensorflow-cpu` or `xgboost-cpu`",
                packages(&libraries)
            )
        });
    };
    let with = match libraries.as_slice() {
        [] => String::new(),
        some => format!(", with {}", packages(some)),
    };
    let version = torch.version.split('+').next().unwrap_or_default();
    let is_known = Version::parse(version).is_some_and(|version| has_cpu_torch(&version));
    let line = if is_known {
        format!("torch=={version}")
    } else {
        format!("torch=={version} --extra-index-url {CPU_INDEX}")
    };
    Some(format!(
        "`gpu: false`, but torch {} is built for CUDA{with}, which takes gigabytes: write `{line}` in the requirements, and \
         it comes from PyTorch's index for the CPU; or write `gpu: true`",
        torch.version
    ))
}

/// Whether this is a package of NVIDIA's with a library for programs on GPUs.
fn is_cuda_library(name: &str) -> bool {
    const LIBRARIES: [&str; 12] = [
        "cublas",
        "cuda-",
        "cudnn",
        "cufft",
        "cufile",
        "curand",
        "cusolver",
        "cusparse",
        "nccl",
        "nvjitlink",
        "nvshmem",
        "nvtx",
    ];
    let rest = name.strip_prefix("nvidia-");
    rest.is_some_and(|rest| LIBRARIES.iter().any(|library| rest.starts_with(library)))
}

/// Whether the base brings CUDA's libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BaseCuda {
    Yes,
    No,
}

fn cpu_only(framework: &FrameworkBuild) -> Option<String> {
    let FrameworkBuild { name, version, .. } = framework;
    framework.is_cpu_only().then(|| {
        format!(
            "`gpu: true`, but {name} {version} is built for the CPU alone: take `+cpu` and indexes that end in `/cpu` \
             out of the requirements, or write `gpu: false`"
        )
    })
}

fn other_cuda(torch: &FrameworkBuild, completed: &Completed) -> Option<String> {
    let wanted: Cuda = completed.cuda.as_deref()?.parse().ok()?;
    let (major, minor) = torch.cuda()?;
    let built = Cuda { major, minor };
    (built != wanted).then(|| {
        format!(
            "torch {} is built for CUDA {built} and brings its libraries, while the project is completed for CUDA \
             {wanted}: this matters for what is compiled with `nvcc` and for old drivers; `cuda: \"{built}\"` in cog.yaml \
             makes both equal",
            torch.version
        )
    })
}

fn no_libraries(tensorflow: &FrameworkBuild, has_cuda: BaseCuda) -> Option<String> {
    let bare = has_cuda == BaseCuda::No && tensorflow.target == Target::Cuda(None);
    bare.then(|| {
        format!(
            "neither the base nor a package brings CUDA's libraries for tensorflow {version}: write \
             `tensorflow[and-cuda]=={version}` in the requirements, or use a base with CUDA",
            version = tensorflow.version
        )
    })
}

fn old_driver(driver: &Driver, frameworks: &[&FrameworkBuild]) -> Option<String> {
    let newest = driver.newest_cuda();
    frameworks.iter().find_map(|framework| {
        let (major, minor) = framework.cuda()?;
        let built = Cuda { major, minor };
        (!driver.runs(built)).then(|| {
            let supports = newest.map_or("no CUDA of today".to_owned(), |cuda| {
                format!("CUDA up to {cuda}")
            });
            format!(
                "{} {} is built for CUDA {built}, and this machine's NVIDIA driver {} supports {supports}: update the \
                 driver, or pin a version that is built for an older CUDA",
                framework.name,
                framework.version,
                driver.version()
            )
        })
    })
}

fn onnx_warning(builds: &[FrameworkBuild], alone: bool) -> Option<String> {
    match builds {
        [one] if one.name == "onnxruntime" && alone => Some(
            "`gpu: true`, but `onnxruntime` uses the CPU alone: write `onnxruntime-gpu` instead"
                .to_owned(),
        ),
        [first, second, ..] => Some(format!(
            "`{}` and `{}` overwrite each other's files: keep one of them",
            first.name, second.name
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cog_config::{Build, Config, Options, complete};
    use cog_python::resolution::{Origin, Pinned};

    use super::*;

    fn pinned(name: &str, version: &str) -> Pinned {
        Pinned {
            name: name.to_owned(),
            version: Some(version.to_owned()),
            origin: Origin::Index { files: Vec::new() },
        }
    }

    fn resolution(packages: &[(&str, &str)]) -> Resolution {
        let distributions = packages.iter();
        let distributions = distributions.map(|(name, version)| pinned(name, version));
        Resolution {
            distributions: distributions.collect(),
            ..Resolution::default()
        }
    }

    fn check(cuda: &str, packages: &[(&str, &str)], base: BaseCuda, driver: &str) -> Vec<String> {
        let config = Config {
            build: Some(Build {
                gpu: true,
                cuda: Some(cuda.to_owned()),
                ..Build::default()
            }),
            ..Config::default()
        };
        let completed = complete(&config, &[], &Options::default()).expect("it completes");
        warnings(
            &completed,
            &resolution(packages),
            base,
            Driver::parse(driver).as_ref(),
        )
    }

    fn without_gpu(requirements: &[&str], packages: &[(&str, &str)]) -> Vec<String> {
        let lines: Vec<String> = requirements.iter().map(ToString::to_string).collect();
        let completed = complete(&Config::default(), &lines, &Options::default());
        let completed = completed.expect("it completes");
        warnings(&completed, &resolution(packages), BaseCuda::No, None)
    }

    #[test]
    fn cuda_without_a_gpu_is_told_with_the_fix() {
        let libraries = [
            ("nvidia-cublas-cu12", "12.1"),
            ("nvidia-cuda-runtime-cu12", "12.1.105"),
        ];
        let torch = |version| [&libraries[..], &[("torch", version)]].concat();
        let table: [(&[(&str, &str)], &str); 4] = [
            (
                &torch("2.3.1"),
                "torch 2.3.1 is built for CUDA, with 2 packages such as `nvidia-cublas-cu12`, which takes gigabytes: write \
                 `torch==2.3.1` in",
            ),
            (
                &torch("99.1"),
                "write `torch==99.1 --extra-index-url https://download.pytorch.org/whl/cpu` in",
            ),
            (
                &libraries,
                "2 packages such as `nvidia-cublas-cu12`; write `gpu: true`",
            ),
            (
                &[("nvidia-nccl-cu12", "2")],
                "only a GPU uses: `nvidia-nccl-cu12`;",
            ),
        ];
        for (packages, expected) in table {
            let warnings = without_gpu(&["sentence-transformers"], packages);
            assert_eq!(warnings.len(), 1, "{packages:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
        for packages in [
            &[("torch", "2.3.1+cpu")][..],
            &[("torch", "2.3.1")],
            &[("nvidia-ml-py", "12")],
        ] {
            assert_eq!(without_gpu(&[], packages), [""; 0]);
        }
        let chosen = without_gpu(&["torch==2.3.1"], &torch("2.3.1"));
        assert_eq!(chosen, [""; 0]);
    }

    #[test]
    fn what_could_not_see_the_gpu_is_told_with_the_fix() {
        type Case<'a> = (
            &'a str,
            &'a [(&'a str, &'a str)],
            BaseCuda,
            &'a str,
            &'a [&'a str],
        );
        let table: [Case<'_>; 7] = [
            ("12.1", &[("torch", "2.3.1")], BaseCuda::No, "", &[]),
            (
                "12.1",
                &[("torch", "2.3.1+cpu")],
                BaseCuda::Yes,
                "",
                &["torch 2.3.1+cpu is built for the CPU alone"],
            ),
            (
                "12.4",
                &[("nvidia-cuda-runtime-cu12", "12.1.105"), ("torch", "2.3.1")],
                BaseCuda::No,
                "",
                &["`cuda: \"12.1\"` in cog.yaml"],
            ),
            (
                "12.1",
                &[("torch", "2.3.1+cu121")],
                BaseCuda::No,
                "470.82.01",
                &["driver 470.82.01 supports CUDA up to 11.4"],
            ),
            (
                "12.3",
                &[("tensorflow", "2.16.1")],
                BaseCuda::No,
                "",
                &["`tensorflow[and-cuda]==2.16.1`"],
            ),
            ("12.3", &[("tensorflow", "2.16.1")], BaseCuda::Yes, "", &[]),
            (
                "12.1",
                &[("onnxruntime", "1.17"), ("onnxruntime-gpu", "1.17")],
                BaseCuda::No,
                "",
                &["overwrite each other's files"],
            ),
        ];
        for (cuda, packages, base, driver, expected) in table {
            let warnings = check(cuda, packages, base, driver);
            assert_eq!(warnings.len(), expected.len(), "{packages:?}: {warnings:?}");
            for (warning, part) in warnings.iter().zip(expected) {
                assert!(warning.contains(part), "{warning}");
            }
        }
        let onnx = check("12.1", &[("onnxruntime", "1.17")], BaseCuda::No, "");
        assert!(onnx[0].contains("`onnxruntime-gpu`"));
    }
}
