//! A model's setup that failed: what it printed, and what can be done about it.

use std::net::SocketAddr;
use std::time::Duration;

use cog_build::missing;
use cog_errors::Hint;
use serde_json::Value;

use crate::client;

/// What the server says when setup has failed.
pub(crate) const SETUP_FAILED: &str = "SETUP_FAILED";

/// The model cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("Model setup failed{}{logs}", if logs.is_empty() { "" } else { ":\n" })]
pub(crate) struct SetupFailed {
    /// What setup printed.
    logs: String,
}

impl SetupFailed {
    /// From the logs as the server has them.
    pub(super) fn new(logs: &str) -> Self {
        Self { logs: told(logs) }
    }
}

impl Hint for SetupFailed {
    fn hint(&self) -> Option<String> {
        missing::advice(&self.logs)
    }
}

/// The model is still being set up when the time for that is over.
#[derive(Debug, thiserror::Error)]
#[error("Timed out: setup takes longer than {} s (`--setup-timeout`){}{logs}", limit.as_secs(), if logs.is_empty() { "" } else { "; it printed:\n" })]
pub(crate) struct SetupTimedOut {
    logs: String,
    limit: Duration,
}

impl SetupTimedOut {
    /// From the logs as the server has them.
    pub(super) fn new(logs: &str, limit: Duration) -> Self {
        let logs = told(logs);
        Self { logs, limit }
    }
}

/// What setup printed; nothing if the server does not say, or not soon.
pub(super) async fn setup_logs(address: SocketAddr) -> String {
    const PATIENCE: Duration = Duration::from_secs(2);
    let logs = async {
        let response = client::get(address, "/health-check").await.ok()?;
        let health: Value = serde_json::from_slice(&response.body).ok()?;
        Some(health["setup"]["logs"].as_str()?.trim().to_owned())
    };
    let logs = tokio::time::timeout(PATIENCE, logs).await;
    logs.ok().flatten().unwrap_or_default()
}

/// What can be done about a setup that has failed.
pub(crate) async fn setup_advice(address: SocketAddr) -> Option<String> {
    SetupFailed::new(&setup_logs(address).await).hint()
}

/// What the model printed in a setup that went well.
pub(crate) async fn setup_output(address: SocketAddr) -> String {
    printed(&setup_logs(address).await)
}

/// The lines of the logs that are the model's.
fn printed(logs: &str) -> String {
    let mut is_of_model = false;
    let mut lines = Vec::new();
    for line in logs.lines() {
        let text = match line
            .split_once("] ")
            .filter(|(mark, _)| mark.starts_with(SERVER))
        {
            Some((mark, rest)) => {
                is_of_model = mark.starts_with(MODEL);
                rest
            }
            // Without a mark it is another line of the same.
            None => line,
        };
        if is_of_model {
            lines.push(text);
        }
    }
    lines.join("\n")
}

/// How lines of the logs begin: the model's, and all.
const MODEL: &str = "[coglet::setup";
const SERVER: &str = "[coglet";

/// Who has said a line of the logs.
#[derive(Clone, Copy)]
enum Speaker {
    Model,
    /// The server, of what went wrong.
    Reason,
    Server,
}

/// What the model printed, and why setup failed if that does not say it. The server's own lines are of no use to its
/// author.
fn told(logs: &str) -> String {
    const REASON: &str = "Setup failed: ";
    /// What the server says before an exception.
    const WRAPPERS: [&str; 2] = ["setup failed: ", "failed to load predictor: "];
    let (mut printed, mut reason) = (Vec::new(), Vec::new());
    let mut said_by = Speaker::Server;
    for line in logs.lines() {
        let marked = line
            .split_once("] ")
            .filter(|(mark, _)| mark.starts_with(SERVER));
        // Without a mark it is another line of the same.
        let mut text = line;
        if let Some((mark, rest)) = marked {
            text = rest;
            said_by = if mark.starts_with(MODEL) {
                Speaker::Model
            } else if let Some(why) = rest.strip_prefix(REASON) {
                let mut wrapped = WRAPPERS
                    .iter()
                    .filter_map(|wrapper| why.strip_prefix(wrapper));
                text = wrapped.next().unwrap_or(why);
                reason.clear();
                Speaker::Reason
            } else {
                Speaker::Server
            };
        }
        match said_by {
            Speaker::Model => printed.push(text),
            Speaker::Reason => reason.push(text),
            Speaker::Server => {}
        }
    }
    let (printed, reason) = (printed.join("\n"), reason.join("\n"));
    let lines = match (printed.contains(&reason), printed.is_empty()) {
        (true, _) => printed,
        (false, true) => reason,
        (false, false) => format!("{printed}\n{reason}"),
    };
    // Other servers mark their lines otherwise.
    if lines.is_empty() {
        logs.to_owned()
    } else {
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_is_heard_of_a_setup_that_went_well() {
        let logs = "[coglet] Spawning worker subprocess\n[coglet::setup] one\n two\n[coglet] Server ready\nx\n";
        assert_eq!(printed(logs), "one\n two");
        assert_eq!(printed("[coglet] Server ready\n"), "");
        assert_eq!(printed(""), "");
    }

    #[test]
    fn what_the_model_printed_is_told_and_no_reason_twice() {
        let start = "[coglet] Spawning worker subprocess\n[coglet] Connected to slot transport\n";
        let trace = "[coglet::setup] Traceback (most recent call last):\n[coglet::setup]   File \"run.py\"\n\
            [coglet::setup] RuntimeError: no weights\n\
            [coglet] Setup failed: setup failed: RuntimeError: no weights\n";
        let table = [
            (
                format!("{start}{trace}"),
                "Traceback (most recent call last):\n  File \"run.py\"\nRuntimeError: no weights",
            ),
            (
                format!("{start}[coglet 1] Setup failed: worker crashed: signal 9\nlast words\n"),
                "worker crashed: signal 9\nlast words",
            ),
            (
                "[coglet::setup] [x] a\n[coglet] Setup failed: worker setup timed out\n".to_owned(),
                "[x] a\nworker setup timed out",
            ),
            ("another server\n".to_owned(), "another server\n"),
            (String::new(), ""),
        ];
        for (logs, expected) in table {
            assert_eq!(told(&logs), expected);
        }
    }
}
