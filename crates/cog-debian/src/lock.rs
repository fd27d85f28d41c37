//! The packages of a base, exactly.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::index::Index;
use super::suite::{Architecture, Archive, Suite};
use hex::encode as hex;

/// Raised whenever the same packages would make another tree.
const RECIPE: u32 = 2;

/// Which packages a base consists of. Equal locks make equal trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The release.
    pub suite: Suite,
    /// The processor it is for.
    pub architecture: Architecture,
    /// The archives that the mirror had.
    pub archives: Vec<Archive>,
    /// When the newest of them was made, such as `2026-07-11T10:16:37Z`: a snapshot of that time has all packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Dependencies first, as far as they form no circles.
    pub packages: Vec<LockedPackage>,
}

/// A package, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Checksum of the package file, hexadecimal.
    pub sha256: String,
    /// Size of the package file in bytes.
    pub size: u64,
    /// Which archive has it.
    pub archive: Archive,
    /// Path of the package file below the archive's address.
    pub path: String,
}

/// A package of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Checksum of the package file, hexadecimal.
    pub sha256: String,
}

impl Lock {
    pub(super) fn new(
        suite: Suite,
        architecture: Architecture,
        archives: Vec<Archive>,
        date: Option<String>,
        index: &Index,
        chosen: &[usize],
    ) -> Self {
        let lock = |position: &usize| {
            let package = index.package(*position);
            LockedPackage {
                name: package.name.to_string(),
                version: package.version.to_string(),
                sha256: package.sha256.to_string(),
                size: package.size,
                archive: package.archive,
                path: package.path.to_string(),
            }
        };
        let packages = chosen.iter().map(lock).collect();
        Self {
            suite,
            architecture,
            archives,
            date,
            packages,
        }
    }

    /// Identifies the tree: a checksum, hexadecimal, of everything that decides about its content. The mirror does
    /// not.
    pub fn key(&self) -> String {
        let mut text = format!(
            "{RECIPE} {} {}\n",
            self.suite.codename(),
            self.architecture.name()
        );
        let mut packages: Vec<&LockedPackage> = self.packages.iter().collect();
        packages.sort_by(|left, right| left.name.cmp(&right.name));
        for package in packages {
            let _ = writeln!(
                text,
                "{} {} {}",
                package.name, package.version, package.sha256
            );
        }
        hex(Sha256::digest(text))
    }

    /// The packages sorted by name, for lists of what is in an image.
    pub fn listing(&self) -> Vec<ListedPackage> {
        let mut listing: Vec<ListedPackage> = self
            .packages
            .iter()
            .map(|package| ListedPackage {
                name: package.name.clone(),
                version: package.version.clone(),
                sha256: package.sha256.clone(),
            })
            .collect();
        listing.sort();
        listing
    }

    /// Size of all package files in bytes.
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            sha256: "ab".repeat(32),
            size: 7,
            archive: Archive::Main,
            path: format!("pool/{name}.deb"),
        }
    }

    fn lock(packages: Vec<LockedPackage>) -> Lock {
        Lock {
            suite: Suite::Bookworm,
            architecture: Architecture::Amd64,
            archives: vec![Archive::Main],
            date: None,
            packages,
        }
    }

    #[test]
    fn the_listing_is_sorted() {
        let names = |packages| -> Vec<String> {
            let listing = lock(packages).listing();
            listing.into_iter().map(|package| package.name).collect()
        };
        assert_eq!(names(vec![package("b"), package("a")]), ["a", "b"]);
        let listed = &lock(vec![package("a")]).listing()[0];
        let text = serde_json::to_string(listed).unwrap();
        assert_eq!(
            serde_json::from_str::<ListedPackage>(&text).unwrap(),
            *listed
        );
    }

    #[test]
    fn the_key_depends_on_the_packages_alone() {
        let usual = lock(vec![package("a"), package("b")]);
        let mut moved = lock(vec![package("b"), package("a")]);
        moved.packages[0].archive = Archive::Security;
        moved.packages[0].path = "elsewhere.deb".to_owned();
        moved.archives.push(Archive::Security);
        moved.date = Some("2026-07-11T10:16:37Z".to_owned());
        assert_eq!(usual.key(), moved.key());
        let mut newer = usual.clone();
        newer.packages[1].version = "2".to_owned();
        assert_ne!(usual.key(), newer.key());
        let other = Lock {
            suite: Suite::Trixie,
            ..usual.clone()
        };
        assert_ne!(usual.key(), other.key());
        assert_eq!(usual.download_size(), 14);
    }
}
