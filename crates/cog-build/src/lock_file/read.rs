//! Reads a lock file. Nothing in it is believed: a mistake, or a file that somebody made up, is told with its line.

use cog_debian::{Archive, ListedPackage, Lock as ArchiveLock, LockedPackage};
use cog_image::{Digest, ImageRef};
use cog_python::resolution::{IndexFile, Origin as PythonOrigin, Pinned};
use serde::Deserialize;
use toml::Spanned;

use super::checked::{
    Commit, Date, FileName, Hash, Hashes, Line, PoolPath, ProjectPath, PythonName, PythonVersion,
    Repository, Sha256, Size, SystemName, SystemVersion, Url, suite,
};
use super::error::LockFileError;
use super::{Decided, Inputs, LockFile, PlatformLock, PythonPins, SystemPins, VERSION};
use crate::architecture::Architecture;
use crate::base::{AddedPython, Origin, PinnedBase};
use crate::lock::PackageSource;

/// What every format has.
#[derive(Deserialize)]
struct Head {
    version: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: i64,
    cog: Line,
    project: Project,
    #[serde(default)]
    decision: Vec<Decision>,
    #[serde(default)]
    platform: Vec<Platform>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Project {
    python: PythonVersion,
    bases: Vec<Line>,
    requirements: Vec<Line>,
    #[serde(default)]
    constraints: Vec<Line>,
    #[serde(default)]
    files: Vec<Line>,
    #[serde(default)]
    system_packages: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    subject: Line,
    value: Line,
    reason: Line,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Platform {
    name: Spanned<Line>,
    python_packages: PackageSource,
    #[serde(default)]
    decision: Vec<Decision>,
    base: Spanned<Base>,
    #[serde(default)]
    implied_packages: System,
    #[serde(default)]
    system_packages: System,
    #[serde(default)]
    python: Vec<Spanned<Distribution>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    image: Option<Spanned<Line>>,
    digest: Option<Digest>,
    debian: Option<Spanned<Line>>,
    date: Option<Date>,
    #[serde(default)]
    archives: Vec<Archive>,
    #[serde(default)]
    packages: Vec<ArchivePackage>,
    python: Option<Python>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Python {
    version: PythonVersion,
    sha256: Sha256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchivePackage {
    name: SystemName,
    version: SystemVersion,
    archive: Archive,
    path: PoolPath,
    size: Size,
    sha256: Sha256,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct System {
    names: Vec<SystemName>,
    packages: Vec<SystemPackage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemPackage {
    name: SystemName,
    version: SystemVersion,
    sha256: Sha256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Distribution {
    name: PythonName,
    version: Option<PythonVersion>,
    files: Option<Vec<File>>,
    url: Option<Url>,
    git: Option<Repository>,
    commit: Option<Commit>,
    path: Option<ProjectPath>,
    hashes: Option<Hashes>,
    size: Option<Size>,
    subdirectory: Option<ProjectPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: FileName,
    size: Option<Size>,
    hashes: Option<Hashes>,
}

impl LockFile {
    /// The lock file that `text` says; `name` is what the file is called.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, LockFileError> {
        let source = Text { text, name };
        let head: Head = toml::from_str(text).map_err(|error| source.syntax(&error))?;
        if head.version != i64::from(VERSION) {
            return Err(LockFileError::Version {
                name: name.to_owned(),
                found: head.version,
                known: VERSION,
            });
        }
        let document: Document = toml::from_str(text).map_err(|error| source.syntax(&error))?;
        let mut platforms = Vec::new();
        for one in document.platform {
            let at = one.name.span().start;
            let platform = source.platform(one)?;
            if platforms
                .iter()
                .any(|other: &PlatformLock| other.architecture == platform.architecture)
            {
                return Err(source.at(at, "the platform is there twice"));
            }
            platforms.push(platform);
        }
        platforms.sort_by_key(|one| one.architecture.to_string());
        let project = document.project;
        Ok(Self {
            cog: document.cog.0,
            inputs: Inputs {
                python: project.python.0,
                bases: lines(project.bases),
                requirements: lines(project.requirements),
                constraints: lines(project.constraints),
                files: lines(project.files),
                system_packages: lines(project.system_packages),
            },
            decisions: document.decision.into_iter().map(reason).collect(),
            platforms,
        })
    }
}

/// The file that is read.
struct Text<'a> {
    text: &'a str,
    name: &'a str,
}

impl Text<'_> {
    fn syntax(&self, error: &toml::de::Error) -> LockFileError {
        let start = error.span().map_or(0, |span| span.start);
        let mut reason = error.message().replace('\n', ", ");
        if self.text[..]
            .lines()
            .any(|line| line.starts_with("<<<<<<< "))
        {
            reason.push_str(
                "; two versions of the file were merged, and their conflicts are still in it",
            );
        }
        self.at(start, reason)
    }

    fn at(&self, offset: usize, reason: impl Into<String>) -> LockFileError {
        let before = self.text.as_bytes().iter().take(offset);
        LockFileError::Invalid {
            name: self.name.to_owned(),
            line: before.filter(|&&byte| byte == b'\n').count() + 1,
            reason: reason.into(),
        }
    }

    fn platform(&self, platform: Platform) -> Result<PlatformLock, LockFileError> {
        let at = platform.name.span().start;
        let architecture =
            known(&platform.name.into_inner().0).map_err(|reason| self.at(at, reason))?;
        let mut distributions = Vec::new();
        for one in platform.python {
            let at = one.span().start;
            let found = distribution(one.into_inner()).map_err(|reason| self.at(at, reason))?;
            if let Some(last) = distributions.last()
                && compare(last) >= compare(&found)
            {
                let reason = "Python packages are not in the order of their names, or twice there";
                return Err(self.at(at, reason));
            }
            distributions.push(found);
        }
        Ok(PlatformLock {
            architecture,
            decisions: platform.decision.into_iter().map(reason).collect(),
            base: self.base(platform.base, architecture)?,
            implied: system(platform.implied_packages),
            named: system(platform.system_packages),
            python: PythonPins {
                source: platform.python_packages,
                distributions,
            },
        })
    }

    fn base(
        &self,
        base: Spanned<Base>,
        platform: Architecture,
    ) -> Result<PinnedBase, LockFileError> {
        let at = base.span().start;
        let base = base.into_inner();
        let origin = match (base.image, base.digest, base.debian) {
            (Some(image), Some(digest), None) => {
                let at = image.span().start;
                let reference = image.into_inner().0;
                let parsed: Result<ImageRef, _> = reference.parse();
                match parsed {
                    Ok(parsed) if parsed.digest().is_none() => {}
                    Ok(_) => return Err(self.at(at, "the image has a digest of its own")),
                    Err(error) => return Err(self.at(at, error.to_string())),
                }
                Origin::Image { reference, digest }
            }
            (None, None, Some(release)) => {
                let at = release.span().start;
                let suite = suite(&release.into_inner().0).map_err(|reason| self.at(at, reason))?;
                Origin::Debian(Box::new(ArchiveLock {
                    suite,
                    architecture: match platform {
                        Architecture::Amd64 => cog_debian::Architecture::Amd64,
                        Architecture::Arm64 => cog_debian::Architecture::Arm64,
                    },
                    archives: base.archives,
                    date: base.date.map(|date| date.0),
                    packages: base.packages.into_iter().map(archive_package).collect(),
                }))
            }
            _ => {
                return Err(self.at(
                    at,
                    "a base has an `image` with its `digest`, or it is `debian`",
                ));
            }
        };
        Ok(PinnedBase {
            origin,
            python: base.python.map(|python| AddedPython {
                version: python.version.0,
                sha256: python.sha256.0,
            }),
        })
    }
}

fn compare(pin: &Pinned) -> &str {
    &pin.name
}

fn lines(lines: Vec<Line>) -> Vec<String> {
    lines.into_iter().map(|line| line.0).collect()
}

fn reason(decision: Decision) -> Decided {
    Decided {
        subject: decision.subject.0,
        value: decision.value.0,
        reason: decision.reason.0,
    }
}

/// The platform that is called so, by the one name of several that we write.
fn known(name: &str) -> Result<Architecture, String> {
    let found: Architecture = name.parse().map_err(|error| format!("{error}"))?;
    if found.to_string() == name {
        Ok(found)
    } else {
        Err(format!("`{name}` is called `{found}` in here"))
    }
}

fn archive_package(package: ArchivePackage) -> LockedPackage {
    LockedPackage {
        name: package.name.0,
        version: package.version.0,
        sha256: package.sha256.0,
        size: package.size.0,
        archive: package.archive,
        path: package.path.0,
    }
}

fn system(system: System) -> SystemPins {
    let package = |one: SystemPackage| ListedPackage {
        name: one.name.0,
        version: one.version.0,
        sha256: one.sha256.0,
    };
    SystemPins {
        names: system.names.into_iter().map(|name| name.0).collect(),
        packages: system.packages.into_iter().map(package).collect(),
    }
}

/// The error says what is wrong.
fn distribution(one: Distribution) -> Result<Pinned, String> {
    let Distribution {
        name,
        version,
        files,
        url,
        git,
        commit,
        path,
        hashes,
        size,
        subdirectory,
    } = one;
    let subdirectory = subdirectory.map(|path| path.0);
    let size = size.map(|size| size.0);
    let origin = match (files, url, git, path) {
        (Some(files), None, None, None)
            if commit.is_none() && hashes.is_none() && size.is_none() && subdirectory.is_none() =>
        {
            if files.is_empty() || version.is_none() {
                return Err("a package of an index has a version and files".to_owned());
            }
            PythonOrigin::Index {
                files: files.into_iter().map(file).collect(),
            }
        }
        (None, Some(url), None, None) if commit.is_none() => PythonOrigin::Archive {
            url: url.0,
            hashes: texts(hashes),
            size,
            subdirectory,
        },
        (None, None, Some(git), None) if hashes.is_none() && size.is_none() => PythonOrigin::Git {
            url: git.0,
            commit: commit.ok_or("a repository has a `commit`")?.0,
            subdirectory,
        },
        (None, None, None, Some(path))
            if commit.is_none() && size.is_none() && subdirectory.is_none() =>
        {
            PythonOrigin::Local {
                path: path.0,
                hashes: texts(hashes),
            }
        }
        _ => {
            return Err(
                "a Python package has one of `files`, `url`, `git` and `path`, and what belongs to it"
                    .to_owned(),
            );
        }
    };
    Ok(Pinned {
        name: name.0,
        version: version.map(|version| version.0),
        origin,
    })
}

fn file(file: File) -> IndexFile {
    IndexFile {
        url: file.name.0,
        hashes: texts(file.hashes),
        size: file.size.map(|size| size.0),
    }
}

/// None where none are known.
fn texts(hashes: Option<Hashes>) -> Vec<String> {
    let hashes = hashes.map_or_else(Vec::new, |hashes| hashes.0);
    hashes.into_iter().map(|Hash(text)| text).collect()
}
