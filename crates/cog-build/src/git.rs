//! Which commit the project is at, for the image's labels.
//!
//! A container may have written into the project, and so into its repository: a configuration, hooks, filters and
//! attributes in there could make Git run programs. So Git never sees that configuration. It works in a repository of
//! our own making, with a configuration that we write, whose objects, references and index are the project's.

mod changes;
mod personal;

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cog_config::Revision;
use cog_files::{Links, read_regular_text};

use self::personal::Personal;
use crate::error::Result;
use crate::executor::Executor;

/// Longer than this, and what is not known by then is left out.
const LIMIT: Duration = Duration::from_secs(3);

/// Of what Git says, this much is kept.
const MAX_OUTPUT: usize = 1 << 20;

/// The largest of the small files that are read here.
const MAX_FILE: u64 = 1 << 20;

/// What Git finds in the project's repository under these names: references, and where a shallow history ends.
const SHARED: [&str; 4] = ["packed-refs", "refs", "reftable", "shallow"];

/// Settings of the project's repository that say how its files are to be read, and can make Git run nothing.
const HARMLESS: [(&str, &str); 10] = [
    ("core", "autocrlf"),
    ("core", "eol"),
    ("core", "filemode"),
    ("core", "ignorecase"),
    ("core", "precomposeunicode"),
    ("core", "repositoryformatversion"),
    ("core", "symlinks"),
    ("extensions", "compatobjectformat"),
    ("extensions", "objectformat"),
    ("extensions", "refstorage"),
];

/// The last second of the year 9999: later dates cannot be written as images have them.
const LAST_DATE: i64 = 253_402_300_799;

/// What is known of the project's state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkout {
    /// From the environment of a GitHub workflow, else from Git.
    pub(crate) revision: Revision,
    /// When the commit was made, in seconds since 1970; none if there are changes since.
    pub(crate) date: Option<i64>,
    /// Whether something may be missing because it took too long.
    pub(crate) took_too_long: bool,
}

impl Checkout {
    /// Says what is missing because it took too long: once for each project.
    pub(crate) fn tell(&self, executor: &Executor<'_>) -> Result<()> {
        if !self.took_too_long {
            return Ok(());
        }
        let message = format!(
            "Git did not say within {} seconds which commit this is and what has changed since: labels of the image \
             are left out, and so is the commit's date; `git status` may bring its index up to date, and `git gc` make \
             it quicker",
            LIMIT.as_secs()
        );
        executor.warn_once_in_project("a slow repository", &message)
    }
}

/// Asks the environment and Git.
pub(crate) fn checkout(project_dir: &Path, variable: impl Fn(&str) -> Option<String>) -> Checkout {
    checkout_within(LIMIT, project_dir, variable)
}

fn checkout_within(
    limit: Duration,
    project_dir: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Checkout {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let (commit, description) = (variable("GITHUB_SHA"), variable("GITHUB_REF_NAME"));
    let git = Repository::find(project_dir)
        .and_then(|found| found.view(&variable, limit).ok())
        .map_or_else(Checkout::default, |view| view.ask());
    Checkout {
        revision: Revision {
            commit: commit.or(git.revision.commit),
            description: description.or(git.revision.description),
        },
        date: git.date,
        took_too_long: git.took_too_long,
    }
}

/// Where the parts of a project's repository are.
#[derive(Debug)]
struct Repository {
    work_tree: PathBuf,
    /// With `HEAD` and the index.
    own: PathBuf,
    /// With objects, references and the configuration; for most the same.
    common: PathBuf,
}

impl Repository {
    /// Looks upwards for `.git`, a folder, or a file that names one.
    fn find(project_dir: &Path) -> Option<Self> {
        let chosen = std::env::var_os("GIT_DIR").map(|path| (project_dir.to_owned(), path.into()));
        let found = || {
            let work_tree = project_dir
                .ancestors()
                .find(|folder| folder.join(".git").exists())?;
            Some((work_tree.to_owned(), work_tree.join(".git")))
        };
        let (work_tree, git): (PathBuf, PathBuf) = chosen.or_else(found)?;
        let own = if git.is_file() {
            let text = small_file(&git)?;
            work_tree.join(text.strip_prefix("gitdir:")?.trim())
        } else {
            git
        };
        let common = match small_file(&own.join("commondir")) {
            Some(path) => own.join(path.trim()),
            None => own.clone(),
        };
        Some(Self {
            work_tree,
            own: fs_err::canonicalize(own).ok()?,
            common: fs_err::canonicalize(common).ok()?,
        })
    }

    /// A repository with the same content and a configuration of ours.
    fn view(
        self,
        variable: &dyn Fn(&str) -> Option<String>,
        limit: Duration,
    ) -> std::io::Result<View> {
        let deadline = Instant::now() + limit;
        let folder = tempfile::tempdir()?;
        let personal = Personal::ask(folder.path(), variable, deadline);
        let git = folder.path().join("git");
        fs_err::create_dir(&git)?;
        let head = small_file(&self.own.join("HEAD")).unwrap_or_default();
        fs_err::write(git.join("HEAD"), head)?;
        let own = small_file(&self.common.join("config")).unwrap_or_default();
        let own = settings(&own);
        fs_err::write(git.join("config"), configuration(&personal, &own))?;
        // Where Git looks for those of the user, and those of a repository that are in none of its files.
        let attributes = small_file(&self.common.join("info/attributes"));
        for (place, text) in [
            (folder.path().join(".config/git"), &personal.attributes),
            (git.join("info"), &attributes),
        ] {
            if let Some(text) = text {
                fs_err::create_dir_all(&place)?;
                fs_err::write(place.join("attributes"), text)?;
            }
        }
        symlink(self.common.join("objects"), git.join("objects"))?;
        for name in SHARED {
            if self.common.join(name).exists() {
                symlink(self.common.join(name), git.join(name))?;
            }
        }
        // Git asks for the folder even where no reference is in it.
        if !git.join("refs").exists() {
            fs_err::create_dir(git.join("refs"))?;
        }
        self.link_index(&git)?;
        Ok(View {
            work_tree: self.work_tree,
            folder,
            filters: personal.filters.into_iter().chain(filters(&own)).collect(),
            deadline,
            took_too_long: Cell::new(false),
        })
    }

    /// An index may be in parts.
    fn link_index(&self, git: &Path) -> std::io::Result<()> {
        for entry in fs_err::read_dir(&self.own)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            if text == "index" || text.starts_with("sharedindex.") {
                symlink(self.own.join(&name), git.join(&name))?;
            }
        }
        Ok(())
    }
}

/// What of the user's configuration, and of the project's `own`, which goes before it, cannot make Git run anything.
fn configuration(personal: &Personal, own: &[Setting]) -> String {
    let mut kept = String::from("[core]\n\tbare = false\n");
    let of_user = personal
        .core
        .iter()
        .map(|(name, value)| ("core", name, value));
    // That is a repository's own.
    let of_user = of_user.filter(|(_, name, _)| *name != "repositoryformatversion");
    let own = own
        .iter()
        .map(|(section, name, value)| (section.as_str(), name, value));
    for (section, name, value) in of_user.chain(own) {
        let harmless = HARMLESS.contains(&(section, name.as_str()));
        let plain = |character: char| character.is_ascii_alphanumeric();
        if harmless && !value.is_empty() && value.chars().all(plain) {
            let _ = write!(kept, "[{section}]\n\t{name} = {value}\n");
        }
    }
    kept
}

/// The names of filters that a repository has.
fn filters(own: &[Setting]) -> impl Iterator<Item = String> {
    let filter = |(section, name, _): &Setting| {
        let filter = section.strip_prefix("filter \"")?.strip_suffix('"')?;
        ["clean", "process"]
            .contains(&name.as_str())
            .then(|| filter.to_owned())
    };
    own.iter().filter_map(filter)
}

/// Section, name and value.
type Setting = (String, String, String);

/// The settings in `text`, with sections and names in lower case. Of a section with a name of its own, that is a part.
fn settings(text: &str) -> Vec<Setting> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix('[') {
            let named = rest.split(']').next().unwrap_or_default();
            // What is in quotes is a name as it is written.
            let (kind, name) = named.split_at(named.find('"').unwrap_or(named.len()));
            section = format!("{}{name}", kind.to_lowercase());
        } else if let Some((name, value)) = line.split_once('=') {
            found.push((
                section.clone(),
                name.trim().to_lowercase(),
                value.trim().to_owned(),
            ));
        }
    }
    found
}

/// The text of a plain file that is not large.
fn small_file(path: &Path) -> Option<String> {
    read_regular_text(path, Links::Followed, MAX_FILE).ok()
}

/// A repository of our own making over the project's.
struct View {
    work_tree: PathBuf,
    folder: tempfile::TempDir,
    /// Names of filters that files go through elsewhere.
    filters: Vec<String>,
    deadline: Instant,
    /// Whether something was given up then.
    took_too_long: Cell<bool>,
}

impl View {
    fn ask(&self) -> Checkout {
        // All run at once; each costs some milliseconds of every rebuild.
        let head = [
            "log",
            "-1",
            "--no-show-signature",
            "--format=%H %ct",
            "HEAD",
        ];
        let head = self.start(&head, Stdio::null());
        let name = self.start(&["describe", "--tags"], Stdio::null());
        let changes = self.start(&Self::STATUS, Stdio::null());
        let head = self.line(head);
        let (commit, date) = head
            .as_deref()
            .and_then(|line| line.split_once(' '))
            .map_or((None, None), |(commit, date)| {
                (Some(commit), date.parse().ok())
            });
        let name = self.line(name);
        let changes = self.output(changes);
        let is_clean = changes.and_then(|listed| self.is_clean(&listed));
        let described = |name: String| {
            let mark = if is_clean? { "" } else { "-dirty" };
            Some(format!("{name}{mark}"))
        };
        Checkout {
            revision: Revision {
                commit: commit.map(str::to_owned),
                description: name.and_then(described),
            },
            date: date.filter(|date| is_clean == Some(true) && (0..=LAST_DATE).contains(date)),
            took_too_long: self.took_too_long.get(),
        }
    }

    /// What a command says as a line, if there is one.
    fn line(&self, command: Option<GitCommand>) -> Option<String> {
        let said = self.output(command)?;
        let line = String::from_utf8_lossy(&said).trim().to_owned();
        Some(line).filter(|line| !line.is_empty())
    }

    /// What a command says, unless it fails.
    fn output(&self, command: Option<GitCommand>) -> Option<Vec<u8>> {
        command?
            .output_until(self.deadline)
            .unwrap_or_else(|TooLong| {
                self.took_too_long.set(true);
                None
            })
    }

    /// Whether there is no more time.
    fn is_over(&self) -> bool {
        let is_over = Instant::now() > self.deadline;
        if is_over {
            self.took_too_long.set(true);
        }
        is_over
    }

    fn start(&self, arguments: &[&str], input: Stdio) -> Option<GitCommand> {
        let child = Command::new("git")
            .args(["--no-pager", "--no-optional-locks"])
            .args(arguments)
            // Programs are looked for from here, and here is nothing.
            .current_dir(self.folder.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("GIT_DIR", self.folder.path().join("git"))
            .env("GIT_WORK_TREE", &self.work_tree)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_ALLOW_PROTOCOL", "")
            .env("HOME", self.folder.path())
            .env("LC_ALL", "C")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        child.ok().map(GitCommand)
    }
}

struct GitCommand(Child);

/// A command was given up.
struct TooLong;

impl GitCommand {
    /// The beginning of the output; nothing if the command fails.
    fn output_until(mut self, deadline: Instant) -> Result<Option<Vec<u8>>, TooLong> {
        let Some(output) = self.0.stdout.take() else {
            return Ok(None);
        };
        let reader = std::thread::spawn(move || read_all(output));
        let mut pause = Duration::from_micros(200);
        let status = loop {
            match self.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
            if Instant::now() > deadline {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return Err(TooLong);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        let said = reader.join().ok().flatten();
        Ok(said.filter(|_| status.success()))
    }
}

/// Reads to the end, so that the command is never held up, and keeps the beginning.
fn read_all(mut output: std::process::ChildStdout) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    let most = MAX_OUTPUT as u64;
    output.by_ref().take(most).read_to_end(&mut kept).ok()?;
    std::io::copy(&mut output, &mut std::io::sink()).ok()?;
    Some(kept)
}

#[cfg(test)]
mod tests;
