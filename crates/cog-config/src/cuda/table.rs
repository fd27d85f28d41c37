//! The tables as values, read from `data/` when they are first asked for.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use crate::version::Version;

/// A Python as major and minor.
pub type PythonMinor = (u32, u32);

/// What a build of PyTorch computes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Cpu,
    /// A GPU with this CUDA, as major and minor.
    Cuda(Version),
}

impl Accelerator {
    /// The CUDA version.
    pub fn cuda(&self) -> Option<&Version> {
        match self {
            Self::Cpu => None,
            Self::Cuda(version) => Some(version),
        }
    }

    /// As local version tags and index channels have it: `cpu`, `cu118`.
    pub fn tag(&self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda(version) => format!("cu{}{}", version.major, version.minor),
        }
    }
}

/// A PyTorch release for one accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchRow {
    /// Its version, without a local tag.
    pub torch: Version,
    /// What it computes on.
    pub accelerator: Accelerator,
    /// The local tag of its wheels.
    pub torch_tag: Option<&'static str>,
    /// The torchvision that belongs to it.
    pub torchvision: Version,
    /// The local tag of torchvision's wheels, where it matters.
    pub torchvision_tag: Option<&'static str>,
    /// The torchaudio that belongs to it.
    pub torchaudio: Version,
    /// The index channel; absent for PyPI.
    pub channel: Option<&'static str>,
    /// Pythons with wheels.
    pub pythons: RangeInclusive<PythonMinor>,
    /// Whether any base image offers this CUDA.
    pub usable: bool,
}

impl TorchRow {
    /// The index that has it; absent for PyPI.
    pub fn index_url(&self) -> Option<String> {
        self.channel
            .map(|channel| format!("https://download.pytorch.org/whl/{channel}/"))
    }
}

/// A TensorFlow release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorflowRow {
    /// Its version.
    pub tensorflow: Version,
    /// Its CUDA, as major and minor.
    pub cuda: Version,
    /// Its cuDNN, in full.
    pub cudnn: Version,
    /// Pythons with wheels.
    pub pythons: RangeInclusive<PythonMinor>,
}

/// An image with CUDA and cuDNN, in its flavour for development.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// CUDA in full.
    pub cuda: Version,
    /// cuDNN's major version.
    pub cudnn: u32,
    /// The Ubuntu release.
    pub ubuntu: Version,
    /// How its tag names cuDNN.
    tag_token: &'static str,
    /// The release as tags have it: `20.04`, which as a number would be `20.4`.
    ubuntu_text: &'static str,
}

impl fmt::Display for BaseImage {
    /// The reference.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cuda,
            tag_token,
            ubuntu_text,
            ..
        } = self;
        write!(
            formatter,
            "nvidia/cuda:{cuda}-{tag_token}-devel-ubuntu{ubuntu_text}"
        )
    }
}

/// All PyTorch releases.
pub fn torch_rows() -> &'static [TorchRow] {
    static ROWS: LazyLock<Vec<TorchRow>> = LazyLock::new(|| {
        rows(
            include_str!("../../data/torch.csv"),
            |cells: [&'static str; 10]| {
                let [
                    torch,
                    accelerator,
                    torch_tag,
                    torchvision,
                    torchvision_tag,
                    torchaudio,
                    channel,
                    first,
                    last,
                    usable,
                ] = cells;
                TorchRow {
                    torch: version(torch),
                    accelerator: match accelerator {
                        "cpu" => Accelerator::Cpu,
                        cuda => Accelerator::Cuda(version(cuda)),
                    },
                    torch_tag: filled(torch_tag),
                    torchvision: version(torchvision),
                    torchvision_tag: filled(torchvision_tag),
                    torchaudio: version(torchaudio),
                    channel: filled(channel),
                    pythons: minor(first)..=minor(last),
                    usable: usable == "yes",
                }
            },
        )
    });
    &ROWS
}

/// All TensorFlow releases.
pub fn tensorflow_rows() -> &'static [TensorflowRow] {
    static ROWS: LazyLock<Vec<TensorflowRow>> = LazyLock::new(|| {
        rows(
            include_str!("../../data/tensorflow.csv"),
            |[tensorflow, cuda, cudnn, _cudnn_major, first, last]: [&'static str; 6]| {
                TensorflowRow {
                    tensorflow: version(tensorflow),
                    cuda: version(cuda),
                    cudnn: version(cudnn),
                    pythons: minor(first)..=minor(last),
                }
            },
        )
    });
    &ROWS
}

/// All base images.
pub fn base_images() -> &'static [BaseImage] {
    static ROWS: LazyLock<Vec<BaseImage>> = LazyLock::new(|| {
        rows(
            include_str!("../../data/cuda_images.csv"),
            |[cuda, cudnn, ubuntu, tag_token]: [&'static str; 4]| BaseImage {
                cuda: version(cuda),
                cudnn: version(cudnn).major,
                ubuntu: version(ubuntu),
                tag_token,
                ubuntu_text: ubuntu,
            },
        )
    });
    &ROWS
}

fn rows<const CELLS: usize, Row>(
    text: &'static str,
    row: impl Fn([&'static str; CELLS]) -> Row,
) -> Vec<Row> {
    let lines = text.lines().skip(1).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            row(cells.try_into().expect("a table of this crate, tested"))
        })
        .collect()
}

fn filled(cell: &'static str) -> Option<&'static str> {
    Some(cell).filter(|cell| !cell.is_empty())
}

fn version(cell: &str) -> Version {
    Version::parse(cell).expect("a table of this crate, tested")
}

fn minor(cell: &str) -> PythonMinor {
    let version = version(cell);
    (version.major, version.minor)
}
