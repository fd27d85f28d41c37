//! A Python that no Debian release has, as uv brings it.

use std::path::{Path, PathBuf};

use super::LockedBase;
use crate::error::{BuildError, Result};
use crate::workshop::Workshop;
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

/// Where it goes in the image, without leading slash.
const PYTHON_DIR: &str = "opt/python";

/// `base` with the Python `version` in a layer on top.
pub(super) fn add(
    workshop: &Workshop<'_>,
    mut base: LockedBase,
    version: &str,
) -> Result<LockedBase> {
    let minor = minor_version(version);
    let title = format!("base: Python {version}");
    let layer = workshop.timed(&title, || {
        let uv = workshop.uv()?;
        let scratch = workshop.store.scratch()?;
        let downloads = scratch.path().join("downloads");
        fs_err::create_dir(&downloads)?;
        uv.install_python(version, &downloads)
            .map_err(|source| BuildError::UnknownPython {
                version: version.to_owned(),
                source: Box::new(source),
            })?;
        let installed = find(&downloads, &minor)?.ok_or_else(|| BuildError::NoPython {
            base: "uv".to_owned(),
            version: version.to_owned(),
        })?;
        let root = scratch.path().join("root");
        let target = root.join(PYTHON_DIR);
        fs_err::create_dir_all(target.parent().unwrap_or(&root))?;
        fs_err::rename(installed, &target)?;
        Ok(workshop
            .store
            .add_layer_from_dir(&root, &workshop.layer_options(title.clone()))?)
    })?;
    base.layers.push(layer);
    base.interpreter = Interpreter {
        path: format!("/{PYTHON_DIR}/bin/python{minor}"),
        minor,
    };
    Ok(base)
}

/// The folder below `downloads` that has the interpreter. Links to it, by shorter names, do not
/// count.
fn find(downloads: &Path, minor: &str) -> Result<Option<PathBuf>> {
    for entry in fs_err::read_dir(downloads)? {
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
        let folder = tempfile::tempdir().expect("a temporary folder");
        let real = folder.path().join("cpython-3.12.1-linux");
        fs_err::create_dir_all(real.join("bin")).expect("created");
        fs_err::write(real.join("bin/python3.12"), "").expect("written");
        fs_err::create_dir(folder.path().join(".temp")).expect("created");
        fs_err::os::unix::fs::symlink(&real, folder.path().join("cpython-3.12")).expect("linked");
        assert_eq!(find(folder.path(), "3.12").expect("readable"), Some(real));
        assert_eq!(find(folder.path(), "3.10").expect("readable"), None);
    }
}
