//! Projects, stores and builds for tests.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use cog_build::{
    BaseChoice, BuildError, BuildRequest, BuiltImage, Cache, Event, Interface, LockPolicy, Outcome,
    Reporter, SchemaSource, SourceLayers,
};
use cog_config::{Build, Config, PythonVersion};
use cog_engine::{Embedded, Engine, KernelProbe, Probe as _};
use cog_image::Store;
use cog_python::uv::UvError;
use cog_testing::skip;

pub(crate) const MODEL: &str = "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    \
    def run(self, text: str) -> str:\n        return \"hello \" + text\n";

/// A project in a temporary folder, and what its builds have in common.
pub(crate) struct Project {
    folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) cache: Cache,
    pub(crate) threads: usize,
    pub(crate) secrets: Vec<cog_build::Secret>,
    pub(crate) events: Events,
}

impl Project {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let project = Self {
            folder,
            config: Config {
                build: Some(Build {
                    python_version: PythonVersion {
                        major: 3,
                        minor: 11,
                        text: "3.11".into(),
                    },
                    ..Build::default()
                }),
                runner: Some("run.py:Runner".into()),
                ..Config::default()
            },
            cache: Cache::Use,
            threads: 0,
            secrets: Vec::new(),
            events: Events::default(),
        };
        project.write("run.py", MODEL);
        project.write(
            "cog.yaml",
            "build:\n  python_version: \"3.11\"\nrun: \"run.py:Runner\"\n",
        );
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().expect("it has a parent")).expect("created");
        fs_err::write(path, content).expect("written");
    }

    pub(crate) fn build_section(&mut self) -> &mut Build {
        self.config
            .build
            .as_mut()
            .expect("every test project has one")
    }

    pub(crate) fn request<'a>(
        &'a self,
        store: &'a Store,
        engine: Option<&'a dyn Engine>,
    ) -> BuildRequest<'a> {
        BuildRequest {
            project_dir: self.path(),
            config_file_name: "cog.yaml",
            config: &self.config,
            store,
            engine,
            docker: None,
            dockerfile: None,
            base: BaseChoice::Debian,
            options: cog_config::Options::default(),
            torch_index: cog_build::TorchIndex::ByCuda,
            implied: cog_build::ImpliedPolicy::Add,
            lock: LockPolicy::Update,
            architectures: vec![cog_build::Architecture::host()],
            cache: self.cache,
            secrets: self.secrets.clone(),
            interface: self.interface(&SchemaSource::Generate),
            server: Some(server()),
            timestamp: None,
            push_id: None,
            symbols: cog_build::Symbols::Kept,
            compression: None,
            attestations: cog_build::Attestations::default(),
            user: None,
            source_layers: SourceLayers::BySize,
            threads: self.threads,
            reporter: &self.events,
        }
    }

    /// What the model's source says; nothing of a project that has no model.
    pub(crate) fn interface(&self, source: &SchemaSource) -> Interface {
        match Interface::read(self.path(), &self.config, source) {
            Err(BuildError::NoModel) => Interface::default(),
            read => read.expect("the source can be read"),
        }
    }

    /// Builds with the embedded engine.
    pub(crate) fn build(&self, store: &Store) -> Result<BuiltImage, BuildError> {
        cog_build::build(&self.request(store, Some(&Embedded)), "test/image")
    }
}

/// What a build told.
#[derive(Default)]
pub(crate) struct Events {
    steps: Mutex<Vec<(String, Outcome)>>,
    warnings: Mutex<Vec<String>>,
    output: Mutex<Vec<String>>,
}

impl Reporter for Events {
    fn report(&self, event: Event<'_>) {
        match event {
            Event::StepFinished { title, outcome, .. } => {
                self.steps
                    .lock()
                    .expect("no panic")
                    .push((title.to_owned(), outcome));
            }
            Event::Warning { message } => {
                self.warnings
                    .lock()
                    .expect("no panic")
                    .push(message.to_owned());
            }
            Event::Output { line } => self.output.lock().expect("no panic").push(line.to_owned()),
            _ => {}
        }
    }
}

impl Events {
    /// The titles of the steps that were done since the last call.
    pub(crate) fn take_built(&self) -> Vec<String> {
        std::mem::take(&mut *self.steps.lock().expect("no panic"))
            .into_iter()
            .filter(|(_, outcome)| *outcome == Outcome::Built)
            .map(|(title, _)| title)
            .collect()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().expect("no panic").clone()
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.output.lock().expect("no panic").clone()
    }
}

/// The store that tests share, so that the base is made once. It outlives the test program.
pub(crate) fn shared_store() -> Store {
    store_at(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("build-store"))
}

pub(crate) fn store_at(path: &Path) -> Store {
    Store::open(path).expect("the store opens")
}

/// A shell comment that no other run of the tests has, so that a command is not found in the store.
pub(crate) fn unique() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(" # {}", now.expect("the clock is set").as_nanos())
}

/// Stands in for the server, which is another crate's program. Its content does not matter here.
fn server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    SERVER.get_or_init(|| {
        let path = std::env::temp_dir().join("cog-build-test-coglet");
        let temporary = path.with_extension(std::process::id().to_string());
        fs_err::write(&temporary, "#!/bin/sh\n").expect("written");
        fs_err::rename(&temporary, &path).expect("renamed");
        path
    })
}

/// Whether the test cannot run here: no containers, or no network. Says so.
pub(crate) fn skipped() -> bool {
    if let Err(reason) = KernelProbe.containers() {
        skip(reason);
        return true;
    }
    let project = Project::new();
    project
        .build(&shared_store())
        .is_err_and(|error| network_is_missing(&error))
}

/// Whether a build failed because nothing can be downloaded here. Says so.
pub(crate) fn network_is_missing(error: &BuildError) -> bool {
    let missing = match error {
        BuildError::Uv(UvError::Unreachable(_)) => true,
        BuildError::Debian(error) => error.is_unreachable(),
        _ => false,
    };
    if missing {
        skip(error);
    }
    missing
}

/// The content of `path` in the image: that of the highest layer which has it.
pub(crate) fn file(store: &Store, image: &BuiltImage, path: &str) -> Option<PathBuf> {
    image
        .image
        .layers
        .iter()
        .rev()
        .map(|layer| store.snapshot(layer).expect("unpacked").join(path))
        .find(|file| file.symlink_metadata().is_ok())
}

pub(crate) fn text(store: &Store, image: &BuiltImage, path: &str) -> String {
    let file = file(store, image, path).unwrap_or_else(|| panic!("the image has no `{path}`"));
    fs_err::read_to_string(file).expect("readable")
}
