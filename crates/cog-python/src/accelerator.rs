//! What the resolved frameworks can use: the CPU alone, or the GPUs of a CUDA or ROCm version.
//!
//! Told from what a [`Resolution`] says, without opening any wheel: the local part of a version (`2.3.1+cu118`), the
//! libraries that come as packages of their own (`nvidia-cuda-runtime-cu12`), and the index that a file is from.

use crate::resolution::{Origin, Pinned, Resolution};

/// Major and minor version of CUDA.
pub type Cuda = (u32, u32);

/// What a framework was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameworkBuild {
    /// The distribution, such as `torch` or `onnxruntime-gpu`.
    pub name: String,
    /// Its version, with the local part.
    pub version: String,
    /// The hardware.
    pub target: Target,
    /// How that is known.
    pub source: Source,
}

/// The hardware that a framework uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// No GPU.
    Cpu,
    /// GPUs through CUDA; the version where it is known.
    Cuda(Option<Cuda>),
    /// GPUs through ROCm; the version as written.
    Rocm(String),
    /// GPUs through something else, such as `xpu`.
    Other(String),
    /// Nothing says.
    Unknown,
}

/// How it is known what a framework was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The local part of the version.
    LocalVersion(String),
    /// A distribution with libraries of CUDA, such as `nvidia-cuda-runtime-cu12`.
    Library(String),
    /// The address of its file.
    Index(String),
    /// What that distribution is on the public index, without saying so.
    Convention,
}

impl FrameworkBuild {
    /// The CUDA version it was built for, if that is known.
    pub fn cuda(&self) -> Option<Cuda> {
        match self.target {
            Target::Cuda(version) => version,
            _ => None,
        }
    }

    /// Whether it is known to use no GPU.
    pub fn is_cpu_only(&self) -> bool {
        self.target == Target::Cpu
    }
}

/// What the resolved torch was built for; none if there is no torch.
pub fn torch_build(resolution: &Resolution) -> Option<FrameworkBuild> {
    let torch = resolution.pin("torch")?;
    let told = local_version(torch)
        .or_else(|| cuda_library(resolution))
        .or_else(|| index(torch));
    let (target, source) = told.unwrap_or_else(|| match pypi_cuda(torch) {
        Some(cuda) => (Target::Cuda(Some(cuda)), Source::Convention),
        None => (Target::Unknown, Source::Convention),
    });
    Some(build(torch, target, source))
}

/// What each of the resolved ONNX Runtimes was built for. More than one overwrite each other's files.
pub fn onnxruntime_builds(resolution: &Resolution) -> Vec<FrameworkBuild> {
    let known = [
        ("onnxruntime", Target::Cpu),
        ("onnxruntime-gpu", Target::Cuda(None)),
        ("onnxruntime-rocm", Target::Rocm(String::new())),
        ("onnxruntime-openvino", Target::Other("openvino".to_owned())),
    ];
    let builds = known.into_iter().filter_map(|(name, target)| {
        let one = resolution.pin(name)?;
        let exact = match target {
            Target::Cuda(None) => local_version(one)
                .or_else(|| cuda_library(resolution))
                .or_else(|| onnxruntime_cuda(one)),
            _ => None,
        };
        let (target, source) = exact.unwrap_or((target, Source::Convention));
        Some(build(one, target, source))
    });
    builds.collect()
}

/// What the resolved TensorFlow can use; none if there is none. Since 2.11 one wheel serves both, and uses a GPU if
/// CUDA's libraries come with it (`tensorflow[and-cuda]`) or with the base.
pub fn tensorflow_build(resolution: &Resolution) -> Option<FrameworkBuild> {
    if let Some(cpu) = resolution.pin("tensorflow-cpu") {
        return Some(build(cpu, Target::Cpu, Source::Convention));
    }
    let one = resolution
        .pin("tensorflow")
        .or_else(|| resolution.pin("tensorflow-gpu"))?;
    let (target, source) =
        cuda_library(resolution).unwrap_or((Target::Cuda(None), Source::Convention));
    Some(build(one, target, source))
}

fn build(one: &Pinned, target: Target, source: Source) -> FrameworkBuild {
    FrameworkBuild {
        name: one.name.clone(),
        version: one.version.clone().unwrap_or_default(),
        target,
        source,
    }
}

/// From the part behind `+`, of the version or, where that is missing, of the file.
fn local_version(one: &Pinned) -> Option<(Target, Source)> {
    let local = one.version.as_deref()?.split_once('+')?.1;
    let target = target_of_tag(local)?;
    Some((target, Source::LocalVersion(local.to_owned())))
}

/// What `cpu`, `cu118`, `rocm6.0` or `xpu` mean. Of `cu121.with.pypi.cudnn` and `cpu.cxx11.abi`, the first part counts.
fn target_of_tag(tag: &str) -> Option<Target> {
    let tag = tag.to_ascii_lowercase();
    let first = tag.split(['.', '_']).next().unwrap_or_default();
    if first == "cpu" {
        return Some(Target::Cpu);
    }
    if let Some(version) = tag.strip_prefix("rocm") {
        return Some(Target::Rocm(version.to_owned()));
    }
    if let Some(digits) = first.strip_prefix("cu") {
        return cuda_of_digits(digits).map(|cuda| Target::Cuda(Some(cuda)));
    }
    (first == "xpu").then(|| Target::Other(first.to_owned()))
}

/// `118` is 11.8, `92` is 9.2: the last digit is the minor version.
fn cuda_of_digits(digits: &str) -> Option<Cuda> {
    let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
    Some((number(major)?, number(minor)?))
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// From `nvidia-cuda-runtime-cu12` (CUDA 11 and 12) or `nvidia-cuda-runtime` (since 13).
fn cuda_library(resolution: &Resolution) -> Option<(Target, Source)> {
    let library = resolution.distributions.iter().find(|one| {
        one.name
            .strip_prefix("nvidia-cuda-runtime")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("-cu"))
    })?;
    let mut numbers = library.version.as_deref()?.split('.');
    let cuda = (number(numbers.next()?)?, number(numbers.next()?)?);
    Some((
        Target::Cuda(Some(cuda)),
        Source::Library(library.name.clone()),
    ))
}

/// From a part of the file's address that is such a tag, as `https://…/whl/cu118/torch-2.3.1-….whl`.
fn index(one: &Pinned) -> Option<(Target, Source)> {
    let urls: Vec<&str> = match &one.origin {
        Origin::Index { files } => files.iter().map(|file| file.url.as_str()).collect(),
        Origin::Archive { url, .. } => vec![url],
        Origin::Git { .. } | Origin::Local { .. } => Vec::new(),
    };
    urls.into_iter().find_map(|url| {
        let path = url.split_once("://")?.1;
        let target = path.split('/').skip(1).find_map(|part| {
            let local = part.split_once("%2B").or_else(|| part.split_once('+'));
            target_of_tag(local.map_or(part, |(_, rest)| rest.split('-').next().unwrap_or(rest)))
        })?;
        Some((target, Source::Index(url.to_owned())))
    })
}

/// CUDA of the torch that the public index has for Linux, of the time before its libraries were packages of their own.
const PYPI_TORCH: [((u32, u32), Cuda); 6] = [
    ((1, 12), (10, 2)),
    ((1, 11), (10, 2)),
    ((1, 10), (10, 2)),
    ((1, 9), (10, 2)),
    ((1, 8), (10, 2)),
    ((1, 7), (10, 2)),
];

fn pypi_cuda(torch: &Pinned) -> Option<Cuda> {
    let mut numbers = torch.version.as_deref()?.split('.');
    let version = (number(numbers.next()?)?, number(numbers.next()?)?);
    let is_x86 = match &torch.origin {
        Origin::Index { files } => files.iter().any(|file| file.url.contains("x86_64")),
        _ => false,
    };
    let known = PYPI_TORCH.into_iter().find(|(known, _)| *known == version);
    known.filter(|_| is_x86).map(|(_, cuda)| cuda)
}

/// CUDA of the `onnxruntime-gpu` that the public index has: 11.8 up to 1.18, 12 since 1.19.
fn onnxruntime_cuda(one: &Pinned) -> Option<(Target, Source)> {
    let mut numbers = one.version.as_deref()?.split('.');
    let version = (number(numbers.next()?)?, number(numbers.next()?)?);
    let cuda = match version {
        (1, 15..=18) => (11, 8),
        (1, 19..=22) => (12, 0),
        _ => return None,
    };
    Some((Target::Cuda(Some(cuda)), Source::Convention))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolution::IndexFile;

    fn resolution(pins: &[(&str, &str)]) -> Resolution {
        let mut distributions: Vec<Pinned> = pins
            .iter()
            .map(|(requirement, url)| {
                let (name, version) = requirement.split_once("==").unwrap();
                Pinned {
                    name: name.to_owned(),
                    version: Some(version.to_owned()),
                    origin: Origin::Index {
                        files: vec![IndexFile {
                            url: (*url).to_owned(),
                            hashes: Vec::new(),
                            size: None,
                        }],
                    },
                }
            })
            .collect();
        distributions.sort_by(|a, b| a.name.cmp(&b.name));
        Resolution {
            options: Vec::new(),
            distributions,
        }
    }

    const PYPI: &str = "https://files.example.org/packages/aa/torch-x-manylinux_2_28_x86_64.whl";

    #[test]
    fn torch_says_what_it_was_built_for() {
        let cuda = |major, minor| Target::Cuda(Some((major, minor)));
        let table: &[(&[(&str, &str)], Target)] = &[
            (&[("torch==2.3.1+cu118", PYPI)], cuda(11, 8)),
            (&[("torch==2.3.1+cpu", PYPI)], Target::Cpu),
            (&[("torch==2.0.1+cpu.cxx11.abi", PYPI)], Target::Cpu),
            (&[("torch==2.0.1+cu117.with.pypi.cudnn", PYPI)], cuda(11, 7)),
            (&[("torch==2.9.0+cu130", PYPI)], cuda(13, 0)),
            (&[("torch==1.7.1+cu92", PYPI)], cuda(9, 2)),
            (
                &[("torch==2.4.0+rocm6.0", PYPI)],
                Target::Rocm("6.0".to_owned()),
            ),
            (
                &[("torch==2.7.0+xpu", PYPI)],
                Target::Other("xpu".to_owned()),
            ),
            (
                &[
                    ("torch==2.3.1", PYPI),
                    ("nvidia-cuda-runtime-cu12==12.1.105", PYPI),
                ],
                cuda(12, 1),
            ),
            (
                &[
                    ("torch==2.11.0", PYPI),
                    ("nvidia-cuda-runtime==13.0.96", PYPI),
                ],
                cuda(13, 0),
            ),
            // What the version says is of the wheel itself; the library may be another's.
            (
                &[
                    ("torch==2.3.1+cpu", PYPI),
                    ("nvidia-cuda-runtime-cu12==12.1.105", PYPI),
                ],
                Target::Cpu,
            ),
            (
                &[(
                    "torch==1.13.1",
                    "https://e.org/whl/cu116/torch-1.13.1-cp310-linux_x86_64.whl",
                )],
                cuda(11, 6),
            ),
            (
                &[(
                    "torch==2.3.1",
                    "https://e.org/whl/torch-2.3.1%2Bcpu-cp310-linux.whl",
                )],
                Target::Cpu,
            ),
            (&[("torch==1.12.1", PYPI)], cuda(10, 2)),
            (
                &[(
                    "torch==2.3.1",
                    "https://e.org/aa/torch-x-manylinux_aarch64.whl",
                )],
                Target::Unknown,
            ),
            (&[("torch==2.3.1+mybuild", PYPI)], Target::Unknown),
            (&[("torch==2.3.1+cu", PYPI)], Target::Unknown),
            (
                &[
                    ("torch==2.3.1", PYPI),
                    ("nvidia-cuda-runtime-cu12==odd", PYPI),
                ],
                Target::Unknown,
            ),
        ];
        for (pins, expected) in table {
            let build = torch_build(&resolution(pins)).unwrap();
            assert_eq!(build.target, *expected, "{pins:?}");
        }
        assert_eq!(
            torch_build(&resolution(&[("torchvision==0.1+cpu", PYPI)])),
            None
        );
        let build = torch_build(&resolution(&[("torch==2.3.1+cu118", PYPI)])).unwrap();
        assert_eq!(build.version, "2.3.1+cu118");
        assert_eq!(build.cuda(), Some((11, 8)));
        assert_eq!(build.source, Source::LocalVersion("cu118".to_owned()));
        assert!(!build.is_cpu_only());
    }

    #[test]
    fn onnxruntimes_are_told_apart() {
        let targets = |pins: &[(&str, &str)]| {
            onnxruntime_builds(&resolution(pins))
                .into_iter()
                .map(|build| build.target)
                .collect::<Vec<_>>()
        };
        assert_eq!(targets(&[("onnxruntime==1.20.0", PYPI)]), [Target::Cpu]);
        assert_eq!(
            targets(&[
                ("onnxruntime-gpu==1.16.0", PYPI),
                ("onnxruntime==1.16.0", PYPI)
            ]),
            [Target::Cpu, Target::Cuda(Some((11, 8)))]
        );
        assert_eq!(
            targets(&[("onnxruntime-gpu==9.0.0", PYPI)]),
            [Target::Cuda(None)]
        );
        assert_eq!(targets(&[]), []);
    }

    #[test]
    fn tensorflow_uses_the_cuda_that_comes_with_it() {
        let target =
            |pins: &[(&str, &str)]| tensorflow_build(&resolution(pins)).map(|build| build.target);
        assert_eq!(
            target(&[
                ("tensorflow==2.17.0", PYPI),
                ("nvidia-cuda-runtime-cu12==12.3.101", PYPI)
            ]),
            Some(Target::Cuda(Some((12, 3))))
        );
        assert_eq!(
            target(&[("tensorflow==2.17.0", PYPI)]),
            Some(Target::Cuda(None))
        );
        assert_eq!(
            target(&[("tensorflow-cpu==2.17.0", PYPI)]),
            Some(Target::Cpu)
        );
        assert_eq!(target(&[("torch==2.17.0", PYPI)]), None);
    }
}
