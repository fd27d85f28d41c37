//! `--dockerfile`: an image of the user's own Dockerfile, which a daemon builds. Neither the base nor the requirements nor
//! the SDK of cog.yaml have a part in it.

use std::path::Path;

use cog_engine::docker::{BuildEvent, DaemonKind, EarlierLayers};
use cog_files::Folder;
use cog_image::{ImageConfig, Layer, StepRecord};
use serde_json::json;

use super::context::{Context, DOCKERFILE, Secrets};
use super::{DockerBuilder, Order, Out};
use crate::context::{self, Item, Tree};
use crate::dockerignore::Dockerignore;
use crate::environment::{Environment, WORKING_DIR};
use crate::error::Result;
use crate::executor::{Cache, Executor};
use crate::plan::key;
use crate::reporter::Event;
use crate::request::BuildRequest;
use crate::steps::source;

/// Where the context has a Dockerfile that is not one of the project's files in it.
const ELSEWHERE: &str = ".cog/Dockerfile";
/// What runs in an image that does not say it.
const SERVER: [&str; 3] = ["python", "-m", "cog.server.http"];
/// Where a container leaves what is installed in it.
const FREEZE: &str = "tmp/.cog-freeze";

/// An image that the user's Dockerfile made.
#[derive(Debug, Clone)]
pub(crate) struct OwnImage {
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<Layer>,
    /// What `pip freeze` says in it.
    pub(crate) pip_freeze: String,
}

impl OwnImage {
    /// Builds `dockerfile` with the project of `request` as context.
    pub(crate) fn build(
        request: &BuildRequest<'_>,
        executor: &Executor<'_>,
        docker: &DockerBuilder,
        dockerfile: &Path,
    ) -> Result<Self> {
        let text = fs_err::read_to_string(dockerfile)?;
        let ignore = context::ignore(request.project_dir)?;
        let title = format!("{}: {}", docker.daemon.title(), dockerfile.display());
        executor.timed(&title, || {
            docker.tidy(executor);
            let project = Files::new(request, dockerfile, &text, &ignore)?;
            source::tell_of_environments(executor, &project.environments)?;
            let name = docker.temporary_name()?;
            build(request, executor, docker, &project, &name)?;
            Self::take(executor, docker, &name)
        })
    }

    /// The image without its source, to be run with the project mounted.
    pub(crate) fn environment(self) -> Environment {
        let parts = [self.config.entrypoint, self.config.cmd];
        let mut command: Vec<String> = parts.into_iter().flatten().flatten().collect();
        if command.is_empty() {
            command = SERVER.map(str::to_owned).to_vec();
        }
        Environment {
            layers: self.layers,
            env: self.config.env,
            working_dir: WORKING_DIR.to_owned(),
            command,
            pip_freeze: self.pip_freeze,
            schema: None,
        }
    }

    /// Takes the image `name` out of the daemon, with what is installed in it.
    fn take(executor: &Executor<'_>, docker: &DockerBuilder, name: &str) -> Result<Self> {
        let earlier = key("layers of a dockerfile", 1)
            .field(
                "project",
                executor.project_dir.as_os_str().as_encoded_bytes(),
            )
            .finish();
        let known = executor.store.step(&earlier)?;
        let known = known.map(|record| record.layers).unwrap_or_default();
        let (name, has_freeze) = match freeze(executor, docker, name) {
            Ok(with_freeze) => (with_freeze, true),
            // Nothing runs in an image without a shell.
            Err(error) => {
                executor.detail(&error.to_string());
                (name.to_owned(), false)
            }
        };
        let saved = docker.take(executor, &name, &known)?;
        let mut layers = saved.layers(executor.store, executor.compression, executor.threads)?;
        let mut pip_freeze = None;
        if has_freeze {
            layers.pop();
            let scratch = executor.store.scratch()?;
            saved.unpack(layers.len(), scratch.path())?;
            pip_freeze = Folder::open(scratch.path())?.text(Path::new(FREEZE))?;
        }
        let pip_freeze = pip_freeze.filter(|text| !text.is_empty());
        if pip_freeze.is_none() {
            executor.warn(
                "`python -m pip freeze` says nothing in the image: it does not say which Python packages it has",
            );
        }
        let record = StepRecord {
            layers: layers.clone(),
            facts: json!(null),
        };
        executor.store.record_step(&earlier, &record)?;
        Ok(Self {
            config: saved.config().clone(),
            layers,
            pip_freeze: pip_freeze.unwrap_or_default(),
        })
    }
}

/// What the context is made of.
struct Files<'a> {
    project_dir: &'a Path,
    items: Vec<Item>,
    /// What is left out of it.
    environments: Vec<String>,
    /// Where the Dockerfile is among them.
    dockerfile: String,
    /// Its text, where it is not one of them.
    text: Option<&'a str>,
}

impl<'a> Files<'a> {
    fn new(
        request: &BuildRequest<'a>,
        dockerfile: &Path,
        text: &'a str,
        ignore: &Dockerignore,
    ) -> Result<Self> {
        let project_dir = request.project_dir;
        let Tree {
            items,
            environments,
            ..
        } = context::tree(project_dir, ignore)?;
        let whole = fs_err::canonicalize(dockerfile)?;
        let inside = whole.strip_prefix(fs_err::canonicalize(project_dir)?);
        let inside = inside.ok().and_then(Path::to_str);
        let among = inside.filter(|path| items.iter().any(|item| item.path == *path));
        Ok(Self {
            project_dir,
            dockerfile: among.unwrap_or(ELSEWHERE).to_owned(),
            text: among.is_none().then_some(text),
            items,
            environments,
        })
    }

    fn write(&self, mut context: Context<Out>) -> std::io::Result<Out> {
        for item in &self.items {
            context.entry(&item.path, &self.project_dir.join(&item.path))?;
        }
        if let Some(text) = self.text {
            context.bytes(&self.dockerfile, text.as_bytes())?;
        }
        context.finish()
    }
}

fn build(
    request: &BuildRequest<'_>,
    executor: &Executor<'_>,
    docker: &DockerBuilder,
    project: &Files<'_>,
    name: &str,
) -> Result<()> {
    let secrets = request.all_secret_values()?;
    let arguments = cog_python::uv::proxies();
    let in_context = match docker.daemon.kind() {
        DaemonKind::Docker => Secrets::Elsewhere,
        DaemonKind::Podman => Secrets::InContext,
    };
    let file = |number: usize| format!(".cog/secret-{number}");
    let ids = secrets.keys().enumerate();
    let order = Order {
        name,
        dockerfile: &project.dockerfile,
        arguments: &arguments,
        secret_files: ids.map(|(number, id)| (id.clone(), file(number))).collect(),
        secrets: secrets
            .iter()
            .map(|(id, value)| (id.clone(), value.expose().to_vec()))
            .collect(),
        layers: match executor.cache {
            Cache::Use => EarlierLayers::Used,
            Cache::Ignore => EarlierLayers::Ignored,
        },
    };
    let write = |mut context: Context<Out>| {
        if in_context == Secrets::InContext {
            for (number, value) in secrets.values().enumerate() {
                context.bytes(&file(number), value.expose())?;
            }
        }
        project.write(context)
    };
    docker.carry_out(order, write, |event| {
        let (BuildEvent::Instruction(line) | BuildEvent::Line(line)) = event;
        executor.reporter.report(Event::Output { line });
    })
}

/// Has the daemon say what is installed in the image `name`, in a layer on top of it. The name of that image.
fn freeze(executor: &Executor<'_>, docker: &DockerBuilder, name: &str) -> Result<String> {
    let script = format!("python -m pip freeze > /{FREEZE} 2> /dev/null || :");
    let run = json!(["/bin/sh", "-c", script]);
    let text = format!("FROM {name}\nRUN {run}\n");
    let frozen = docker.temporary_name()?;
    let order = Order {
        name: &frozen,
        dockerfile: DOCKERFILE,
        arguments: &[],
        secrets: std::collections::BTreeMap::new(),
        secret_files: std::collections::BTreeMap::new(),
        layers: EarlierLayers::Used,
    };
    let write = |mut context: Context<Out>| {
        context.bytes(DOCKERFILE, text.as_bytes())?;
        context.finish()
    };
    docker.carry_out(order, write, |event| {
        let (BuildEvent::Instruction(line) | BuildEvent::Line(line)) = event;
        executor.doing(line);
    })?;
    Ok(frozen)
}
