//! A server of this project that runs already, by `cog serve`: it is asked instead of one of our own if it serves the same
//! code in the same environment, and is left as it is.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use cog_build::{Changes, Snapshot};
use tokio::time::{sleep, timeout};

use crate::args::{EngineArg, RunArgs};
use crate::client;
use crate::runtime::{Printed, SETUP_FAILED, SetupFailed, settled, setup_logs};
use crate::serving::{self, Found, State};
use crate::session::{Project, Session};

/// How long one that follows changes may take to notice a file that was just saved.
const NOTICING: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// A server that is not ours.
pub(super) struct Neighbour {
    found: Found,
}

/// What there is beside us.
pub(super) enum Beside {
    /// It serves what the folder has.
    Serves(Box<Neighbour>),
    /// There is one, but it cannot be asked, for this reason.
    DoesNot(String),
    Nobody,
}

/// Looks for a server of this project.
pub(super) fn find(
    session: &Session<'_>,
    project: &Project,
    args: &RunArgs,
) -> anyhow::Result<Beside> {
    let all = serving::find(session.store()?, project.directory())?;
    let mut reason = None;
    for found in all {
        match fits(session, project, args, &found)? {
            Fit::Yes(found) => return Ok(Beside::Serves(Box::new(Neighbour { found: *found }))),
            Fit::No(why) => {
                let url = found.record.url();
                reason.get_or_insert(format!("the server at {url} {why}"));
            }
            Fit::Gone => {}
        }
    }
    Ok(reason.map_or(Beside::Nobody, Beside::DoesNot))
}

enum Fit {
    Yes(Box<Found>),
    /// It does something.
    No(String),
    Gone,
}

fn fits(
    session: &Session<'_>,
    project: &Project,
    args: &RunArgs,
    found: &Found,
) -> anyhow::Result<Fit> {
    if let Some(why) = differs(args, found) {
        return Ok(Fit::No(why));
    }
    let deadline = Instant::now() + NOTICING;
    let mut found = found.clone();
    loop {
        let now = session.with_request(project, None, &args.ask.flags.build, |request| {
            Ok(Snapshot::take(&request)?)
        })?;
        let changes = found.record.snapshot.changes(&now);
        if changes.is_empty() {
            return Ok(Fit::Yes(Box::new(found)));
        }
        if !found.record.watches || Instant::now() > deadline {
            return Ok(Fit::No(said(&changes)));
        }
        std::thread::sleep(LOOK_INTERVAL);
        match found.again() {
            Some(later) => found = later,
            None => return Ok(Fit::Gone),
        }
    }
}

/// What of the command line it was not started with.
fn differs(args: &RunArgs, found: &Found) -> Option<String> {
    let launch = &found.record.launch;
    let engine = engine_name(args.ask.flags.build.engine);
    if !args.ask.env.is_empty() {
        Some("was started without these variables (`-e`)".to_owned())
    } else if launch.upload_url.is_some() {
        Some("uploads its outputs".to_owned())
    } else if launch.asked != engine && launch.engine != engine {
        Some(format!("runs in the {} engine", launch.engine))
    } else if launch.gpus != args.ask.flags.gpus.gpus {
        Some("has other GPUs".to_owned())
    } else {
        None
    }
}

/// As the command line has it.
pub(crate) fn engine_name(engine: EngineArg) -> &'static str {
    match engine {
        EngineArg::Auto => "auto",
        EngineArg::Docker => "docker",
        EngineArg::Embedded => "embedded",
        EngineArg::Host => "host",
    }
}

fn said(changes: &Changes) -> String {
    match changes.first() {
        Some(file) => format!("serves other code than the folder has: `{file}` is different"),
        None => "has another environment than the project needs now".to_owned(),
    }
}

impl Neighbour {
    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.found.record.address
    }

    pub(super) fn url(&self) -> String {
        self.found.record.url()
    }

    /// The engine that runs it.
    pub(super) fn engine(&self) -> EngineArg {
        match self.found.record.launch.engine.as_str() {
            "docker" => EngineArg::Docker,
            "host" => EngineArg::Host,
            _ => EngineArg::Embedded,
        }
    }

    /// Waits until its setup has ended.
    pub(super) async fn await_ready(&self, limit: Duration) -> anyhow::Result<()> {
        let settling = async {
            let mut found = self.found.clone();
            loop {
                if found.record.state == State::Serving {
                    return Ok(());
                }
                match settled(self.address()).await.as_deref() {
                    Some(SETUP_FAILED) => {
                        let logs = setup_logs(self.address()).await;
                        return Err(SetupFailed::new(&logs, Printed::Nothing).into());
                    }
                    Some(_) => return Ok(()),
                    None => {}
                }
                sleep(ASK_INTERVAL).await;
                found = found.again().ok_or_else(|| self.has_ended())?;
            }
        };
        match timeout(limit, settling).await {
            Ok(settled) => settled,
            Err(_) => bail!(
                "Timed out: setup takes longer than {} s (`--setup-timeout`)",
                limit.as_secs()
            ),
        }
    }

    /// Why there is no answer.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        if self.found.is_gone() {
            error.context(self.has_ended())
        } else {
            error.context(format!("the server at {} does not answer", self.url()))
        }
    }

    fn has_ended(&self) -> anyhow::Error {
        anyhow!(
            "the server at {} has ended meanwhile; run it again, or `cog run --fresh`",
            self.url()
        )
    }
}

/// What a server says that takes no prediction now.
pub(super) async fn refusal(address: std::net::SocketAddr, body: &[u8]) -> anyhow::Error {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let health = client::get(address, "/health-check").await;
    let health = health.ok().and_then(|response| {
        let health: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
        Some(health["status"] == SETUP_FAILED)
    });
    if health == Some(true) {
        return SetupFailed::new(&setup_logs(address).await, Printed::Nothing).into();
    }
    let why = answer["error"].as_str().unwrap_or("it is not ready");
    anyhow!("Failed to run prediction: {}", cog_errors::line(why))
}
