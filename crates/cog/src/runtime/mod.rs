//! A workload that runs for one command: with which engine and in which place, and how its server is started.

mod control;
mod image;
mod place;
mod server;
mod setup;
mod streams;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use cog_engine::docker::DaemonKind;
use cog_engine::{
    Engine, Exit, Gpus, Isolation, Network, PassedFd, Port, Process, Purpose, Running, Workload,
    Writable,
};
use cog_errors::Colour;

use crate::args::StartFlags;
use crate::commands::image_name;
use crate::gpus::{self, Wanted};
use crate::printer::Printer;
use crate::session::{Project, Session};
use crate::terminal;

use control::COG_CONTROL;
pub(crate) use control::{Control, Events, Speech, Told};
pub(crate) use image::Image;
use place::Place;
use server::{Kind, Readiness};
pub(crate) use server::{STOP_GRACE, Server, settled};
pub(crate) use setup::{Printed, SETUP_FAILED, SetupFailed, setup_advice, setup_logs};
pub(crate) use streams::Tail;
use streams::{Overheard, Streams};

/// Names the descriptor on which our server says that it is ready.
const COG_READY_FD: &str = "COG_READY_FD";
/// Names the descriptor of the socket that our server listens on.
const COG_LISTEN_FD: &str = "COG_LISTEN_FD";
/// What kind of terminal there is.
const TERM: &str = "TERM";
/// What a server with a network of its own knows this machine by.
pub(crate) const HOST_ALIAS: &str = "host.docker.internal";
/// Where a server listens that has a network of its own.
const PORT_INSIDE: u16 = 5000;

/// Everything that a command of a project or an image runs in.
pub(crate) struct Launcher {
    engine: Box<dyn Engine>,
    place: Place,
    gpus: Gpus,
    printer: Printer,
}

impl Launcher {
    /// The project's environment, made if need be, with the project itself mounted.
    pub(crate) fn of_project(
        session: &Session<'_>,
        project: &Project,
        flags: &StartFlags,
    ) -> anyhow::Result<Self> {
        let directory = project.directory();
        if directory.to_str().is_none() {
            bail!(
                "the name of the folder `{}` is not valid UTF-8, and nothing can be run in it; rename it",
                directory.display()
            );
        }
        let engine = session.engine(&flags.build)?;
        let image_word = session.image_word(engine.as_ref(), &flags.build)?;
        let wanted = Wanted::by_project(project);
        let gpus = gpus::find(session, &flags.gpus, engine.as_ref(), wanted)?;
        session.printer.info(&format!(
            "Building {image_word} from environment in {}...",
            project.file.file_name
        ));
        let name = image_name(project, None);
        let place =
            session.with_request(project, Some(engine.as_ref()), &flags.build, |request| {
                Place::of_project(&request, engine.as_ref(), session.printer, &name)
            })?;
        Ok(Self {
            engine,
            place,
            gpus,
            printer: session.printer.clone(),
        })
    }

    /// An image.
    pub(crate) fn of_image(
        session: &Session<'_>,
        image: &Image,
        flags: &StartFlags,
    ) -> anyhow::Result<Self> {
        let engine = session.engine(&flags.build)?;
        if engine.isolation() == Isolation::None {
            bail!(
                "the host engine cannot run images; use `--engine embedded` or `--engine docker`"
            );
        }
        let wanted = Wanted::by_labels(image.labels()).unwrap_or_else(|error| {
            let why = cog_errors::render(&error, None, Colour::Off);
            session.printer.warning(&format!(
                "{why}. The model gets no GPUs unless `--gpus` asks for them"
            ));
            Wanted::No
        });
        let gpus = gpus::find(session, &flags.gpus, engine.as_ref(), wanted)?;
        let place = Place::of_image(image, session.store()?, engine.as_ref(), session.printer)?;
        Ok(Self {
            engine,
            place,
            gpus,
            printer: session.printer.clone(),
        })
    }

    /// The engine's name on the command line.
    pub(crate) fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// What is started here, for people.
    pub(crate) fn model_word(&self) -> &'static str {
        match self.engine.daemon() {
            Some(daemon) if daemon.kind() == DaemonKind::Docker => "Docker image",
            _ => "the model",
        }
    }

    /// The name by which what runs here reaches this machine.
    pub(crate) fn own_name(&self) -> &'static str {
        match self.engine.isolation() {
            Isolation::Daemon => HOST_ALIAS,
            Isolation::Container | Isolation::None => "127.0.0.1",
        }
    }

    /// Whether a port that its servers listen on is opened by somebody else than us.
    pub(crate) fn opens_ports_itself(&self) -> bool {
        self.engine.isolation() == Isolation::Daemon
    }

    /// The workload that runs a command here.
    fn workload(
        &self,
        command: Vec<String>,
        extra_env: &[(String, String)],
        streams: Streams,
        network: Network,
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
            emulator: self.place.emulator.clone(),
            network,
        }
    }

    /// Starts a workload, and says what should be known about it.
    fn begin(&self, workload: Workload) -> anyhow::Result<Box<dyn Running>> {
        let running = self.engine.start(workload)?;
        if let Some(warning) = running.warning() {
            self.printer.warning(warning);
        }
        Ok(running)
    }

    /// Runs a command with our own standard streams to its end; `ports` are reached from outside meanwhile.
    pub(crate) fn run_command(
        &self,
        command: Vec<String>,
        extra_env: &[(String, String)],
        ports: Vec<Port>,
    ) -> anyhow::Result<Ended> {
        let terminal = match self.engine.isolation() {
            Isolation::Container => terminal::wanted(),
            // A daemon's terminal is all streams at once.
            Isolation::Daemon => terminal::wanted().filter(|terminal| terminal.streams.len() == 3),
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
        let network = Network {
            ports,
            host_alias: None,
        };
        let mut workload = self.workload(command, &env, streams, network);
        workload.process.terminal = terminal;
        let mut running = self.begin(workload)?;
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
    pub(crate) fn start_server(
        &self,
        request: &Request,
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Server> {
        if self.engine.isolation() == Isolation::Daemon {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            return self.start_published(any, request, extra_env);
        }
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not find a free port")?;
        match self.place.kind {
            Kind::Coglet => self.start_server_on(listener, request, extra_env),
            Kind::Other => {
                // Free a moment ago; nobody but the server can open it for the server.
                let address = listener.local_addr()?;
                drop(listener);
                let mut arguments = vec!["--host".to_owned(), address.ip().to_string()];
                arguments.extend_from_slice(&request.arguments);
                let request = Request {
                    arguments,
                    ..Request::default()
                };
                self.start(address, Vec::new(), &request, extra_env)
            }
        }
    }

    /// Starts our server with a socket that listens already: clients may connect from now on, and wait. A daemon opens
    /// the port itself, as soon as we let go of it.
    pub(crate) fn start_server_on(
        &self,
        listener: TcpListener,
        request: &Request,
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Server> {
        let address = listener.local_addr()?;
        if self.engine.isolation() == Isolation::Daemon {
            drop(listener);
            return self.start_published(address, request, extra_env);
        }
        let socket = PassedFd {
            variable: COG_LISTEN_FD.into(),
            fd: listener.into(),
        };
        self.start(address, vec![socket], request, extra_env)
    }

    /// Starts a server with a network of its own, of which `outside` is the way to its port.
    fn start_published(
        &self,
        outside: SocketAddr,
        request: &Request,
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Server> {
        if let Some(daemon) = self.engine.daemon().filter(|daemon| !daemon.is_local()) {
            self.printer.warning(&format!(
                "{} at {} is not on this machine: the server's port is opened there",
                daemon.title(),
                daemon.place()
            ));
        }
        let port = Port {
            inside: PORT_INSIDE,
            outside,
        };
        let network = Network {
            ports: vec![port],
            host_alias: request.host_alias.clone(),
        };
        let mut command = self.place.server.clone();
        command.extend_from_slice(&request.arguments);
        let env = self.server_env(PORT_INSIDE, request, extra_env);
        let streams = self.server_streams(Vec::new(), request)?;
        let workload = self.workload(command, &env, streams, network);
        let mut running = self.begin(workload)?;
        let published = running.published().first();
        let mut address = published.map_or(outside, |published| published.outside);
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            });
        }
        Ok(Server {
            control: Control::of(running.as_mut()),
            running,
            address,
            readiness: Readiness::Asked,
        })
    }

    fn start(
        &self,
        address: SocketAddr,
        mut passed_fds: Vec<PassedFd>,
        request: &Request,
        extra_env: &[(String, String)],
    ) -> anyhow::Result<Server> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        passed_fds.push(PassedFd {
            variable: COG_READY_FD.into(),
            fd: write,
        });
        let env = self.server_env(address.port(), request, extra_env);
        let mut command = self.place.server.clone();
        command.extend_from_slice(&request.arguments);
        let streams = self.server_streams(passed_fds, request)?;
        let workload = self.workload(command, &env, streams, Network::default());
        let mut running = self.begin(workload)?;
        Ok(Server {
            control: Control::of(running.as_mut()),
            running,
            address,
            readiness: match self.place.kind {
                Kind::Coglet => Readiness::Told(read),
                Kind::Other => Readiness::ToldOrAsked(read),
            },
        })
    }
}

impl Launcher {
    fn server_streams(
        &self,
        passed_fds: Vec<PassedFd>,
        request: &Request,
    ) -> std::io::Result<Streams> {
        let (stdin, stdout) = match (self.place.kind, request.speech) {
            (Kind::Coglet, Speech::Events) => (Stdio::null(), Stdio::piped()),
            (Kind::Coglet, Speech::Commands | Speech::CommandsOfSuccessor) => {
                (Stdio::piped(), Stdio::piped())
            }
            // Whatever another server prints is no result of ours.
            (Kind::Other, _) => {
                let stderr = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()?;
                (Stdio::null(), Stdio::from(stderr))
            }
        };
        Ok(Streams {
            stdin,
            stdout,
            stderr: Stdio::inherit(),
            passed_fds,
        })
    }

    fn server_env(
        &self,
        port: u16,
        request: &Request,
        extra_env: &[(String, String)],
    ) -> Vec<(String, String)> {
        let mut env = vec![
            ("PORT".to_owned(), port.to_string()),
            ("LOG_FORMAT".into(), "console".into()),
        ];
        if self.place.kind == Kind::Coglet {
            env.push((COG_CONTROL.into(), request.speech.word().into()));
        }
        let filter = std::env::var("RUST_LOG").ok();
        env.extend(filter.map(|filter| ("RUST_LOG".to_owned(), filter)));
        env.extend_from_slice(extra_env);
        env
    }

    /// Replaces the model's document where the project cannot have it.
    pub(crate) fn replace_schema(&self, schema: &str) -> std::io::Result<()> {
        self.place.replace_schema(schema)
    }
}

/// What a server is started with besides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) arguments: Vec<String>,
    /// A name of this machine that the server knows it by, if it has a network of its own.
    pub(crate) host_alias: Option<String>,
    /// What is said between us and a server of ours.
    pub(crate) speech: Speech,
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
            Some((name, _)) if name.contains(char::is_whitespace) => {
                bail!("`--env {flag}`: the name of a variable has no white space")
            }
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => bail!("`--env {flag}` must be NAME=VALUE"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
