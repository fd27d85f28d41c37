//! Packages that a distribution does not have: which, and what to name instead.

use cog_config::renamed_packages;
use cog_debian::closest_name;

use crate::error::BuildError;

/// A package that the distribution does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPackage {
    /// As the project names it.
    pub name: String,
    /// The package that was probably meant.
    pub instead: Option<String>,
}

/// The packages that `apt` says it cannot find.
pub(super) fn names(output: &[String]) -> Vec<&str> {
    let mut names = Vec::new();
    for line in output {
        let missing = line.strip_prefix("E: ").and_then(named);
        if let Some(name) = missing
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

fn named(error: &str) -> Option<&str> {
    if let Some(name) = error.strip_prefix("Unable to locate package ") {
        return Some(name.trim());
    }
    let (name, rest) = error.strip_prefix("Package '")?.split_once('\'')?;
    (rest.trim() == "has no installation candidate").then_some(name)
}

/// The error about packages that are not among `available`, a name per line. `release` is the distribution's
/// `os-release`.
pub(super) fn explain(names: &[&str], release: &str, available: &str) -> BuildError {
    let missing = names.iter().map(|name| MissingPackage {
        name: (*name).to_owned(),
        instead: successor(name, release, available)
            .or_else(|| closest_name(name, available.lines()).map(str::to_owned)),
    });
    BuildError::NoSystemPackages {
        distribution: distribution(release),
        missing: missing.collect(),
    }
}

/// What a package is known to be called in this release.
fn successor(name: &str, release: &str, available: &str) -> Option<String> {
    let suite = value(release, "VERSION_CODENAME=")?;
    let renamed = renamed_packages(&[name.to_owned()], &suite);
    let package = renamed.into_iter().next()?.package;
    available
        .lines()
        .any(|line| line == package)
        .then_some(package)
}

fn distribution(release: &str) -> String {
    let name = value(release, "PRETTY_NAME=").or_else(|| value(release, "NAME="));
    name.unwrap_or_else(|| "the base's distribution".to_owned())
}

fn value(release: &str, field: &str) -> Option<String> {
    let line = release.lines().find_map(|line| line.strip_prefix(field))?;
    let value = line.trim_matches('"');
    (!value.is_empty() && !value.contains(char::is_control)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use cog_errors::Hint as _;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_apt_cannot_find_is_read_from_its_errors() {
        let output = lines(
            "Package libasound2 is a virtual package provided by:\n  liboss4-salsa-asound2 4.2\n\n\
             E: Package 'libasound2' has no installation candidate\n\
             E: Unable to locate package libgl1.x-glx\n\
             E: Couldn't find any package by glob 'libgl1.x-glx'\n\
             E: Unable to locate package libgl1.x-glx\n\
             E: Package 'a' has unmet dependencies",
        );
        assert_eq!(names(&output), ["libasound2", "libgl1.x-glx"]);
        assert_eq!(names(&lines("E: Failed to fetch x")), [""; 0]);
    }

    #[test]
    fn packages_and_release_are_named() {
        let release = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\n";
        let available = "libgl1\nlibasound2t64\ncurl\n";
        let error = explain(&["libgl1-mesa-glx", "libasound2"], release, available);
        assert_eq!(
            error.to_string(),
            "Debian GNU/Linux 13 (trixie) has no packages `libgl1-mesa-glx` and `libasound2`"
        );
        assert_eq!(
            error.hint().as_deref(),
            Some(
                "in `system_packages`, name `libgl1` instead of `libgl1-mesa-glx` and `libasound2t64` instead of \
                 `libasound2`"
            )
        );
        // A name that is not like the other one at all.
        let release = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=trixie\n";
        let error = explain(&["libatlas-base-dev"], release, "curl\nlibopenblas-dev\n");
        assert_eq!(
            error.hint().as_deref(),
            Some("in `system_packages`, name `libopenblas-dev` instead of `libatlas-base-dev`")
        );
        let error = explain(&["libatlas-base-dev"], release, "curl\n");
        assert!(error.hint().is_some_and(|hint| hint.contains("spelling")));
        let error = explain(&["some-thing"], "", "");
        assert_eq!(
            error.to_string(),
            "the base's distribution has no package `some-thing`"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("spelling")));
    }
}
