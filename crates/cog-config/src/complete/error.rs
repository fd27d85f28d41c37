//! What completion refuses, and what it warns of.

use std::fmt;

use cog_errors::Hint;
use serde::Serializer;
use serde::ser::SerializeSeq as _;

/// A project that can't be completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// CUDA follows from PyTorch's version, and there is none.
    #[error("torch version must be specified when using CUDA")]
    TorchVersion,
    /// A version of PyTorch or TensorFlow that isn't in the table.
    #[error(
        "cog doesn't know what CUDA version is compatible with {name}=={version}. You might need to upgrade Cog, or \
         say which one it needs with `cuda` in the `build` section of cog.yaml, e.g. `cuda: \"12.8\"`"
    )]
    UnknownFramework {
        /// `torch` or `tensorflow`.
        name: &'static str,
        /// As written.
        version: String,
    },
    /// `cudnn` is another than TensorFlow's.
    #[error(
        "the specified cuDNN version {cudnn} is not compatible with tensorflow=={version}.\nCompatible cuDNN version is: {compatible}"
    )]
    TensorflowCudnn {
        /// As written.
        cudnn: String,
        /// TensorFlow's version.
        version: String,
        /// Its cuDNN.
        compatible: String,
    },
    /// `cudnn` isn't offered for `cuda`.
    #[error(
        "the specified CUDA version {cuda} is not compatible with CuDNN {cudnn}.\nCompatible CuDNN versions are: {}", compatible.join(", ")
    )]
    CudaCudnn {
        /// As written.
        cuda: String,
        /// As written.
        cudnn: String,
        /// What is offered.
        compatible: Vec<String>,
    },
    /// No base image has this CUDA.
    #[error("CUDA {cuda} is not supported by Cog")]
    UnsupportedCuda {
        /// The version.
        cuda: String,
        /// The versions that are, lowest first.
        supported: Vec<String>,
    },
    /// `cuda` has one part.
    #[error("CUDA version \"{cuda}\" must include both major and minor versions")]
    CudaParts {
        /// As written.
        cuda: String,
    },
    /// `cuda`'s major is no number.
    #[error("invalid major version in CUDA version \"{cuda}\"")]
    CudaMajor {
        /// As written.
        cuda: String,
    },
    /// `cuda`'s minor is no number.
    #[error("invalid minor version in CUDA version \"{cuda}\"")]
    CudaMinor {
        /// As written.
        cuda: String,
    },
    /// `cuda` is too old.
    #[error("minimum supported CUDA version is 11, requested \"{cuda}\"")]
    OldCuda {
        /// As written.
        cuda: String,
    },
    /// `cog-base` was asked for and there is none that fits, or nothing to build on at all.
    #[error("{reason}")]
    NoBase {
        /// Why not.
        reason: String,
    },
    /// The SDK that is asked for is too old.
    #[error("cog version {version} is below the minimum required version 0.16.0")]
    OldSdk {
        /// As written.
        version: String,
    },
}

impl Hint for CompleteError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TorchVersion => {
                "write e.g. `torch==2.7.1` in the requirements, or say which CUDA is needed with `cuda` in the \
                 `build` section of cog.yaml"
                    .to_owned()
            }
            Self::UnsupportedCuda { supported, .. } => {
                format!("`cuda` can be {}", supported.join(", "))
            }
            Self::OldSdk { .. } => "remove `sdk_version` from cog.yaml".to_owned(),
            _ => return None,
        })
    }
}

/// Something about the project that works but may not be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompleteWarning {
    /// `cuda` is none of PyTorch's.
    UncertainCuda {
        /// As written.
        cuda: String,
        /// PyTorch's version.
        torch: String,
    },
    /// The table has no such torchvision.
    UnknownTorchvision {
        /// Its version.
        version: String,
    },
    /// No prebuilt base fits.
    NoCogBase {
        /// Why.
        reason: String,
    },
    /// Prebuilt bases come with one patch version of each Python.
    PythonPatch {
        /// As written.
        version: String,
        /// Without its patch.
        minor: String,
    },
}

impl CompleteWarning {
    /// Whether it says something of the images that are chosen among, not of the project.
    pub fn is_about_the_base(&self) -> bool {
        matches!(self, Self::NoCogBase { .. } | Self::PythonPatch { .. })
    }
}

impl fmt::Display for CompleteWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UncertainCuda { cuda, torch } => write!(
                formatter,
                "Cog doesn't know if CUDA {cuda} is compatible with PyTorch {torch}. This might cause CUDA problems."
            ),
            Self::UnknownTorchvision { version } => write!(
                formatter,
                "Cog doesn't know which PyTorch index has torchvision=={version}. It is installed from the default \
                 one, which might cause CUDA problems."
            ),
            Self::NoCogBase { reason } => write!(
                formatter,
                "Could not find a suitable base image, continuing without base image support ({reason})."
            ),
            Self::PythonPatch { version, minor } => write!(
                formatter,
                "Stripping patch version from Python version {version} to {minor}"
            ),
        }
    }
}

pub(super) fn as_texts<S: Serializer>(
    warnings: &[CompleteWarning],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(warnings.len()))?;
    for warning in warnings {
        list.serialize_element(&warning.to_string())?;
    }
    list.end()
}
