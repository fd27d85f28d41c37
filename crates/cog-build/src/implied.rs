//! What a project needs of the distribution without naming it: collects what `cog_config` judges by, and says what is
//! added.

use std::path::Path;
use std::sync::OnceLock;

use cog_config::{Config, Evidence, Implied, Stage, implied_packages, renamed_packages};
use cog_files::{Links, read_regular};
use cog_python::resolution::Resolution;

use crate::base::Ground;
use crate::error::Result;
use crate::executor::Executor;
use crate::plan::ImpliedPackages;

/// Whether packages that a project implies are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImpliedPolicy {
    /// Yes.
    #[default]
    Add,
    /// No: the image has what cog.yaml names.
    Ignore,
}

/// The release whose package names are taken for a base that is not ours: they hold for the ones before and after too.
const USUAL_SUITE: &str = "bookworm";

/// What builds of source distributions commonly need.
const SOURCE_BUILDS: [&str; 3] = ["build-essential", "git", "pkg-config"];

/// The headers of Debian's own Python; others have theirs with them.
const PYTHON_HEADERS: &str = "python3-dev";

/// A project's own words and files.
pub(crate) struct Project<'a> {
    config: &'a Config,
    commands: Vec<String>,
    requirements: &'a [String],
    sources: &'a Sources,
    folder: &'a Path,
}

/// The Python files of a project with their names. Read when they are first asked for, and once for all who do.
#[derive(Debug, Default)]
pub(crate) struct Sources(OnceLock<Vec<(String, String)>>);

impl Sources {
    fn of(&self, folder: &Path) -> Result<&[(String, String)]> {
        if let Some(known) = self.0.get() {
            return Ok(known);
        }
        let found = sources(folder)?;
        Ok(self.0.get_or_init(|| found))
    }
}

impl<'a> Project<'a> {
    /// The project in `folder`, which asks for `requirements`.
    pub(crate) fn new(
        folder: &'a Path,
        config: &'a Config,
        requirements: &'a [String],
        sources: &'a Sources,
    ) -> Self {
        let commands = config.commands().into_iter().map(|one| one.command);
        Self {
            config,
            commands: commands.collect(),
            requirements,
            sources,
            folder,
        }
    }

    /// What the project implies on a base that has none of it, as far as its own words and files tell.
    pub(crate) fn on_the_usual_release(&self) -> Result<Vec<Implied>> {
        Ok(implied_packages(&Evidence {
            commands: &self.commands,
            requirements: self.requirements,
            sources: self.sources.of(self.folder)?,
            present: self.config.system_packages(),
            suite: USUAL_SUITE,
            ..Evidence::default()
        }))
    }

    /// What the project implies on a base with this `ground`, with the packages of `resolution` where they are known.
    pub(crate) fn on(
        &self,
        ground: Ground,
        resolution: Option<&Resolution>,
        policy: ImpliedPolicy,
    ) -> Result<(ImpliedPackages, Vec<Implied>)> {
        let suite = ground.suite.unwrap_or(USUAL_SUITE);
        let renamed = match ground.suite {
            Some(_) => renamed_packages(self.config.system_packages(), suite),
            None => Vec::new(),
        };
        let mut packages = ImpliedPackages {
            renamed: renamed
                .into_iter()
                .map(|one| (one.named, one.package))
                .collect(),
            ..ImpliedPackages::default()
        };
        if policy == ImpliedPolicy::Ignore || ground.is_prebuilt {
            return Ok((packages, Vec::new()));
        }
        let distributions: Vec<(String, String)> = resolution
            .iter()
            .flat_map(|resolution| &resolution.distributions)
            .map(|one| (one.name.clone(), one.version.clone().unwrap_or_default()))
            .collect();
        let mut present = self.config.system_packages().to_vec();
        let headers = ground.has_system_python;
        if !headers {
            present.push(PYTHON_HEADERS.to_owned());
        }
        let found = implied_packages(&Evidence {
            commands: &self.commands,
            requirements: self.requirements,
            distributions: &distributions,
            built_from_source: &[],
            sources: self.sources.of(self.folder)?,
            present: &present,
            suite,
        });
        let of = |stage: Stage| {
            let these = found.iter().filter(move |one| one.stage == stage);
            these.map(|one| one.package.clone())
        };
        packages.image = sorted(of(Stage::Run));
        packages.tools = sorted(of(Stage::Build));
        let always = SOURCE_BUILDS
            .iter()
            .chain(headers.then_some(&PYTHON_HEADERS));
        packages.source_tools = sorted(of(Stage::Build).chain(always.map(|&name| name.to_owned())));
        Ok((packages, found))
    }
}

fn sorted(packages: impl Iterator<Item = String>) -> Vec<String> {
    let mut packages: Vec<String> = packages.collect();
    packages.sort();
    packages.dedup();
    packages
}

/// Says in one line what is added to the image, why, and what can be done about it.
pub(crate) fn tell(executor: &Executor<'_>, found: &[Implied], renamed: &[(String, String)]) {
    let of_image: Vec<String> = found
        .iter()
        .filter(|one| one.stage == Stage::Run)
        .map(|one| format!("`{}` ({})", one.package, one.because))
        .collect();
    if !of_image.is_empty() {
        executor.notice(&format!(
            "adding {} to the image: name what is needed in `build.system_packages`, or use `--no-implied-packages`",
            of_image.join(", ")
        ));
    }
    for (named, package) in renamed {
        executor.notice(&format!(
            "installing `{package}`, which is what this release of Debian has for `{named}`"
        ));
    }
}

/// Bounds on what is read: a project that is larger says elsewhere what it needs.
const MAX_FILES: usize = 200;
const MAX_FILE: u64 = 512 * 1024;
const MAX_DEPTH: usize = 5;

/// Names of folders that hold no source of the model.
const FOREIGN: [&str; 4] = ["node_modules", "site-packages", "venv", "__pycache__"];

/// The Python files of the project with their names, in order. Links and hidden folders are left out.
fn sources(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    collect(folder, "", MAX_DEPTH, &mut found)?;
    Ok(found)
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, String)>,
) -> Result<()> {
    let mut entries = fs_err::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_cached_key(fs_err::DirEntry::file_name);
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if found.len() == MAX_FILES || name.starts_with('.') || FOREIGN.contains(&&*name) {
            continue;
        }
        let kind = entry.file_type()?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() && depth > 0 {
            collect(&entry.path(), &format!("{path}/"), depth - 1, found)?;
        } else if kind.is_file() && is_python(&name) && entry.metadata()?.len() <= MAX_FILE {
            let text = read_regular(&entry.path(), Links::Refused, MAX_FILE)?;
            found.push((path, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    Ok(())
}

fn is_python(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|suffix| suffix == "py")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_once_and_only_where_they_count() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, known) = (Config::default(), Sources::default());
        let gone = folder.path().join("gone");
        let project = Project::new(&gone, &config, &[], &known);
        let prebuilt = Ground {
            is_prebuilt: true,
            suite: None,
            has_system_python: false,
        };
        let plain = Ground {
            is_prebuilt: false,
            ..prebuilt
        };
        project
            .on(prebuilt, None, ImpliedPolicy::Add)
            .expect("nothing is read");
        project
            .on(plain, None, ImpliedPolicy::Ignore)
            .expect("nothing is read");
        assert!(project.on(plain, None, ImpliedPolicy::Add).is_err());
        fs_err::create_dir(&gone).expect("created");
        fs_err::write(gone.join("run.py"), "import cv2").expect("written");
        let first = project.on(plain, None, ImpliedPolicy::Add).expect("read");
        fs_err::remove_dir_all(&gone).expect("removed");
        assert_eq!(
            project.on(plain, None, ImpliedPolicy::Add).expect("known"),
            first
        );
    }

    #[test]
    fn sources_are_the_projects_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str| {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().expect("it has one")).expect("created");
            fs_err::write(path, "x").expect("written");
        };
        for path in ["run.py", "a/b.py", "venv/c.py", ".git/d.py", "e.txt"] {
            write(path);
        }
        fs_err::os::unix::fs::symlink("/", folder.path().join("f.py")).expect("linked");
        let found = sources(folder.path()).expect("readable");
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/b.py", "run.py"]);
    }
}
