//! Images for another platform than this machine's: what of a build takes programs of that platform to run. Where nothing
//! runs them, all of it is told at once.
//!
//! A project of wheels on a base from a registry takes none. Packages of the distribution and commands do, and run where
//! the kernel has an interpreter for such programs, or a daemon may have. Source distributions are built on a machine of
//! the platform alone: what builds them is a program of this machine.

use cog_config::Config;
use cog_python::uv::UvError;

use crate::architecture::Architecture;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::lock::{LockedPython, PackageSource};
use crate::plan::ImpliedPackages;

/// Something that takes programs of the platform to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The base of the Debian archive is set up by scripts of its packages.
    DebianBase,
    /// Packages of the distribution that the project names.
    SystemPackages(Vec<String>),
    /// Packages of the distribution that the project implies.
    ImpliedPackages(Vec<String>),
    /// A command of the project.
    Command(String),
    /// Python packages without a wheel, in words.
    SourceDistributions(String),
}

/// Refuses the base of the Debian archive where its scripts cannot run.
pub(crate) fn refuse_debian(executor: &Executor<'_>) -> Result<()> {
    if runs_programs(executor) {
        return Ok(());
    }
    Err(refusal(executor, vec![Need::DebianBase]))
}

/// What the project of `config` needs besides where the base could not be had: all that is known without one.
pub(crate) fn with_own_words(
    error: BuildError,
    config: &Config,
    implied: impl FnOnce() -> Result<ImpliedPackages>,
) -> BuildError {
    match error {
        BuildError::NeedsPlatform {
            architecture,
            mut needs,
            obstacle,
        } => {
            // A mistake in reading them must not hide what was found before.
            let implied = implied().unwrap_or_default();
            needs.extend(of_project(config, &implied, &implied.named(config, false)));
            BuildError::NeedsPlatform {
                architecture,
                needs,
                obstacle,
            }
        }
        other => other,
    }
}

/// Refuses what of the project of `config` cannot be done for the platform of `executor`: its commands, the packages that
/// are `implied` and `named`, and those of Python, which `python` has answered.
pub(crate) fn check(
    executor: &Executor<'_>,
    config: &Config,
    implied: &ImpliedPackages,
    named: &[String],
    python: Result<LockedPython>,
) -> Result<LockedPython> {
    if executor.architecture.is_host() {
        return python;
    }
    let mut needs = Vec::new();
    if !runs_programs(executor) {
        needs.extend(of_project(config, implied, named));
    }
    let python = match python {
        Err(BuildError::Uv(UvError::NeedsBuild(text))) => {
            needs.push(Need::SourceDistributions(text));
            None
        }
        Ok(python) if python.source == PackageSource::SourceDistributions => {
            let pins = python.resolution.distributions.iter();
            let built = pins.filter(|one| !one.has_wheel());
            let built: Vec<String> = built.map(|one| format!("`{}`", one.name)).collect();
            needs.push(Need::SourceDistributions(built.join(", ")));
            None
        }
        Ok(python) => Some(python),
        Err(error) => return Err(error),
    };
    match python {
        Some(python) if needs.is_empty() => Ok(python),
        _ => Err(refusal(executor, needs)),
    }
}

fn runs_programs(executor: &Executor<'_>) -> bool {
    executor.architecture.is_host() || executor.containers.is_some()
}

fn of_project(config: &Config, implied: &ImpliedPackages, named: &[String]) -> Vec<Need> {
    let mut needs = Vec::new();
    if !implied.image.is_empty() {
        needs.push(Need::ImpliedPackages(implied.image.clone()));
    }
    if !named.is_empty() {
        needs.push(Need::SystemPackages(named.to_vec()));
    }
    let commands = config.commands().into_iter();
    needs.extend(commands.map(|one| Need::Command(one.command)));
    needs
}

fn refusal(executor: &Executor<'_>, needs: Vec<Need>) -> BuildError {
    let architecture = executor.architecture;
    BuildError::NeedsPlatform {
        architecture,
        needs,
        obstacle: architecture.obstacle(),
    }
}

/// Bytes of a command that are shown.
const SHOWN: usize = 100;

impl Need {
    /// What is wrong with them here.
    pub(crate) fn reason(needs: &[Self], obstacle: Option<&str>) -> String {
        let is_package = |need: &Self| matches!(need, Self::SourceDistributions(_));
        if needs.iter().all(is_package) {
            return format!(
                "takes wheels of that platform, as others are not built here, on {}",
                Architecture::host()
            );
        }
        let why = obstacle.unwrap_or("no container runs here");
        format!(
            "takes programs of that platform to run, and nothing here, on {}, runs them ({why})",
            Architecture::host()
        )
    }

    /// A line for each, indented.
    pub(crate) fn lines(needs: &[Self]) -> String {
        let lines = needs.iter().map(|need| format!("\n  {}", need.line()));
        lines.collect()
    }

    fn line(&self) -> String {
        let quoted = |names: &[String]| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        match self {
            Self::DebianBase => {
                "the base from the Debian archive, whose packages are set up by scripts of theirs"
                    .to_owned()
            }
            Self::SystemPackages(names) => format!("`build.system_packages`: {}", quoted(names)),
            Self::ImpliedPackages(names) => format!(
                "packages of the distribution that the project implies: {}",
                quoted(names)
            ),
            Self::Command(command) => format!("`build.run`: `{}`", shortened(command)),
            Self::SourceDistributions(text) => format!(
                "Python packages that have no wheel for it, and would be built: {}",
                text.trim().replace('\n', "\n    ")
            ),
        }
    }

    /// What to do about these besides what there is to do about all.
    pub(crate) fn hints(needs: &[Self]) -> String {
        let mut hints = String::new();
        let has = |is: fn(&Self) -> bool| needs.iter().any(is);
        if has(|need| !matches!(need, Self::SourceDistributions(_))) {
            hints += "build it on such a machine, install QEMU's static emulator (Debian's package `qemu-user-static`), or name \
                      a daemon whose kernel runs such programs with `--backend docker`";
        }
        let mut more = |text: &str| {
            if !hints.is_empty() {
                hints += "; ";
            }
            hints += text;
        };
        if has(|need| matches!(need, Self::DebianBase)) {
            more("`--base REFERENCE` takes an image of a registry, of which nothing has to run");
        }
        if has(|need| matches!(need, Self::ImpliedPackages(_))) {
            more("`--no-implied-packages` leaves out what is implied");
        }
        if has(|need| matches!(need, Self::SourceDistributions(_))) {
            more(
                "choose versions of the Python packages that have a wheel, or build the image on such a machine",
            );
        }
        hints
    }
}

/// The first line, or its beginning.
fn shortened(command: &str) -> String {
    let command = command.trim();
    let first = command.lines().next().unwrap_or_default();
    let end = first.floor_char_boundary(SHOWN);
    if end < command.len() {
        format!("{}…", first[..end].trim_end())
    } else {
        first.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_has_to_run_is_told() {
        let needs = [
            Need::DebianBase,
            Need::ImpliedPackages(vec!["libgl1".to_owned()]),
            Need::SystemPackages(vec!["ffmpeg".to_owned(), "git".to_owned()]),
            Need::Command("echo one\necho two".to_owned()),
            Need::Command("x".repeat(200)),
            Need::SourceDistributions("docopt==0.6.2\nand others".to_owned()),
        ];
        let lines = Need::lines(&needs);
        let lines: Vec<&str> = lines.lines().skip(1).collect();
        let long = format!("  `build.run`: `{}…`", "x".repeat(100));
        assert_eq!(
            lines,
            [
                "  the base from the Debian archive, whose packages are set up by scripts of theirs",
                "  packages of the distribution that the project implies: `libgl1`",
                "  `build.system_packages`: `ffmpeg`, `git`",
                "  `build.run`: `echo one…`",
                long.as_str(),
                "  Python packages that have no wheel for it, and would be built: docopt==0.6.2",
                "    and others",
            ]
        );
        let hints = Need::hints(&needs);
        for hint in [
            "qemu-user-static",
            "--base",
            "--no-implied-packages",
            "have a wheel",
        ] {
            assert!(hints.contains(hint), "{hints}");
        }
        let because = Some("there is no `qemu-aarch64-static` on PATH");
        let reason = Need::reason(&needs, because);
        assert!(
            reason.starts_with("takes programs of that platform to run"),
            "{reason}"
        );
        assert!(
            reason.ends_with("(there is no `qemu-aarch64-static` on PATH)"),
            "{reason}"
        );
        let reason = Need::reason(&needs[5..], None);
        assert!(
            reason.starts_with("takes wheels of that platform"),
            "{reason}"
        );
        let hints = Need::hints(&needs[5..]);
        assert!(hints.starts_with("choose versions"), "{hints}");
    }
}
