//! What is known about CUDA: which PyTorch and TensorFlow go with which, and the base images that have it.
//!
//! The facts are tables in `data/`; this module reads them once and answers questions about them. How a project's
//! versions follow from them is `complete`'s job.

mod table;

use std::cmp::Ordering;

use crate::version::Version;

pub use table::{
    Accelerator, BaseImage, PythonMinor, TensorflowRow, TorchRow, base_images, tensorflow_rows,
    torch_rows,
};

/// The CUDA of a GPU project whose requirements don't ask for one.
pub const DEFAULT_CUDA: &str = "11.8";

/// Whether a project without a GPU that asks for exactly this PyTorch gets it from the index for the CPU.
pub fn has_cpu_torch(version: &Version) -> bool {
    let mut rows = torch_rows().iter();
    rows.any(|row| row.accelerator == Accelerator::Cpu && row.torch.equals(version))
}

/// The rows of this PyTorch that can be used, of all accelerators. A version with a CUDA tag that the table has
/// (`2.0.1+cu118`) is that row alone.
pub fn torch_rows_matching(version: &Version) -> Vec<&'static TorchRow> {
    let rows: Vec<&TorchRow> = torch_rows()
        .iter()
        .filter(|row| row.usable && row.torch.matches(version))
        .collect();
    let tagged: Vec<&TorchRow> = rows
        .iter()
        .copied()
        .filter(|row| {
            let tag = row.accelerator.tag();
            version.local.as_deref() == Some(tag.as_str())
        })
        .collect();
    if tagged.is_empty() { rows } else { tagged }
}

/// The CUDA versions for this PyTorch, lowest first.
pub fn cudas_of_torch(version: &Version) -> Vec<&'static Version> {
    let mut cudas: Vec<&Version> = torch_rows_matching(version)
        .into_iter()
        .filter_map(|row| row.accelerator.cuda())
        .collect();
    cudas.sort_by(|one, other| one.order(other));
    cudas.dedup();
    cudas
}

/// The row of this TensorFlow.
pub fn tensorflow_row(version: &Version) -> Option<&'static TensorflowRow> {
    tensorflow_rows()
        .iter()
        .find(|row| version.local.is_none() && row.tensorflow.equals(version))
}

/// The cuDNN majors that base images of this CUDA have, each once, highest first.
pub fn cudnns_of_cuda(cuda: &Version) -> Vec<u32> {
    let mut majors: Vec<u32> = images_of_cuda(cuda).map(|image| image.cudnn).collect();
    majors.sort_unstable_by(|one, other| other.cmp(one));
    majors.dedup();
    majors
}

/// The base image for a CUDA and a cuDNN major: the highest patch, then the highest Ubuntu.
pub fn base_image(cuda: &Version, cudnn: u32) -> Option<&'static BaseImage> {
    let order = |one: &&BaseImage, other: &&BaseImage| -> Ordering {
        one.cuda
            .order(&other.cuda)
            .then_with(|| one.ubuntu.order(&other.ubuntu))
    };
    images_of_cuda(cuda)
        .filter(|image| image.cudnn == cudnn)
        .max_by(order)
}

/// The CUDA that the URL of a package index names: `…/whl/cu128` is 12.8.
pub fn cuda_of_index(url: &str) -> Option<String> {
    let parts = url.split(|character: char| !character.is_ascii_alphanumeric());
    let digits = parts
        .filter_map(|part| part.strip_prefix("cu"))
        .find(|digits| digits.len() >= 2 && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (major, minor) = digits.split_at(digits.len() - 1);
    Some(format!("{major}.{minor}"))
}

fn images_of_cuda(cuda: &Version) -> impl Iterator<Item = &'static BaseImage> {
    base_images()
        .iter()
        .filter(move |image| image.cuda.matches(cuda))
}

#[cfg(test)]
mod tests;
