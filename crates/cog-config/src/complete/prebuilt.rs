//! The prebuilt `cog-base` images that there may be.

use serde::Serialize;

use crate::cuda::{Accelerator, PythonMinor, torch_rows};
use crate::version::Version;

/// Older Pythons, CUDAs and PyTorches have no image.
const OLDEST_PYTHON: PythonMinor = (3, 10);
const OLDEST_CUDA: (u32, u32) = (11, 6);
const NEWER_THAN_TORCH: (u32, u32, u32) = (1, 13, 1);

/// What is in a prebuilt image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prebuilt {
    /// CUDA, as major and minor.
    #[serde(rename = "cuda_version")]
    pub cuda: Option<Version>,
    /// Python, as major and minor.
    #[serde(rename = "python_version", serialize_with = "minor")]
    pub python: PythonMinor,
    /// PyTorch, without a local tag.
    #[serde(rename = "torch_version")]
    pub torch: Option<Version>,
}

impl Prebuilt {
    /// The tag of the image.
    pub fn tag(&self) -> String {
        let parts = [
            self.cuda
                .as_ref()
                .map(|cuda| format!("cuda{}", cuda.major_minor())),
            Some(format!("python{}.{}", self.python.0, self.python.1)),
            self.torch
                .as_ref()
                .map(|torch| format!("torch{}", torch.plain())),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.join("-")
    }

    /// The image in the registry `host`.
    pub fn reference(&self, host: &str) -> String {
        format!("{host}/cog-base:{}", self.tag())
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn minor<S: serde::Serializer>(python: &PythonMinor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}.{}", python.0, python.1))
}
