//! CUDA and cuDNN of a GPU project.

use super::{CompleteError, CompleteWarning, Found, Notes};
use crate::config::Build;
use crate::cuda::{self, DEFAULT_CUDA};
use crate::version::Version;

const OLDEST_CUDA: u32 = 11;

/// The versions, as the image's label has them.
pub(super) struct Cuda {
    pub(super) cuda: Option<String>,
    pub(super) cudnn: Option<String>,
}

type Result<T> = std::result::Result<T, CompleteError>;

/// Completes the versions of a GPU project; of others they stay as written.
pub(super) fn complete(build: &Build, found: &Found, notes: &mut Notes) -> Result<Cuda> {
    let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (cuda, cudnn) = (written(&build.cuda), written(&build.cudnn));
    if let Some(cuda) = &cuda {
        notes.decide("cuda", cuda, "`build.cuda`");
    }
    if let Some(cudnn) = &cudnn {
        notes.decide("cudnn", cudnn, "`build.cudnn`");
    }
    if !build.gpu {
        return Ok(Cuda { cuda, cudnn });
    }
    let explicit = cuda.as_deref().map(check).transpose()?;
    if let (Some(version), Some(cudnn)) = (&explicit, &cudnn) {
        check_pair(version, cudnn)?;
    }
    let mut completion = Completion {
        explicit,
        cudnn,
        notes,
    };
    let (cuda, cudnn) = completion.run(found)?;
    Ok(Cuda {
        cuda: Some(cuda),
        cudnn: Some(cudnn),
    })
}

struct Completion<'a> {
    explicit: Option<Version>,
    cudnn: Option<String>,
    notes: &'a mut Notes,
}

impl Completion<'_> {
    fn run(&mut self, found: &Found) -> Result<(String, String)> {
        // A project that says its CUDA needs no version of torch to tell it.
        if found.torch.as_deref() == Some("") && self.explicit.is_none() {
            return Err(CompleteError::TorchVersion);
        }
        let said = |version: &Option<String>| version.clone().filter(|text| !text.is_empty());
        if let Some(version) = said(&found.tensorflow) {
            return self.tensorflow(&version);
        }
        let cuda = match said(&found.torch) {
            Some(version) => self.torch(&version)?,
            None => self.neither(),
        };
        let cudnn = self.highest_cudnn(&cuda)?;
        Ok((cuda.to_string(), cudnn))
    }

    fn tensorflow(&mut self, text: &str) -> Result<(String, String)> {
        let row = Version::parse(text).and_then(|version| cuda::tensorflow_row(&version));
        let cuda = match (self.explicit.clone(), row) {
            (Some(cuda), _) => cuda,
            (None, None) => {
                return Err(CompleteError::UnknownFramework {
                    name: "tensorflow",
                    version: text.to_owned(),
                });
            }
            (None, Some(row)) => {
                self.notes.decide(
                    "cuda",
                    row.cuda.major_minor(),
                    format!("tensorflow {} is built for it", row.tensorflow),
                );
                row.cuda.clone()
            }
        };
        let Some(row) = row else {
            let cudnn = self.highest_cudnn(&cuda)?;
            return Ok((cuda.to_string(), cudnn));
        };
        let compatible = row.cudnn.major.to_string();
        match self.cudnn.clone() {
            Some(cudnn) if cudnn != compatible => Err(CompleteError::TensorflowCudnn {
                cudnn,
                version: text.to_owned(),
                compatible,
            }),
            Some(cudnn) => Ok((cuda.to_string(), cudnn)),
            None => {
                let reason = format!("tensorflow {} is built for it", row.tensorflow);
                self.notes.decide("cudnn", &compatible, reason);
                Ok((cuda.to_string(), compatible))
            }
        }
    }

    fn torch(&mut self, text: &str) -> Result<Version> {
        let version = torch_version(text);
        let known: Vec<&Version> = version
            .as_ref()
            .map(cuda::cudas_of_torch)
            .unwrap_or_default();
        if let Some(cuda) = self.explicit.clone() {
            if !known.iter().any(|known| known.matches(&cuda)) {
                self.notes.warn(CompleteWarning::UncertainCuda {
                    cuda: cuda.to_string(),
                    torch: text.to_owned(),
                });
            }
            return Ok(cuda);
        }
        let tagged = version
            .as_ref()
            .and_then(|version| version.local.as_deref());
        if let Some(&cuda) = known.last() {
            let reason = match known.as_slice() {
                [_] if tagged.is_some() => format!("torch {text} is built for it"),
                [_] => format!("the only CUDA that torch {text} is built for"),
                known => {
                    let list: Vec<String> = known.iter().map(ToString::to_string).collect();
                    format!(
                        "the newest that torch {text} is built for ({})",
                        list.join(", ")
                    )
                }
            };
            self.notes.decide("cuda", cuda.to_string(), reason);
            return Ok(cuda.clone());
        }
        // A build that isn't in the table can say itself what it is for.
        if let Some(cuda) = text.rsplit_once('+').and_then(|(_, tag)| cuda_of_tag(tag)) {
            let reason = format!("the version of torch says so: {text}");
            self.notes.decide("cuda", cuda.to_string(), reason);
            return Ok(cuda);
        }
        Err(CompleteError::UnknownFramework {
            name: "torch",
            version: text.to_owned(),
        })
    }

    fn neither(&mut self) -> Version {
        self.explicit.clone().unwrap_or_else(|| {
            self.notes.decide(
                "cuda",
                DEFAULT_CUDA,
                "the default: the requirements name neither torch nor tensorflow with a version",
            );
            Version::parse(DEFAULT_CUDA).expect("a literal")
        })
    }

    /// The written cuDNN, else the newest that base images have for this CUDA.
    fn highest_cudnn(&mut self, cuda: &Version) -> Result<String> {
        let offered = cuda::cudnns_of_cuda(cuda);
        let Some(highest) = offered.first() else {
            return Err(unsupported(cuda));
        };
        if let Some(cudnn) = &self.cudnn {
            return Ok(cudnn.clone());
        }
        let cudnn = highest.to_string();
        let reason = format!("the newest that base images with CUDA {cuda} have");
        self.notes.decide("cudnn", &cudnn, reason);
        Ok(cudnn)
    }
}

/// The version of a `torch==…` or, for `torch @ URL`, of the wheel's file name. A wildcard stands for what it leaves
/// open.
fn torch_version(text: &str) -> Option<Version> {
    if text.contains("://") {
        let file = text
            .rsplit('/')
            .next()?
            .replace("%2B", "+")
            .replace("%2b", "+");
        return Version::parse(file.split('-').nth(1)?);
    }
    Version::parse(text.trim_end_matches(".*"))
}

fn cuda_of_tag(tag: &str) -> Option<Version> {
    let tag = tag
        .split(|character: char| !character.is_ascii_alphanumeric())
        .next()?;
    Version::parse(&cuda::cuda_of_index(tag)?)
}

/// Numbers, of which the second is checked here only, since it matters to GPU projects only.
fn check(cuda: &str) -> Result<Version> {
    let owned = || cuda.to_owned();
    let mut parts = cuda.split('.');
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else {
        return Err(CompleteError::CudaParts { cuda: owned() });
    };
    let major: u32 = major
        .parse()
        .map_err(|_| CompleteError::CudaMajor { cuda: owned() })?;
    if minor.parse::<u32>().is_err() {
        return Err(CompleteError::CudaMinor { cuda: owned() });
    }
    if major < OLDEST_CUDA {
        return Err(CompleteError::OldCuda { cuda: owned() });
    }
    Version::parse(cuda).ok_or_else(|| CompleteError::UnsupportedCuda {
        cuda: owned(),
        supported: supported(),
    })
}

fn check_pair(cuda: &Version, cudnn: &str) -> Result<()> {
    let compatible: Vec<String> = cuda::cudnns_of_cuda(cuda)
        .iter()
        .map(ToString::to_string)
        .collect();
    if compatible.is_empty() {
        return Err(unsupported(cuda));
    }
    if compatible.iter().any(|one| one == cudnn) {
        return Ok(());
    }
    Err(CompleteError::CudaCudnn {
        cuda: cuda.to_string(),
        cudnn: cudnn.to_owned(),
        compatible,
    })
}

fn unsupported(cuda: &Version) -> CompleteError {
    CompleteError::UnsupportedCuda {
        cuda: cuda.to_string(),
        supported: supported(),
    }
}

/// All CUDA versions with a base image, as major and minor, lowest first.
fn supported() -> Vec<String> {
    let mut versions: Vec<&Version> = cuda::base_images()
        .iter()
        .map(|image| &image.cuda)
        .collect();
    versions.sort_by(|one, other| one.order(other));
    let mut texts: Vec<String> = versions.into_iter().map(Version::major_minor).collect();
    texts.dedup();
    texts
}
