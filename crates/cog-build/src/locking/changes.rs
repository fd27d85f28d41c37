//! What is different between two lock files, in words.

use std::collections::BTreeMap;

use cog_python::resolution::{Origin as PythonOrigin, Pinned};

use crate::base::{Origin, PinnedBase};
use crate::lock_file::{LockFile, PlatformLock};

/// A line for each thing that was added, removed or became another one.
pub(super) fn between(old: &LockFile, new: &LockFile) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &new.platforms {
        match old.platform(&one.name) {
            Some(before) => lines.extend(of_platform(before, one)),
            None => lines.push(format!("added {}", one.name)),
        }
    }
    for one in &old.platforms {
        if new.platform(&one.name).is_none() {
            lines.push(format!(
                "removed {}, which was for other requirements",
                one.name
            ));
        }
    }
    lines
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
    use super::*;

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
