//! What uv chose: the exact distributions that requirements stand for, as a value.
//!
//! A [`Resolution`] is the Python part of a lock. It is pure: no path of the machine, no credentials, no dates, and
//! the same choice is always the same text. [`Resolution::from_pylock`] reads it, [`Resolution::requirements`] writes
//! it for `uv pip install`, which then checks the hashes of all that it downloads. Packages are installed by name,
//! version and hash, not by address, so that a lock made with one mirror can be used with another.

mod credentials;
mod hashes;
mod pylock;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use credentials::Credentials;
pub(crate) use credentials::{public_line, public_url};
pub use hashes::HashError;
pub use pylock::PylockError;

use crate::requirements::ARTIFACTS_DIR;

/// Exact distributions, and where they come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The options of the requirements that say where packages are and what counts, in order, without credentials.
    /// Folders of the project are below [`ARTIFACTS_DIR`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Sorted by name.
    #[serde(default)]
    pub distributions: Vec<Pinned>,
}

/// One distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Its name, normalised.
    pub name: String,
    /// Its version; absent where only building it would tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a distribution comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// An index or a folder of wheels: any of these files, whichever fits the machine best.
    Index {
        /// The wheels that fit, and the source distribution if it may be built.
        files: Vec<IndexFile>,
    },
    /// A wheel or source archive by its address.
    Archive {
        /// The address, without credentials.
        url: String,
        /// Hashes such as `sha256:…`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hashes: Vec<String>,
        /// Bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// The folder of the project in the archive.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subdirectory: Option<String>,
    },
    /// A commit of a git repository.
    Git {
        /// The repository, without credentials.
        url: String,
        /// The commit.
        commit: String,
        /// The folder of the project in the repository.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subdirectory: Option<String>,
    },
    /// A wheel, a source archive or a folder of the project that is built.
    Local {
        /// The path in the project.
        path: String,
        /// Hashes such as `sha256:…`; none for a folder.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hashes: Vec<String>,
    },
}

/// A file that an index offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IndexFile {
    /// Its address, without credentials; below `file://` and [`ARTIFACTS_DIR`] for a file of the project.
    pub url: String,
    /// Hashes such as `sha256:…`; none where the index has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<String>,
    /// Bytes, where the index says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl Resolution {
    /// The resolution with `distributions`, sorted by name, to requirements with these `options`.
    pub fn of(distributions: Vec<Pinned>, options: &[String]) -> Self {
        Self {
            options: options.iter().map(|line| public_line(line)).collect(),
            distributions,
        }
    }

    /// The distribution `name` (normalised).
    pub fn pin(&self, name: &str) -> Option<&Pinned> {
        let found = self
            .distributions
            .binary_search_by(|one| one.name.as_str().cmp(name));
        found.ok().map(|at| &self.distributions[at])
    }

    /// The same without the addresses of an index's files, of which their names stay: they are installed by name, version
    /// and hash, and who asks another mirror for them gets the same.
    #[must_use]
    pub fn without_addresses(mut self) -> Self {
        for one in &mut self.distributions {
            if let Origin::Index { files } = &mut one.origin {
                for file in files.iter_mut() {
                    file.url = file.name();
                }
                files.sort();
            }
        }
        self
    }

    /// The first distribution of which there is no wheel.
    pub fn without_wheel(&self) -> Option<&Pinned> {
        self.distributions.iter().find(|one| !one.has_wheel())
    }

    /// The requirements file to install from, with the files of the project below the folder `artifacts`.
    pub fn requirements(&self, artifacts: &Path, credentials: &Credentials) -> String {
        let options = self
            .options
            .iter()
            .map(|line| credentials.line(&place_option(line, artifacts)));
        let pins = self
            .distributions
            .iter()
            .map(|one| one.line(artifacts, credentials));
        options.chain(pins).map(|line| line + "\n").collect()
    }
}

impl IndexFile {
    /// What the file is called.
    pub fn name(&self) -> String {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        name.replace("%2B", "+").replace("%2b", "+")
    }
}

impl Pinned {
    /// Identifies what is installed, wherever it is fetched from.
    pub fn identity(&self) -> String {
        let mut text = format!(
            "{}=={}",
            self.name,
            self.version.as_deref().unwrap_or_default()
        );
        match &self.origin {
            Origin::Index { .. } => {}
            Origin::Archive {
                url, subdirectory, ..
            } => {
                let _ = write!(text, " @ {url}{}", fragment(subdirectory.as_deref()));
            }
            Origin::Git {
                url,
                commit,
                subdirectory,
            } => {
                let _ = write!(
                    text,
                    " @ {url}@{commit}{}",
                    fragment(subdirectory.as_deref())
                );
            }
            Origin::Local { path, .. } => {
                let _ = write!(text, " @ {path}");
            }
        }
        for hash in self.hashes() {
            let _ = write!(text, " {hash}");
        }
        text
    }

    /// Whether it can be installed without being built.
    pub fn has_wheel(&self) -> bool {
        let is_wheel = |path: &str| {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            path.to_ascii_lowercase().ends_with(".whl")
        };
        match &self.origin {
            Origin::Index { files } => files.iter().any(|file| is_wheel(&file.url)),
            Origin::Archive { url, .. } => is_wheel(url),
            Origin::Local { path, .. } => is_wheel(path),
            Origin::Git { .. } => false,
        }
    }

    /// All hashes that a file of it may have, sorted.
    pub fn hashes(&self) -> Vec<&str> {
        let mut hashes: Vec<&str> = match &self.origin {
            Origin::Index { files } => files
                .iter()
                .flat_map(|file| &file.hashes)
                .map(String::as_str)
                .collect(),
            Origin::Archive { hashes, .. } | Origin::Local { hashes, .. } => {
                hashes.iter().map(String::as_str).collect()
            }
            Origin::Git { .. } => Vec::new(),
        };
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    fn line(&self, artifacts: &Path, credentials: &Credentials) -> String {
        let name = &self.name;
        let mut line = match &self.origin {
            // With two signs, 2.3.1 is 2.3.1+cpu too, where the index has both.
            Origin::Index { .. } => {
                format!("{name}==={}", self.version.as_deref().unwrap_or_default())
            }
            Origin::Archive {
                url, subdirectory, ..
            } => format!(
                "{name} @ {}{}",
                credentials.url(url),
                fragment(subdirectory.as_deref())
            ),
            Origin::Git {
                url,
                commit,
                subdirectory,
            } => format!(
                "{name} @ git+{}@{commit}{}",
                credentials.url(url),
                fragment(subdirectory.as_deref())
            ),
            Origin::Local { path, .. } => {
                format!("{name} @ {}", file_url(&artifacts.join(path)))
            }
        };
        for hash in self.hashes() {
            let _ = write!(line, " \\\n    --hash={hash}");
        }
        line
    }
}

fn fragment(subdirectory: Option<&str>) -> String {
    subdirectory.map_or_else(String::new, |folder| format!("#subdirectory={folder}"))
}

/// The option `line` with folders of the project below `artifacts`.
pub(crate) fn place_option(line: &str, artifacts: &Path) -> String {
    let symbolic = file_url(Path::new(ARTIFACTS_DIR));
    line.replace(&symbolic, &file_url(artifacts))
}

/// `path` as a URL.
pub fn file_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(String::from("file://"), |mut url, &byte| {
            if byte.is_ascii_alphanumeric() || b"/-_.~+".contains(&byte) {
                url.push(char::from(byte));
            } else {
                let _ = write!(url, "%{byte:02X}");
            }
            url
        })
}

/// The path that a `file:` URL stands for.
pub(crate) fn path_of_file_url(url: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let rest = url.strip_prefix("file://")?;
    let rest = rest.strip_prefix("localhost").unwrap_or(rest);
    let rest = rest.split(['#', '?']).next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(rest.len());
    let mut input = rest.bytes();
    while let Some(byte) = input.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [input.next()?, input.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests;
