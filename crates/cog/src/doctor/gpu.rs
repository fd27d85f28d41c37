//! Whether the PyTorch that a project pins has kernels for the GPUs of this machine.

use cog_config::{CogBase, Options, TorchWheel, Version, complete};

use super::ask::ask;
use super::finding::Finding;
use super::subject::{Subject, is_set};

const SKIP: &str = "COG_SKIP_GPU_CHECK";

/// The first release for GPUs of this kind and newer ones: compute capability, torch, and the CUDA that it is built for.
const FLOORS: [(&str, &str, &str); 3] = [
    ("9.0", "2.0.1", "11.8"),
    ("10.0", "2.7.0", "12.8"),
    ("12.0", "2.7.0", "12.8"),
];

pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let Ok(loaded) = &subject.loaded else {
        return Vec::new();
    };
    if is_set(SKIP) || !loaded.config.gpu() {
        return Vec::new();
    }
    let options = Options {
        cog_base: CogBase::Off,
        ..Options::default()
    };
    let lines = loaded.config.requirement_lines(&subject.file.directory);
    let completed = lines
        .ok()
        .and_then(|(lines, _)| complete(&loaded.config, &lines, &options).ok());
    let Some(wheel) = completed.and_then(|completed| completed.torch_wheel()) else {
        return Vec::new();
    };
    let arguments = ["--query-gpu=compute_cap", "--format=csv,noheader"];
    let Some(devices) = ask("nvidia-smi", &arguments) else {
        return Vec::new();
    };
    let place = subject.line("build.python_requirements");
    compare(&wheel, &devices)
        .into_iter()
        .map(|finding| match place {
            Some(line) => finding.at(subject.config_name(), line),
            None => finding,
        })
        .collect()
}

/// `devices` are compute capabilities, one a line.
fn compare(wheel: &TorchWheel, devices: &str) -> Vec<Finding> {
    let mut seen: Vec<Version> = devices
        .lines()
        .filter_map(|line| Version::parse(line.trim()))
        .collect();
    seen.sort_by(Version::order);
    seen.dedup();
    seen.iter()
        .filter_map(|device| missing(wheel, device))
        .collect()
}

fn missing(wheel: &TorchWheel, device: &Version) -> Option<Finding> {
    let floor = FLOORS.iter().rev().find(|(capability, ..)| {
        Version::parse(capability).is_some_and(|capability| capability.order(device).is_le())
    });
    let (_, torch, cuda) = floor?;
    let is_below = |version: &str, floor: &str| {
        let versions = (Version::parse(version), Version::parse(floor));
        matches!(versions, (Some(version), Some(floor)) if version.order(&floor).is_lt())
    };
    let built_for = wheel.cuda.as_deref();
    if !is_below(&wheel.version, torch) && !built_for.is_some_and(|built| is_below(built, cuda)) {
        return None;
    }
    let TorchWheel { version, .. } = wheel;
    let version = version.split('+').next().unwrap_or(version);
    let message = format!(
        "torch=={version} (CUDA {}) ships no kernels for sm_{}{}, which a GPU of this machine needs",
        built_for.unwrap_or("unknown"),
        device.major,
        device.minor
    );
    Some(Finding::warning(message).with_remediation(format!(
        "Use torch {torch} or newer, built for CUDA {cuda} or newer"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torch_and_cuda_have_floors_for_each_gpu() {
        for (version, cuda, devices, told) in [
            ("2.0.0", Some("11.7"), "8.6\n", vec![]),
            ("2.0.1", Some("11.8"), "9.0\n", vec![]),
            (
                "2.0.0",
                Some("11.8"),
                "9.0\n9.0\n",
                vec!["torch==2.0.0 (CUDA 11.8) ships no kernels for sm_90"],
            ),
            ("2.1.0", Some("11.7"), "9.0\n", vec!["sm_90"]),
            ("2.7.0+cu128", Some("12.8"), "10.0\n12.0\n", vec![]),
            (
                "2.6.0+cu124",
                Some("12.4"),
                "12.0\n8.0\n10.0\n",
                vec![
                    "torch==2.6.0 (CUDA 12.4) ships no kernels for sm_100",
                    "sm_120",
                ],
            ),
            ("2.7.0", None, "12.0\n", vec![]),
            ("2.6.0", None, "12.0\n", vec!["(CUDA unknown)"]),
            ("2.6.0", None, "[N/A]\n", vec![]),
        ] {
            let wheel = TorchWheel {
                version: version.to_owned(),
                cuda: cuda.map(str::to_owned),
            };
            let found = compare(&wheel, devices);
            assert_eq!(found.len(), told.len(), "{version} on {devices}");
            for (finding, text) in found.iter().zip(told) {
                assert!(finding.to_string().contains(text), "{finding}");
            }
        }
    }
}
