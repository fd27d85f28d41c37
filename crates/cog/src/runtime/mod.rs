//! A workload that runs for one command: with which engine and in which place, and how its server is started.

mod place;
mod server;
mod setup;
mod streams;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use cog_engine::{Engine, Exit, Gpus, Isolation, PassedFd, Process, Purpose, Workload, Writable};
use cog_errors::Colour;
use cog_image::StoredImage;

use crate::args::StartFlags;
use crate::gpus::{self, Wanted};
use crate::session::{Project, Session};
use crate::terminal;

use place::Place;
use server::{Kind, Readiness};
pub(crate) use server::{STOP_GRACE, Server};
pub(crate) use setup::{SETUP_FAILED, SetupFailed, setup_advice};
pub(crate) use streams::Tail;
use streams::{Overheard, Streams};

/// Names the descriptor on which our server says that it is ready.
const COG_READY_FD: &str = "COG_READY_FD";
/// Names the descriptor of the socket that our server listens on.
const COG_LISTEN_FD: &str = "COG_LISTEN_FD";
/// What kind of terminal there is.
const TERM: &str = "TERM";

/// Everything that a command of a project or an image runs in.
pub(crate) struct Launcher {
    engine: Box<dyn Engine>,
    place: Place,
    gpus: Gpus,
}

impl Launcher {
    /// The project's environment, made if need be, with the project itself mounted.
    pub(crate) fn of_project(
        session: &Session<'_>,
        project: &Project,
        flags: &StartFlags,
    ) -> anyhow::Result<Self> {
        let engine = session.engine(&flags.build)?;
        let wanted = Wanted::by_project(project);
        let gpus = gpus::find(session, &flags.gpus, engine.as_ref(), wanted)?;
        session.printer.info(&format!(
            "Building Docker image from environment in {}...",
            project.file.file_name
        ));
        let isolation = engine.isolation();
        let place =
            session.with_request(project, Some(engine.as_ref()), &flags.build, |request| {
                Place::of_project(&request, isolation)
            })?;
        Ok(Self {
            engine,
            place,
            gpus,
        })
    }

    /// An image of the store.
    pub(crate) fn of_image(
        session: &Session<'_>,
        image: &StoredImage,
        flags: &StartFlags,
    ) -> anyhow::Result<Self> {
        let engine = session.engine(&flags.build)?;
        if engine.isolation() == Isolation::None {
            bail!("the host engine cannot run images; use `--engine embedded`");
        }
        let wanted = Wanted::by_image(image).unwrap_or_else(|error| {
            let why = cog_errors::render(&error, None, Colour::Off);
            session.printer.warning(&format!(
                "{why}. The model gets no GPUs unless `--gpus` asks for them"
            ));
            Wanted::No
        });
        let gpus = gpus::find(session, &flags.gpus, engine.as_ref(), wanted)?;
        Ok(Self {
            engine,
            place: Place::of_image(image, session.store()?)?,
            gpus,
        })
    }

    /// The engine's name on the command line.
    pub(crate) fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// The workload that runs a command here.
    fn workload(
        &self,
        command: Vec<String>,
        extra_env: &[(String, String)],
        streams: Streams,
    ) -> Workload {
        let mut env = self.place.env.clone();
        for (name, value) in extra_env {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), value.clone()));
        }
        Workload {
            root: self.place.root.clone(),
            writable: Writable::Temporary(self.place.scratch.path().to_owned()),
            mounts: self.place.mounts.clone(),
            process: Process {
                command,
                env,
                working_dir: self.place.working_dir.clone(),
                stdin: streams.stdin,
                stdout: streams.stdout,
                stderr: streams.stderr,
                terminal: None,
                passed_fds: streams.passed_fds,
            },
            purpose: Purpose::Run,
            ca_bundle: self.place.ca_bundle.clone(),
            gpus: self.gpus.clone(),
        }
    }

    /// Runs a command with our own standard streams to its end.
    pub(crate) fn run_command(
        &self,
        command: Vec<String>,
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Ended> {
        let terminal = match self.engine.isolation() {
            Isolation::Container => terminal::wanted(),
            Isolation::None => None,
        };
        let mut env = extra_env.to_vec();
        let named = env
            .iter()
            .chain(&self.place.env)
            .any(|(name, _)| name == TERM);
        if terminal.is_some() && !named {
            env.extend(std::env::var(TERM).ok().map(|kind| (TERM.to_owned(), kind)));
        }
        let (streams, overheard) = streams::of_command(terminal.as_ref())?;
        let mut workload = self.workload(command, &env, streams);
        workload.process.terminal = terminal;
        let mut running = self.engine.start(workload)?;
        let listening = overheard.map(Overheard::listen).transpose()?;
        let mut said = match running.take_terminal() {
            Some(terminal) => terminal::connect(terminal)?,
            None => Tail::default(),
        };
        let exit = running.wait()?;
        if let Some(listening) = listening {
            said = listening.end();
        }
        Ok(Ended { exit, said })
    }

    /// Starts the server for this command alone.
    pub(crate) fn start_server(&self, extra_env: &[(String, String)]) -> anyhow::Result<Server> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not find a free port")?;
        match self.place.kind {
            Kind::Coglet => self.start_server_on(listener, &[], extra_env),
            Kind::Other => {
                // Free a moment ago; nobody but the server can open it for the server.
                let address = listener.local_addr()?;
                drop(listener);
                let arguments = ["--host".to_owned(), address.ip().to_string()];
                self.start(address, Vec::new(), &arguments, extra_env)
            }
        }
    }

    /// Starts our server with a socket that listens already: clients may connect from now on, and wait.
    pub(crate) fn start_server_on(
        &self,
        listener: TcpListener,
        arguments: &[String],
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Server> {
        let address = listener.local_addr()?;
        let socket = PassedFd {
            variable: COG_LISTEN_FD.into(),
            fd: listener.into(),
        };
        self.start(address, vec![socket], arguments, extra_env)
    }

    fn start(
        &self,
        address: SocketAddr,
        mut passed_fds: Vec<PassedFd>,
        arguments: &[String],
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Server> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        passed_fds.push(PassedFd {
            variable: COG_READY_FD.into(),
            fd: write,
        });
        let streams = Streams {
            stdin: Stdio::null(),
            // Whatever the server prints is no result of ours.
            stdout: Stdio::from(std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()?),
            stderr: Stdio::inherit(),
            passed_fds,
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
        let mut command = self.place.server.clone();
        command.extend_from_slice(arguments);
        Ok(Server {
            running: self.engine.start(self.workload(command, &env, streams))?,
            address,
            readiness: Readiness(read),
            kind: self.place.kind,
        })
    }
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// The end of what it said, where that came by here.
    pub(crate) said: Tail,
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
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

#[cfg(test)]
mod tests;
