//! The requirements file that uv reads.

use std::path::Path;

use crate::requirements::{ARTIFACTS_DIR, Requirements, package_name};
use crate::resolution::{file_url, place_option, public_line};

/// What models use without saying so, because the SDK of the reference brought it.
const UNDECLARED: [&str; 4] = ["requests", "PyYAML", "structlog", "typing_extensions"];

/// For `pip install` in `build.run`. No `wheel`: pip has not needed it for years.
const INSTALLER: &str = "pip";

/// Up to Python 3.11 every environment had setuptools, and old packages count on its
/// `pkg_resources`, which version 82 dropped.
const OLD_SETUPTOOLS: &str = "setuptools<82";

/// What the project asks for, what it uses without asking, and local artifacts in the folder `artifacts`.
pub fn input(requirements: &Requirements, python: &str, artifacts: &Path) -> String {
    let image = format!("{ARTIFACTS_DIR}/");
    let options = requirements
        .options
        .iter()
        .map(|line| place_option(line, artifacts));
    let packages = requirements
        .packages
        .iter()
        .map(|line| match line.strip_prefix(&image) {
            Some(path) => place(path, artifacts),
            None => line.clone(),
        });
    let extras = extras(requirements, python).into_iter().map(str::to_owned);
    options
        .chain(packages)
        .chain(extras)
        .map(|line| line + "\n")
        .collect()
}

/// The same as lines without credentials, with local artifacts where images have them: what a resolution is an answer to.
pub fn public_input(requirements: &Requirements, python: &str) -> Vec<String> {
    let text = input(requirements, python, Path::new(ARTIFACTS_DIR));
    text.lines().map(public_line).collect()
}

/// The URL of a file or folder of the project; behind a folder there may be extras.
fn place(path: &str, artifacts: &Path) -> String {
    match path.split_once('[') {
        Some((folder, extras)) if path.ends_with(']') => {
            format!("{}[{extras}", file_url(&artifacts.join(folder)))
        }
        _ => file_url(&artifacts.join(path)),
    }
}

/// Packages to add. None where the project uses no index, because they may not be where it looks; and where every
/// package needs a hash, only those that need no others.
fn extras(requirements: &Requirements, python: &str) -> Vec<&'static str> {
    let has = |option: &str| {
        requirements
            .options
            .iter()
            .any(|line| line.trim() == option)
    };
    if has("--no-index") {
        return Vec::new();
    }
    let mut extras: Vec<&str> = Vec::new();
    if !requirements.require_hashes {
        extras.extend(UNDECLARED);
    }
    extras.push(INSTALLER);
    if minor(python) < 12 {
        extras.push(OLD_SETUPTOOLS);
    }
    extras.retain(|extra| {
        let name = package_name(extra);
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
    fn what_is_written_down_has_no_credentials() {
        let wishes = requirements(
            &["--extra-index-url https://me:secret@e.com/whl"],
            &[
                "a @ https://tok@e.com/a.whl",
                "/tmp/local_package_artifacts/b.whl",
            ],
        );
        assert_eq!(
            public_input(&wishes, "3.13")[..3],
            [
                "--extra-index-url https://e.com/whl",
                "a @ https://e.com/a.whl",
                "file:///tmp/local_package_artifacts/b.whl",
            ]
        );
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
        let strict = Requirements {
            require_hashes: true,
            ..requirements(&[], &["a==1 --hash=sha256:0"])
        };
        assert_eq!(
            input(&strict, "3.13", Path::new("/s")),
            "a==1 --hash=sha256:0\npip\n"
        );
    }
}
