//! Which Python a project with an old one can have: the newest that the frameworks in its requirements have wheels
//! for.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use pep440_rs::{Operator, VersionSpecifiers};

use crate::cuda::{PythonMinor, tensorflow_rows, torch_rows};
use crate::requirements;
use crate::version::Version;

/// What is recommended where no framework has a say.
const RECOMMENDED: PythonMinor = (3, 13);
const OLDEST: PythonMinor = (3, 10);

/// What others depend on comes first.
const FRAMEWORKS: [&str; 4] = ["tensorflow", "torch", "torchvision", "torchaudio"];

/// Other names of the same releases.
const TENSORFLOWS: [&str; 3] = ["tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel"];

/// What to write instead of a Python that is too old.
pub(crate) fn newer_python(lines: &[String]) -> String {
    let mut named: Vec<Named<'_>> = lines.iter().filter_map(|line| Named::read(line)).collect();
    named.sort_by_key(|one| FRAMEWORKS.iter().position(|name| *name == one.package));
    if let Some(old) = named.iter().find(|one| one.releases.is_empty()) {
        return old.too_old();
    }
    let Some((first, others)) = named.split_first() else {
        return format!("write `python_version: \"{}\"`", text(RECOMMENDED));
    };
    let allowed = others.iter().fold(first.pythons(), |allowed, one| {
        allowed.intersection(&one.pythons()).copied().collect()
    });
    let Some(&newest) = allowed.last() else {
        let quoted: Vec<String> = named.iter().map(|one| format!("`{}`", one.line)).collect();
        return format!("{} have wheels for no common Python", quoted.join(" and "));
    };
    let reasons: Vec<String> = named.iter().map(|one| one.reason(newest)).collect();
    format!(
        "the requirements allow `python_version: \"{}\"`: {}",
        text(newest),
        reasons.join(", ")
    )
}

/// A framework that the requirements name, with the releases that they allow.
struct Named<'a> {
    line: &'a str,
    package: &'static str,
    releases: Vec<Release>,
}

#[derive(Clone)]
struct Release {
    version: &'static Version,
    first: PythonMinor,
    last: PythonMinor,
}

impl<'a> Named<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let name = requirements::name(line)?;
        let bare = name.split('[').next()?.to_ascii_lowercase();
        let package = framework(&bare.replace(['_', '.'], "-"))?;
        let specifiers = specifiers(&line[name.len()..])?;
        let all = releases(package);
        let allowed = |release: &&Release| {
            let version = release.version.to_string().parse();
            version.is_ok_and(|version| specifiers.contains(&version))
        };
        let mut releases: Vec<Release> = all.iter().filter(allowed).cloned().collect();
        if releases.is_empty() {
            // The tables don't have every patch, and patches of a release have wheels for the same Pythons.
            let close = all.into_iter();
            releases = close
                .filter(|release| is_patch_of(&specifiers, release))
                .collect();
        }
        Some(Self {
            line: line.split(" --").next()?.trim(),
            package,
            releases,
        })
    }

    fn pythons(&self) -> BTreeSet<PythonMinor> {
        let minors = |release: &Release| (release.first.1..=release.last.1).map(|minor| (3, minor));
        self.releases.iter().flat_map(minors).collect()
    }

    /// Why `python` is allowed.
    fn reason(&self, python: PythonMinor) -> String {
        let Self { line, package, .. } = self;
        let mut versions: Vec<&Version> = self
            .releases
            .iter()
            .filter(|release| release.first <= python && python <= release.last)
            .map(|release| release.version)
            .collect();
        versions.sort_by(|one, other| one.order(other));
        match versions.last() {
            Some(newest) if !line.contains("==") => {
                format!("{package} {newest} is the newest that has wheels for it")
            }
            _ => {
                let last = self.pythons().last().copied().unwrap_or(python);
                format!("`{line}` has wheels up to Python {}", text(last))
            }
        }
    }

    fn too_old(&self) -> String {
        let Self { line, package, .. } = self;
        let all = releases(package);
        let named = |release: Option<&Release>| {
            release.map(|release| format!("{} (Python {})", release.version, text(release.last)))
        };
        let order = |one: &&Release, other: &&Release| one.version.order(other.version);
        let oldest = named(all.iter().min_by(order)).unwrap_or_default();
        let newest = named(all.iter().max_by(order)).unwrap_or_default();
        format!(
            "`{line}` has no wheels for Python 3.10 or newer that cog knows of: {package} {oldest} is the oldest that \
             has, {newest} the newest"
        )
    }
}

fn framework(name: &str) -> Option<&'static str> {
    let name = if TENSORFLOWS.contains(&name) {
        "tensorflow"
    } else {
        name
    };
    FRAMEWORKS.into_iter().find(|known| *known == name)
}

/// Whether the one version that is allowed has the first two numbers of the release.
fn is_patch_of(specifiers: &VersionSpecifiers, release: &Release) -> bool {
    let [pin] = &specifiers[..] else {
        return false;
    };
    let version = pin.version().only_release().to_string();
    *pin.operator() == Operator::Equal
        && Version::parse(&version).is_some_and(|version| {
            (version.major, version.minor) == (release.version.major, release.version.minor)
        })
}

/// Versions that the line allows; a local tag says which build of a release, not which release.
fn specifiers(text: &str) -> Option<VersionSpecifiers> {
    let text = text.split(';').next()?.split(" -").next()?.trim();
    if text.contains('@') {
        return None;
    }
    let text = text.trim_start_matches('(').trim_end_matches(')');
    let without_tags: Vec<&str> = text
        .split(',')
        .map(|one| one.split('+').next().unwrap_or_default())
        .collect();
    VersionSpecifiers::from_str(&without_tags.join(",")).ok()
}

/// All releases with wheels for a Python that is supported.
fn releases(package: &str) -> Vec<Release> {
    let torch = |column: fn(&'static crate::cuda::TorchRow) -> &'static Version| {
        let release = move |row| (column(row), &row.pythons);
        torch_rows().iter().map(release).collect::<Vec<_>>()
    };
    let rows = match package {
        "torch" => torch(|row| &row.torch),
        "torchvision" => torch(|row| &row.torchvision),
        "torchaudio" => torch(|row| &row.torchaudio),
        _ => tensorflow_rows()
            .iter()
            .map(|row| (&row.tensorflow, &row.pythons))
            .collect(),
    };
    rows.into_iter()
        .map(|(version, pythons)| Release {
            version,
            first: (*pythons.start()).max(OLDEST),
            last: *pythons.end(),
        })
        .filter(|release| release.first <= release.last)
        .collect()
}

fn text((major, minor): PythonMinor) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::newer_python;

    #[test]
    fn the_newest_python_and_framework_are_named() {
        let advice = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            newer_python(&lines)
        };
        for (lines, expected) in [
            (&["numpy==1.24.2"][..], "write `python_version: \"3.13\"`"),
            (
                &["torch==2.0.1+cu118 --extra-index-url https://x", "numpy"],
                "the requirements allow `python_version: \"3.11\"`: `torch==2.0.1+cu118` has wheels up to Python 3.11",
            ),
            (
                &["torch>=2.0,<2.3"],
                "the requirements allow `python_version: \"3.12\"`: torch 2.2.2 is the newest that has wheels for it",
            ),
            (
                &["torch"],
                "the requirements allow `python_version: \"3.14\"`: torch 2.11.0 is the newest that has wheels for it",
            ),
            (
                &["torchvision==0.9.0", "torch==1.8.0"],
                "`torch==1.8.0` has no wheels for Python 3.10 or newer that cog knows of: torch 1.11.0 (Python 3.10) is \
                 the oldest that has, 2.11.0 (Python 3.14) the newest",
            ),
            (
                &["tensorflow==2.8.0", "torch==2.2.0"],
                "the requirements allow `python_version: \"3.10\"`: `tensorflow==2.8.0` has wheels up to Python 3.10, \
                 `torch==2.2.0` has wheels up to Python 3.12",
            ),
            (
                &["tensorflow==2.4.0"],
                "`tensorflow==2.4.0` has no wheels for Python 3.10 or newer that cog knows of: tensorflow 2.8.0 (Python \
                 3.10) is the oldest that has, 2.21.0 (Python 3.13) the newest",
            ),
            (
                &["tensorflow_cpu==2.15.1", "torch==2.0.1+cpu"],
                "the requirements allow `python_version: \"3.11\"`: `tensorflow_cpu==2.15.1` has wheels up to Python \
                 3.11, `torch==2.0.1+cpu` has wheels up to Python 3.11",
            ),
            (
                &["Tensorflow-GPU==2.10.1"],
                "the requirements allow `python_version: \"3.10\"`: `Tensorflow-GPU==2.10.1` has wheels up to Python 3.10",
            ),
            (
                &["torchaudio==2.1.0", "numpy==1.19.5"],
                "the requirements allow `python_version: \"3.11\"`: `torchaudio==2.1.0` has wheels up to Python 3.11",
            ),
            (
                &["torch==2.2.9"],
                "the requirements allow `python_version: \"3.12\"`: `torch==2.2.9` has wheels up to Python 3.12",
            ),
            (
                &["torch>=2.2.9,<2.3"],
                "`torch>=2.2.9,<2.3` has no wheels for Python 3.10 or newer that cog knows of: torch 1.11.0 (Python 3.10) \
                 is the oldest that has, 2.11.0 (Python 3.14) the newest",
            ),
            (
                &["torch @ https://x/torch.whl", "torch=="],
                "write `python_version: \"3.13\"`",
            ),
        ] {
            assert_eq!(advice(lines), expected, "{lines:?}");
        }
    }
}
