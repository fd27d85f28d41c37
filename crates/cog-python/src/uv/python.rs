//! A Python that uv downloads: where it is, or why it is not there.

use std::fmt;
use std::path::{Path, PathBuf};

use super::explain::{failed_url, host, shorten};

/// A Python that uv did not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPython {
    /// The version that was wanted.
    pub version: String,
    /// The host that was asked, with the port if there is one; nothing if none was.
    pub host: Option<String>,
    /// In uv's words.
    pub text: String,
    /// Whether uv knows of no such version.
    unknown: bool,
}

impl MissingPython {
    /// What `stderr` means, which uv wrote when it could not download the Python `version`.
    pub(super) fn new(stderr: &str, version: &str) -> Self {
        let text = shorten(stderr);
        Self {
            version: version.to_owned(),
            host: failed_url(&text).as_deref().and_then(host),
            unknown: text.contains("No download found") || text.contains("is not a valid"),
            text,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint =
            "check the network; a mirror of the builds can be set with `UV_PYTHON_INSTALL_MIRROR`";
        (!self.unknown).then(|| hint.to_owned())
    }
}

impl fmt::Display for MissingPython {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = &self.version;
        match &self.host {
            _ if self.unknown => write!(formatter, "uv knows of no build of Python {version}")?,
            Some(host) => write!(
                formatter,
                "Python {version} could not be downloaded from `{host}`"
            )?,
            None => write!(formatter, "Python {version} could not be downloaded")?,
        }
        write!(formatter, ":\n{}", self.text)
    }
}

/// The folder below `folder` that has the interpreter. Links to it, by shorter names, do not count.
pub(super) fn installed(folder: &Path, minor: &str) -> std::io::Result<Option<PathBuf>> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && path.join(format!("bin/python{minor}")).exists() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installation_is_found_beside_links_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("cpython-3.12.1-linux");
        fs_err::create_dir_all(real.join("bin")).unwrap();
        fs_err::write(real.join("bin/python3.12"), "").unwrap();
        fs_err::create_dir(folder.path().join(".temp")).unwrap();
        fs_err::os::unix::fs::symlink(&real, folder.path().join("cpython-3.12")).unwrap();
        let found = |minor| installed(folder.path(), minor).unwrap();
        assert_eq!(found("3.12"), Some(real));
        assert_eq!(found("3.10"), None);
    }

    #[test]
    fn the_host_that_was_asked_is_named() {
        let away = MissingPython::new(
            "error: Failed to install cpython-3.12.1-linux-x86_64-gnu\n  cause: Request failed after 3 retries\n  \
             cause: Failed to download https://u:p@builds.example.org:8443/20240107/cpython-3.12.1.tar.gz\n  cause: \
             HTTP status client error (404 Not Found)\n",
            "3.12",
        );
        let text = away.to_string();
        assert!(
            text.starts_with(
                "Python 3.12 could not be downloaded from `builds.example.org:8443`:\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("404 Not Found") && !text.contains("u:p"),
            "{text}"
        );
        assert!(away.hint().unwrap().contains("UV_PYTHON_INSTALL_MIRROR"));
    }

    #[test]
    fn a_version_that_nobody_has_is_no_matter_of_the_network() {
        let unknown = MissingPython::new(
            "error: No download found for request: cpython-3.99-linux-x86_64-gnu\n",
            "3.99",
        );
        assert!(
            unknown
                .to_string()
                .starts_with("uv knows of no build of Python 3.99:\n")
        );
        assert_eq!(unknown.hint(), None);
    }
}
