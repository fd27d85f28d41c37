//! Requirement lines for networks that do not reach PyTorch's own package index.

use super::Completed;

/// The host of PyTorch's indexes.
const HOST: &str = "download.pytorch.org";

/// Options that name an index or a page with files.
const INDEX_OPTIONS: [&str; 5] = [
    "--extra-index-url",
    "--index-url",
    "--find-links",
    "-i",
    "-f",
];

/// Distributions that PyTorch's index has for several CUDA versions, told apart by the local part of their version.
const FAMILY: [&str; 3] = ["torch", "torchvision", "torchaudio"];

impl Completed {
    /// The requirements without PyTorch's own index: the same versions, as the default index has them, which may be
    /// built for another CUDA.
    pub fn requirements_on_default_index(&self) -> Vec<String> {
        let lines = self.requirements.iter();
        lines
            .filter(|line| !names_index(line))
            .map(|line| without_local_version(line))
            .collect()
    }

    /// Whether any line leads to PyTorch's own index.
    pub fn uses_torch_index(&self) -> bool {
        self.requirements.iter().any(|line| names_index(line))
    }
}

fn names_index(line: &str) -> bool {
    line.contains(HOST) && INDEX_OPTIONS.iter().any(|option| line.starts_with(option))
}

/// `torch==2.3.1+cu118` as `torch==2.3.1`. What is said behind it stays.
fn without_local_version(line: &str) -> String {
    let name = crate::requirements::name(line).unwrap_or_default();
    let name = name.split('[').next().unwrap_or_default();
    if !FAMILY.contains(&name) {
        return line.to_owned();
    }
    let Some((before, after)) = line.split_once('+') else {
        return line.to_owned();
    };
    let end = after
        .find(|character: char| !(character.is_ascii_alphanumeric() || character == '.'))
        .unwrap_or(after.len());
    format!("{before}{}", &after[end..])
}

#[cfg(test)]
mod tests {
    use crate::{Build, Config, Options, complete};

    #[test]
    fn versions_stay_and_the_index_goes() {
        let config = Config {
            build: Some(Build {
                gpu: true,
                ..Build::default()
            }),
            ..Config::default()
        };
        let lines = [
            "--extra-index-url https://example.com/simple",
            "torch==2.3.1",
            "torchaudio==2.3.1+cu118 ; python_version > '3.8'",
            "numpy==1.26.4+local",
        ]
        .map(str::to_owned);
        let completed = complete(&config, &lines, &Options::default()).expect("it completes");
        assert!(completed.uses_torch_index());
        assert_eq!(
            completed.requirements_on_default_index(),
            [
                "--extra-index-url https://example.com/simple",
                "torch==2.3.1",
                "torchaudio==2.3.1 ; python_version > '3.8'",
                "numpy==1.26.4+local",
            ]
        );
    }
}
