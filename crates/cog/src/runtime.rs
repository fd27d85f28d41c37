//! A model server that runs for one command: where its files are, how it is started, when it is ready.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cog_build::BuildRequest;
use cog_engine::{
    Access, Engine, Gpus, Isolation, Mount, PassedFd, Process, Purpose, Root, Running, Workload,
    Writable,
};
use cog_image::{Lease, Rootfs, Scratch, Store, StoredImage, trust};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::client;
use crate::session::Project;
use crate::terminal;

/// Where a project is in its container.
const SOURCE: &str = "/src";
const STOP_GRACE: Duration = Duration::from_secs(10);
/// What kind of terminal there is.
const TERM: &str = "TERM";
/// Keeps Python from writing `__pycache__` into the project, which the next image would contain. What is installed in
/// the image was compiled when it was built.
const NO_BYTECODE: (&str, &str) = ("PYTHONDONTWRITEBYTECODE", "1");
/// Where a server looks for the model's document, in the project.
const SCHEMA_FILE: &str = ".cog/openapi_schema.json";

/// Everything that a command of a project or an image runs in.
pub(crate) struct Surroundings {
    root: Root,
    pub(crate) env: Vec<(String, String)>,
    working_dir: String,
    mounts: Vec<Mount>,
    /// The server's program and what belongs before its arguments.
    server: Vec<String>,
    gpus: Gpus,
    scratch: Scratch,
    _in_use: InUse,
}

/// What pruning must leave alone while a workload runs. No workload outlives this process.
#[expect(dead_code, reason = "held, not read")]
enum InUse {
    Layers(Rootfs),
    Environment(Lease),
}

impl Surroundings {
    /// The project's environment, with the project itself mounted.
    pub(crate) fn of_project(
        request: &BuildRequest<'_>,
        project: &Project,
        engine: &dyn Engine,
    ) -> anyhow::Result<Self> {
        // Until the lease on what was made is taken, nobody may prune.
        let _making = request.store.lease()?;
        let access = project_access(project.directory());
        let mut mounts = vec![Mount {
            source: project.directory().to_owned(),
            target: SOURCE.into(),
            access,
        }];
        let scratch = request.store.scratch()?;
        if engine.isolation() == Isolation::None {
            let host = cog_build::host_environment(request)?;
            let lease = request
                .store
                .use_environment(&host.path)?
                .context("the environment on the host is gone")?;
            return Ok(Self {
                root: Root::Host {
                    environment: host.path,
                },
                env: without_bytecode(host.env),
                working_dir: SOURCE.into(),
                mounts,
                server: vec![host.coglet.to_string_lossy().into_owned()],
                gpus: Gpus::default(),
                scratch,
                _in_use: InUse::Environment(lease),
            });
        }
        let environment = cog_build::prepare(request)?;
        let root = request.store.rootfs(&environment.layers)?;
        if let (Access::Layered, Some(schema)) = (access, &environment.schema) {
            let file = scratch.path().join("openapi_schema.json");
            fs_err::write(&file, schema)?;
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
            gpus: Gpus::default(),
            scratch,
            _in_use: InUse::Layers(root),
        })
    }

    /// An image of the store.
    pub(crate) fn of_image(image: &StoredImage, store: &Store) -> anyhow::Result<Self> {
        let root = store.rootfs(&image.layers)?;
        let config = &image.config;
        let command = config
            .entrypoint
            .iter()
            .flatten()
            .chain(config.cmd.iter().flatten())
            .cloned()
            .collect();
        Ok(Self {
            root: Root::Layers(root.layers().to_vec()),
            env: config.env.clone(),
            working_dir: config.working_dir.clone().unwrap_or_else(|| "/".into()),
            mounts: Vec::new(),
            server: command,
            gpus: Gpus::default(),
            scratch: store.scratch()?,
            _in_use: InUse::Layers(root),
        })
    }

    /// The same with GPUs.
    pub(crate) fn with_gpus(self, gpus: Gpus) -> Self {
        Self { gpus, ..self }
    }

    /// The workload that runs a command in these surroundings.
    fn workload(
        &self,
        command: Vec<String>,
        extra_env: &[(String, String)],
        streams: Streams,
    ) -> Workload {
        let mut env = self.env.clone();
        for (name, value) in extra_env {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), value.clone()));
        }
        Workload {
            root: self.root.clone(),
            writable: Writable::Temporary(self.scratch.path().to_owned()),
            mounts: self.mounts.clone(),
            process: Process {
                command,
                env,
                working_dir: self.working_dir.clone(),
                stdin: streams.stdin,
                stdout: streams.stdout,
                stderr: streams.stderr,
                terminal: None,
                passed_fds: streams.passed_fds,
            },
            purpose: Purpose::Run,
            ca_bundle: trust::host_bundle(),
            gpus: self.gpus.clone(),
        }
    }

    /// Starts a command with our own standard streams.
    pub(crate) fn start_command(
        &self,
        engine: &dyn Engine,
        command: Vec<String>,
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Running> {
        let terminal = match engine.isolation() {
            Isolation::Container => terminal::wanted(),
            Isolation::None => None,
        };
        let stream = |number| terminal::stream(terminal.as_ref(), number);
        let streams = Streams {
            stdin: stream(0),
            stdout: stream(1),
            stderr: stream(2),
            passed_fds: Vec::new(),
        };
        let mut env = extra_env.to_vec();
        let named = env.iter().chain(&self.env).any(|(name, _)| name == TERM);
        if terminal.is_some() && !named {
            env.extend(std::env::var(TERM).ok().map(|kind| (TERM.to_owned(), kind)));
        }
        let mut workload = self.workload(command, &env, streams);
        workload.process.terminal = terminal;
        Ok(engine.start(workload)?)
    }

    /// Starts the server at an address of this machine.
    pub(crate) fn start_server(
        &self,
        engine: &dyn Engine,
        address: SocketAddr,
        arguments: &[String],
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Server> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let streams = Streams {
            stdin: Stdio::null(),
            // Whatever the server prints is no result of ours.
            stdout: Stdio::from(std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()?),
            stderr: Stdio::inherit(),
            passed_fds: vec![PassedFd {
                variable: "COG_READY_FD".into(),
                fd: write,
            }],
        };
        let mut env = vec![
            ("PORT".to_owned(), address.port().to_string()),
            ("LOG_FORMAT".into(), "console".into()),
        ];
        env.extend(
            std::env::var("RUST_LOG")
                .ok()
                .map(|filter| ("RUST_LOG".to_owned(), filter)),
        );
        env.extend_from_slice(extra_env);
        let mut command = self.server.clone();
        command.extend(["--host".to_owned(), address.ip().to_string()]);
        command.extend_from_slice(arguments);
        let running = engine.start(self.workload(command, &env, streams))?;
        Ok(Server {
            running,
            address,
            ready: read,
        })
    }
}

struct Streams {
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    passed_fds: Vec<PassedFd>,
}

/// A server that was started.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    pub(crate) ready: OwnedFd,
}

impl Server {
    /// Waits until setup has ended. The server tells; nothing is polled.
    pub(crate) fn await_ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).context("the setup timeout is too long")?;
            match poll(
                &mut [PollFd::new(&self.ready, PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(0) => bail!("Timed out"),
                Err(rustix::io::Errno::INTR) => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        let line = read_word(self.ready.try_clone()?)?;
        match line.trim() {
            "READY" => Ok(()),
            "SETUP_FAILED" => bail!("Model setup failed{}", self.setup_logs()),
            _ => {
                let exit = self.running.stop(STOP_GRACE)?;
                bail!(
                    "Container exited unexpectedly (status {})",
                    exit.shell_code()
                )
            }
        }
    }

    /// What setup printed, for a message: indented, after a colon.
    fn setup_logs(&self) -> String {
        let logs = block_on(client::get(self.address, "/health-check"))
            .and_then(|response| Ok(serde_json::from_slice::<Value>(&response.body)?))
            .ok()
            .and_then(|health| Some(health["setup"]["logs"].as_str()?.trim().to_owned()));
        match logs {
            Some(logs) if !logs.is_empty() => format!(":\n{logs}"),
            _ => String::new(),
        }
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.running.stop(STOP_GRACE)?;
        Ok(())
    }
}

/// What the server says when setup has ended; nothing if it is gone.
pub(crate) fn read_word(ready: OwnedFd) -> std::io::Result<String> {
    let mut line = String::new();
    let pipe = fs_err::File::from_parts(ready.into(), "readiness pipe");
    BufReader::new(pipe).read_line(&mut line)?;
    Ok(line)
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// A port that was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not find a free port")?;
    Ok(listener.local_addr()?)
}

/// A project that cannot be written to, such as one on a read-only file system, gets a place for what a model writes
/// beside itself that ends with the container.
fn project_access(directory: &Path) -> Access {
    match rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Access::ReadWrite,
        Err(_) => Access::Layered,
    }
}

fn without_bytecode(mut env: Vec<(String, String)>) -> Vec<(String, String)> {
    let (name, value) = NO_BYTECODE;
    if !env.iter().any(|(known, _)| known == name) {
        env.push((name.into(), value.into()));
    }
    env
}

/// `NAME=VALUE` flags.
pub(crate) fn environment(flags: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    flags
        .iter()
        .map(|flag| match flag.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => bail!("`--env {flag}` must be NAME=VALUE"),
        })
        .collect()
}
