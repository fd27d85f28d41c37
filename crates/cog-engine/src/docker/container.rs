//! In a supervisor's process: a container from its making to its removal.

use std::pin::pin;

use bollard::Docker as Client;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder,
    RemoveContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder,
};
use futures_util::StreamExt as _;
use rustix::termios::tcgetwinsize;
use tokio::task::JoinHandle;

use super::daemon::client;
use super::error::reason;
use super::events::{Event, Events, name};
use super::output::{self, End};
use super::request::{Extras, body, closed, has_network, lacks_ports, published};
use super::spec::Spec;
use crate::helper::Report;
use crate::supervisor::{Caller, FAILED, Failure, Status, leave_terminal};
use crate::terminal;
use crate::workload::Published;

/// Runs a container to its end.
pub(crate) fn supervise(spec: &Spec, caller: &mut Caller) -> Result<Status, Failure> {
    begin_session(spec)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::at("start the Docker client"))?;
    let status = runtime.block_on(run(spec, caller));
    // Whatever still reads or writes a stream may do so for ever.
    runtime.shutdown_background();
    status
}

/// A terminal of the container's own is this process's terminal, which so learns of its size.
fn begin_session(spec: &Spec) -> Result<(), Failure> {
    if spec.terminal.is_some() {
        return terminal::take_stdin().map_err(Failure::at("take the terminal"));
    }
    leave_terminal()
}

async fn run(spec: &Spec, caller: &mut Caller) -> Result<Status, Failure> {
    let mut events = Events::listen(caller.alive()).map_err(Failure::at("listen to signals"))?;
    let client = client(&spec.address).map_err(|error| refused("connect to the daemon", &error))?;
    let started = match start(&client, spec).await {
        Ok(started) => started,
        Err(report) => {
            caller.say(&report);
            return Ok(Status::of_code(FAILED));
        }
    };
    let container = started.container;
    let ended = match container.published(spec).await {
        Ok(published) => {
            caller.say(&Report::Started {
                published,
                warning: started.warning,
            });
            caller.close_report();
            Ok(container.attend(started.output, &mut events).await)
        }
        Err(report) => {
            caller.say(&report);
            Ok(Status::of_code(FAILED))
        }
    };
    container.remove().await;
    ended
}

fn refused(step: &str, error: &ApiError) -> Failure {
    Failure {
        step: step.to_owned(),
        reason: reason(error),
    }
}

/// A container that runs.
struct Started<'a> {
    container: Container<'a>,
    output: JoinHandle<End>,
    warning: Option<String>,
}

/// Makes and starts the container; without what the daemon lacks and the workload can do without.
async fn start<'a>(client: &'a Client, spec: &Spec) -> Result<Started<'a>, Report> {
    let mut extras = Extras {
        gpus: true,
        init: true,
    };
    let mut warning = None;
    loop {
        let error = match Container::create(client, spec, extras).await {
            Ok(container) => match container.begin(spec).await {
                Ok(output) => {
                    return Ok(Started {
                        container,
                        output,
                        warning,
                    });
                }
                Err(error) => {
                    container.remove().await;
                    error
                }
            },
            Err(error) => error,
        };
        let reason = reason(&error);
        let can_do_without = spec.gpus.as_ref().is_some_and(|gpus| !gpus.is_insisted);
        if extras.init && lacks_init(&reason) {
            extras.init = false;
        } else if extras.gpus && can_do_without && lacks_gpus(&reason) {
            extras.gpus = false;
            warning = Some(format!(
                "Missing device driver, re-trying without GPU: {reason}"
            ));
        } else {
            return Err(report(spec, reason));
        }
    }
}

fn lacks_init(reason: &str) -> bool {
    ["docker-init", "init binary", "catatonit"]
        .iter()
        .any(|name| reason.contains(name))
}

fn lacks_gpus(reason: &str) -> bool {
    ["could not select device driver", "nvidia-container-cli"]
        .iter()
        .any(|words| reason.contains(words))
}

/// Why it does not start. The runtime names the program that it cannot execute.
fn report(spec: &Spec, reason: String) -> Report {
    let command = spec.command.first().cloned().unwrap_or_default();
    match reason.split_once(&format!("exec: \"{command}\": ")) {
        Some((_, why)) => Report::Command {
            command,
            reason: why.trim_end_matches(": unknown").to_owned(),
        },
        None => Report::SetUp {
            step: "start".to_owned(),
            reason,
        },
    }
}

struct Container<'a> {
    client: &'a Client,
    id: String,
}

impl<'a> Container<'a> {
    async fn create(client: &'a Client, spec: &Spec, extras: Extras) -> Result<Self, ApiError> {
        let options = CreateContainerOptionsBuilder::new()
            .platform(&spec.platform)
            .build();
        let created = client
            .create_container(Some(options), body(spec, extras))
            .await?;
        Ok(Self {
            client,
            id: created.id,
        })
    }

    /// Attaches first: what the workload says at once would be lost otherwise.
    async fn begin(&self, spec: &Spec) -> Result<JoinHandle<End>, ApiError> {
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self
            .client
            .attach_container(&self.id, Some(options))
            .await?;
        self.client.start_container(&self.id, None).await?;
        if spec.terminal.is_some() {
            self.resize().await;
        }
        Ok(output::connect(attached))
    }

    /// Where its ports are reached. One that has ended has none any more.
    async fn published(&self, spec: &Spec) -> Result<Vec<Published>, Report> {
        if spec.ports.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.client.inspect_container(&self.id, None).await;
        let found = found.map_err(|error| {
            Report::from(refused("ask where the container's ports are", &error))
        })?;
        let settings = found.network_settings.as_ref();
        let bound = settings.and_then(|settings| settings.ports.as_ref());
        let published = bound.map_or_else(Vec::new, |bound| published(&spec.ports, bound));
        match closed(&spec.ports, &published) {
            Some(port) if lacks_ports(&found) => Err(Report::NotPublished {
                daemon: spec.daemon.clone(),
                port,
                has_network: settings.is_some_and(has_network),
            }),
            _ => Ok(published),
        }
    }

    /// Until the workload has ended and all that it said has been passed on.
    async fn attend(&self, mut output: JoinHandle<End>, events: &mut Events) -> Status {
        let mut exited = pin!(self.exit());
        let mut status = None;
        let mut is_shown = false;
        loop {
            if let (Some(status), true) = (status, is_shown) {
                return status;
            }
            tokio::select! {
                event = events.next() => match event {
                    Event::Gone => return Status::KILLED,
                    Event::Signal(libc::SIGWINCH) => self.resize().await,
                    Event::Signal(signal) => self.signal(signal).await,
                },
                code = &mut exited, if status.is_none() => status = Some(code),
                end = &mut output, if !is_shown => match end {
                    Ok(End::Refused) => return Status(libc::SIGPIPE),
                    _ => is_shown = true,
                },
            }
        }
    }

    /// Waits for the workload's end.
    async fn exit(&self) -> Status {
        let mut answer = pin!(self.client.wait_container(&self.id, None));
        let code = match answer.next().await {
            Some(Ok(ended)) => ended.status_code,
            Some(Err(ApiError::DockerContainerWaitError { code, .. })) => code,
            // The daemon is gone, and how the workload ended with it.
            _ => FAILED.into(),
        };
        Status::of_code(i32::try_from(code).unwrap_or(FAILED))
    }

    /// One that has ended gets none.
    async fn signal(&self, signal: i32) {
        if let Some(name) = name(signal) {
            let options = KillContainerOptionsBuilder::new().signal(name).build();
            let _ = self.client.kill_container(&self.id, Some(options)).await;
        }
    }

    /// Gives its terminal the size of ours. One that has ended needs none.
    async fn resize(&self) {
        let Ok(size) = tcgetwinsize(std::io::stdin()) else {
            return;
        };
        let options = ResizeContainerTTYOptionsBuilder::new()
            .h(size.ws_row.into())
            .w(size.ws_col.into())
            .build();
        let _ = self.client.resize_container_tty(&self.id, options).await;
    }

    /// Ends it, if it still runs, and removes it. If the daemon is gone, nothing more can be done.
    async fn remove(&self) {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let _ = self.client.remove_container(&self.id, Some(options)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_told_as_such() {
        let said = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
            container process: exec: \"nope\": executable file not found in $PATH: unknown";
        let spec = |command: &str| Spec {
            command: vec![command.to_owned()],
            ..super::super::request::tests::spec()
        };
        match report(&spec("nope"), said.to_owned()) {
            Report::Command { command, reason } => {
                assert_eq!(command, "nope");
                assert_eq!(reason, "executable file not found in $PATH");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            report(&spec("other"), said.to_owned()),
            Report::SetUp { .. }
        ));
    }

    #[test]
    fn what_a_daemon_lacks_is_known_by_its_words() {
        assert!(lacks_init(
            "exec: \"docker-init\": executable file not found in $PATH"
        ));
        assert!(lacks_gpus(
            "could not select device driver \"\" with capabilities: [[gpu]]"
        ));
        assert!(!lacks_init("no such image") && !lacks_gpus("no such image"));
    }
}
