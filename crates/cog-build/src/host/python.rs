//! Which Python of this machine serves a project.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cog_config::Completed;
use cog_files::Status;
use cog_image::StepRecord;
use cog_python::interpreters::{Interpreter, Origin, Places, Wanted};

use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::plan::key;

/// What the SDK runs on.
const OLDEST_MINOR: u32 = 10;

/// A Python of this machine.
#[derive(Debug, Clone)]
pub(super) struct HostPython {
    pub(super) path: PathBuf,
    /// Major, minor and patch.
    pub(super) version: String,
    origin: Origin,
}

impl fmt::Display for HostPython {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            version,
            origin,
        } = self;
        write!(
            formatter,
            "Python {version} of {origin} (`{}`)",
            path.display()
        )
    }
}

impl HostPython {
    /// The Python of this machine that fits the project best, with a warning if it is not what the project asks for.
    pub(super) fn find(executor: &Executor<'_>, completed: &Completed) -> Result<Self> {
        let asked = &completed.python;
        let all = Places::of_this_machine().interpreters();
        let wanted = Wanted::parse(&asked.version);
        let minors = wanted.map_or_else(Vec::new, |wanted| wanted.minors(&all, OLDEST_MINOR));
        for minor in minors {
            let mut versions = Vec::new();
            for interpreter in all.iter().filter(|interpreter| interpreter.minor == minor) {
                // One that does not start is passed over: half an installation, or one for another processor.
                if let Some(version) = version(executor, &interpreter.path)? {
                    versions.push((interpreter, interpreter.origin, version));
                }
            }
            if let Some((Interpreter { path, origin, .. }, version)) =
                wanted.and_then(|wanted| wanted.best(versions))
            {
                let python = Self {
                    path: path.clone(),
                    version,
                    origin: *origin,
                };
                python.compare(executor, completed)?;
                return Ok(python);
            }
        }
        let found = all.iter().map(|interpreter| {
            let Interpreter { path, minor, .. } = interpreter;
            format!("Python 3.{minor} (`{}`)", path.display())
        });
        Err(BuildError::NoHostPython {
            found: found.collect(),
        })
    }

    /// Warns if this is another Python than the project asks for. Another patch is told once.
    fn compare(&self, executor: &Executor<'_>, completed: &Completed) -> Result<()> {
        let asked = &completed.python;
        if !is_a(&self.version, &asked.minor) {
            executor.warn(&format!(
                "this machine has no Python {0}, using {self}; `uv python install {0}` or `pyenv install {0}` brings it",
                asked.version
            ));
        } else if !is_a(&self.version, &asked.version) {
            let message = format!(
                "`python_version: \"{0}\"` is served by {self}; for exactly {0}, use `uv python install {0}` or \
                 `pyenv install {0}`, or say \"{1}\" if any patch will do",
                asked.version, asked.minor
            );
            executor.warn_once_in_project("another patch of Python", &message)?;
        }
        Ok(())
    }
}

/// Whether `version` is `wanted` or a patch of it.
fn is_a(version: &str, wanted: &str) -> bool {
    let rest = version.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The version of the interpreter at `path`: major, minor and patch; nothing if it does not start. Starting it takes
/// time, so the answer is remembered for as long as the file stays the same, unless that has just changed.
fn version(executor: &Executor<'_>, path: &Path) -> Result<Option<String>> {
    let now = SystemTime::now();
    let Ok(status) = Status::of(path) else {
        return Ok(None);
    };
    if !status.is_settled(now) {
        return Ok(ask(path));
    }
    let key = key("version of a Python", 2)
        .field("path", path.as_os_str().as_bytes())
        .field("status", status.bytes())
        .finish();
    let known = executor.store.step(&key)?;
    let known = known.and_then(|record| serde_json::from_value(record.facts).ok());
    if known.is_some() {
        return Ok(known);
    }
    let version = ask(path);
    if let Some(version) = &version {
        let record = StepRecord {
            layers: Vec::new(),
            facts: version.clone().into(),
        };
        executor.store.record_step(&key, &record)?;
    }
    Ok(version)
}

fn ask(path: &Path) -> Option<String> {
    let script = "import platform; print(platform.python_version())";
    let mut command = std::process::Command::new(path);
    let output = command.args(["-I", "-c", script]).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && version.starts_with("3.")).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_not_taken_for_another() {
        for (version, wanted) in [
            ("3.11.2", "3.11"),
            ("3.11.2", "3.11.2"),
            ("3.13.0rc1", "3.13"),
        ] {
            assert!(is_a(version, wanted), "{version} {wanted}");
        }
        for (version, wanted) in [("3.11.2", "3.1"), ("3.11.20", "3.11.2"), ("3.12.1", "3.11")] {
            assert!(!is_a(version, wanted), "{version} {wanted}");
        }
    }

    #[test]
    fn what_does_not_start_has_no_version() {
        assert_eq!(ask(Path::new("/dev/null")), None);
        assert_eq!(ask(Path::new("/bin/false")), None);
        assert_eq!(ask(Path::new("/nowhere/python3.11")), None);
    }
}
