//! The way of a prediction, or of a training, at its server: setup, the request, what is told of it, and the end that somebody may ask for.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use cog_engine::Signal;
use cog_inputs::Kind;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::failure::refused;
use super::screen::{Screen, Taken};
use crate::client::{self, Answer, Event, EventStream, Response};
use crate::interrupts::Interrupts;
use crate::runtime::{STOP_GRACE, Server, setup_output};

/// The prediction's id: its server runs no other.
pub(super) const ID: &str = "run";
/// How often the server of a training is asked what has been printed: it sends no events of trainings.
const LOG_INTERVAL: Duration = Duration::from_millis(500);
const SUCCEEDED: u16 = 200;
const UNPROCESSABLE: u16 = 422;

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
    server: &mut Server,
    setup_limit: Duration,
    kind: Kind,
    request: Bytes,
    screen: &Screen,
    interrupts: &mut Interrupts,
) -> Result<Outcome, Failure> {
    tokio::select! {
        ready = server.await_ready(setup_limit) => ready.map_err(Failure::Refused)?,
        by = interrupts.next() => {
            let patience = Patience::Left;
            return Ok(Outcome::Interrupted { by, patience });
        }
    }
    if kind == Kind::Training {
        // Of a training, what setup does is the beginning.
        screen.log(&setup_output(server.address).await)?;
    }
    screen.notice(match kind {
        Kind::Prediction => "Running prediction...",
        Kind::Training => "Running training...",
    })?;
    let mut answer = Box::pin(async {
        match kind {
            Kind::Prediction => ask(server, request, screen).await,
            Kind::Training => ask_for_training(server, request, screen).await,
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
        if client::cancel(server.address, ID).await.unwrap_or(false) {
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

async fn ask(server: &Server, request: Bytes, screen: &Screen) -> Result<Value, Failure> {
    let answer = client::predict(server.address, request).await;
    let response = match answer.map_err(Failure::Lost)? {
        Answer::Events(stream) => return follow(stream, screen).await,
        Answer::Whole(response) => response,
    };
    let answer = checked(&response, "/predictions")?;
    screen.log(text(&answer["logs"]))?;
    Ok(answer)
}

/// Asks for a training, and shows what it has printed meanwhile.
async fn ask_for_training(
    server: &Server,
    request: Bytes,
    screen: &Screen,
) -> Result<Value, Failure> {
    let mut answer = Box::pin(client::train(server.address, request));
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
                let logs = client::logs_of_training(server.address, ID).await;
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
        Some(why) => anyhow!("the server gave up the prediction: {why}"),
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
