//! What every command starts from: where we are, the store, the project, the engine.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use cog_build::{
    Architecture, Attestations, BaseChoice, BuildRequest, COG_COGLET_BINARY, Cache, DockerBuilder,
    ImpliedPolicy, Interface, LockPolicy, SchemaSource, SourceLayers, Symbols, TorchIndex,
};
use cog_config::{CogBase, Config, CudaBase, Options, ProjectFile};
use cog_engine::docker::{Daemon, DaemonKind};
use cog_engine::{Choice, Engine, KernelProbe, Selection};
use cog_image::{Store, StoreOptions};
use jiff::Timestamp;

use crate::args::{
    BaseFlags, BuildFlags, EngineArg, GlobalArgs, ProgressArg, ProjectArgs, TorchIndexArg,
};
use crate::backend;
use crate::model_reference::{ModelReference, ModelReferenceError};
use crate::printer::{Printer, Progress};
use crate::reporter::{Steps, transfers};

/// Seconds since 1970 that files and images are dated with.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// How progress is shown, if no flag says.
const BUILDKIT_PROGRESS: &str = "BUILDKIT_PROGRESS";

pub(crate) struct Session<'a> {
    pub(crate) printer: &'a Printer,
    pub(crate) debug: bool,
    directory: PathBuf,
    registry: Option<String>,
    store: OnceCell<Store>,
    /// Lives until the end: what it has lent to a daemon is of use until then.
    docker: OnceCell<DockerBuilder>,
}

/// A project's checked configuration, and what its source says where that was read.
pub(crate) struct Project {
    pub(crate) file: ProjectFile,
    pub(crate) config: Config,
    pub(crate) interface: Interface,
}

impl Project {
    pub(crate) fn directory(&self) -> &Path {
        &self.file.directory
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(printer: &'a Printer, global: &GlobalArgs) -> anyhow::Result<Self> {
        let directory = std::env::current_dir().context("could not find the current directory")?;
        Ok(Self {
            printer,
            debug: global.debug,
            directory,
            registry: global.registry.clone(),
            store: OnceCell::new(),
            docker: OnceCell::new(),
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn store(&self) -> anyhow::Result<&Store> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let options = StoreOptions {
            observer: Some(transfers(self.printer.clone())),
            ..StoreOptions::default()
        };
        let root = Store::default_root()?;
        // What runs in it are told of it in JSON, or read it as text.
        if root.to_str().is_none() {
            bail!(
                "the store `{}` has a name that is not UTF-8: set `COG_CACHE_DIR` to another folder",
                root.display()
            );
        }
        let store = Store::open_with(&root, options)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Says why nothing happens while others use what is in the store.
    pub(crate) fn wait_for_others(&self) {
        self.printer
            .info("waiting for running builds and downloads to end...");
    }

    /// Finds and checks the project, and says what should be changed in it.
    pub(crate) fn project(&self, args: &ProjectArgs) -> anyhow::Result<Project> {
        let file = cog_config::find(&self.directory, &args.file)?;
        let loaded = cog_config::load(&file)?;
        for warning in &loaded.warnings {
            self.printer.warning(&warning.to_string());
        }
        Ok(Project {
            file,
            config: loaded.config,
            interface: Interface::default(),
        })
    }

    /// The project with what its source says, of which nothing is told but what is wrong.
    pub(crate) fn read_quietly(&self, args: &ProjectArgs) -> anyhow::Result<Project> {
        let file = cog_config::find(&self.directory, &args.file)?;
        let config = cog_config::load(&file)?.config;
        let interface = Interface::read(&file.directory, &config, &SchemaSource::Generate)?;
        Ok(Project {
            file,
            config,
            interface,
        })
    }

    /// The same with what the model's source says; what is odd about it is told.
    pub(crate) fn with_model(
        &self,
        project: Project,
        schema: &SchemaSource,
    ) -> cog_build::Result<Project> {
        let interface = Interface::read(project.directory(), &project.config, schema)?;
        for warning in &interface.warnings {
            self.printer.warning(warning);
        }
        Ok(Project {
            interface,
            ..project
        })
    }

    /// The model that cog.yaml and the environment name, if they do.
    pub(crate) fn model(
        &self,
        project: &Project,
    ) -> Result<Option<ModelReference>, ModelReferenceError> {
        let variable = |name: &str| std::env::var(name).ok();
        let now = || Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        ModelReference::resolve(&project.config, self.registry(), variable, now)
    }

    /// The registry that the user names in place of the default one.
    pub(crate) fn registry(&self) -> Option<&str> {
        self.registry.as_deref().filter(|host| !host.is_empty())
    }

    /// The engine that the flags ask for; the first progress line names it.
    pub(crate) fn engine(&self, flags: &BuildFlags) -> anyhow::Result<Box<dyn Engine>> {
        self.apply_progress(flags.progress);
        if let Some(odd) = flags.bases.odd_cuda_base() {
            self.printer.warning(&format!(
                "`--use-cuda-base-image {odd}` is neither `auto` nor `true` nor `false`: taken for `auto`"
            ));
        }
        let choice = match flags.engine {
            EngineArg::Auto => Choice::Auto,
            EngineArg::Docker => Choice::Docker,
            EngineArg::Embedded => Choice::Embedded,
            EngineArg::Host => Choice::Host,
        };
        let Selection { engine, warning } = cog_engine::select(choice, &KernelProbe)?;
        if let Some(warning) = warning {
            self.printer.warning(&warning);
        }
        self.printer
            .info(&format!("Using the {} engine", engine.name()));
        Ok(engine)
    }

    /// The daemon that builds, if one does; the line after the engine's names it. `engine` is what runs things.
    pub(crate) fn docker(
        &self,
        engine: &dyn Engine,
        flags: &BuildFlags,
    ) -> anyhow::Result<Option<&DockerBuilder>> {
        if let Some(docker) = self.docker.get() {
            return Ok(Some(docker));
        }
        let Some((daemon, why)) = backend::daemon(engine, flags)? else {
            return Ok(None);
        };
        let docker = DockerBuilder::new(daemon)?;
        let daemon = docker.daemon();
        self.printer.info(&format!(
            "Building with the docker backend: {} {} at {}{why}",
            daemon.title(),
            daemon.version(),
            daemon.place()
        ));
        Ok(Some(self.docker.get_or_init(|| docker)))
    }

    /// What is made of a project, for people; the daemon that builds it, if one does, is told before.
    pub(crate) fn image_word(
        &self,
        engine: &dyn Engine,
        flags: &BuildFlags,
    ) -> anyhow::Result<&'static str> {
        let builder = self.docker(engine, flags)?.map(DockerBuilder::daemon);
        let daemons = [builder, engine.daemon()];
        let is_docker = |daemon: &Daemon| daemon.kind() == DaemonKind::Docker;
        Ok(if daemons.into_iter().flatten().any(is_docker) {
            "Docker image"
        } else {
            "the image"
        })
    }

    /// The daemon that has built, if one has.
    pub(crate) fn built_by(&self) -> Option<&Daemon> {
        self.docker.get().map(DockerBuilder::daemon)
    }

    /// Gives `work` the request for a project as the flags have it; commands change what is theirs. Without an engine,
    /// nothing can be run for it.
    pub(crate) fn with_request<T>(
        &self,
        project: &Project,
        engine: Option<&dyn Engine>,
        flags: &BuildFlags,
        work: impl FnOnce(BuildRequest<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        // A mistake in it should not cost a build, whether it is pushed after that or not.
        self.model(project)?;
        let base = match flags.base.as_deref() {
            None => BaseChoice::Default,
            Some(base) => base.parse().unwrap_or_default(),
        };
        let docker = match engine {
            Some(engine) => self.docker(engine, flags)?,
            None => None,
        };
        let dockerfile = flags.bases.dockerfile.as_deref();
        let engine = engine.map(backend::native);
        let reporter = Steps::new(self.printer);
        let server = std::env::var_os(COG_COGLET_BINARY).filter(|path| !path.is_empty());
        let server = server.map(PathBuf::from);
        work(BuildRequest {
            project_dir: project.directory(),
            config_file_name: &project.file.file_name,
            config: &project.config,
            store: self.store()?,
            engine,
            docker,
            dockerfile,
            base,
            options: self.options(&flags.bases),
            torch_index: match flags.torch_index {
                TorchIndexArg::ByCuda => TorchIndex::ByCuda,
                TorchIndexArg::Default => TorchIndex::Default,
            },
            implied: if flags.no_implied_packages {
                ImpliedPolicy::Ignore
            } else {
                ImpliedPolicy::Add
            },
            lock: if flags.locked {
                LockPolicy::Locked
            } else {
                LockPolicy::Update
            },
            cache: Cache::Use,
            architectures: vec![Architecture::host()],
            secrets: Vec::new(),
            interface: project.interface.clone(),
            server: server.as_deref(),
            timestamp: source_date()?,
            push_id: None,
            symbols: Symbols::Kept,
            compression: None,
            attestations: Attestations::default(),
            user: None,
            source_layers: SourceLayers::BySize,
            threads: 0,
            reporter: &reporter,
        })
    }

    /// What decides among the images that a project can be built on.
    pub(crate) fn options(&self, bases: &BaseFlags) -> Options {
        let defaults = Options::default();
        let registry = self.registry();
        Options {
            cog_base: match bases.use_cog_base_image {
                None => CogBase::Preferred,
                Some(true) => CogBase::Required,
                Some(false) => CogBase::Off,
            },
            cuda_base: match bases.use_cuda_base_image.as_deref() {
                Some("false") => CudaBase::Off,
                _ => CudaBase::Auto,
            },
            registry_host: registry.map_or(defaults.registry_host, str::to_owned),
            decorated_concurrency: defaults.decorated_concurrency,
        }
    }

    /// The flag counts, then the variable; words that only the published tool's builder knows are left to that.
    fn apply_progress(&self, flag: Option<ProgressArg>) {
        let variable = || {
            let text = std::env::var(BUILDKIT_PROGRESS).ok()?;
            ProgressArg::from_str(&text, true).ok()
        };
        match flag.or_else(variable).unwrap_or(ProgressArg::Auto) {
            ProgressArg::Auto => {}
            ProgressArg::Tty => self.printer.set_progress(Progress::Bars),
            ProgressArg::Plain => self.printer.set_progress(Progress::Lines),
            ProgressArg::Quiet => self.printer.set_progress(Progress::Quiet),
        }
    }
}

fn source_date() -> anyhow::Result<Option<i64>> {
    match std::env::var(SOURCE_DATE_EPOCH) {
        Ok(text) if !text.is_empty() => seconds(SOURCE_DATE_EPOCH, &text).map(Some),
        _ => Ok(None),
    }
}

/// The most that the field of an archive can hold: a day in 2242.
const LATEST: i64 = 0o77_777_777_777;

/// A moment that can be written as a date; `name` is where it was given.
pub(crate) fn seconds(name: &str, text: &str) -> anyhow::Result<i64> {
    let seconds: Option<i64> = text.parse().ok();
    seconds
        .filter(|seconds| (0..=LATEST).contains(seconds))
        .with_context(|| format!("`{name}` is `{text}`, not a number of seconds since 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_since_1970_are_dates() {
        assert_eq!(seconds("X", "0").unwrap(), 0);
        assert_eq!(seconds("X", "1700000000").unwrap(), 1_700_000_000);
        for wrong in [
            "-5",
            "x",
            "1.5",
            " 1",
            "99999999999999",
            "9223372036854775807",
        ] {
            let error = seconds("X", wrong).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`X` is `{wrong}`, not a number of seconds since 1970")
            );
        }
    }
}
