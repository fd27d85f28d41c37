//! Python packages: the project's, then the SDK, so that a new SDK does not install the project's again.

use std::path::{Component, Path, PathBuf};

use cog_config::{Completed, Config};
use cog_python::requirements::{ARTIFACTS_DIR, Line, RequirementError, classify};
use pep440_rs::Version;

use super::recipe::{Mount, Recipe, one_line, shell_word};
use super::{DockerfileError, DockerfileOptions, Result};
use crate::sdk_source::{PackageSource, Pin};

const REQUIREMENTS: &str = "/tmp/requirements.txt";

/// Never for the builder's own processor: the image runs elsewhere.
const CFLAGS: &str = "-O3 -funroll-loops -fno-strict-aliasing -flto -S";

/// Older SDKs have a server of their own.
const SEPARATE_SERVER: [u64; 3] = [0, 17, 0];

/// All that decides how packages are installed.
pub(super) struct Packages<'a> {
    pub(super) config: &'a Config,
    pub(super) completed: &'a Completed,
    pub(super) options: &'a DockerfileOptions,
    /// Whether Python is one of uv's.
    pub(super) uv_python: bool,
}

/// The requirement lines as they are installed.
#[derive(Default)]
struct Requirements {
    lines: Vec<String>,
    /// Wheels and archives, by their paths in the project.
    artifacts: Vec<PathBuf>,
    /// Lines that name what the image brings itself.
    overridden: Vec<String>,
}

impl Packages<'_> {
    /// The project's packages, SDK and server.
    pub(super) fn install(&self, recipe: &mut Recipe) -> Result<()> {
        let requirements = self.requirements()?;
        for line in &requirements.overridden {
            recipe.warn(format!(
                "'{line}' found in requirements — overriding with {}. Remove the line from the requirements",
                self.overriding()
            ));
        }
        self.install_requirements(recipe, &requirements)?;
        self.install_sdk(recipe, &requirements)?;
        if self.options.precompile {
            precompile(recipe);
        }
        Ok(())
    }

    fn requirements(&self) -> Result<Requirements> {
        let mut requirements = Requirements::default();
        for line in &self.completed.requirements {
            one_line("a requirement", line)?;
            match classify(line)? {
                Line::Option(line) | Line::Package(line) => requirements.lines.push(line),
                Line::Sdk(line) => requirements.overridden.push(line),
                // The reference refuses these: its Dockerfile has no place for them.
                Line::File(_) | Line::Constraints(_) | Line::Links(_) => {
                    return Err(RequirementError::LocalOption {
                        option: line.split([' ', '=']).next().unwrap_or_default().to_owned(),
                        line: line.clone(),
                    }
                    .into());
                }
                Line::Folder { path, .. } => {
                    return Err(RequirementError::UnsupportedPath(path).into());
                }
                Line::Artifact { hashes, .. } if !hashes.is_empty() => {
                    return Err(RequirementError::InlineOptions(line.clone()).into());
                }
                Line::Artifact { path: written, .. } => {
                    let path = self.project_path(&written)?;
                    let line = format!("{ARTIFACTS_DIR}/{}", path.display());
                    requirements.lines.push(line);
                    requirements.artifacts.push(path);
                }
            }
        }
        Ok(requirements)
    }

    /// An artifact's path in the project, from how it is written in the requirements file.
    fn project_path(&self, written: &str) -> Result<PathBuf> {
        let file = self.config.build.as_ref();
        let file = file.and_then(|build| build.python_requirements.as_deref());
        let folder = file
            .and_then(|file| Path::new(file).parent())
            .unwrap_or(Path::new(""));
        let project = &self.options.project_dir;
        let path = clean(&project.join(folder).join(written));
        let inside = path.and_then(|path| path.strip_prefix(project).map(Path::to_owned).ok());
        let inside = inside.filter(|path| !path.as_os_str().is_empty() && path.is_relative());
        inside.ok_or_else(|| RequirementError::OutsideProject(written.to_owned()).into())
    }

    fn install_requirements(&self, recipe: &mut Recipe, requirements: &Requirements) -> Result<()> {
        if requirements.lines.is_empty() {
            return Ok(());
        }
        for artifact in &requirements.artifacts {
            let path = artifact.display();
            let target = format!("{ARTIFACTS_DIR}/{path}");
            recipe.stage(
                artifact,
                &format!("local_package_artifacts/{path}"),
                &target,
            )?;
        }
        recipe.text(REQUIREMENTS, &requirements.lines.join("\n"));
        recipe.variables([("CFLAGS", CFLAGS)]);
        let install = format!(
            "uv run pip install{} --cache-dir /root/.cache/pip -r {REQUIREMENTS}",
            self.flags()
        );
        self.run(recipe, Mount::Pip, install);
        recipe.variables([("CFLAGS", "")]);
        Ok(())
    }

    fn install_sdk(&self, recipe: &mut Recipe, requirements: &Requirements) -> Result<()> {
        let sdk = &self.options.sdk.sdk;
        if !requirements.artifacts.is_empty() {
            self.uninstall(recipe, "cog coglet");
        }
        if is_older_server(sdk) {
            self.prepare_older_server(recipe)?;
        }
        if *sdk == PackageSource::Pypi(Pin::Prerelease) {
            recipe.warn(
                "`prerelease` pins nothing: each build installs the newest pre-release of cog",
            );
        }
        recipe.variables([("CFLAGS", CFLAGS)]);
        match self.explicit_coglet() {
            Some(_) if is_older_sdk(sdk) => recipe.warn("Skipping coglet install for legacy SDK"),
            Some(coglet) => self.install_one(recipe, "coglet", coglet)?,
            None => {}
        }
        self.install_one(recipe, "cog", sdk)?;
        recipe.variables([("CFLAGS", "")]);
        Ok(())
    }

    /// The server, where something says which one; else the SDK depends on one.
    fn explicit_coglet(&self) -> Option<&PackageSource> {
        let coglet = self.options.sdk.coglet.as_ref();
        coglet
            .filter(|source| !matches!(source, PackageSource::Pypi(Pin::Latest | Pin::Prerelease)))
    }

    fn install_one(
        &self,
        recipe: &mut Recipe,
        package: &str,
        source: &PackageSource,
    ) -> Result<()> {
        let what = match source {
            PackageSource::Pypi(pin) => format!("{package}{pin}"),
            PackageSource::Url(url) => one_line("a URL", url)?.to_owned(),
            PackageSource::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let target = format!("/tmp/{name}");
                recipe.stage(path, &name, &target)?;
                target
            }
        };
        let prerelease = if self.allows_prereleases() {
            " --pre"
        } else {
            ""
        };
        let install = format!(
            "uv pip install{}{prerelease} --no-cache {}",
            self.flags(),
            shell_word(&what)
        );
        self.run(recipe, Mount::Uv, install);
        Ok(())
    }

    fn allows_prereleases(&self) -> bool {
        let sources = &self.options.sdk;
        let all = [Some(&sources.sdk), sources.coglet.as_ref()];
        let is_prerelease = |source: &PackageSource| matches!(source, PackageSource::Pypi(pin) if pin.is_prerelease());
        all.into_iter().flatten().any(is_prerelease)
    }

    fn uninstall(&self, recipe: &mut Recipe, packages: &str) {
        let flags = self.flags();
        recipe.instruction("RUN", format!("uv pip uninstall{flags} {packages}"));
    }

    /// The server that once replaced the SDK's is told its Python by variables.
    fn prepare_older_server(&self, recipe: &mut Recipe) -> Result<()> {
        let python = &self.completed.python;
        if python.version != python.minor {
            return Err(DockerfileError::PythonPatch);
        }
        self.uninstall(recipe, "cog");
        recipe.variables([("R8_COG_VERSION", "coglet")]);
        recipe.variables([("R8_PYTHON_VERSION", python.version.as_str())]);
        Ok(())
    }

    fn run(&self, recipe: &mut Recipe, mount: Mount, install: String) {
        let mut commands = vec![install];
        if self.options.strip {
            commands.push(
                "find / -xdev -type f -name \"*python*.so\" -not -name \"*cpython*.so\" -exec strip -S {} \\;"
                    .to_owned(),
            );
        }
        recipe.run(Some(mount), &commands);
    }

    fn flags(&self) -> &'static str {
        if self.uv_python {
            " --break-system-packages"
        } else {
            ""
        }
    }

    /// What takes the place of a `cog` or `coglet` in the requirements.
    fn overriding(&self) -> String {
        match &self.options.sdk.sdk {
            PackageSource::Pypi(Pin::Latest) => "the newest cog".to_owned(),
            PackageSource::Pypi(Pin::Prerelease) => "the newest pre-release of cog".to_owned(),
            PackageSource::Pypi(pin) => format!("cog{pin}"),
            PackageSource::Url(url) => cog_errors::redact_url(url),
            PackageSource::File(path) => path.display().to_string(),
        }
    }
}

/// Whether the SDK is pinned to one with a server of its own.
fn is_older_sdk(sdk: &PackageSource) -> bool {
    matches!(sdk, PackageSource::Pypi(Pin::Version(version)) if *version < Version::new(SEPARATE_SERVER))
}

/// Whether this is a server that once took the SDK's place, by the name of its file.
fn is_older_server(sdk: &PackageSource) -> bool {
    match sdk {
        PackageSource::Pypi(_) => false,
        PackageSource::Url(url) => url.contains("coglet"),
        PackageSource::File(path) => path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains("coglet")),
    }
}

/// Bytecode that depends on nothing but the sources.
fn precompile(recipe: &mut Recipe) {
    let files = |names: &str| format!("find / -xdev -type f {names}");
    recipe.run(
        None,
        &[
            files(r#"\( -name "*.pyc" -o -name "*.pyo" \) -delete"#),
            files(r#"-name "*.py" -exec touch -d @0 {} +"#),
            files(
                r#"-name "*.py" -printf "%h\0" | sort -zu | xargs -0 python -m compileall -q -l -o 2 --invalidation-mode timestamp"#,
            ),
        ],
    );
}

/// `path` without `.` and `..`; nothing if it leads above its beginning.
fn clean(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            other => clean.push(other),
        }
    }
    Some(clean)
}
