//! What projects rely on without saying: Debian packages that follow from the programs that a project runs and from
//! the Python packages that it installs.
//!
//! Projects are written for bases that hold much. On others, what they show to need is added: for the time of the
//! build, or for good. What implies what is in `data/implied-packages.csv`, names that a release of Debian no longer
//! has in `data/renamed-packages.csv`. Pure; start reading at [`implied_packages`].

mod pip;
mod python;
mod shell;
mod table;

use std::collections::BTreeSet;
use std::str::FromStr as _;

use pep440_rs::{Version, VersionSpecifiers};
use serde::Serialize;

use crate::requirements;
use table::{Kind, Row};

/// Where a project shows what it needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// The commands of `build.run` and `build.pre_install`, in order.
    pub commands: &'a [String],
    /// The requirement lines.
    pub requirements: &'a [String],
    /// Names and versions of all distributions that are installed, where that is known already.
    pub distributions: &'a [(String, String)],
    /// Names of those that are built from source.
    pub built_from_source: &'a [String],
    /// Names and texts of the model's source files.
    pub sources: &'a [(String, String)],
    /// Debian packages that are there anyway: those the project names, those of the base. Where the base's Python is
    /// not Debian's, it has its headers itself: then `python3-dev` belongs here.
    pub present: &'a [String],
    /// The codename of the Debian release, such as `bookworm`.
    pub suite: &'a str,
}

/// A Debian package that a project needs and doesn't name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Implied {
    /// Its name in the release.
    pub package: String,
    /// For how long.
    pub stage: Stage,
    /// What shows it, as a phrase.
    pub because: String,
    /// How the project can say it itself.
    pub how_to_say_it: String,
}

/// For how long a package is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// While commands and builds of Python packages run.
    Build,
    /// In the image.
    Run,
}

/// A package under a name that the release doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// As the project names it.
    pub named: String,
    /// What the release has.
    pub package: String,
}

/// Taken for a version that isn't said.
const NEWEST: &str = "9999";

/// What most builds of Python packages need.
const SOURCE_BUILDS: [&str; 2] = ["build-essential", PYTHON_HEADERS];

/// The headers of Debian's own Python.
const PYTHON_HEADERS: &str = "python3-dev";

/// The packages that a project implies, each once: one that the image needs is not named for the build again. First
/// those of the image; in the order of the evidence.
pub fn implied_packages(evidence: &Evidence<'_>) -> Vec<Implied> {
    let mut finder = Finder::new(evidence);
    finder.distributions();
    finder.sources();
    finder.commands();
    finder.requirements();
    finder.found()
}

/// The packages that must be asked for by another name in this release.
pub fn renamed_packages(packages: &[String], suite: &str) -> Vec<Renamed> {
    let renamed = |named: &String| {
        let package = table::renamed(named, suite)?;
        Some(Renamed {
            named: named.clone(),
            package,
        })
    };
    packages.iter().filter_map(renamed).collect()
}

struct Finder<'a> {
    evidence: &'a Evidence<'a>,
    present: BTreeSet<String>,
    found: Vec<Implied>,
}

impl<'a> Finder<'a> {
    fn new(evidence: &'a Evidence<'a>) -> Self {
        let mut present = BTreeSet::new();
        for package in evidence.present {
            present.insert(in_suite(package, evidence.suite));
            let successor = table::successor(package);
            present.extend(successor.map(|package| in_suite(package, evidence.suite)));
        }
        Self {
            evidence,
            present,
            found: Vec::new(),
        }
    }

    fn distributions(&mut self) {
        let evidence = self.evidence;
        for (name, version) in evidence.distributions {
            self.distribution(name, Some(version));
        }
        for line in evidence.requirements {
            self.requirement(line);
        }
        for name in evidence.built_from_source {
            for package in SOURCE_BUILDS {
                let because = format!("`{name}` is built from source");
                self.add(package, Stage::Build, because);
            }
        }
    }

    /// A requirement, of the project or of a `pip install`.
    fn requirement(&mut self, line: &str) {
        if let Some(name) = requirements::name(line) {
            let pin = requirements::exact_pin(line);
            self.distribution(name.split('[').next().unwrap_or_default(), pin.as_deref());
        } else if let Some(name) = pip::name_of_url(line) {
            self.distribution(name, None);
        }
    }

    fn distribution(&mut self, name: &str, version: Option<&str>) {
        let name = normalised(name);
        for row in table::rows(Kind::Distribution, &name) {
            if contains(row.versions, version.unwrap_or(NEWEST)) {
                self.add_row(row, &format!("`{name}` {}", row.reason));
            }
        }
    }

    fn sources(&mut self) {
        for (file, text) in self.evidence.sources {
            for program in python::programs(text) {
                self.program(&program, Stage::Run, &format!("`{file}`"));
            }
            let text = python::without_comments(text);
            for row in table::all(Kind::Text) {
                if text.contains(row.name) {
                    self.add_row(row, &format!("`{file}` {}", row.reason));
                }
            }
        }
    }

    fn commands(&mut self) {
        for script in self.evidence.commands {
            for command in shell::commands(script) {
                self.command(&command);
            }
        }
    }

    fn command(&mut self, command: &shell::Command) {
        // What a command installs itself is there for those after it.
        self.present.extend(pip::apt_packages(command));
        self.program(&command.program, Stage::Build, "`build.run`");
        if let Some(source) = pip::python_script(command) {
            for program in python::programs(source) {
                self.program(&program, Stage::Build, "`build.run`");
            }
        }
        for requirement in pip::requirements(command) {
            if requirement.contains("git+") {
                let because = "`build.run` installs from git";
                for package in SOURCE_BUILDS.into_iter().chain(["git"]) {
                    self.add(package, Stage::Build, because.to_owned());
                }
            }
            self.requirement(requirement);
        }
    }

    fn requirements(&mut self) {
        let mut lines = self.evidence.requirements.iter();
        if let Some(line) = lines.find(|line| line.contains("git+")) {
            let because = format!("a requirement comes from git: `{}`", pip::shown(line));
            self.add("git", Stage::Build, because);
        }
    }

    fn program(&mut self, program: &str, stage: Stage, place: &str) {
        // Some programs come with a Python package too.
        let lines = self.evidence.requirements.iter();
        let names = lines
            .filter_map(|line| requirements::name(line))
            .map(normalised);
        if table::rows(Kind::Provides, program)
            .any(|row| names.clone().any(|name| name == row.packages))
        {
            return;
        }
        for row in table::rows(Kind::Program, program) {
            for package in row.packages() {
                self.add(package, stage, format!("{place} runs `{program}`"));
            }
        }
    }

    fn add_row(&mut self, row: &Row, because: &str) {
        for package in row.packages() {
            self.add(package, row.stage, because.to_owned());
        }
    }

    fn add(&mut self, package: &str, stage: Stage, because: String) {
        let package = in_suite(package, self.evidence.suite);
        let known = self
            .found
            .iter()
            .any(|one| one.package == package && one.stage >= stage);
        if known || self.present.contains(&package) {
            return;
        }
        self.found.retain(|one| one.package != package);
        self.found.push(Implied {
            how_to_say_it: format!(
                "add `{package}` to `system_packages` in the `build` section of cog.yaml"
            ),
            package,
            stage,
            because,
        });
    }

    fn found(mut self) -> Vec<Implied> {
        self.found.sort_by_key(|one| std::cmp::Reverse(one.stage));
        self.found
    }
}

fn in_suite(package: &str, suite: &str) -> String {
    table::renamed(package, suite).unwrap_or_else(|| package.to_owned())
}

/// All versions are in no specifiers.
fn contains(specifiers: &str, version: &str) -> bool {
    if specifiers.is_empty() {
        return true;
    }
    let specifiers = VersionSpecifiers::from_str(specifiers);
    let version = Version::from_str(version);
    matches!((specifiers, version), (Ok(specifiers), Ok(version)) if specifiers.contains(&version))
}

/// Lower case, and one dash for each run of dashes, dots and underscores.
fn normalised(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
