//! Which commit the project is at, for the image's labels.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than this, and the label is left out.
const LIMIT: Duration = Duration::from_secs(3);

/// What the labels `org.opencontainers.image.revision` and `.version` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) revision: Option<String>,
    pub(crate) version: Option<String>,
}

impl Revision {
    /// From the environment of a GitHub workflow, else from Git.
    pub(crate) fn read(project_dir: &Path, variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let in_repository = is_in_repository(project_dir);
        let start = |arguments: &[&str]| {
            in_repository
                .then(|| GitCommand::start(project_dir, arguments))
                .flatten()
        };
        // Both run at once; each costs some milliseconds of every rebuild.
        let revision = variable("GITHUB_SHA").ok_or_else(|| start(&["rev-parse", "HEAD"]));
        let version =
            variable("GITHUB_REF_NAME").ok_or_else(|| start(&["describe", "--tags", "--dirty"]));
        let finish = |value: Result<String, Option<GitCommand>>| match value {
            Ok(value) => Some(value),
            Err(command) => command.and_then(GitCommand::finish),
        };
        Self {
            revision: finish(revision),
            version: finish(version),
        }
    }
}

/// Looks for `.git` upwards, so that no process is started where there is no repository.
fn is_in_repository(project_dir: &Path) -> bool {
    std::env::var_os("GIT_DIR").is_some()
        || project_dir
            .ancestors()
            .any(|folder| folder.join(".git").exists())
}

struct GitCommand {
    child: Child,
    started: Instant,
}

impl GitCommand {
    fn start(folder: &Path, arguments: &[&str]) -> Option<Self> {
        let child = Command::new("git")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self {
            child,
            started: Instant::now(),
        })
    }

    /// The trimmed output, unless the command fails or takes too long. It is one short line, so it
    /// fits the pipe and need not be read while waiting.
    fn finish(mut self) -> Option<String> {
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().ok()? {
                break status;
            }
            if self.started.elapsed() > LIMIT {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        let mut text = String::new();
        self.child
            .stdout
            .take()?
            .take(4096)
            .read_to_string(&mut text)
            .ok()?;
        let text = text.trim();
        (status.success() && !text.is_empty()).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("git runs");
        assert!(status.success(), "git {arguments:?}");
    }

    #[test]
    fn the_environment_wins() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let read = Revision::read(folder.path(), |name| match name {
            "GITHUB_SHA" => Some("fafafaf".to_owned()),
            _ => Some(String::new()),
        });
        assert_eq!(
            read,
            Revision {
                revision: Some("fafafaf".to_owned()),
                version: None
            }
        );
    }

    #[test]
    fn git_is_asked_in_a_repository() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let project = folder.path().join("models/one");
        fs_err::create_dir_all(&project).expect("created");
        git(folder.path(), &["init"]);
        assert_eq!(
            Revision::read(&project, |_| None),
            Revision::default(),
            "no commit yet"
        );
        git(folder.path(), &["commit", "--allow-empty", "-m", "x"]);
        git(folder.path(), &["tag", "v1"]);
        let read = Revision::read(&project, |_| None);
        assert_eq!(read.revision.expect("there is a commit").len(), 40);
        assert_eq!(read.version.as_deref(), Some("v1"));
    }
}
