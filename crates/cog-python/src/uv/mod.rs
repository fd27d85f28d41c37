//! Drives `uv`, which resolves and installs Python packages.
//!
//! Nothing here knows about images: [`Uv`] finds the program, `resolve` turns requirements
//! into a [`Resolution`], `install` puts its wheels into a prefix. Both work for another Python and platform than
//! the host's, because wheels are only unpacked.

mod bootstrap;
mod explain;
mod input;
mod memory_file;
mod process;
mod progress;
mod python;
mod received;
mod settings;
mod surroundings;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use explain::{Context, Unreachable, UvError, without_credentials};
pub use input::{input, public_input};
pub use progress::{Observer, Progress, Waiting};
pub use python::MissingPython;
pub use settings::Settings;
pub use surroundings::{left_out, passed_on, proxies};

use crate::interpreters::{Interpreter, Places};
use crate::requirements::Requirements;
use crate::resolution::{Credentials, Resolution};
use memory_file::MemoryFile;
use process::Finished;

/// The oldest `uv` whose options and output we rely on: the first that tells what it chose with hashes and sizes, for
/// one platform, and needs no option to say so.
const OLDEST: (u32, u32) = (0, 8);

/// The file with what uv chose.
pub const ANSWER: &str = "pylock.toml";

/// A usable `uv` program.
pub struct Uv<'a> {
    program: PathBuf,
    /// Where it keeps what it downloads.
    cache: PathBuf,
    /// What it trusts in place of what the system trusts.
    certificates: Option<MemoryFile>,
    /// What counts of the caller's settings.
    settings: Settings,
    /// The same as a file, if there is any.
    settings_file: Option<MemoryFile>,
    observer: Box<dyn Fn(Progress<'_>) + 'a>,
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

/// Requirements with the folder that their files are in.
#[derive(Debug, Clone, Copy)]
pub struct Staged<'a> {
    /// What is wanted.
    pub requirements: &'a Requirements,
    /// An absolute path: the files of the project are below it, and uv's files are written beside it.
    pub artifacts: &'a Path,
    /// What is chosen where the requirements allow it: it is there already, or was chosen before.
    pub preferred: &'a [Preference],
    /// Whether an index is asked although it was asked lately.
    pub refresh: Refresh,
}

/// Of what the answers that uv has kept do not count. Indexes let it keep them for some minutes, in which it would not see
/// a version that has just come out. There is no choosing of packages, though uv has that: what a version needs that has
/// just come out may have come out with it, and only the version says what that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresh {
    /// All that may still be kept counts.
    #[default]
    Nothing,
    /// None of it does.
    Everything,
}

impl Refresh {
    /// What resolving takes besides.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Everything => &["--refresh"],
        }
    }
}

/// A version that is chosen where the requirements allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// The distribution.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Staged<'_> {
    /// The folder that uv runs in.
    fn folder(&self) -> &Path {
        folder_of(self.artifacts)
    }

    /// What failures are explained with.
    pub fn context(&self) -> Context<'_> {
        Context {
            file: &self.requirements.source,
            lines: &self.requirements.options,
        }
    }

    /// Writes the file for [`resolve_arguments`], and says its name.
    pub fn write_input(&self, python: &str, artifacts: &Path) -> Result<&'static str, UvError> {
        let mut text = input(self.requirements, python, artifacts);
        if !self.requirements.constraints.is_empty() {
            const CONSTRAINTS: &str = "constraints.txt";
            self.write(
                CONSTRAINTS,
                &(self.requirements.constraints.join("\n") + "\n"),
            )?;
            let _ = writeln!(text, "-c {CONSTRAINTS}");
        }
        self.write(explain::INPUT, &text)?;
        Ok(explain::INPUT)
    }

    /// Writes the file for [`install_arguments`], and says its name; `artifacts` is the folder of the project's files
    /// where it is read.
    pub fn write_pins(
        &self,
        resolution: &Resolution,
        artifacts: &Path,
    ) -> Result<&'static str, UvError> {
        let credentials = Credentials::of(self.requirements);
        let text = resolution.requirements(artifacts, &credentials);
        self.write(explain::PINS, &text)?;
        Ok(explain::PINS)
    }

    /// Writes the file [`ANSWER`] with what is preferred: uv takes it for what it chose before.
    pub fn write_preferred(&self) -> Result<(), UvError> {
        let mut text = "lock-version = \"1.0\"\ncreated-by = \"cog\"\n".to_owned();
        for Preference { name, version } in self.preferred {
            // Its strings are strings of TOML too.
            let [name, version] = [name, version].map(|one| serde_json::Value::from(&**one));
            let _ = write!(text, "\n[[packages]]\nname = {name}\nversion = {version}\n");
        }
        self.write(ANSWER, &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), UvError> {
        fs_err::write(self.folder().join(name), text).map_err(UvError::Cache)
    }

    /// What uv answered to [`resolve_arguments`], where it saw the files of the project in `artifacts`.
    pub fn read_answer(&self, answer: &str, artifacts: &Path) -> Result<Resolution, UvError> {
        let options = &self.requirements.options;
        let mut resolution =
            Resolution::from_pylock(answer, artifacts, options).map_err(Box::new)?;
        resolution.allow_only(self.requirements).map_err(Box::new)?;
        Ok(resolution)
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

impl<'a> Uv<'a> {
    /// `uv` from PATH if it is new enough, else the one in `cache_dir`, installed there first if need be. It keeps
    /// what it downloads in `cache_dir` too, unless the user named another place. Where there are `certificates`, in PEM
    /// form, they are all that it trusts. `observer` is told what it does.
    pub fn find(
        cache_dir: &Path,
        certificates: Option<&str>,
        observer: impl Fn(Progress<'_>) + 'a,
    ) -> Result<Self, UvError> {
        let certificates = certificates.map(MemoryFile::new).transpose();
        let certificates = certificates.map_err(UvError::Cache)?;
        let settings = Settings::of_caller()?;
        let settings_file = settings.text().map(|text| MemoryFile::new(&text));
        let settings_file = settings_file.transpose().map_err(UvError::Cache)?;
        let program = if let Some(program) = Self::on_path() {
            program
        } else {
            let trusted = certificates.as_ref().map(MemoryFile::path);
            bootstrap::install(cache_dir, trusted, &observer)?
        };
        Ok(Self {
            program,
            cache: surroundings::cache(cache_dir),
            certificates,
            settings,
            settings_file,
            observer: Box::new(observer),
        })
    }

    fn on_path() -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join("uv"))
            .filter(|program| program.is_file())
            .find(|program| version(program).is_some_and(|version| version >= OLDEST))
    }

    /// The program file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Chooses exact distributions for `target`.
    pub fn resolve(
        &self,
        staged: &Staged<'_>,
        target: &Target,
        builds: Builds,
    ) -> Result<Resolution, UvError> {
        let mut command = self.command(staged.folder());
        command.args(resolve_arguments());
        if builds == Builds::Never {
            command.args(["--only-binary", ":all:"]);
        }
        command.args(prerelease_arguments(staged.requirements));
        command.args(staged.refresh.arguments());
        target.arguments(&mut command);
        if !staged.preferred.is_empty() {
            staged.write_preferred()?;
            command.args(["--output-file", ANSWER]);
        }
        command.arg(staged.write_input(&target.python, staged.artifacts)?);
        let finished = self.run(&mut command, "resolving Python packages")?;
        if finished.status.success() {
            let resolution = staged.read_answer(&finished.answer, staged.artifacts)?;
            // Where the metadata of a source is written down, uv needs no wheel to resolve it.
            return match resolution.without_wheel() {
                Some(one) if builds == Builds::Never => {
                    Err(UvError::NeedsBuild(format!("`{}` has no wheel", one.name)))
                }
                _ => Ok(resolution),
            };
        }
        Err(UvError::resolving(&messages(&finished), &staged.context()))
    }

    /// Installs the wheels of `resolution` below `prefix` in the layout of a virtual environment.
    ///
    /// The version in `lib/pythonX.Y` and the interpreter in scripts are those of whichever Python
    /// uv found on the host.
    pub fn install(
        &self,
        staged: &Staged<'_>,
        resolution: &Resolution,
        target: &Target,
        prefix: &Path,
    ) -> Result<(), UvError> {
        let mut command = self.command(staged.folder());
        command
            .args(install_arguments(Linking::Hard))
            .args(["--only-binary", ":all:"])
            .arg("--prefix")
            .arg(prefix);
        target.arguments(&mut command);
        self.install_pins(&mut command, staged, resolution)
    }

    /// Makes a virtual environment at `path` for the interpreter `python`; it can be moved.
    pub fn create_environment(&self, path: &Path, python: &Path) -> Result<(), UvError> {
        let mut command = self.command(folder_of(path));
        // It is built in one place and moved to another.
        command
            .args(["venv", "--quiet", "--relocatable", "--python"])
            .arg(python)
            .arg(path);
        self.succeed(
            &mut command,
            "making a virtual environment",
            &Context::default(),
        )
    }

    /// Installs `resolution` into the environment of the interpreter `python`.
    pub fn install_into(
        &self,
        staged: &Staged<'_>,
        resolution: &Resolution,
        python: &Path,
    ) -> Result<(), UvError> {
        let mut command = self.command(staged.folder());
        command
            .args(install_arguments(Linking::Hard))
            .arg("--python")
            .arg(python);
        self.install_pins(&mut command, staged, resolution)
    }

    fn install_pins(
        &self,
        command: &mut Command,
        staged: &Staged<'_>,
        resolution: &Resolution,
    ) -> Result<(), UvError> {
        let pins = staged.write_pins(resolution, staged.artifacts)?;
        command.args(["-r", pins]);
        self.succeed(command, "installing Python packages", &staged.context())
    }

    /// Installs the Python `version` for Linux on `machine`, such as `aarch64`, in a folder below `folder`, and says in
    /// which.
    pub fn install_python(
        &self,
        version: &str,
        machine: &str,
        folder: &Path,
    ) -> Result<PathBuf, UvError> {
        // For its own machine, it knows which builds run there.
        let wanted = if machine == std::env::consts::ARCH {
            version.to_owned()
        } else {
            format!("cpython-{version}-linux-{machine}-gnu")
        };
        let mut command = self.command(folder);
        command
            .env("UV_PYTHON_DOWNLOADS", "automatic")
            .args(["python", "install", "--no-bin", "--install-dir"])
            .arg(folder)
            .arg(wanted);
        let finished = self.run(&mut command, &format!("downloading Python {version}"))?;
        let installed = python::installed(folder, &minor_version(version));
        match installed.map_err(UvError::Cache)? {
            Some(installed) if finished.status.success() => Ok(installed),
            _ => Err(UvError::downloading_python(&messages(&finished), version)),
        }
    }

    /// What counts of the caller's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A command in `folder` that no project configuration, active environment or terminal
    /// setting of the caller changes. Index and proxy settings stay.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(folder);
        surroundings::set(&mut command, &self.cache);
        match &self.settings_file {
            Some(file) => command.env(settings::CONFIG_FILE, file.path()),
            None => command.env(settings::NO_CONFIG, "1"),
        };
        if let Some(certificates) = &self.certificates {
            command.env("SSL_CERT_FILE", certificates.path());
        }
        command
    }

    fn run(&self, command: &mut Command, activity: &str) -> Result<Finished, UvError> {
        process::run(command, activity, &*self.observer)
    }

    fn succeed(
        &self,
        command: &mut Command,
        activity: &str,
        context: &Context<'_>,
    ) -> Result<(), UvError> {
        let finished = self.run(command, activity)?;
        if finished.status.success() {
            return Ok(());
        }
        Err(UvError::installing(&messages(&finished), context))
    }
}

/// What it said before it failed, which is never nothing.
fn messages(finished: &Finished) -> String {
    let mut text = finished.messages.clone();
    if !text.contains("error") {
        let _ = write!(text, "error: uv stopped: {}", finished.status);
    }
    text
}

/// An interpreter of this machine, of whatever version that uv works with. uv looks for one by starting all it can find,
/// and behind their names there are often scripts that take their time.
fn any_python() -> Option<PathBuf> {
    const OLDEST_MINOR: u32 = 9;
    let all = Places::of_this_machine().interpreters().into_iter();
    let recent = |interpreter: &Interpreter| interpreter.minor >= OLDEST_MINOR;
    all.filter(recent)
        .map(|interpreter| interpreter.path)
        .next()
}

/// What resolving always takes. All indexes count alike, as they do for pip, which is what
/// requirement files are written for.
pub fn resolve_arguments() -> Vec<&'static str> {
    vec![
        "pip",
        "compile",
        "--format",
        "pylock.toml",
        "--no-header",
        "--index-strategy",
        "unsafe-best-match",
    ]
}

/// What resolving `requirements` takes besides.
pub fn prerelease_arguments(requirements: &Requirements) -> &'static [&'static str] {
    // uv ignores pip's name for it.
    if requirements
        .options
        .iter()
        .any(|line| line.trim() == "--pre")
    {
        &["--prerelease", "allow"]
    } else {
        &[]
    }
}

/// How files get from the cache to where they are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// They are the same files.
    Hard,
    /// They are copied: the two places are different mounts.
    Copy,
}

/// What installing pins always takes.
pub fn install_arguments(linking: Linking) -> Vec<&'static str> {
    vec![
        "pip",
        "install",
        "--no-deps",
        "--index-strategy",
        "unsafe-best-match",
        "--link-mode",
        match linking {
            Linking::Hard => "hardlink",
            Linking::Copy => "copy",
        },
    ]
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
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
