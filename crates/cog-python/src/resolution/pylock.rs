//! Reads `pylock.toml`, the form in which uv tells what it chose, with addresses, hashes and sizes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::credentials::public_url;
use super::{IndexFile, Origin, Pinned, Resolution, file_url, path_of_file_url};
use crate::requirements::{ARTIFACTS_DIR, normalise};

/// uv's answer cannot be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PylockError {
    /// It is no `pylock.toml`.
    #[error("uv's answer is not a valid `pylock.toml`")]
    Syntax(#[source] Box<toml::de::Error>),
    /// A distribution comes from nowhere.
    #[error("uv's answer does not say where `{0}` comes from")]
    NoOrigin(String),
    /// A file of this machine that is not one of the project's.
    #[error("`{name}` comes from `{path}`, which is outside of the project", path = path.display())]
    OutsideProject {
        /// The distribution.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
struct Pylock {
    /// Without it, it is none, and least of all one of a project without packages.
    #[serde(rename = "lock-version")]
    _version: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    vcs: Option<Vcs>,
    directory: Option<Directory>,
    archive: Option<File>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vcs {
    url: Option<String>,
    path: Option<PathBuf>,
    commit_id: String,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
struct Directory {
    path: PathBuf,
    subdirectory: Option<PathBuf>,
}

#[derive(Deserialize)]
struct File {
    url: Option<String>,
    path: Option<PathBuf>,
    size: Option<u64>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    subdirectory: Option<String>,
}

impl Resolution {
    /// The resolution that `text` says, which uv wrote with the files of the project in the folder `artifacts`, where
    /// it ran in its parent; `options` are those of the requirements.
    pub fn from_pylock(
        text: &str,
        artifacts: &Path,
        options: &[String],
    ) -> Result<Self, PylockError> {
        let lock: Pylock =
            toml::from_str(text).map_err(|error| PylockError::Syntax(Box::new(error)))?;
        let place = Place { artifacts };
        let mut distributions = lock
            .packages
            .into_iter()
            .map(|package| place.pinned(package))
            .collect::<Result<Vec<_>, _>>()?;
        distributions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self::of(distributions, options))
    }
}

/// Where uv had the files of the project.
struct Place<'a> {
    artifacts: &'a Path,
}

impl Place<'_> {
    fn pinned(&self, package: Package) -> Result<Pinned, PylockError> {
        let name = normalise(&package.name);
        let origin = if let Some(vcs) = package.vcs {
            self.git(&name, vcs)?
        } else if let Some(directory) = package.directory {
            let path = directory
                .path
                .join(directory.subdirectory.unwrap_or_default());
            Origin::Local {
                path: self.project_path(&name, &path)?,
                hashes: Vec::new(),
            }
        } else if let Some(archive) = package.archive {
            self.archive(&name, archive)?
        } else {
            let files = package.sdist.into_iter().chain(package.wheels);
            let files = files.map(|file| self.index_file(&name, file));
            let mut files = files.collect::<Result<Vec<_>, _>>()?;
            files.sort();
            if files.is_empty() {
                return Err(PylockError::NoOrigin(name));
            }
            Origin::Index { files }
        };
        Ok(Pinned {
            name,
            version: package.version,
            origin,
        })
    }

    fn git(&self, name: &str, vcs: Vcs) -> Result<Origin, PylockError> {
        let url = match (vcs.url, vcs.path) {
            (Some(url), _) => public_url(&url),
            (None, Some(path)) => file_url(&self.absolute(&path)),
            (None, None) => return Err(PylockError::NoOrigin(name.to_owned())),
        };
        Ok(Origin::Git {
            url,
            commit: vcs.commit_id,
            subdirectory: vcs.subdirectory,
        })
    }

    fn archive(&self, name: &str, file: File) -> Result<Origin, PylockError> {
        let hashes = hashes(file.hashes);
        let local = match (&file.url, &file.path) {
            (_, Some(path)) => Some(path.clone()),
            (Some(url), None) => path_of_file_url(url),
            (None, None) => return Err(PylockError::NoOrigin(name.to_owned())),
        };
        if let Some(path) = local {
            let path = self.project_path(name, &path)?;
            return Ok(Origin::Local { path, hashes });
        }
        Ok(Origin::Archive {
            url: public_url(&file.url.unwrap_or_default()),
            hashes,
            size: file.size,
            subdirectory: file.subdirectory,
        })
    }

    fn index_file(&self, name: &str, file: File) -> Result<IndexFile, PylockError> {
        let local = match (&file.url, &file.path) {
            (_, Some(path)) => Some(path.clone()),
            (Some(url), None) => path_of_file_url(url),
            (None, None) => return Err(PylockError::NoOrigin(name.to_owned())),
        };
        let url = match local {
            Some(path) => {
                let inside = self.project_path(name, &path)?;
                file_url(&Path::new(ARTIFACTS_DIR).join(inside))
            }
            None => public_url(&file.url.unwrap_or_default()),
        };
        Ok(IndexFile {
            url,
            hashes: hashes(file.hashes),
            size: file.size,
        })
    }

    fn project_path(&self, name: &str, path: &Path) -> Result<String, PylockError> {
        let absolute = self.absolute(path);
        let inside = absolute
            .strip_prefix(self.artifacts)
            .ok()
            .and_then(Path::to_str);
        inside
            .map(str::to_owned)
            .ok_or_else(|| PylockError::OutsideProject {
                name: name.to_owned(),
                path: absolute.clone(),
            })
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        let folder = self.artifacts.parent().unwrap_or(self.artifacts);
        let joined = folder.join(path);
        joined.components().collect()
    }
}

/// The strongest hashes: SHA-256 if there is one, else all that say what a file is. MD5 does not.
fn hashes(all: BTreeMap<String, String>) -> Vec<String> {
    match all.get("sha256") {
        Some(digest) => vec![format!("sha256:{digest}")],
        None => all
            .into_iter()
            .filter(|(algorithm, _)| algorithm != "md5")
            .map(|(algorithm, digest)| format!("{algorithm}:{digest}"))
            .collect(),
    }
}
