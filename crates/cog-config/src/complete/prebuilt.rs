//! The prebuilt `cog-base` images that there may be.

use std::fmt;

use crate::cuda::{Accelerator, PythonMinor, torch_rows};
use crate::version::Version;

/// Older Pythons, CUDAs and PyTorches have no image.
const OLDEST_PYTHON: PythonMinor = (3, 10);
const OLDEST_CUDA: (u32, u32) = (11, 6);
const NEWER_THAN_TORCH: (u32, u32, u32) = (1, 13, 1);

/// What images with PyTorch hold beside it and its companions.
const OPENCV: &str = "opencv-python==4.12.0.88";

/// What is in a prebuilt image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prebuilt {
    /// CUDA, as major and minor.
    pub cuda: Option<Version>,
    /// Python, as major and minor.
    pub python: PythonMinor,
    /// PyTorch, without a local tag.
    pub torch: Option<Version>,
}

/// Which prebuilt images are meant: those with one of these versions, where any are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrebuiltFilter {
    /// CUDA versions.
    pub cudas: Vec<String>,
    /// Python versions.
    pub pythons: Vec<String>,
    /// PyTorch versions.
    pub torches: Vec<String>,
}

impl PrebuiltFilter {
    /// Whether the image is one of them; versions are compared as written.
    pub fn takes(&self, image: &Prebuilt) -> bool {
        let any = |wanted: &[String], version: Option<String>| {
            wanted.is_empty() || version.is_some_and(|version| wanted.contains(&version))
        };
        let text = |version: &Option<Version>| version.as_ref().map(ToString::to_string);
        any(&self.cudas, text(&image.cuda))
            && any(&self.pythons, Some(image.python_version()))
            && any(&self.torches, text(&image.torch))
    }
}

impl Prebuilt {
    /// Its Python, as `3.11`.
    pub fn python_version(&self) -> String {
        format!("{}.{}", self.python.0, self.python.1)
    }

    /// The Python packages that it holds.
    pub fn packages(&self) -> Vec<String> {
        let row = torch_rows().iter().find(|row| {
            self.torch.as_ref() == Some(&row.torch) && self.cuda.as_ref() == row.accelerator.cuda()
        });
        let Some(row) = row else {
            return Vec::new();
        };
        let pin = |name: &str, version: &dyn fmt::Display| format!("{name}=={version}");
        vec![
            pin("torch", &row.torch),
            OPENCV.to_owned(),
            pin("torchvision", &row.torchvision),
            pin("torchaudio", &row.torchaudio),
        ]
    }

    /// The tag of the image.
    pub fn tag(&self) -> String {
        let parts = [
            self.cuda
                .as_ref()
                .map(|cuda| format!("cuda{}", cuda.major_minor())),
            Some(format!("python{}", self.python_version())),
            self.torch
                .as_ref()
                .map(|torch| format!("torch{}", torch.plain())),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.join("-")
    }

    /// Where the registry `host` has them all.
    pub fn repository(host: &str) -> String {
        format!("{host}/cog-base")
    }

    /// The image in the registry `host`.
    pub fn reference(&self, host: &str) -> String {
        format!("{}:{}", Self::repository(host), self.tag())
    }
}

/// All of them: each Python alone, with each CUDA, and with each PyTorch that has wheels for both.
pub fn prebuilt_images() -> Vec<Prebuilt> {
    let with_torch = with_torch();
    let mut pythons: Vec<PythonMinor> = with_torch.iter().map(|image| image.python).collect();
    pythons.sort_unstable();
    pythons.dedup();
    let mut cudas: Vec<Version> = with_torch
        .iter()
        .filter_map(|image| image.cuda.clone())
        .collect();
    cudas.sort_by(Version::order);
    cudas.dedup();
    let image = |cuda: Option<&Version>, python| Prebuilt {
        cuda: cuda.cloned(),
        python,
        torch: None,
    };
    let mut images: Vec<Prebuilt> = pythons.iter().map(|&python| image(None, python)).collect();
    for cuda in &cudas {
        images.extend(pythons.iter().map(|&python| image(Some(cuda), python)));
    }
    images.extend(with_torch);
    images
}

/// The image for a project: with the newest PyTorch that matches, else without one.
pub(super) fn find(
    cuda: Option<&Version>,
    python: PythonMinor,
    torch: Option<&Version>,
) -> Option<Prebuilt> {
    let major_minor = |cuda: Option<&Version>| cuda.map(|cuda| (cuda.major, cuda.minor));
    let fits = |image: &Prebuilt| {
        image.python == python && major_minor(image.cuda.as_ref()) == major_minor(cuda)
    };
    let mut images = prebuilt_images();
    images.retain(fits);
    let matching = |image: &&Prebuilt| match (&image.torch, torch) {
        (Some(has), Some(wanted)) => has.matches(wanted),
        _ => false,
    };
    let newest = images.iter().filter(matching).max_by(|one, other| {
        let torches = one.torch.as_ref().zip(other.torch.as_ref());
        torches.map_or(std::cmp::Ordering::Equal, |(one, other)| one.order(other))
    });
    let found = newest.or_else(|| images.iter().find(|image| image.torch.is_none()));
    found.cloned()
}

fn with_torch() -> Vec<Prebuilt> {
    let rows = torch_rows().iter().filter(|row| row.usable);
    let rows = rows.filter(|row| {
        let torch = &row.torch;
        let torch = (torch.major, torch.minor, torch.patch.unwrap_or_default());
        let cuda = row.accelerator.cuda();
        torch > NEWER_THAN_TORCH && cuda.is_none_or(|cuda| (cuda.major, cuda.minor) >= OLDEST_CUDA)
    });
    rows.flat_map(|row| {
        let (first, last) = row.pythons.clone().into_inner();
        let pythons = (first.1..=last.1).map(move |minor| (first.0, minor));
        pythons
            .filter(|python| *python >= OLDEST_PYTHON)
            .map(|python| Prebuilt {
                cuda: match &row.accelerator {
                    Accelerator::Cpu => None,
                    Accelerator::Cuda(cuda) => Some(cuda.clone()),
                },
                python,
                torch: Some(row.torch.clone()),
            })
    })
    .collect()
}
