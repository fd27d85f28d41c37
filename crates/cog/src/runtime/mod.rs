//! A workload that runs for one command: with which engine and in which place, how its server is started, and when that
//! is ready.

mod place;
mod setup;
mod streams;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cog_engine::{
    Engine, Exit, Gpus, Isolation, PassedFd, Process, Purpose, Running, Workload, Writable,
};
use cog_errors::Colour;
use cog_image::StoredImage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::StartFlags;
use crate::gpus::{self, Wanted};
use crate::session::{Project, Session};
use crate::terminal;

use place::Place;
use setup::setup_logs;
pub(crate) use setup::{SETUP_FAILED, SetupFailed, setup_advice};
pub(crate) use streams::Tail;
use streams::{Overheard, Streams};

const STOP_GRACE: Duration = Duration::from_secs(10);
/// What kind of terminal there is.
const TERM: &str = "TERM";

/// Everything that a command of a project or an image runs in.
pub(crate) struct Surroundings {
    engine: Box<dyn Engine>,
    place: Place,
    gpus: Gpus,
}

impl Surroundings {
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

    /// The workload that runs a command in these surroundings.
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

    /// Starts the server at an address of this machine.
    pub(crate) fn start_server(
        &self,
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
        let mut command = self.place.server.clone();
        command.extend(["--host".to_owned(), address.ip().to_string()]);
        command.extend_from_slice(arguments);
        let running = self.engine.start(self.workload(command, &env, streams))?;
        Ok(Server {
            running,
            address,
            ready: read,
        })
    }
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// The end of what it said, where that came by here.
    pub(crate) said: Tail,
}

/// A server that was started.
pub(crate) struct Server {
    pub(crate) running: Box<dyn Running>,
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
            SETUP_FAILED => {
                let logs = block_on(async { Ok(setup_logs(self.address).await) })?;
                Err(SetupFailed::new(&logs).into())
            }
            _ => {
                let exit = self.running.stop(STOP_GRACE)?;
                bail!(
                    "Container exited unexpectedly (status {})",
                    exit.shell_code()
                )
            }
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
