//! One call of the `container` example: its options, who runs it, and what came of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cog_testing::skip;
use tempfile::TempDir;

use crate::rootfs;

/// The user that tests of ordinary users take.
const NOBODY: u32 = 65_534;

/// Who runs the container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Own,
    /// An ordinary one; the test is root.
    Nobody,
}

/// A place for one test's directories.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    user: User,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::of(User::Own)
    }

    pub(crate) fn of(user: User) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            user,
        };
        fs_err::set_permissions(place.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        place.own(place.dir.path());
        place.directory("scratch");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a directory that belongs to the user.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(&path).unwrap();
        self.own(&path);
        path
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
        self.own(&path);
        path
    }

    fn own(&self, path: &Path) {
        if self.user == User::Nobody {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A container over the base layer.
    pub(crate) fn container(&self) -> Job {
        match self.user {
            User::Own => self.bare().layer(&rootfs::base()),
            User::Nobody => self.bare().layer(&self.own_base()),
        }
    }

    /// Everyone has a store of their own: layers belong to who runs them.
    fn own_base(&self) -> PathBuf {
        let base = self.path("base");
        if !base.exists() {
            let copied = Command::new("cp")
                .arg("-r")
                .arg(rootfs::base())
                .arg(&base)
                .status()
                .unwrap();
            let owner = format!("{NOBODY}:{NOBODY}");
            let given = Command::new("chown")
                .args(["-Rh", &owner])
                .arg(&base)
                .status()
                .unwrap();
            assert!(copied.success() && given.success());
        }
        base
    }

    /// A container without layers.
    pub(crate) fn bare(&self) -> Job {
        let mut job = Job {
            command: self.program(),
        };
        job.command.arg("--scratch").arg(self.path("scratch"));
        job
    }

    /// A workload on the host, with `venv` as environment and this place as project.
    pub(crate) fn host(&self) -> Job {
        let mut job = Job {
            command: self.program(),
        };
        job.command.arg("--host").arg(self.path("venv"));
        job.option("--mount", format!("{}:/src", self.dir.path().display()))
            .option("--cwd", "/src")
    }

    fn program(&self) -> Command {
        let program = example();
        match self.user {
            User::Own => Command::new(program),
            User::Nobody => {
                // The build directory may be closed to others.
                let copy = self.path("container");
                if !copy.exists() {
                    copy_program(&program, &copy);
                }
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                    .arg(copy);
                command
            }
        }
    }
}

/// Copies a program that is then started. In a process of its own: one that another test starts meanwhile would have the
/// file open for writing for a moment, and nobody could start it.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.unwrap().success(), "copied to {}", to.display());
}

/// The example next to this test; `cargo test` builds it.
pub(crate) fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/container");
    assert!(
        path.exists(),
        "build the examples first: `cargo build -p cog-engine --examples`"
    );
    path
}

/// A container or host workload about to be started.
pub(crate) struct Job {
    pub(crate) command: Command,
}

/// What came of a job.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Job {
    pub(crate) fn option(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(name).arg(value);
        self
    }

    pub(crate) fn layer(self, path: &Path) -> Self {
        self.option("--layer", path)
    }

    pub(crate) fn mount(self, source: &Path, target: &str) -> Self {
        self.option("--mount", format!("{}:{target}", source.display()))
    }

    pub(crate) fn build(mut self) -> Self {
        self.command.arg("--build");
        self
    }

    /// The finished command, for tests that start it themselves.
    pub(crate) fn command(mut self, command: &[&str]) -> Command {
        self.command.arg("--").args(command);
        self.command
    }

    pub(crate) fn run(self, command: &[&str]) -> Outcome {
        let output = self.command(command).stdin(Stdio::null()).output().unwrap();
        outcome(&output)
    }

    pub(crate) fn script(self, script: &str) -> Outcome {
        self.run(&["sh", "-c", script])
    }
}

pub(crate) fn outcome(output: &Output) -> Outcome {
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Outcome {
    /// The output of a job that must have succeeded.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!(
            self.code, 0,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.stdout.trim_end()
    }

    /// The error of a workload that did not start.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        assert_eq!(
            self.code, 125,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.stderr.trim_end()
    }
}

/// Whether containers work here; if not, says that the test is skipped.
pub(crate) fn containers_work() -> bool {
    let output = Command::new(example()).arg("--probe").output().unwrap();
    if !output.status.success() {
        skip(String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}

/// The user for tests of ordinary users; says so if there is none.
pub(crate) fn ordinary_user() -> Option<User> {
    if !containers_work() {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return Some(User::Own);
    }
    let place = Place::of(User::Nobody);
    let mut job = place.program();
    let output = job.arg("--probe").output();
    match output {
        Ok(output) if output.status.success() => Some(User::Nobody),
        Ok(output) => {
            skip(String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            skip(format!("`setpriv` does not run: {error}"));
            None
        }
    }
}

/// All paths below `root` with what matters of each, sorted.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(root, root, &mut found);
    found.sort();
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs_err::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display();
        let mode = metadata.permissions().mode();
        let content = if metadata.is_file() {
            fs_err::read_to_string(&path).unwrap()
        } else {
            String::new()
        };
        found.push(
            format!("{name} {mode:o} {}", content.trim_end())
                .trim_end()
                .to_owned(),
        );
        if metadata.is_dir() {
            collect(root, &path, found);
        }
    }
}
