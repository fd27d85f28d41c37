//! Drives `uv`, which resolves and installs Python packages.
//!
//! Nothing here knows about images: [`Uv`] finds the program, `resolve` turns requirements
//! into pins, `install` puts wheels into a prefix. Both work for another Python and platform than
//! the host's, because wheels are only unpacked.

mod bootstrap;
mod explain;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub use explain::UvError;
pub use explain::without_credentials;

/// The oldest `uv` whose options and output we rely on.
const OLDEST: (u32, u32) = (0, 5);

/// A usable `uv` program.
#[derive(Debug, Clone)]
pub struct Uv {
    program: PathBuf,
}

/// The Python and platform that packages are chosen for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Version such as `3.13` or `3.13.1`.
    pub python: String,
    /// Platform by uv's name, such as `x86_64-manylinux_2_28`; the host's if absent.
    pub platform: Option<String>,
}

impl Target {
    fn arguments(&self, command: &mut Command) {
        // It is told all of the target, and wants an interpreter nevertheless.
        if let Some(python) = any_python() {
            command.arg("--python").arg(python);
        }
        command.args(["--python-version", &self.python]);
        if let Some(platform) = &self.platform {
            command.args(["--python-platform", platform]);
        }
    }
}

/// Whether source distributions may be built, which runs their code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builds {
    /// Wheels only.
    Never,
    /// Source distributions are built where uv runs.
    Allowed,
}

impl Uv {
    /// `uv` from PATH if it is new enough, else the one in `cache_dir`, installed there first if
    /// need be; then `notice` is told.
    pub fn find(cache_dir: &Path, notice: &dyn Fn(&str)) -> Result<Self, UvError> {
        if let Some(uv) = Self::on_path() {
            return Ok(uv);
        }
        bootstrap::install(cache_dir, notice).map(|program| Self { program })
    }

    fn on_path() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join("uv"))
            .filter(|program| program.is_file())
            .find(|program| version(program).is_some_and(|version| version >= OLDEST))
            .map(|program| Self { program })
    }

    /// The program file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Resolves the requirements file `input` to exact pins with hashes, for `target`.
    pub fn resolve(
        &self,
        input: &Path,
        target: &Target,
        builds: Builds,
    ) -> Result<String, UvError> {
        let mut command = self.command(folder_of(input));
        command.args(resolve_arguments());
        if builds == Builds::Never {
            command.args(["--only-binary", ":all:"]);
        }
        let text = fs_err::read_to_string(input).map_err(UvError::Cache)?;
        if text.lines().any(|line| line.trim() == "--pre") {
            // uv ignores pip's name for it.
            command.args(["--prerelease", "allow"]);
        }
        target.arguments(&mut command);
        command.arg(input);
        let output = run(&mut command)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(UvError::resolving(&String::from_utf8_lossy(&output.stderr)))
    }

    /// Installs the pins in the file `pins` below `prefix` in the layout of a virtual environment.
    ///
    /// The version in `lib/pythonX.Y` and the interpreter in scripts are those of whichever Python
    /// uv found on the host.
    pub fn install(&self, pins: &Path, target: &Target, prefix: &Path) -> Result<(), UvError> {
        let mut command = self.command(folder_of(pins));
        command.args(install_arguments());
        command
            .args(["--only-binary", ":all:"])
            .arg("--prefix")
            .arg(prefix);
        target.arguments(&mut command);
        command.arg("-r").arg(pins);
        succeed(&mut command)
    }

    /// Makes a virtual environment at `path` for the interpreter `python`; it can be moved.
    pub fn create_environment(&self, path: &Path, python: &Path) -> Result<(), UvError> {
        let mut command = self.command(folder_of(path));
        // It is built in one place and moved to another.
        command
            .args(["venv", "--quiet", "--relocatable", "--python"])
            .arg(python)
            .arg(path);
        succeed(&mut command)
    }

    /// Installs the pins in the file `pins` into the environment of the interpreter `python`.
    pub fn install_into(&self, pins: &Path, python: &Path) -> Result<(), UvError> {
        let mut command = self.command(folder_of(pins));
        command
            .args(install_arguments())
            .arg("--python")
            .arg(python)
            .arg("-r")
            .arg(pins);
        succeed(&mut command)
    }

    /// Installs the Python `version` below `folder` and says where its interpreter is.
    pub fn install_python(&self, version: &str, folder: &Path) -> Result<(), UvError> {
        let mut command = self.command(folder);
        command
            .env("UV_PYTHON_DOWNLOADS", "automatic")
            .args(["python", "install", "--quiet", "--no-bin", "--install-dir"])
            .arg(folder)
            .arg(version);
        succeed(&mut command)
    }

    /// The interpreter of the Python `version` on the host, if there is one.
    pub fn find_python(&self, version: &str) -> Result<Option<PathBuf>, UvError> {
        let mut command = self.command(Path::new("/"));
        command.args(["python", "find", "--system", version]);
        let output = run(&mut command)?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok((output.status.success() && !path.is_empty()).then(|| PathBuf::from(path)))
    }

    /// A command in `folder` that no project configuration, active environment or terminal
    /// setting of the caller changes. Index and proxy settings stay.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .env("UV_PYTHON_DOWNLOADS", "never")
            .env("NO_COLOR", "1")
            .env("UV_NO_PROGRESS", "1");
        for name in FOREIGN_SETTINGS {
            command.env_remove(name);
        }
        if std::env::var_os("UV_DEFAULT_INDEX").is_none()
            && std::env::var_os("UV_INDEX_URL").is_none()
            && let Some(index) = std::env::var_os("PIP_INDEX_URL")
        {
            command.env("UV_DEFAULT_INDEX", index);
        }
        command
    }
}

/// An interpreter on PATH, of whatever version. uv looks for one by starting all it can find, and behind
/// their names there are often scripts that take their time.
fn any_python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    candidates
        .filter_map(|candidate| fs_err::canonicalize(candidate).ok())
        .find(|program| is_recent_python(program))
}

/// Whether it is called `python3.9` or the like, which a script that chooses a version is not.
fn is_recent_python(program: &Path) -> bool {
    const OLDEST_MINOR: u32 = 9;
    let name = program.file_name().and_then(|name| name.to_str());
    let minor = name.and_then(|name| name.strip_prefix("python3.")?.parse().ok());
    minor.is_some_and(|minor: u32| minor >= OLDEST_MINOR) && !is_script(program)
}

fn is_script(program: &Path) -> bool {
    let mut start = [0; 2];
    let read = fs_err::File::open(program).and_then(|mut file| file.read_exact(&mut start));
    read.is_err() || &start == b"#!"
}

/// Variables that would make uv resolve for, or install into, something of the caller's.
const FOREIGN_SETTINGS: [&str; 11] = [
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_BREAK_SYSTEM_PACKAGES",
    "UV_PROJECT",
    "UV_WORKING_DIR",
    "UV_REQUIRE_HASHES",
    "FORCE_COLOR",
];

/// What resolving always takes. All indexes count alike, as they do for pip, which is what
/// requirement files are written for.
pub fn resolve_arguments() -> Vec<&'static str> {
    vec![
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--generate-hashes",
        "--no-strip-extras",
        "--no-strip-markers",
        "--index-strategy",
        "unsafe-best-match",
    ]
}

/// What installing pins always takes.
pub fn install_arguments() -> Vec<&'static str> {
    vec![
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--index-strategy",
        "unsafe-best-match",
        "--link-mode",
        "hardlink",
    ]
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn run(command: &mut Command) -> Result<Output, UvError> {
    command.output().map_err(|source| UvError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })
}

fn succeed(command: &mut Command) -> Result<(), UvError> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    if text.trim().is_empty() {
        let _ = write!(text, "error: uv stopped: {}", output.status);
    }
    Err(UvError::installing(&text))
}

/// Major and minor version of the `uv` at `program`.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new::<&OsStr>(program.as_ref())
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.strip_prefix("uv ")?.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Major and minor part of a Python version.
pub fn minor_version(version: &str) -> String {
    version
        .trim()
        .split('.')
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_with_the_name_of_an_interpreter_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs_err::write(&path, content).unwrap();
            path
        };
        assert!(is_recent_python(&file("python3.11", "\x7fELF")));
        assert!(!is_recent_python(&file("python3.8", "\x7fELF")));
        assert!(!is_recent_python(&file("python3", "\x7fELF")));
        assert!(!is_recent_python(&file("python3.12", "#!/bin/sh\n")));
        assert!(!is_recent_python(&folder.path().join("python3.13")));
    }
}
