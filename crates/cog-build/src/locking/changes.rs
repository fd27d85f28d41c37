//! What is different between two lock files, in words.

use std::collections::BTreeMap;

use cog_python::resolution::{Origin as PythonOrigin, Pinned};

use crate::architecture::Architecture;
use crate::base::{Origin, PinnedBase};
use crate::lock_file::{LockFile, PlatformLock};

/// A line for each thing that was added, removed or became another one. What is so for some of several platforms names
/// these.
pub(super) fn between(old: &LockFile, new: &LockFile) -> Vec<String> {
    let mut lines: Vec<(String, Vec<Architecture>)> = Vec::new();
    let mut kept = 0;
    let mut added = Vec::new();
    for one in &new.platforms {
        let architecture = one.architecture;
        let Some(before) = old.platform(architecture) else {
            added.push(format!("added {architecture}"));
            continue;
        };
        kept += 1;
        for line in of_platform(before, one) {
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, platforms)) => platforms.push(architecture),
                None => lines.push((line, vec![architecture])),
            }
        }
    }
    let changed = lines.into_iter().map(|(line, platforms)| {
        if platforms.len() == kept {
            line
        } else {
            format!("{line} ({})", Architecture::list(&platforms))
        }
    });
    let removed = old.platforms.iter().map(|one| one.architecture);
    let removed = removed.filter(|one| new.platform(*one).is_none());
    let removed = removed.map(|one| format!("removed {one}"));
    changed.chain(added).chain(removed).collect()
}

fn of_platform(old: &PlatformLock, new: &PlatformLock) -> Vec<String> {
    let (base, other) = (identity(&old.base), identity(&new.base));
    let base = (base != other).then(|| format!("base {base} -> {other}"));
    let lists = [
        (packages_of_base(&old.base), packages_of_base(&new.base)),
        (packages_of_system(old), packages_of_system(new)),
        (packages_of_python(old), packages_of_python(new)),
    ];
    let lists = lists.iter().flat_map(|(old, new)| of_versions(old, new));
    base.into_iter().chain(lists).collect()
}

type Packages = BTreeMap<String, String>;

fn of_versions(old: &Packages, new: &Packages) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, version) in new {
        match old.get(name) {
            Some(before) if before == version => {}
            Some(before) => lines.push(format!("{name} {before} -> {version}")),
            None => lines.push(format!("added {name} {version}")),
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    lines.extend(gone.map(|(name, version)| format!("removed {name} {version}")));
    lines
}

fn identity(base: &PinnedBase) -> String {
    let python = base.python.as_ref();
    let python = python.map_or(String::new(), |one| format!(" with Python {}", one.version));
    match &base.origin {
        Origin::Image { reference, digest } => format!("{reference}@{}{python}", digest.short()),
        Origin::Debian(_) => format!("{}{python}", base.name()),
    }
}

fn packages_of_base(base: &PinnedBase) -> Packages {
    match &base.origin {
        Origin::Image { .. } => Packages::new(),
        Origin::Debian(archive) => archive
            .packages
            .iter()
            .map(|one| (one.name.clone(), one.version.clone()))
            .collect(),
    }
}

fn packages_of_system(platform: &PlatformLock) -> Packages {
    let lists = [&platform.implied, &platform.named].into_iter();
    lists
        .flat_map(|pins| &pins.packages)
        .map(|one| (one.name.clone(), one.version.clone()))
        .collect()
}

fn packages_of_python(platform: &PlatformLock) -> Packages {
    let version = |one: &Pinned| match &one.origin {
        PythonOrigin::Git { commit, .. } => format!("at {}", commit.get(..12).unwrap_or(commit)),
        _ => one
            .version
            .clone()
            .unwrap_or_else(|| "of the project".to_owned()),
    };
    let distributions = platform.python.distributions.iter();
    distributions
        .map(|one| (one.name.clone(), version(one)))
        .collect()
}

#[cfg(test)]
mod tests {
    use cog_image::Digest;
    use cog_python::resolution::IndexFile;

    use super::*;
    use crate::lock::PackageSource;
    use crate::lock_file::{Inputs, PythonPins, SystemPins};

    /// A platform with these versions of a package each.
    fn platform(architecture: Architecture, versions: &[(&str, &str)]) -> PlatformLock {
        let pinned = |(name, version): &(&str, &str)| Pinned {
            name: (*name).to_owned(),
            version: Some((*version).to_owned()),
            origin: PythonOrigin::Index {
                files: vec![IndexFile {
                    url: "x.whl".to_owned(),
                    hashes: Vec::new(),
                    size: None,
                }],
            },
        };
        PlatformLock {
            architecture,
            decisions: Vec::new(),
            base: PinnedBase {
                origin: Origin::Image {
                    reference: "python:3.12-slim".to_owned(),
                    digest: Digest::of(b"x"),
                },
                python: None,
            },
            implied: SystemPins::default(),
            named: SystemPins::default(),
            python: PythonPins {
                source: PackageSource::Wheels,
                distributions: versions.iter().map(pinned).collect(),
            },
        }
    }

    fn file(platforms: Vec<PlatformLock>) -> LockFile {
        LockFile {
            cog: "1".to_owned(),
            inputs: Inputs::default(),
            decisions: Vec::new(),
            platforms,
        }
    }

    #[test]
    fn what_is_so_for_all_platforms_is_told_once() {
        let (amd, arm) = (Architecture::Amd64, Architecture::Arm64);
        let old = file(vec![
            platform(amd, &[("a", "1"), ("b", "1")]),
            platform(arm, &[("a", "1"), ("b", "1")]),
        ]);
        let new = file(vec![
            platform(amd, &[("a", "2"), ("b", "1")]),
            platform(arm, &[("a", "2"), ("b", "2")]),
        ]);
        assert_eq!(between(&old, &new), ["a 1 -> 2", "b 1 -> 2 (linux/arm64)"]);
        assert_eq!(between(&old, &old), [""; 0]);
        let one = file(vec![platform(amd, &[("a", "1"), ("b", "1")])]);
        assert_eq!(between(&one, &new), ["a 1 -> 2", "added linux/arm64"]);
        assert_eq!(between(&old, &one), ["removed linux/arm64"]);
    }

    fn packages(all: &[(&str, &str)]) -> Packages {
        let owned = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        all.iter().map(owned).collect()
    }

    #[test]
    fn each_package_that_is_another_has_a_line() {
        let old = packages(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let new = packages(&[("b", "1"), ("c", "2"), ("d", "3")]);
        assert_eq!(
            of_versions(&old, &new),
            ["c 1 -> 2", "added d 3", "removed a 1"]
        );
        assert_eq!(of_versions(&old, &old), [""; 0]);
    }
}
