//! A Python that no Debian release has, as uv brings it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::LockedBase;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::plan::Bytecode;
use crate::steps::python_packages::compile_folder;
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

/// Where it goes in the image, without leading slash.
const PYTHON_DIR: &str = "opt/python";

/// Text files that are longer are none of those in which uv writes where it installed them.
const MAX_TEXT: u64 = 1 << 20;

/// A build of Python, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedPython {
    /// Its whole version.
    pub version: String,
    /// Checksum of its program, hexadecimal: there are several builds of each version.
    pub sha256: String,
}

/// `base` with the Python `version` in a layer on top: with the given `build`, or with the one that there is.
pub(super) fn add(
    executor: &Executor<'_>,
    mut base: LockedBase,
    version: &str,
    build: Option<&AddedPython>,
) -> Result<LockedBase> {
    let minor = minor_version(version);
    let interpreter = Interpreter {
        path: format!("/{PYTHON_DIR}/bin/python{minor}"),
        minor,
    };
    let name = format!("base: Python {version}");
    let title = if executor.architecture.is_host() {
        name.clone()
    } else {
        format!("{name} for {}", executor.architecture)
    };
    let exact = build.map_or(version, |build| &build.version);
    let (layer, added) = executor.timed(&title, || {
        let uv = executor.uv()?;
        let scratch = executor.store.scratch()?;
        let downloads = scratch.path().join("downloads");
        fs_err::create_dir(&downloads)?;
        let machine = executor.architecture.machine();
        let installed = uv
            .install_python(exact, machine, &downloads)
            .map_err(|source| BuildError::NoBaseWithPython {
                version: exact.to_owned(),
                tried: Vec::new(),
                source: Box::new(source),
            })?;
        let added = identify(&installed, &interpreter.minor)?;
        if let Some(build) = build
            && added.as_ref() != Some(build)
        {
            return Err(BuildError::OtherPython {
                version: build.version.clone(),
            });
        }
        let root = scratch.path().join("root");
        let target = root.join(PYTHON_DIR);
        fs_err::create_dir_all(target.parent().unwrap_or(&root))?;
        fs_err::rename(&installed, &target)?;
        make_reproducible(&target, &installed)?;
        // A base from a registry need not be fetched for it.
        if base.debian.is_some() && executor.plan_settings().bytecode == Bytecode::Compiled {
            compile_folder(executor, &interpreter, &root, PYTHON_DIR, &base.layers)?;
        }
        let options = executor.layer_options(name);
        let layer = executor.store.add_layer_from_dir(&root, &options)?;
        Ok((layer, added))
    })?;
    base.layers.push(layer);
    base.python_version = added.as_ref().map(|added| added.version.clone());
    base.added_python = added;
    base.interpreter = interpreter;
    Ok(base)
}

/// Which build is in the folder.
fn identify(installed: &Path, minor: &str) -> Result<Option<AddedPython>> {
    let Some(version) = version_of(installed) else {
        return Ok(None);
    };
    let program = fs_err::read(installed.join(format!("bin/python{minor}")))?;
    Ok(Some(AddedPython {
        version,
        sha256: hex::encode(Sha256::digest(program)),
    }))
}

/// The version in the name that uv gave the folder: `3.12.1` of `cpython-3.12.1-linux-x86_64-gnu`.
fn version_of(installed: &Path) -> Option<String> {
    let name = installed.file_name()?.to_str()?;
    let version = name.split('-').nth(1)?;
    version.starts_with("3.").then(|| version.to_owned())
}

/// Takes away what differs between two installations of the same build: the place that was `installed` in, which uv
/// writes into some files, and what running it left.
fn make_reproducible(folder: &Path, installed: &Path) -> Result<()> {
    let place = installed.as_os_str().as_bytes();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && entry.file_name() == "__pycache__" {
            fs_err::remove_dir_all(path)?;
        } else if kind.is_dir() {
            make_reproducible(&path, installed)?;
        } else if kind.is_file() && entry.metadata()?.len() <= MAX_TEXT {
            let content = fs_err::read(&path)?;
            if let Some(moved) = replaced(&content, place, format!("/{PYTHON_DIR}").as_bytes()) {
                fs_err::write(path, moved)?;
            }
        }
    }
    Ok(())
}

/// The text `content` with `new` in place of `old`; nothing if it is no text or stays the same.
fn replaced(content: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    if content.contains(&0) {
        return None;
    }
    let mut moved = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        moved.extend_from_slice(&rest[..at]);
        moved.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    moved.extend_from_slice(rest);
    (rest.len() != content.len()).then_some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_name() {
        let version = |name: &str| version_of(&Path::new("/x").join(name));
        let whole = version("cpython-3.12.1-linux-x86_64-gnu");
        assert_eq!(whole.as_deref(), Some("3.12.1"));
        assert_eq!(version("cpython"), None);
    }

    #[test]
    fn where_it_was_installed_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |path: &str, content: &[u8]| {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().expect("there is one")).expect("created");
            fs_err::write(path, content).expect("written");
        };
        file(
            "lib/_sysconfigdata.py",
            b"{'a': '/tmp/1/x/lib', 'b': '/tmp/1/x'}",
        );
        file("lib/other.py", b"/tmp/2/x");
        file("bin/python", b"\x7fELF\0/tmp/1/x");
        file("lib/__pycache__/other.pyc", b"x");
        fs_err::os::unix::fs::symlink("/etc", folder.path().join("lib/link")).expect("linked");
        make_reproducible(folder.path(), Path::new("/tmp/1/x")).expect("changed");
        let read = |path: &str| fs_err::read(folder.path().join(path)).expect("readable");
        assert_eq!(
            read("lib/_sysconfigdata.py"),
            b"{'a': '/opt/python/lib', 'b': '/opt/python'}"
        );
        assert_eq!(read("lib/other.py"), b"/tmp/2/x");
        assert_eq!(read("bin/python"), b"\x7fELF\0/tmp/1/x");
        assert!(!folder.path().join("lib/__pycache__").exists());
    }
}
