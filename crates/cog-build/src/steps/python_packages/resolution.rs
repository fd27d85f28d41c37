//! From requirements to exact pins, remembered: the same requirements give the same packages until
//! the cache is told to be ignored.

use std::path::Path;

use cog_image::{Layer, StepRecord};
use cog_python::requirements::{ARTIFACTS_DIR, Requirements};
use cog_python::uv::{Builds, Target, Uv, UvError};
use serde::{Deserialize, Serialize};

use super::{Staging, in_container};
use crate::base::LockedBase;
use crate::error::Result;
use crate::lock::{LockedPython, PackageSource};
use crate::plan::{key, list};
use crate::workshop::Workshop;

/// What models use without saying so, because the SDK of the reference brought it.
const UNDECLARED: [&str; 4] = ["requests", "PyYAML", "structlog", "typing_extensions"];

/// For `pip install` in `build.run`. No `wheel`: pip has not needed it for years.
const INSTALLER: &str = "pip";

/// Up to Python 3.11 every environment had setuptools, and old packages count on its
/// `pkg_resources`, which version 82 dropped.
const OLD_SETUPTOOLS: &str = "setuptools<82";

const RECIPE: u32 = 2;

/// Pinned packages, with hashes, and the options that say where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Local artifacts are named by their URL in the image.
    pins: String,
}

impl Resolution {
    /// The output of uv, which had the local artifacts in the folder `artifacts`.
    pub(crate) fn new(pins: &str, artifacts: &Path) -> Self {
        let image = file_url(Path::new(ARTIFACTS_DIR));
        Self {
            pins: pins.replace(&file_url(artifacts), &image),
        }
    }

    /// The requirements file to install from, with the local artifacts in the folder `artifacts`.
    pub(crate) fn text(&self, artifacts: &Path) -> String {
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

/// Locks `requirements` for the Python and platform of `base`. Where that takes source distributions, these are
/// built over the layers that `foundation` gives.
pub(crate) fn lock_for_image(
    workshop: &Workshop<'_>,
    base: &LockedBase,
    requirements: &Requirements,
    foundation: impl FnOnce() -> Result<Vec<Layer>>,
) -> Result<LockedPython> {
    let target = Target {
        python: base.interpreter.minor.clone(),
        platform: Some(base.python_platform.clone()),
    };
    remembered(workshop, &target, requirements, |staging| {
        let uv = workshop.uv()?;
        match wheels(&uv, &target, requirements, staging, Builds::Never) {
            Err(UvError::NeedsBuild(_)) if workshop.engine.is_some() => {
                let interpreter = &base.interpreter.path;
                let resolution = in_container::resolve(
                    workshop,
                    &uv,
                    interpreter,
                    &target,
                    requirements,
                    &foundation()?,
                )?;
                Ok((resolution, PackageSource::SourceDistributions))
            }
            result => Ok((result?, PackageSource::Wheels)),
        }
    })
}

/// Locks `requirements` for a Python of this machine, where source distributions may be built.
pub(crate) fn lock_for_host(
    workshop: &Workshop<'_>,
    python: &str,
    requirements: &Requirements,
) -> Result<LockedPython> {
    let target = Target {
        python: python.to_owned(),
        platform: None,
    };
    remembered(workshop, &target, requirements, |staging| {
        let uv = workshop.uv()?;
        let resolution = wheels(&uv, &target, requirements, staging, Builds::Allowed)?;
        Ok((resolution, PackageSource::Wheels))
    })
}

fn wheels(
    uv: &Uv,
    target: &Target,
    requirements: &Requirements,
    staging: &Staging,
    builds: Builds,
) -> Result<Resolution, UvError> {
    let artifacts = staging.artifacts();
    let text = input(requirements, &target.python, &artifacts);
    fs_err::write(staging.input(), text).map_err(UvError::Cache)?;
    let pins = uv.resolve(&staging.input(), target, builds)?;
    Ok(Resolution::new(
        &with_options(requirements, &pins),
        &artifacts,
    ))
}

fn remembered(
    workshop: &Workshop<'_>,
    target: &Target,
    requirements: &Requirements,
    resolve: impl FnOnce(&Staging) -> Result<(Resolution, PackageSource)>,
) -> Result<LockedPython> {
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
    let known = workshop.recorded(&key)?;
    let known = known.and_then(|record| serde_json::from_value(record.facts).ok());
    let (resolution, source) = if let Some(known) = known {
        known
    } else {
        let answer = resolve(&Staging::new(workshop, requirements)?)?;
        let record = StepRecord {
            layers: Vec::new(),
            facts: serde_json::to_value(&answer).expect("pins are text"),
        };
        workshop.store.record_step(&key, &record)?;
        answer
    };
    Ok(LockedPython {
        requirements: requirements.clone(),
        resolution,
        source,
    })
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
