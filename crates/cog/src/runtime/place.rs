//! Where a workload runs: the files it sees, its variables, its working directory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use cog_build::{Architecture, BuildRequest, HandedOver};
use cog_engine::docker::{Daemon, DaemonImage};
use cog_engine::{Access, Emulator, Engine, Isolation, Mount, Root};
use cog_image::serve::{Content, Zstd};
use cog_image::{ImageConfig, ImageRef, Lease, Rootfs, Scratch, Store, StoredImage, trust};

use super::image::Image;
use super::server::Kind;
use crate::handover::hand_over;
use crate::printer::Printer;

/// Where a project is in its container.
const SOURCE: &str = "/src";
/// Where a server looks for the model's document, in the project.
const SCHEMA_FILE: &str = ".cog/openapi_schema.json";
/// Tells the server of another place.
const COG_SCHEMA_FILE: &str = "COG_SCHEMA_FILE";
/// Keeps Python from writing `__pycache__` into the project, which the next image would contain. What is installed in
/// the image was compiled when it was built.
const NO_BYTECODE: (&str, &str) = ("PYTHONDONTWRITEBYTECODE", "1");
/// Where a daemon's container gets the model's document if the project cannot have it.
const SCHEMA_IN_DAEMON: &str = "/run/cog/openapi_schema.json";
/// The same for others.
const SCHEMA_BESIDE: &str = "openapi_schema.json";
/// Names of images that a daemon is given to run them begin so. The names keep their layers there for the next time.
const HANDED_OVER: &str = "cog-run/";

/// What there is for a workload, for as long as the value lives.
pub(super) struct Place {
    pub(super) root: Root,
    pub(super) env: Vec<(String, String)>,
    pub(super) working_dir: String,
    pub(super) mounts: Vec<Mount>,
    /// The server's program and what belongs before its arguments.
    pub(super) server: Vec<String>,
    pub(super) kind: Kind,
    /// What a container trusts, where that is not its own affair.
    pub(super) ca_bundle: Option<PathBuf>,
    /// What runs its programs, where they are for another machine.
    pub(super) emulator: Option<Emulator>,
    pub(super) scratch: Scratch,
    _in_use: InUse,
}

/// What pruning must leave alone while a workload runs. No workload outlives this process.
#[expect(dead_code, reason = "held, not read")]
enum InUse {
    Layers(Rootfs),
    Environment(Lease),
    /// Of the store; a daemon looks after its own.
    Nothing,
}

impl Place {
    /// The project's environment, with the project itself mounted. `name` is what images of it are called.
    pub(super) fn of_project(
        request: &BuildRequest<'_>,
        engine: &dyn Engine,
        printer: &Printer,
        name: &str,
    ) -> anyhow::Result<Self> {
        // Until the lease on what was made is taken, nobody may prune.
        let _making = request.store.lease()?;
        let access = project_access(request.project_dir);
        let project = Mount {
            source: request.project_dir.to_owned(),
            target: SOURCE.into(),
            access,
        };
        match (engine.isolation(), engine.daemon()) {
            (Isolation::None, _) => Self::on_host(request, project),
            (Isolation::Daemon, Some(daemon)) => {
                Self::in_daemon(request, project, daemon, printer, name)
            }
            (Isolation::Container | Isolation::Daemon, _) => Self::in_container(request, project),
        }
    }

    /// The daemon gets an image of the environment; of one that it has, only what has changed.
    fn in_daemon(
        request: &BuildRequest<'_>,
        project: Mount,
        daemon: &Daemon,
        printer: &Printer,
        name: &str,
    ) -> anyhow::Result<Self> {
        let environment = cog_build::prepare(request)?;
        let config = ImageConfig {
            env: environment.env.clone(),
            cmd: Some(environment.command.clone()),
            working_dir: Some(environment.working_dir.clone()),
            ..ImageConfig::default()
        };
        let store = request.store;
        let layers = &environment.layers;
        let handed = lend(printer, store, daemon, &daemon_name(name)?, |zstd| {
            Content::of_layers(store, &config, layers, zstd)
        })?;
        let scratch = store.scratch()?;
        let mut env = without_bytecode(environment.env);
        let schema = schema_beside(project.access, environment.schema.as_deref(), &scratch)?;
        let mut mounts = vec![project];
        if let Some(source) = schema {
            env.push((COG_SCHEMA_FILE.into(), SCHEMA_IN_DAEMON.into()));
            mounts.push(Mount {
                source,
                target: SCHEMA_IN_DAEMON.into(),
                access: Access::ReadOnly,
            });
        }
        Ok(Self {
            root: Root::Image {
                id: handed.id,
                platform: platform(&config),
            },
            env,
            working_dir: environment.working_dir,
            mounts,
            kind: kind(&environment.command),
            server: environment.command,
            ca_bundle: None,
            emulator: None,
            scratch,
            _in_use: InUse::Nothing,
        })
    }

    fn on_host(request: &BuildRequest<'_>, project: Mount) -> anyhow::Result<Self> {
        if request.dockerfile.is_some() {
            bail!(
                "the host engine cannot run what `--dockerfile` builds; use `--engine embedded` or `--engine docker`"
            );
        }
        let host = cog_build::host_environment(request)?;
        let lease = request
            .store
            .use_environment(&host.path)?
            .context("the environment on the host is gone")?;
        let scratch = request.store.scratch()?;
        let mut env = without_bytecode(host.env);
        // Where nothing can be mounted, the server is told.
        let schema = schema_beside(project.access, host.schema.as_deref(), &scratch)?;
        env.extend(schema.map(|file| (COG_SCHEMA_FILE.into(), file.display().to_string())));
        Ok(Self {
            root: Root::Host {
                environment: host.path,
            },
            env,
            working_dir: SOURCE.into(),
            mounts: vec![project],
            server: vec![host.coglet.to_string_lossy().into_owned()],
            kind: Kind::Coglet,
            ca_bundle: None,
            emulator: None,
            scratch,
            _in_use: InUse::Environment(lease),
        })
    }

    fn in_container(request: &BuildRequest<'_>, project: Mount) -> anyhow::Result<Self> {
        let environment = cog_build::prepare(request)?;
        let root = request.store.rootfs(&environment.layers)?;
        let scratch = request.store.scratch()?;
        let mut mounts = vec![project];
        let schema = environment.schema.as_deref();
        if let Some(file) = schema_beside(mounts[0].access, schema, &scratch)? {
            mounts.push(Mount {
                source: file,
                target: format!("{SOURCE}/{SCHEMA_FILE}"),
                access: Access::ReadOnly,
            });
        }
        Ok(Self {
            root: Root::Layers(root.layers().to_vec()),
            env: without_bytecode(environment.env),
            working_dir: environment.working_dir,
            mounts,
            kind: kind(&environment.command),
            server: environment.command,
            ca_bundle: ca_bundle(&root, &scratch)?,
            emulator: None,
            scratch,
            _in_use: InUse::Layers(root),
        })
    }

    /// An image, in a container of ours or of a daemon.
    pub(super) fn of_image(
        image: &Image,
        store: &Store,
        engine: &dyn Engine,
        printer: &Printer,
    ) -> anyhow::Result<Self> {
        match (image, engine.daemon()) {
            (Image::Stored(image), None) => Self::of_layers(image, store, printer),
            (Image::Stored(image), Some(daemon)) => {
                let name = daemon_name(&image.name)?;
                let handed = lend(printer, store, daemon, &name, |zstd| {
                    Content::of_image(store, image, zstd)
                })?;
                let root = Root::Image {
                    id: handed.id,
                    platform: platform(&image.config),
                };
                Self::of_config(root, &image.config, InUse::Nothing, store.scratch()?)
            }
            (Image::InDaemon { image, .. }, Some(_)) => {
                let root = Root::Image {
                    id: image.id.clone(),
                    platform: image.platform.clone(),
                };
                let config = config_of(image);
                Self::of_config(root, &config, InUse::Nothing, store.scratch()?)
            }
            (Image::InDaemon { .. }, None) => {
                bail!("the image is in a daemon; use `--engine docker`")
            }
        }
    }

    fn of_layers(image: &StoredImage, store: &Store, printer: &Printer) -> anyhow::Result<Self> {
        let emulator = emulator(image, printer)?;
        let layers = store.rootfs(&image.layers)?;
        let scratch = store.scratch()?;
        let ca_bundle = ca_bundle(&layers, &scratch)?;
        let root = Root::Layers(layers.layers().to_vec());
        let place = Self::of_config(root, &image.config, InUse::Layers(layers), scratch)?;
        Ok(Self {
            ca_bundle,
            emulator,
            ..place
        })
    }

    /// Where the model's document is not in the project, it is replaced, in the file that a container sees.
    pub(super) fn replace_schema(&self, schema: &str) -> std::io::Result<()> {
        let file = self.scratch.path().join(SCHEMA_BESIDE);
        if file.exists() {
            fs_err::write(file, schema)?;
        }
        Ok(())
    }

    fn of_config(
        root: Root,
        config: &ImageConfig,
        in_use: InUse,
        scratch: Scratch,
    ) -> anyhow::Result<Self> {
        let entrypoint = config.entrypoint.iter().flatten();
        let command: Vec<String> = entrypoint
            .chain(config.cmd.iter().flatten())
            .cloned()
            .collect();
        if command.is_empty() {
            bail!("the image says nothing about what to run");
        }
        let kind = kind(&command);
        Ok(Self {
            root,
            env: config.env.clone(),
            working_dir: config.working_dir.clone().unwrap_or_else(|| "/".into()),
            mounts: Vec::new(),
            server: command,
            kind,
            ca_bundle: None,
            emulator: None,
            scratch,
            _in_use: in_use,
        })
    }
}

/// Gives the daemon an image to run, in the place of the one that it has had under `name`, of which nobody else knows.
fn lend(
    printer: &Printer,
    store: &Store,
    daemon: &Daemon,
    name: &str,
    content: impl FnOnce(Zstd) -> cog_image::Result<Content>,
) -> anyhow::Result<HandedOver> {
    let before = daemon.image(name)?;
    let handed = hand_over(printer, store, daemon, name, content)?;
    if let Some(before) = before.filter(|before| before.id != handed.id)
        && let Err(error) = daemon.remove_nameless(&before.id)
    {
        printer.debug(&error.to_string());
    }
    Ok(handed)
}

fn config_of(image: &DaemonImage) -> ImageConfig {
    ImageConfig {
        env: image.env.clone(),
        entrypoint: Some(image.entrypoint.clone()),
        cmd: Some(image.cmd.clone()),
        working_dir: image.working_dir.clone(),
        ..ImageConfig::default()
    }
}

/// What runs the programs of an image that are not for this machine, besides what the kernel has; one whose programs
/// nothing runs is refused. What can't be told is tried.
fn emulator(image: &StoredImage, printer: &Printer) -> anyhow::Result<Option<Emulator>> {
    let host = Architecture::host();
    let platform = image.platform().to_string();
    let Ok(architecture) = platform.parse::<Architecture>() else {
        return Ok(None);
    };
    if let Some(reason) = architecture.obstacle() {
        bail!(
            "image {} is for {architecture}, and this machine is {host}, where nothing runs its programs: {reason}. Run it on \
             such a machine, build it with `--platform {host}`, or install QEMU's static emulator, Debian's package \
             `qemu-user-static`",
            image.name,
        );
    }
    if architecture != host {
        printer.info(&format!(
            "The image is for {architecture}: its programs are emulated, which takes its time"
        ));
    }
    Ok(architecture.emulator())
}

fn platform(config: &ImageConfig) -> String {
    format!("{}/{}", config.os, config.architecture)
}

/// What a daemon calls an image that it gets for a run alone: nothing that somebody else may have called another one.
fn daemon_name(name: &str) -> anyhow::Result<String> {
    let reference: ImageRef = name.parse()?;
    let name = reference.familiar();
    let name = name.split_once('@').map_or(name.as_str(), |(name, _)| name);
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    };
    // A registry's port would be taken for a tag.
    let repository = repository.replace(':', "-");
    Ok(format!("{HANDED_OVER}{repository}:{tag}"))
}

#[cfg(test)]
impl Place {
    /// Our server in an empty root.
    pub(super) fn of_nothing(store: &Store) -> Self {
        let root = store.rootfs(&[]).expect("no layer is missing");
        Self {
            root: Root::Layers(Vec::new()),
            env: Vec::new(),
            working_dir: SOURCE.into(),
            mounts: Vec::new(),
            server: vec!["coglet".into()],
            kind: Kind::Coglet,
            ca_bundle: None,
            emulator: None,
            scratch: store.scratch().expect("there is room"),
            _in_use: InUse::Layers(root),
        }
    }
}

/// What an image starts. No other server has a program of this name: the published one is started as a Python module, and
/// so is ours where somebody has put it in its place, which then has a port as well.
fn kind(command: &[String]) -> Kind {
    match command {
        [program] if Path::new(program).file_name() == Some("coglet".as_ref()) => Kind::Coglet,
        _ => Kind::Other,
    }
}

/// A project that cannot be written to, such as one on a read-only file system, gets a place for what a model writes
/// beside itself that ends with the container.
fn project_access(directory: &Path) -> Access {
    match rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Access::ReadWrite,
        Err(_) => Access::Layered,
    }
}

/// The model's document, where the project cannot have it.
fn schema_beside(
    access: Access,
    schema: Option<&str>,
    scratch: &Scratch,
) -> anyhow::Result<Option<PathBuf>> {
    let (Access::Layered, Some(schema)) = (access, schema) else {
        return Ok(None);
    };
    let file = scratch.path().join(SCHEMA_BESIDE);
    fs_err::write(&file, schema)?;
    Ok(Some(file))
}

/// The file with what a container over `root` trusts. It hides the image's own, so all that is in there is in it too.
fn ca_bundle(root: &Rootfs, scratch: &Scratch) -> anyhow::Result<Option<PathBuf>> {
    let Some(bundle) = trust::bundle_over(root)? else {
        return Ok(None);
    };
    let file = scratch.path().join("ca-certificates.crt");
    fs_err::write(&file, bundle)?;
    Ok(Some(file))
}

fn without_bytecode(mut env: Vec<(String, String)>) -> Vec<(String, String)> {
    let (name, value) = NO_BYTECODE;
    if !env.iter().any(|(known, _)| known == name) {
        env.push((name.into(), value.into()));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_only_run_have_names_of_their_own_in_a_daemon() {
        for (name, expected) in [
            ("hello", "cog-run/hello:latest"),
            ("hello:v1", "cog-run/hello:v1"),
            ("localhost:5000/a/b:v1", "cog-run/localhost-5000/a/b:v1"),
            ("r8.im/a/b", "cog-run/r8.im/a/b:latest"),
        ] {
            assert_eq!(daemon_name(name).unwrap(), expected);
        }
        let pinned = format!("localhost:5000/a@sha256:{}", "0".repeat(64));
        assert_eq!(
            daemon_name(&pinned).unwrap(),
            "cog-run/localhost-5000/a:latest"
        );
    }

    #[test]
    fn our_server_is_known_by_its_program() {
        let of = |command: &[&str]| {
            kind(
                &command
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&["coglet"]), Kind::Coglet);
        assert_eq!(of(&["/usr/local/bin/coglet"]), Kind::Coglet);
        assert_eq!(of(&["python", "-m", "cog.server.http"]), Kind::Other);
        assert_eq!(of(&["/sbin/tini", "--", "coglet"]), Kind::Other);
        assert_eq!(of(&[]), Kind::Other);
    }
}
