//! The way of a prediction, or of a training, at its server: setup, the request, what is told of it, and the end that somebody may ask for.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use cog_engine::Signal;
use cog_inputs::Kind;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::failure::refused;
use super::neighbour::{Neighbour, refusal};
use super::screen::{Screen, Taken};
use crate::client::{self, Answer, Event, EventStream, Response};
use crate::interrupts::Interrupts;
use crate::printer::{Printer, Progress};
use crate::runtime::{STOP_GRACE, Server};

/// The prediction's id: its server runs no other.
const ID: &str = "run";
/// How long to wait for a server that is busy with others, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often the server of a training is asked what has been printed: it sends no events of trainings.
const LOG_INTERVAL: Duration = Duration::from_millis(500);
const SUCCEEDED: u16 = 200;
const BUSY: u16 = 409;
const UNAVAILABLE: u16 = 503;
const UNPROCESSABLE: u16 = 422;

/// The server that is asked.
pub(super) enum Asked {
    /// Started for this, and ended with it.
    Own(Server),
    /// Somebody else's.
    Neighbour(Box<Neighbour>),
}

impl Asked {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Own(server) => server.address,
            Self::Neighbour(neighbour) => neighbour.address(),
        }
    }

    /// What to call the prediction: others may have some there, too.
    pub(super) fn prediction_id(&self) -> String {
        match self {
            Self::Own(_) => ID.to_owned(),
            Self::Neighbour(_) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let now = now.unwrap_or_default().as_nanos();
                format!("{ID}-{}-{now:x}", std::process::id())
            }
        }
    }

    /// Waits until its setup has ended. What it prints meanwhile is shown, if it is ours, and so is that it goes on.
    async fn await_ready(
        &mut self,
        limit: Duration,
        printer: &Printer,
        screen: &Screen,
    ) -> anyhow::Result<()> {
        let _setup = printer.under_way("Running setup()");
        match self {
            Self::Own(server) => {
                // If nobody is there to see it, that is told with the prediction.
                let mut show = |line: &str| drop(screen.log(&format!("{line}\n")));
                let show: &mut dyn FnMut(&str) = &mut show;
                let is_shown = printer.progress() != Progress::Quiet;
                server.await_ready(limit, is_shown.then_some(show)).await
            }
            Self::Neighbour(neighbour) => neighbour.await_ready(limit).await,
        }
    }

    /// Why there is no answer.
    pub(super) fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self {
            Self::Own(server) => server.explain(error),
            Self::Neighbour(neighbour) => neighbour.explain(error),
        }
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Own(server) => server.stop(),
            Self::Neighbour(_) => Ok(()),
        }
    }

    /// The same for somebody who may become impatient.
    pub(super) async fn stop_or_end(self, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        match self {
            Self::Own(server) => server.stop_or_end(interrupts).await,
            Self::Neighbour(_) => Ok(()),
        }
    }
}

/// What is asked for.
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) request: Bytes,
    pub(super) setup_limit: Duration,
}

/// How it ended.
pub(super) enum Outcome {
    Answered(Value),
    Interrupted { by: Signal, patience: Patience },
}

/// Whether somebody who has stopped it waits for what has to be cleared up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Left,
    Gone,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says why.
    Refused(anyhow::Error),
    /// It has gone silent.
    Lost(anyhow::Error),
    /// Nobody can be shown what it says.
    Unseen,
}

/// Waits for the server's setup, asks for the prediction and shows what is told of it.
pub(super) async fn hold(
    server: &mut Asked,
    order: &Order,
    printer: &Printer,
    screen: &Screen,
    interrupts: &mut Interrupts,
) -> Result<Outcome, Failure> {
    tokio::select! {
        ready = server.await_ready(order.setup_limit, printer, screen) => ready.map_err(Failure::Refused)?,
        by = interrupts.next() => {
            let patience = Patience::Left;
            return Ok(Outcome::Interrupted { by, patience });
        }
    }
    screen.notice(match order.kind {
        Kind::Prediction => "Running prediction...",
        Kind::Training => "Running training...",
    })?;
    let server = &*server;
    let mut answer = Box::pin(async {
        match order.kind {
            Kind::Prediction => ask_in_turn(server, order, screen).await,
            Kind::Training => ask_for_training(server, order, screen).await,
        }
    });
    let by = tokio::select! {
        answer = &mut answer => return answer.map(Outcome::Answered),
        by = interrupts.next() => by,
    };
    screen.notice(format!(
        "Canceling: waiting up to {} s for the model to clear up; stop again to end it",
        STOP_GRACE.as_secs()
    ))?;
    let cleared_up = async {
        // What the model says meanwhile is shown, too. Without an answer, hanging up and the server's end have to do.
        if client::cancel(server.address(), &order.id)
            .await
            .unwrap_or(false)
        {
            let _ = answer.await;
        }
    };
    let patience = tokio::select! {
        () = cleared_up => Patience::Left,
        _ = interrupts.next() => Patience::Gone,
        () = sleep(STOP_GRACE) => Patience::Gone,
    };
    Ok(Outcome::Interrupted { by, patience })
}

/// Asks until it is our turn: a server that others use too may be busy with them.
async fn ask_in_turn(server: &Asked, order: &Order, screen: &Screen) -> Result<Value, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut is_told = false;
    loop {
        let answer = client::predict(server.address(), order.request.clone()).await;
        match (server, answer.map_err(Failure::Lost)?) {
            (_, Answer::Events(stream)) => return follow(stream, screen).await,
            (Asked::Neighbour(_), Answer::Whole(response)) if response.status == BUSY => {
                if !std::mem::replace(&mut is_told, true) {
                    screen.notice("The server is busy: waiting for a turn...")?;
                }
            }
            (Asked::Neighbour(_), Answer::Whole(response)) if response.status == UNAVAILABLE => {
                let error = refusal(server.address(), &response.body).await;
                return Err(Failure::Refused(error));
            }
            (_, Answer::Whole(response)) => return whole(&response, screen),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn whole(response: &Response, screen: &Screen) -> Result<Value, Failure> {
    let answer = checked(response, "/predictions")?;
    screen.log(text(&answer["logs"]))?;
    Ok(answer)
}

/// Asks for a training, and shows what it has printed meanwhile.
async fn ask_for_training(
    server: &Asked,
    order: &Order,
    screen: &Screen,
) -> Result<Value, Failure> {
    let mut answer = Box::pin(client::train(server.address(), order.request.clone()));
    let mut ticks = interval(LOG_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = String::new();
    loop {
        tokio::select! {
            answer = &mut answer => {
                let answer = checked(&answer.map_err(Failure::Lost)?, "/trainings")?;
                show_rest(text(&answer["logs"]), &mut shown, screen)?;
                return Ok(answer);
            }
            _ = ticks.tick() => {
                let logs = client::logs_of_training(server.address(), &order.id).await;
                show_rest(&logs.unwrap_or_default(), &mut shown, screen)?;
            }
        }
    }
}

/// Shows what is new in logs of which the beginning was shown. A server that has begun to leave some out says so at the
/// end.
fn show_rest(logs: &str, shown: &mut String, screen: &Screen) -> Result<(), Failure> {
    if let Some(rest) = logs.strip_prefix(shown.as_str()) {
        screen.log(rest)?;
        shown.push_str(rest);
    }
    Ok(())
}

fn checked(response: &Response, path: &str) -> Result<Value, Failure> {
    match response.status {
        SUCCEEDED => parsed(&String::from_utf8_lossy(&response.body)),
        UNPROCESSABLE => Err(Failure::Refused(anyhow!(refused(&response.body)))),
        status => Err(Failure::Refused(anyhow!(
            "Failed to run prediction: {path} call returned status {status}"
        ))),
    }
}

/// Shows events until the one that has the result.
async fn follow(mut stream: EventStream, screen: &Screen) -> Result<Value, Failure> {
    let mut told = Told::default();
    while let Some(event) = stream.next().await.map_err(Failure::Lost)? {
        if let Some(result) = told.take(&event, screen)? {
            return Ok(result);
        }
    }
    Err(Failure::Lost(match told.gap {
        None => anyhow!("the server ended the event stream before the prediction had ended"),
        Some(why) => anyhow!(
            "the server gave up the prediction: {}",
            cog_errors::line(&why)
        ),
    }))
}

/// The data of an event of this name.
#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    chunk: &'a RawValue,
    index: usize,
}

/// What has been told of a prediction.
#[derive(Default)]
struct Told {
    /// Those that are shown.
    items: usize,
    /// Those that are not.
    unseen: usize,
    has_logs: bool,
    /// Why the server has left events out.
    gap: Option<String>,
}

impl Told {
    /// Shows an event; returns the result if it is the last one.
    fn take(&mut self, event: &Event, screen: &Screen) -> Result<Option<Value>, Failure> {
        match event.name.as_str() {
            "log" => {
                self.has_logs = true;
                screen.log(text(&parsed(&event.data)?["data"]))?;
            }
            "output" if screen.shows_items() => {
                // After one that is not shown, none is. The rest comes with the result.
                if let Ok(Output { chunk, index }) = serde_json::from_str(&event.data) {
                    if index == self.items && screen.item(chunk)? == Taken::Yes {
                        self.items += 1;
                    } else {
                        self.unseen += 1;
                    }
                }
            }
            "error" => {
                let error = parsed(&event.data)?;
                let skipped = error["skipped"].as_u64().unwrap_or_default();
                screen.warning(format!(
                    "{skipped} events of the prediction are left out: they could not be read fast enough"
                ))?;
                self.gap = Some(text(&error["error"]).to_owned());
            }
            "completed" => {
                let mut result = parsed(&event.data)?;
                if !self.has_logs {
                    screen.log(text(&result["logs"]))?;
                }
                if result["status"] == "failed"
                    && let Some(fields) = result.as_object_mut()
                {
                    // Who waits for the answer alone is not given the output of what has failed.
                    fields.remove("output");
                    self.tell_of_unseen(screen)?;
                }
                return Ok(Some(result));
            }
            _ => {}
        }
        Ok(None)
    }
}

impl Told {
    /// No result will have them.
    fn tell_of_unseen(&self, screen: &Screen) -> Result<(), Failure> {
        match self.unseen {
            0 => Ok(()),
            items => screen.warning(format!(
                "{items} items of the output are left out: they could not be shown fast enough"
            )),
        }
    }
}

fn parsed(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json)
        .context("the server's answer is no JSON")
        .map_err(Failure::Refused)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
