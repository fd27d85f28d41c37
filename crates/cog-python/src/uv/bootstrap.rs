//! Installs `uv` into the cache where the host has none: through the host's pip, at a version
//! that is pinned by hash.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::explain::{UvError, shorten};
use super::process;
use super::progress::{Observer, Progress};
use super::surroundings;

/// The pinned version, with the hashes of its wheels for every platform.
const PINNED: &str = include_str!("pinned.txt");

/// The path of the `uv` in `cache_dir`, after installing it if it is not there yet.
pub(super) fn install(
    cache_dir: &Path,
    certificates: Option<&Path>,
    observer: Observer<'_>,
) -> Result<PathBuf, UvError> {
    let folder = cache_dir.join("uv").join(pinned_version());
    let program = folder.join("bin/uv");
    if program.is_file() {
        return Ok(program);
    }
    let notice = format!("installing uv {} into the cache", pinned_version());
    observer(Progress::Notice(&notice));
    let parent = cache_dir.join("uv");
    fs_err::create_dir_all(&parent).map_err(UvError::Cache)?;
    let staging = tempfile::tempdir_in(&parent).map_err(UvError::Cache)?;
    let pins = staging.path().join("pinned.txt");
    let target = staging.path().join("target");
    fs_err::write(&pins, PINNED).map_err(UvError::Cache)?;
    run_pip(&pins, &target, certificates, observer)?;
    match fs_err::rename(&target, &folder) {
        Ok(()) => Ok(program),
        // Another build was quicker.
        Err(_) if program.is_file() => Ok(program),
        Err(error) => Err(UvError::Cache(error)),
    }
}

fn pinned_version() -> &'static str {
    PINNED
        .split_once("==")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .expect("the file of this crate begins with `uv==VERSION`")
}

/// Tries the ways in which hosts offer pip. What the last one that started said is reported.
fn run_pip(
    pins: &Path,
    target: &Path,
    certificates: Option<&Path>,
    observer: Observer<'_>,
) -> Result<(), UvError> {
    let ways: [&[&str]; 4] = [
        &["python3", "-m", "pip"],
        &["pip3"],
        &["pip"],
        &["python", "-m", "pip"],
    ];
    let mut explanation = None;
    for way in ways {
        let mut command = Command::new(way[0]);
        command
            .args(&way[1..])
            .args(["install", "--quiet", "--require-hashes", "--no-deps"])
            .args([
                "--only-binary",
                ":all:",
                "--disable-pip-version-check",
                "--target",
            ])
            .arg(target)
            .arg("-r")
            .arg(pins);
        surroundings::trust_in_pip(&mut command, certificates);
        match process::run(&mut command, "downloading uv", observer) {
            Ok(finished) if finished.status.success() => return Ok(()),
            Ok(finished) => explanation = Some(shorten(&finished.messages)),
            Err(_) => {}
        }
    }
    Err(explanation.map_or(UvError::Missing, UvError::Bootstrap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_has_hashes() {
        assert!(pinned_version().starts_with("0."));
        assert!(PINNED.matches("--hash=sha256:").count() > 2);
    }
}
