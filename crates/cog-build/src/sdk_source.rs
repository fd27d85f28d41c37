//! Where SDK and server come from, as the published tool lets one say it: `COG_SDK_WHEEL`, `COGLET_WHEEL` and
//! `build.sdk_version`.
//!
//! Images of this tool always have the SDK and the server that belong to it: [`check`] refuses values that are
//! mistakes and says that the others have no effect. What the values mean is for the Dockerfile of
//! [`dockerfile`](crate::dockerfile). That a development version of the published tool looks for wheels in `dist` is
//! left out: this is none.

use std::fmt;
use std::path::{Path, PathBuf};

use cog_errors::Hint;
use pep440_rs::Version;

use crate::reporter::{Event, Reporter};
use crate::sdk::VERSION;

/// Where the SDK comes from.
pub const COG_SDK_WHEEL: &str = "COG_SDK_WHEEL";
/// Where the server comes from.
pub const COGLET_WHEEL: &str = "COGLET_WHEEL";

/// The oldest SDK that servers of today work with.
const OLDEST_SDK: [u64; 3] = [0, 16, 0];
/// The literal of `build.sdk_version` for the newest pre-release.
const PRERELEASE: &str = "prerelease";
/// Parts of the names of wheels that run on the platform of images.
const PLATFORM_TAGS: [&str; 2] = ["x86_64", "-none-any"];

/// A source that can't be understood or found.
#[derive(Debug, thiserror::Error)]
pub enum SdkSourceError {
    /// There is no such file or folder.
    #[error("{variable}: path not found: {}", path.display())]
    PathNotFound {
        /// The variable.
        variable: &'static str,
        /// Where it points.
        path: PathBuf,
    },
    /// The folder can't be read.
    #[error("{variable}: could not read {}", folder.display())]
    Unreadable {
        /// The variable.
        variable: &'static str,
        /// Where it points.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The folder has no such wheel.
    #[error("{variable}: no wheel matching '{pattern}' found in {}", folder.display())]
    NoWheel {
        /// The variable.
        variable: &'static str,
        /// What was looked for.
        pattern: String,
        /// Where.
        folder: PathBuf,
    },
    /// The folder has wheels, all of them for other machines.
    #[error("{variable}: no wheel for platform linux/amd64 found in {}", folder.display())]
    OtherPlatforms {
        /// The variable.
        variable: &'static str,
        /// Where.
        folder: PathBuf,
    },
    /// The folder has more than one.
    #[error(
        "{variable}: multiple wheels matching '{pattern}' found in {}: {}", folder.display(), names.join(", ")
    )]
    SeveralWheels {
        /// The variable.
        variable: &'static str,
        /// What was looked for.
        pattern: String,
        /// Where.
        folder: PathBuf,
        /// What was found.
        names: Vec<String>,
    },
    /// Something else than a version.
    #[error("{place}: `{text}` is no version: write it like `0.18.0`")]
    NoVersion {
        /// A variable or a field of cog.yaml.
        place: &'static str,
        /// As written.
        text: String,
    },
    /// The SDK is older than servers work with.
    #[error("cog version {version} is below the minimum required version 0.16.0")]
    OldSdk {
        /// As written.
        version: String,
    },
}

impl Hint for SdkSourceError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::OldSdk { .. } => {
                "leave the version out: images get the SDK that belongs to this cog"
            }
            Self::SeveralWheels { .. } => "name one of the files instead of the folder",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Package {
    Sdk,
    Coglet,
}

impl Package {
    fn name(self) -> &'static str {
        match self {
            Self::Sdk => "cog",
            Self::Coglet => "coglet",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Sdk => COG_SDK_WHEEL,
            Self::Coglet => COGLET_WHEEL,
        }
    }
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageSource {
    /// The package index.
    Pypi(Pin),
    /// A wheel or an archive elsewhere.
    Url(String),
    /// A file of this machine.
    File(PathBuf),
}

/// Which version of the package index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The newest release.
    Latest,
    /// The newest one, pre-releases included.
    Prerelease,
    /// Exactly this one.
    Version(Version),
}

/// Where SDK and server come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkSources {
    /// The SDK.
    pub sdk: PackageSource,
    /// The server, where it is not what the SDK depends on.
    pub coglet: Option<PackageSource>,
}

impl Default for SdkSources {
    /// What the package index has.
    fn default() -> Self {
        Self {
            sdk: PackageSource::Pypi(Pin::Latest),
            coglet: None,
        }
    }
}

impl SdkSources {
    /// Reads the variables (by `variable`) and `build.sdk_version`; relative paths start at `directory`.
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
        sdk_version: Option<&str>,
        directory: &Path,
    ) -> Result<Self, SdkSourceError> {
        let of = |package: Package| {
            let value = variable(package.variable());
            value
                .as_deref()
                .map(str::trim)
                .filter(|value| !value.is_empty())
                .map(|value| PackageSource::read(package, value, directory))
                .transpose()
        };
        let sdk_version = sdk_version.map(str::trim).filter(|text| !text.is_empty());
        let sdk = match (of(Package::Sdk)?, sdk_version) {
            (Some(source), _) => source,
            (None, Some(text)) => {
                PackageSource::Pypi(Pin::read(Package::Sdk, text, "build.sdk_version")?)
            }
            (None, None) => PackageSource::Pypi(Pin::Latest),
        };
        let coglet = of(Package::Coglet)?;
        Ok(Self { sdk, coglet })
    }

    /// The files of this machine among them, by what they are.
    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let sources = [
            (Package::Sdk, Some(&self.sdk)),
            (Package::Coglet, self.coglet.as_ref()),
        ];
        sources
            .into_iter()
            .filter_map(|(package, source)| match source {
                Some(PackageSource::File(path)) => Some((package.name(), path.as_path())),
                _ => None,
            })
    }

    /// What can be told of them in detail.
    pub fn details(&self) -> Vec<String> {
        self.files()
            .map(|(name, path)| format!("Using local {name} wheel: {}", path.display()))
            .collect()
    }
}

impl PackageSource {
    fn read(package: Package, value: &str, directory: &Path) -> Result<Self, SdkSourceError> {
        let lower = value.to_ascii_lowercase();
        if lower == "pypi" {
            return Ok(Self::Pypi(Pin::Latest));
        }
        if lower.starts_with("pypi:") {
            let version = value["pypi:".len()..].trim();
            return Pin::read(package, version, package.variable()).map(Self::Pypi);
        }
        if lower.starts_with("http://") || lower.starts_with("https://") {
            return Ok(Self::Url(value.to_owned()));
        }
        let path = directory.join(value);
        if path.is_dir() {
            return wheel_in(package, &path).map(Self::File);
        }
        if path.exists() {
            return Ok(Self::File(path));
        }
        Err(SdkSourceError::PathNotFound {
            variable: package.variable(),
            path: PathBuf::from(value),
        })
    }
}

/// As a requirement after `cog`: nothing for whatever is newest.
impl fmt::Display for Pin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest | Self::Prerelease => Ok(()),
            Self::Version(version) => write!(formatter, "=={version}"),
        }
    }
}

impl Pin {
    /// Pre-releases may be written as semantic versions have them (`0.17.0-alpha1`): the standard for Python versions
    /// reads that too, and writes it as `0.17.0a1`.
    fn read(package: Package, text: &str, place: &'static str) -> Result<Self, SdkSourceError> {
        if text.is_empty() {
            return Ok(Self::Latest);
        }
        if text == PRERELEASE {
            return Ok(Self::Prerelease);
        }
        let version: Version = text.parse().map_err(|_| SdkSourceError::NoVersion {
            place,
            text: text.to_owned(),
        })?;
        if package == Package::Sdk && version < Version::new(OLDEST_SDK) {
            return Err(SdkSourceError::OldSdk {
                version: text.to_owned(),
            });
        }
        Ok(Self::Version(version))
    }

    /// Whether pre-releases must be allowed for it.
    pub(crate) fn is_prerelease(&self) -> bool {
        match self {
            Self::Latest => false,
            Self::Prerelease => true,
            Self::Version(version) => version.any_prerelease(),
        }
    }
}

/// The one wheel of `package` in `folder`.
fn wheel_in(package: Package, folder: &Path) -> Result<PathBuf, SdkSourceError> {
    let variable = package.variable();
    let pattern = format!("{}-*.whl", package.name());
    let mut names = wheels(package, folder).map_err(|source| SdkSourceError::Unreadable {
        variable,
        folder: folder.to_owned(),
        source,
    })?;
    if names.is_empty() {
        return Err(SdkSourceError::NoWheel {
            variable,
            pattern,
            folder: folder.to_owned(),
        });
    }
    if package == Package::Coglet {
        names.retain(|name| PLATFORM_TAGS.iter().any(|tag| name.contains(tag)));
    }
    match names.as_slice() {
        [] => Err(SdkSourceError::OtherPlatforms {
            variable,
            folder: folder.to_owned(),
        }),
        [name] => Ok(folder.join(name)),
        _ => Err(SdkSourceError::SeveralWheels {
            variable,
            pattern,
            folder: folder.to_owned(),
            names,
        }),
    }
}

/// Names of the wheels of `package` in `folder`, sorted.
fn wheels(package: Package, folder: &Path) -> std::io::Result<Vec<String>> {
    let prefix = format!("{}-", package.name());
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let version = name.strip_prefix(&prefix);
        if version.is_some_and(|rest| rest.strip_suffix(".whl").is_some()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Refuses sources that are mistakes, and says once of the others that they have no effect.
pub(crate) fn check(
    sdk_version: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
    directory: &Path,
    reporter: &dyn Reporter,
) -> Result<(), SdkSourceError> {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.trim().is_empty());
    let sources = SdkSources::read(&variable, sdk_version, directory)?;
    for detail in sources.details() {
        let message = &format!("{detail}, in the Dockerfile of `cog debug` only");
        reporter.report(Event::Detail { message });
    }
    let said: Vec<String> = [
        is_set(COG_SDK_WHEEL).then_some(COG_SDK_WHEEL),
        is_set(COGLET_WHEEL).then_some(COGLET_WHEEL),
        sdk_version
            .is_some_and(|text| !text.trim().is_empty())
            .then_some("build.sdk_version"),
    ]
    .into_iter()
    .flatten()
    .map(|name| format!("`{name}`"))
    .collect();
    if !said.is_empty() {
        let verb = if said.len() == 1 { "is" } else { "are" };
        let message = &format!(
            "{} {verb} ignored: images get version {VERSION}, which belongs to this cog",
            said.join(" and ")
        );
        reporter.report(Event::Warning { message });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
