//! Where a workload runs: the files it sees, its variables, its working directory.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cog_build::BuildRequest;
use cog_engine::{Access, Isolation, Mount, Root};
use cog_image::{Lease, Rootfs, Scratch, Store, StoredImage, trust};

use super::server::Kind;

/// Where a project is in its container.
const SOURCE: &str = "/src";
/// Where a server looks for the model's document, in the project.
const SCHEMA_FILE: &str = ".cog/openapi_schema.json";
/// Tells the server of another place.
const COG_SCHEMA_FILE: &str = "COG_SCHEMA_FILE";
/// Keeps Python from writing `__pycache__` into the project, which the next image would contain. What is installed in
/// the image was compiled when it was built.
const NO_BYTECODE: (&str, &str) = ("PYTHONDONTWRITEBYTECODE", "1");

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
    pub(super) scratch: Scratch,
    _in_use: InUse,
}

/// What pruning must leave alone while a workload runs. No workload outlives this process.
#[expect(dead_code, reason = "held, not read")]
enum InUse {
    Layers(Rootfs),
    Environment(Lease),
}

impl Place {
    /// The project's environment, with the project itself mounted.
    pub(super) fn of_project(
        request: &BuildRequest<'_>,
        isolation: Isolation,
    ) -> anyhow::Result<Self> {
        // Until the lease on what was made is taken, nobody may prune.
        let _making = request.store.lease()?;
        let access = project_access(request.project_dir);
        let project = Mount {
            source: request.project_dir.to_owned(),
            target: SOURCE.into(),
            access,
        };
        match isolation {
            Isolation::None => Self::on_host(request, project),
            Isolation::Container => Self::in_container(request, project),
        }
    }

    fn on_host(request: &BuildRequest<'_>, project: Mount) -> anyhow::Result<Self> {
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
            server: environment.command,
            kind: Kind::Coglet,
            ca_bundle: ca_bundle(&root, &scratch)?,
            scratch,
            _in_use: InUse::Layers(root),
        })
    }

    /// An image of the store.
    pub(super) fn of_image(image: &StoredImage, store: &Store) -> anyhow::Result<Self> {
        let root = store.rootfs(&image.layers)?;
        let scratch = store.scratch()?;
        let config = &image.config;
        let command: Vec<String> = config
            .entrypoint
            .iter()
            .flatten()
            .chain(config.cmd.iter().flatten())
            .cloned()
            .collect();
        let kind = kind(&command);
        Ok(Self {
            root: Root::Layers(root.layers().to_vec()),
            env: config.env.clone(),
            working_dir: config.working_dir.clone().unwrap_or_else(|| "/".into()),
            mounts: Vec::new(),
            server: command,
            kind,
            ca_bundle: ca_bundle(&root, &scratch)?,
            scratch,
            _in_use: InUse::Layers(root),
        })
    }
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
    let file = scratch.path().join("openapi_schema.json");
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
