//! `cog serve`: the project over HTTP, until it is stopped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cog_build::SchemaSource;
use cog_engine::{Remote, Signal};

use crate::args::ServeArgs;
use crate::interrupts::Interrupts;
use crate::playground::{self, Playground, Settings};
use crate::runtime::{HOST_ALIAS, Launcher, Request, SETUP_FAILED, Server, block_on, setup_advice};
use crate::session::Session;

const STOP_GRACE: Duration = Duration::from_secs(30);

pub(crate) fn serve(session: &Session<'_>, args: &ServeArgs) -> anyhow::Result<()> {
    let project = session.project(&args.flags.build.project)?;
    // Before the work of building: it may be taken. Who connects meanwhile waits.
    let model = address(&args.host, args.port)?;
    if args.playground {
        stay_apart(model, playground_address(args))?;
    }
    let listener = listen(model)?;
    let model = listener.local_addr()?;
    let page = args.playground.then(|| playground_listener(model, args));
    let page = page.transpose()?;
    let project = session
        .with_model(project, &SchemaSource::Generate)
        .context("image build failed")?;
    let launcher = Launcher::of_project(session, &project, &args.flags)?;
    let request = request(args);
    let _playground = page
        .map(|page| {
            let settings = Settings {
                target: format!("http://{}", playground::reachable(model)),
                webhook_host: launcher.own_name().to_owned(),
            };
            let playground = Playground::start(page, &settings)?;
            let url = playground.url();
            session.printer.info(&format!("Playground at {url}"));
            anyhow::Ok(playground)
        })
        .transpose()?;
    session.printer.info(&format!(
        "Running the model server in the {} engine with the current directory mounted as a volume...",
        launcher.engine_name()
    ));
    let server = launcher.start_server_on(listener, &request, &[])?;
    attend(session, server)
}

/// What the server is started with. One with a network of its own finds what is on this machine under the name that is
/// usual for that.
fn request(args: &ServeArgs) -> Request {
    let mut arguments = vec!["--await-explicit-shutdown".to_owned(), "true".to_owned()];
    if let Some(url) = &args.upload_url {
        arguments.extend(["--upload-url".to_owned(), url.clone()]);
    }
    let calls_back = args.upload_url.is_some() || args.playground;
    Request {
        arguments,
        host_alias: calls_back.then(|| HOST_ALIAS.to_owned()),
    }
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

/// Serves until the server ends or is stopped.
fn attend(session: &Session<'_>, server: Server) -> anyhow::Result<()> {
    let Server {
        mut running,
        address,
        readiness,
        ..
    } = server;
    let remote = running.remote();
    let (ended, mut has_ended) = tokio::sync::oneshot::channel();
    let waiter = std::thread::spawn(move || {
        let exit = running.wait();
        let _ = ended.send(());
        exit
    });
    let mut interrupts = Interrupts::listen()?;
    let stopped = block_on(async {
        let mut word = pin!(readiness.word(address));
        let mut in_setup = true;
        let mut stop = Stop::NotAsked;
        loop {
            tokio::select! {
                _ = interrupts.next() => stop = stop.asked(session, remote.as_ref())?,
                () = stop.time_is_up() => {
                    remote.end();
                    stop = Stop::Now;
                }
                word = &mut word, if in_setup => {
                    in_setup = false;
                    announce(session, &word.unwrap_or_default(), address).await;
                }
                _ = &mut has_ended => return Ok(stop),
            }
        }
    })?;
    let exit = waiter
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that waits for the server ended"))??;
    if matches!(stopped, Stop::NotAsked) && !exit.success() {
        bail!(
            "Container exited unexpectedly (status {})",
            exit.shell_code()
        );
    }
    Ok(())
}

async fn announce(session: &Session<'_>, word: &str, address: SocketAddr) {
    let url = shown_url(address);
    match word {
        "READY" => session.printer.info(&format!("Serving at {url}")),
        SETUP_FAILED => {
            session.printer.warning(&format!(
                "Model setup failed, as its log says; {url}/health-check has it too, Ctrl-C stops the server"
            ));
            if let Some(advice) = setup_advice(address).await {
                session.printer.warning(&advice);
            }
        }
        // It has ended, which is told elsewhere.
        _ => {}
    }
}

/// How far stopping has come.
#[derive(Clone, Copy)]
enum Stop {
    NotAsked,
    Until(tokio::time::Instant),
    Now,
}

impl Stop {
    /// The first signal asks the server to stop when its predictions are done, the second ends it.
    fn asked(self, session: &Session<'_>, remote: &dyn Remote) -> anyhow::Result<Self> {
        if let Self::NotAsked = self {
            // The server ignores SIGTERM here, as its arguments say; SIGINT ends it in good order.
            remote.signal(Signal::INT)?;
            session.printer.info(&format!(
                "Stopping: waiting up to {} s for predictions to end; stop again to end them",
                STOP_GRACE.as_secs()
            ));
            return Ok(Self::Until(tokio::time::Instant::now() + STOP_GRACE));
        }
        remote.end();
        Ok(Self::Now)
    }

    async fn time_is_up(self) {
        match self {
            Self::Until(time) => tokio::time::sleep_until(time).await,
            Self::NotAsked | Self::Now => std::future::pending().await,
        }
    }
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
