//! From requirements to exact pins, remembered: the same requirements give the same packages until
//! the cache is told to be ignored.

use std::path::Path;

use cog_image::StepRecord;
use serde_json::json;

use super::Staging;
use crate::error::Result;
use crate::plan::{key, list};
use crate::workshop::Workshop;
use cog_python::requirements::{ARTIFACTS_DIR, Requirements};
use cog_python::uv::{Builds, Target, Uv};

/// What models use without saying so, because the SDK of the reference brought it.
const UNDECLARED: [&str; 4] = ["requests", "PyYAML", "structlog", "typing_extensions"];

/// For `pip install` in `build.run`. No `wheel`: pip has not needed it for years.
const INSTALLER: &str = "pip";

/// Up to Python 3.11 every environment had setuptools, and old packages count on its
/// `pkg_resources`, which version 82 dropped.
const OLD_SETUPTOOLS: &str = "setuptools<82";

const RECIPE: u32 = 1;

/// Pinned packages, with hashes, and the options that say where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// Local artifacts are named by their URL in the image.
    pins: String,
}

impl Resolution {
    /// The output of uv, which had the local artifacts in the folder `artifacts`.
    pub(super) fn new(pins: &str, artifacts: &Path) -> Self {
        let image = file_url(Path::new(ARTIFACTS_DIR));
        Self {
            pins: pins.replace(&file_url(artifacts), &image),
        }
    }

    /// The requirements file to install from, with the local artifacts in the folder `artifacts`.
    pub(super) fn text(&self, artifacts: &Path) -> String {
        self.pins
            .replace(&file_url(Path::new(ARTIFACTS_DIR)), &file_url(artifacts))
    }

    /// The lines that pin the package `name` (normalised): version and hashes, or URL.
    pub(super) fn pin(&self, name: &str) -> Option<&str> {
        let starts =
            |line: &str| cog_python::requirements::package_name(line).as_deref() == Some(name);
        let begin = self.line_starts().find(|&at| starts(&self.pins[at..]))?;
        let end = self
            .line_starts()
            .find(|&at| at > begin && !self.pins[at..].starts_with(' '));
        Some(&self.pins[begin..end.unwrap_or(self.pins.len())])
    }

    fn line_starts(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(0)
            .chain(self.pins.match_indices('\n').map(|(at, _)| at + 1))
            .filter(|&at| at < self.pins.len())
    }
}

/// Resolves `requirements` for `target` to wheels.
pub(super) fn resolve(
    workshop: &Workshop<'_>,
    uv: &Uv,
    target: &Target,
    requirements: &Requirements,
    staging: &Staging,
) -> Result<Resolution> {
    remembered(workshop, target, requirements, || {
        let artifacts = staging.artifacts();
        fs_err::write(
            staging.input(),
            input(requirements, &target.python, &artifacts),
        )?;
        let pins = uv.resolve(&staging.input(), target, Builds::Never)?;
        Ok(Resolution::new(
            &with_options(requirements, &pins),
            &artifacts,
        ))
    })
}

/// Resolves `requirements` for the host's Python, where source distributions may be built. Returns
/// the requirements file to install from.
pub(crate) fn resolve_for_host(
    workshop: &Workshop<'_>,
    uv: &Uv,
    target: &Target,
    requirements: &Requirements,
    folder: &Path,
) -> Result<String> {
    for artifact in &requirements.artifacts {
        artifact.stage(folder)?;
    }
    let resolution = remembered(workshop, target, requirements, || {
        let file = folder.join("requirements.in");
        fs_err::write(&file, input(requirements, &target.python, folder))?;
        let pins = uv.resolve(&file, target, Builds::Allowed)?;
        Ok(Resolution::new(&with_options(requirements, &pins), folder))
    })?;
    Ok(resolution.text(folder))
}

fn remembered(
    workshop: &Workshop<'_>,
    target: &Target,
    requirements: &Requirements,
    resolve: impl FnOnce() -> Result<Resolution>,
) -> Result<Resolution> {
    let key = key("resolution", RECIPE)
        .field(
            "requirements",
            input(requirements, &target.python, Path::new(ARTIFACTS_DIR)),
        )
        .field("python", &target.python)
        .field("platform", target.platform.as_deref().unwrap_or_default());
    let artifacts = requirements
        .artifacts
        .iter()
        .map(|artifact| &artifact.sha256);
    let key = list(key, "artifact", artifacts).finish();
    let pins = |record: &StepRecord| record.facts["pins"].as_str().map(str::to_owned);
    if let Some(pins) = workshop.recorded(&key)?.as_ref().and_then(pins) {
        return Ok(Resolution { pins });
    }
    let resolution = resolve()?;
    let record = StepRecord {
        layers: Vec::new(),
        facts: json!({ "pins": resolution.pins }),
    };
    workshop.store.record_step(&key, &record)?;
    Ok(resolution)
}

/// The requirements file that uv reads: what the project asks for, what it uses without asking,
/// and local artifacts in the folder `artifacts`.
pub(super) fn input(requirements: &Requirements, python: &str, artifacts: &Path) -> String {
    let image = format!("{ARTIFACTS_DIR}/");
    let packages = requirements
        .packages
        .iter()
        .map(|line| match line.strip_prefix(&image) {
            Some(path) => file_url(&artifacts.join(path)),
            None => line.clone(),
        });
    let lines = requirements.options.iter().cloned().chain(packages);
    let extras = extras(requirements, python).into_iter().map(str::to_owned);
    lines.chain(extras).map(|line| line + "\n").collect()
}

/// Packages to add. None where the project uses no index: they may not be where it looks.
fn extras(requirements: &Requirements, python: &str) -> Vec<&'static str> {
    if requirements
        .options
        .iter()
        .any(|option| option.trim() == "--no-index")
    {
        return Vec::new();
    }
    let mut extras: Vec<&str> = UNDECLARED.to_vec();
    extras.push(INSTALLER);
    if minor(python) < 12 {
        extras.push(OLD_SETUPTOOLS);
    }
    extras.retain(|extra| {
        let name = cog_python::requirements::package_name(extra);
        !name.is_some_and(|name| requirements.mentions(&name))
    });
    extras
}

fn minor(python: &str) -> u32 {
    python
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(u32::MAX)
}

/// `pins` under the options of `requirements` that say where packages are.
fn with_options(requirements: &Requirements, pins: &str) -> String {
    let options = requirements.options.iter().map(String::as_str);
    options
        .flat_map(|option| [option, "\n"])
        .chain([pins])
        .collect()
}

/// `path` as a URL.
pub(crate) fn file_url(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(String::from("file://"), |mut url, &byte| {
            match byte {
                b'a'..=b'z'
                | b'A'..=b'Z'
                | b'0'..=b'9'
                | b'/'
                | b'-'
                | b'_'
                | b'.'
                | b'~'
                | b'+' => {
                    url.push(char::from(byte));
                }
                other => {
                    let _ = write!(url, "%{other:02X}");
                }
            }
            url
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirements(options: &[&str], packages: &[&str]) -> Requirements {
        let owned = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
        Requirements {
            options: owned(options),
            packages: owned(packages),
            ..Default::default()
        }
    }

    #[test]
    fn undeclared_packages_are_added_once() {
        let wishes = requirements(
            &["--pre"],
            &["pyyaml==6", "/tmp/local_package_artifacts/a b.whl"],
        );
        assert_eq!(
            input(&wishes, "3.11", Path::new("/s")),
            "--pre\npyyaml==6\nfile:///s/a%20b.whl\nrequests\nstructlog\ntyping_extensions\npip\n\
             setuptools<82\n"
        );
        assert!(!input(&wishes, "3.12", Path::new("/s")).contains("setuptools"));
        let closed = requirements(&["--no-index", "--find-links https://e.com"], &["a"]);
        assert_eq!(
            input(&closed, "3.13", Path::new("/s")),
            "--no-index\n--find-links https://e.com\na\n"
        );
    }

    #[test]
    fn pins_are_found_by_name() {
        let resolution = Resolution::new(
            "--extra-index-url https://e.com\na-b==1 \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\n\
             c @ file:///s/x/c.whl\n    # via d\n",
            Path::new("/s/x"),
        );
        assert_eq!(
            resolution.pin("a-b"),
            Some("a-b==1 \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\n")
        );
        assert_eq!(
            resolution.pin("c"),
            Some("c @ file:///tmp/local_package_artifacts/c.whl\n    # via d\n")
        );
        assert_eq!(resolution.pin("a"), None);
        assert!(
            resolution
                .text(Path::new("/other dir"))
                .contains("c @ file:///other%20dir/c.whl")
        );
    }
}
