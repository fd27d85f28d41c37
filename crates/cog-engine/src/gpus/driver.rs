//! The NVIDIA driver that this machine's kernel runs, and the newest CUDA that it supports.

use std::fmt;
use std::path::Path;

/// Lines of `CUDA,oldest driver for it on Linux`, the newest CUDA first, below a line of names.
const TABLE: &str = include_str!("data/driver-cuda.csv");

const PLACES: [&str; 2] = ["proc/driver/nvidia/version", "sys/module/nvidia/version"];

/// A driver's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    version: String,
    numbers: Vec<u32>,
}

/// A version of CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cuda {
    /// 12 of 12.8.
    pub major: u32,
    /// 8 of 12.8.
    pub minor: u32,
}

impl Driver {
    /// What the kernel below `root` (mostly `/`) says; `None` without a driver.
    pub fn loaded(root: &Path) -> Option<Self> {
        PLACES
            .iter()
            .filter_map(|place| fs_err::read_to_string(root.join(place)).ok())
            .find_map(|text| text.split_whitespace().find_map(Self::parse))
    }

    /// A version such as `550.54.15`.
    pub fn parse(version: &str) -> Option<Self> {
        let numbers = version
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<Vec<u32>>>()?;
        (numbers.len() >= 2).then(|| Self {
            version: version.to_owned(),
            numbers,
        })
    }

    /// As NVIDIA writes it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The newest CUDA that the driver brings itself; `None` for one older than the table.
    pub fn newest_cuda(&self) -> Option<Cuda> {
        table()
            .find(|(_, oldest)| self.numbers >= oldest.numbers)
            .map(|(cuda, _)| cuda)
    }

    /// Whether programs made with `cuda` run: since CUDA 11, a driver of some CUDA runs programs of every other with
    /// the same first number. (Code that has to be compiled when it is loaded may still need a newer one.)
    pub fn runs(&self, cuda: Cuda) -> bool {
        self.newest_cuda().is_some_and(|newest| {
            newest >= cuda || (cuda.major >= 11 && newest.major == cuda.major)
        })
    }
}

impl fmt::Display for Cuda {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl std::str::FromStr for Cuda {
    type Err = std::num::ParseIntError;

    /// `12.8`, or `12.8.1`, of which the end does not count.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let mut number = || parts.next().unwrap_or_default().parse();
        Ok(Self {
            major: number()?,
            minor: number()?,
        })
    }
}

fn table() -> impl Iterator<Item = (Cuda, Driver)> {
    rows()
        .filter_map(|line| line.split_once(','))
        .filter_map(|(cuda, driver)| Some((cuda.parse().ok()?, Driver::parse(driver)?)))
}

fn rows() -> impl Iterator<Item = &'static str> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuda(text: &str) -> Cuda {
        text.parse().unwrap()
    }

    #[test]
    fn every_line_of_the_table_is_read_and_newer_cuda_needs_newer_drivers() {
        let rows: Vec<_> = table().collect();
        assert_eq!(rows.len(), super::rows().count());
        for pair in rows.windows(2) {
            assert!(pair[0].0 > pair[1].0, "{}", pair[0].0);
            assert!(pair[0].1.numbers > pair[1].1.numbers, "{}", pair[0].0);
        }
    }

    #[test]
    fn a_driver_says_its_version_in_several_ways() {
        let said = [
            (
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
                "550.54.15",
            ),
            (
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build  (dvs-builder@U16)\n",
                "560.35.03",
            ),
            ("sys/module/nvidia/version", "470.256.02\n", "470.256.02"),
        ];
        for (place, text, version) in said {
            let root = tempfile::tempdir().unwrap();
            assert_eq!(Driver::loaded(root.path()), None);
            let path = root.path().join(place);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
            assert_eq!(Driver::loaded(root.path()).unwrap().version(), version);
        }
    }

    #[test]
    fn the_newest_cuda_of_a_driver() {
        for (driver, newest) in [
            ("595.71.05", Some("13.2")),
            ("590.44.01", Some("13.1")),
            ("580.65.06", Some("13.0")),
            ("575.57.08", Some("12.9")),
            ("570.26", Some("12.8")),
            ("570.124.06", Some("12.8")),
            ("550.54.15", Some("12.4")),
            ("550.54.13", Some("12.3")),
            ("525.60.13", Some("12.0")),
            ("470.256.02", Some("11.4")),
            ("340.108", None),
        ] {
            let driver = Driver::parse(driver).unwrap();
            assert_eq!(
                driver.newest_cuda(),
                newest.map(cuda),
                "{}",
                driver.version()
            );
        }
    }

    #[test]
    fn minor_versions_are_compatible_since_11() {
        let driver = |version| Driver::parse(version).unwrap();
        assert!(driver("525.60.13").runs(cuda("12.8")));
        assert!(!driver("525.60.13").runs(cuda("13.0")));
        assert!(driver("580.65.06").runs(cuda("11.8")));
        assert!(!driver("470.256.02").runs(cuda("12.1")));
        assert!(!driver("410.48").runs(cuda("10.2")));
    }
}
