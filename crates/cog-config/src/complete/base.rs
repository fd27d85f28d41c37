//! The images that a project can be built on, the best first.

use std::sync::LazyLock;

use serde::Serialize;

use super::{CogBase, CompleteError, CompleteWarning, CudaBase, Notes, Options, Python, prebuilt};
use crate::cuda::{self, PythonMinor};
use crate::version::Version;

/// From this CUDA on, prebuilt images have a Python of uv's.
const UV_PYTHON_SINCE_CUDA: u32 = 13;

/// An image to build on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseCandidate {
    /// What it brings.
    pub kind: BaseKind,
    /// Where it is; absent if there is none for this project.
    pub reference: Option<String>,
    /// Why this one, or why there is none.
    pub reason: String,
    /// Debian packages to install on it.
    pub system_packages: Vec<String>,
    /// Whether its Python is one of uv's, which takes packages only with `--break-system-packages`.
    pub uv_python: bool,
}

/// What an image brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseKind {
    /// Python, perhaps CUDA and PyTorch, and the packages that projects commonly use.
    CogBase,
    /// CUDA and cuDNN, for development; no Python.
    Cuda,
    /// Python alone.
    Slim,
}

/// What the choice depends on.
pub(super) struct Wanted<'a> {
    pub(super) python: &'a Python,
    pub(super) gpu: bool,
    pub(super) cuda: Option<&'a str>,
    pub(super) cudnn: Option<&'a str>,
    pub(super) torch: Option<&'a str>,
    pub(super) system_packages: &'a [String],
}

pub(super) fn candidates(
    wanted: &Wanted<'_>,
    options: &Options,
    notes: &mut Notes,
) -> Result<Vec<BaseCandidate>, CompleteError> {
    let cog_base = match options.cog_base {
        CogBase::Off => None,
        CogBase::Preferred | CogBase::Required => Some(wanted.cog_base(options, notes)),
    };
    let missing = cog_base.as_ref().filter(|base| base.reference.is_none());
    let reason = missing.map(|base| base.reason.clone());
    let mut bases: Vec<BaseCandidate> = cog_base.into_iter().collect();
    match (options.cog_base, reason) {
        (CogBase::Required, Some(reason)) => return Err(CompleteError::NoBase { reason }),
        (CogBase::Required, None) => {}
        (_, reason) => {
            if let Some(reason) = reason {
                notes.warn(CompleteWarning::NoCogBase { reason });
            }
            bases.push(if wanted.gpu && options.cuda_base == CudaBase::Auto {
                wanted.cuda()
            } else {
                wanted.slim()
            });
        }
    }
    for base in &bases {
        let value = base.reference.as_deref().unwrap_or("none");
        notes.decide("base", value, &base.reason);
    }
    Ok(bases)
}

impl Wanted<'_> {
    fn cog_base(&self, options: &Options, notes: &mut Notes) -> BaseCandidate {
        let Python { version, minor } = self.python;
        if version != minor {
            notes.warn(CompleteWarning::PythonPatch {
                version: version.clone(),
                minor: minor.clone(),
            });
        }
        let cuda = self.cuda.and_then(Version::parse);
        let torch = self.torch.filter(|torch| !torch.is_empty());
        let found = match (self.cuda, &cuda, python_minor(minor)) {
            // A CUDA that is no version is in no image.
            (Some(_), None, _) | (_, _, None) => None,
            (_, cuda, Some(python)) => {
                let torch = torch.and_then(Version::parse);
                prebuilt::find(cuda.as_ref(), python, torch.as_ref())
            }
        };
        let reason = match &found {
            Some(image) if image.torch.is_some() || torch.is_none() => {
                "prebuilt with what the project asks for".to_owned()
            }
            Some(_) => format!("prebuilt; none has torch {}", torch.unwrap_or_default()),
            None => format!(
                "unsupported base image configuration: CUDA: {} / Python: {minor} / Torch: {}",
                self.cuda.unwrap_or("(none)"),
                torch.unwrap_or("(none)"),
            ),
        };
        let (held, missing): (Vec<String>, Vec<String>) = self
            .system_packages
            .iter()
            .cloned()
            .partition(|package| is_in_cog_base(package));
        let reason = match held.as_slice() {
            [] => reason,
            held => format!("{reason}; has {}", held.join(", ")),
        };
        BaseCandidate {
            kind: BaseKind::CogBase,
            reference: found.map(|image| image.reference(&options.registry_host)),
            reason,
            system_packages: missing,
            uv_python: cuda.is_some_and(|cuda| cuda.major >= UV_PYTHON_SINCE_CUDA),
        }
    }

    fn cuda(&self) -> BaseCandidate {
        let [cuda, cudnn] = [self.cuda, self.cudnn].map(Option::unwrap_or_default);
        let image = Version::parse(cuda)
            .zip(cudnn.parse().ok())
            .and_then(|(cuda, cudnn)| cuda::base_image(&cuda, cudnn));
        let reason = if image.is_some() {
            format!("the newest with CUDA {cuda} and cuDNN {cudnn}")
        } else {
            format!("no matching base image for CUDA {cuda} and CuDNN {cudnn}")
        };
        BaseCandidate {
            kind: BaseKind::Cuda,
            reference: image.map(ToString::to_string),
            reason,
            system_packages: self.system_packages.to_vec(),
            uv_python: true,
        }
    }

    fn slim(&self) -> BaseCandidate {
        let reason = if self.gpu {
            "a base with CUDA is not wanted: CUDA comes with the Python packages"
        } else {
            "Python alone: no GPU is asked for"
        };
        BaseCandidate {
            kind: BaseKind::Slim,
            reference: Some(format!("python:{}-slim", self.python.version)),
            reason: reason.to_owned(),
            system_packages: self.system_packages.to_vec(),
            uv_python: false,
        }
    }
}

/// Debian packages that every prebuilt image holds.
static PROMISED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("../../data/cog-base-packages.txt").lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
});

/// Whether prebuilt images hold the Debian package.
pub fn is_in_cog_base(package: &str) -> bool {
    PROMISED.contains(&package)
}

fn python_minor(text: &str) -> Option<PythonMinor> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
