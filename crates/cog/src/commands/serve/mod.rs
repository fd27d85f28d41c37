//! `cog serve`: the project over HTTP, until it is stopped; with `--watch` as it is saved.
//!
//! [`attend`] looks after a server that runs; [`follow`] says what a change of the project means for it; [`watch`] notices
//! changes, [`stand_in`] answers while there is no server, and [`relay`] keeps the port where a daemon opens those of servers.

mod attend;
mod follow;
mod relay;
mod stand_in;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, bail};
use cog_build::{SchemaSource, Snapshot};
use cog_errors::Colour;
use reqwest::Url;

use crate::args::ServeArgs;
use crate::interrupts::Interrupts;
use crate::playground::{self, Playground, Settings};
use crate::runtime::{HOST_ALIAS, Launcher, Request, Server, Speech, block_on};
use crate::serving::{Announcement, Launch, Record, State};
use crate::session::{Project, Session};

use super::predict::engine_name;
use attend::Ended;
use relay::Relay;
use watch::{Watched, Watcher};

pub(crate) fn serve(session: &Session<'_>, args: &ServeArgs) -> anyhow::Result<()> {
    args.upload_url
        .as_deref()
        .map_or(Ok(()), check_upload_url)?;
    let project = session.project(&args.flags.build.project)?;
    // Before the work of building: it may be taken. Who connects meanwhile waits.
    let model = address(&args.host, args.port)?;
    if args.playground {
        stay_apart(model, playground_address(args))?;
    }
    let door = Door::open(model)?;
    let page = args
        .playground
        .then(|| playground_listener(door.address, args));
    let page = page.transpose()?;
    let mut project = session
        .with_model(project, &SchemaSource::Generate)
        .context("image build failed")?;
    let mut service = Service {
        session,
        args,
        door,
        page,
        playground: None,
        announcement: announcement(session, &project),
        record: None,
    };
    let mut started = service.start(&project)?;
    let mut interrupts = Interrupts::listen()?;
    loop {
        match attend::attend(&mut service, project, started, &mut interrupts)? {
            Ended::Stopped => return Ok(()),
            Ended::Failed(exit) => bail!(
                "Container exited unexpectedly (status {})",
                exit.shell_code()
            ),
            Ended::ForAnother(next) => project = *next,
        }
        started = loop {
            session
                .printer
                .info("The project needs another environment: making it...");
            // A build cannot be asked to stop; what it leaves behind is of use to the next one.
            match interrupts.unheeded_during(|| service.start(&project)) {
                Ok(started) => break started,
                Err(error) => match service.until_mended(&project, &error, &mut interrupts)? {
                    Some(next) => project = next,
                    None => return Ok(()),
                },
            }
        };
    }
}

/// `cog serve` under way.
struct Service<'a> {
    session: &'a Session<'a>,
    args: &'a ServeArgs,
    door: Door,
    /// Where the page is going to be, until it is.
    page: Option<TcpListener>,
    playground: Option<Playground>,
    announcement: Option<Announcement>,
    /// What was announced last.
    record: Option<Record>,
}

/// A server that was started, and what it was started with.
struct Started {
    launcher: Launcher,
    server: Server,
    /// Nothing where that cannot be said.
    snapshot: Option<Snapshot>,
}

impl Service<'_> {
    /// Makes the environment and starts the server in it.
    fn start(&mut self, project: &Project) -> anyhow::Result<Started> {
        let (session, args) = (self.session, self.args);
        let mut snapshot = match self.snapshot(project) {
            Ok(snapshot) => Some(snapshot),
            // Without it nothing can be followed.
            Err(error) if args.watch => return Err(error),
            Err(error) => {
                session.printer.debug(&format!("{error:#}"));
                None
            }
        };
        if let (Some(_), Some(snapshot)) = (&self.record, &snapshot) {
            self.announce(State::Loading, snapshot);
        }
        let launcher = Launcher::of_project(session, project, &args.flags)?;
        if let Some(snapshot) = &mut snapshot {
            session.with_request(project, None, &args.flags.build, |request| {
                snapshot.take_lock(&request);
                Ok(())
            })?;
        }
        if let Some(page) = self.page.take() {
            let settings = Settings {
                target: format!("http://{}", playground::reachable(self.door.address)),
                webhook_host: launcher.own_name().to_owned(),
            };
            let playground = Playground::start(page, &settings)?;
            session
                .printer
                .info(&format!("Playground at {}", playground.url()));
            self.playground = Some(playground);
        }
        session.printer.info(&format!(
            "Running the model server in the {} engine with the current directory mounted as a volume...",
            launcher.engine_name()
        ));
        let request = request(args, self.speech());
        let server = if args.watch && launcher.opens_ports_itself() {
            let relay = self.door.relay()?;
            let server = launcher.start_server(&request, &[])?;
            relay.lead_to(server.address);
            server
        } else {
            let listener = self.door.socket(&launcher)?;
            launcher.start_server_on(listener, &request, &[])?
        };
        if let (None, Some(snapshot)) = (&self.record, &snapshot) {
            let launch = Launch {
                asked: engine_name(args.flags.build.engine).to_owned(),
                engine: launcher.engine_name().to_owned(),
                gpus: args.flags.gpus.gpus.clone(),
                upload_url: args.upload_url.clone(),
            };
            let address = match self.door.relay {
                // Other containers will be elsewhere.
                Some(_) => self.door.address,
                None => server.address,
            };
            let mut record = Record::new(address, launch, snapshot.clone());
            record.watches = args.watch;
            self.record = Some(record);
        }
        if let Some(snapshot) = &snapshot {
            self.announce(State::Loading, snapshot);
        }
        Ok(Started {
            launcher,
            server,
            snapshot,
        })
    }

    /// What is said on the line to the next server.
    fn speech(&self) -> Speech {
        match (self.args.watch, &self.record) {
            (true, Some(_)) => Speech::CommandsOfSuccessor,
            (true, None) => Speech::Commands,
            (false, _) => Speech::Events,
        }
    }

    fn snapshot(&self, project: &Project) -> anyhow::Result<Snapshot> {
        let build = &self.args.flags.build;
        self.session.with_request(project, None, build, |request| {
            Ok(Snapshot::take(&request)?)
        })
    }

    /// The project as it is now, of which nothing is told.
    fn read(&self) -> anyhow::Result<(Project, Snapshot)> {
        let project = self.session.read_quietly(&self.args.flags.build.project)?;
        let snapshot = self.snapshot(&project)?;
        Ok((project, snapshot))
    }

    /// Leaves word of what is served, for `cog run`.
    fn announce(&mut self, state: State, snapshot: &Snapshot) {
        let (Some(announcement), Some(record)) = (&self.announcement, &mut self.record) else {
            return;
        };
        record.state = state;
        record.snapshot = snapshot.clone();
        if let Err(error) = announcement.tell(record) {
            // Nobody finds the server then, who would have to find out that it serves something else.
            self.session.printer.debug(&format!("{error:#}"));
            self.announcement = None;
        }
    }

    /// Nothing can be started, for this reason, which is told to whoever asks until the project has changed. Nothing if it
    /// is stopped.
    fn until_mended(
        &mut self,
        project: &Project,
        error: &anyhow::Error,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<Option<Project>> {
        let printer = self.session.printer;
        let mut reason = format!("{error:#}");
        printer.rendered_error(&super::render(error, Colour::Off));
        printer.warning("It is tried again when the project is changed; Ctrl-C stops it");
        let mut before = self.read().ok().map(|(_, snapshot)| snapshot);
        let broken = before.clone().unwrap_or_default();
        self.announce(State::Failed, &broken);
        let directory = project.directory();
        block_on(async {
            let mut watcher = Watcher::of(directory);
            loop {
                let folders = before.clone().unwrap_or_default();
                watch_all(&mut watcher, directory, &folders);
                let listener = self.door.listener()?;
                tokio::select! {
                    ended = stand_in::answer(listener, &reason) => match ended? {},
                    _ = interrupts.next() => return Ok(None),
                    () = watcher.changed() => {}
                }
                match self.read() {
                    Ok((project, now)) => {
                        let is_same = before
                            .as_ref()
                            .is_some_and(|before| before.changes(&now).is_empty());
                        if !is_same {
                            return Ok(Some(project));
                        }
                    }
                    Err(error) => {
                        before = None;
                        let other = format!("{error:#}");
                        if other != reason {
                            printer.rendered_error(&super::render(&error, Colour::Off));
                            reason = other;
                        }
                    }
                }
            }
        })
    }
}

/// Watches the folders of a project; the project's own at least.
fn watch_all(watcher: &mut Watcher, directory: &Path, snapshot: &Snapshot) -> Watched {
    let own = [Path::new("")].into_iter();
    watcher
        .watch(directory, own.chain(snapshot.folders()))
        .unwrap_or(Watched::AsBefore)
}

fn announcement(session: &Session<'_>, project: &Project) -> Option<Announcement> {
    let announced = session
        .store()
        .and_then(|store| Ok(Announcement::of(store, project.directory())?));
    announced
        .inspect_err(|error| session.printer.debug(&format!("{error:#}")))
        .ok()
}

/// Where clients come in. It stays open from one server to the next, where a server can have it from us.
struct Door {
    listener: Option<TcpListener>,
    address: SocketAddr,
    /// Takes them to servers that cannot have it.
    relay: Option<Relay>,
}

impl Door {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = listen(address)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener: Some(listener),
            relay: None,
        })
    }

    fn relay(&mut self) -> anyhow::Result<Relay> {
        let relay = match self.relay.take() {
            Some(relay) => relay,
            None => Relay::start(self.listener()?)?,
        };
        Ok(self.relay.insert(relay).clone())
    }

    /// For a server. One in a daemon's container opens the port itself.
    fn socket(&mut self, launcher: &Launcher) -> anyhow::Result<TcpListener> {
        let listener = self.listener()?;
        if launcher.opens_ports_itself() {
            self.listener = None;
        }
        Ok(listener)
    }

    fn listener(&mut self) -> anyhow::Result<TcpListener> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(self.address)?,
        };
        Ok(self.listener.insert(listener).try_clone()?)
    }
}

/// What the server is started with. One with a network of its own finds what is on this machine under the name that is
/// usual for that.
fn request(args: &ServeArgs, speech: Speech) -> Request {
    let mut arguments = vec!["--await-explicit-shutdown".to_owned(), "true".to_owned()];
    if let Some(url) = &args.upload_url {
        arguments.extend(["--upload-url".to_owned(), url.clone()]);
    }
    let calls_back = args.upload_url.is_some() || args.playground;
    Request {
        arguments,
        host_alias: calls_back.then(|| HOST_ALIAS.to_owned()),
        speech,
    }
}

/// Refuses what the server would refuse, before anything is built.
fn check_upload_url(text: &str) -> anyhow::Result<()> {
    let url: Option<Url> = text.parse().ok();
    if url.is_some_and(|url| matches!(url.scheme(), "http" | "https")) {
        return Ok(());
    }
    bail!(
        "`--upload-url {}` must be a URL that begins with http:// or https://",
        cog_errors::redact_url(text)
    )
}

/// On every interface, since the model may run where this machine has another name. Others get no further than its
/// webhooks.
fn playground_address(args: &ServeArgs) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.playground_port))
}

fn playground_listener(model: SocketAddr, args: &ServeArgs) -> anyhow::Result<TcpListener> {
    let listener = playground::listen(playground_address(args), "--playground-port")?;
    // A daemon opens the model's port anew, when nothing must be in its way.
    stay_apart(model, listener.local_addr()?)?;
    Ok(listener)
}

fn stay_apart(model: SocketAddr, page: SocketAddr) -> anyhow::Result<()> {
    if playground::clash(model, page) {
        bail!(
            "playground port {} must differ from the model port {}",
            page.port(),
            model.port()
        );
    }
    Ok(())
}

pub(super) fn address(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let ip: IpAddr = match host.trim_matches(['[', ']']) {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host
            .parse()
            .with_context(|| format!("`--host {host}` is not an IP address"))?,
    };
    Ok(SocketAddr::new(ip, port))
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}; choose another port with --port, or stop what uses this one")
    })
}

fn shown_url(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        ip if ip.is_loopback() => format!("http://localhost:{port}"),
        IpAddr::V4(ip) if ip.is_unspecified() => {
            format!("http://0.0.0.0:{port} (http://localhost:{port})")
        }
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            format!("http://[::]:{port} (http://localhost:{port})")
        }
        _ => format!("http://{address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_as_a_browser_takes_them() {
        for (host, url) in [
            ("127.0.0.1", "http://localhost:8393"),
            ("localhost", "http://localhost:8393"),
            ("::1", "http://localhost:8393"),
            ("0.0.0.0", "http://0.0.0.0:8393 (http://localhost:8393)"),
            ("fe80::1", "http://[fe80::1]:8393"),
        ] {
            assert_eq!(shown_url(address(host, 8393).unwrap()), url);
        }
        assert!(address("example.com", 1).is_err());
    }
}
