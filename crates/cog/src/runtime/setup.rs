//! A model's setup that failed: what it printed, and what can be done about it.

use std::net::SocketAddr;
use std::time::Duration;

use cog_build::missing;
use cog_errors::Hint;
use serde_json::Value;

use crate::client;

/// What the server says when setup has failed.
pub(crate) const SETUP_FAILED: &str = "SETUP_FAILED";

/// What of a setup's lines was shown while it printed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    Nothing,
    Shown,
}

/// The model cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("Model setup failed{}{told}", if told.is_empty() { "" } else { *separator })]
pub(crate) struct SetupFailed {
    /// What setup printed, and why it failed, as far as that was not shown before.
    told: String,
    separator: &'static str,
    logs: String,
}

impl SetupFailed {
    /// From the logs as the server has them.
    pub(crate) fn new(logs: &str, printed: Printed) -> Self {
        let said = Said::of(logs);
        let (told, separator) = match printed {
            Printed::Shown => (said.reason(), ": "),
            Printed::Nothing => (said.all(logs), ":\n"),
        };
        Self {
            told,
            separator,
            logs: said.all(logs),
        }
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
    pub(super) fn new(logs: &str, printed: Printed, limit: Duration) -> Self {
        let logs = match printed {
            Printed::Shown => String::new(),
            Printed::Nothing => Said::of(logs).all(logs),
        };
        Self { logs, limit }
    }
}

/// What setup printed; nothing if the server does not say, or not soon.
pub(crate) async fn setup_logs(address: SocketAddr) -> String {
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
    SetupFailed::new(&setup_logs(address).await, Printed::Nothing).hint()
}

/// Who has said a line of the logs.
#[derive(Clone, Copy)]
enum Speaker {
    Model,
    /// The server, of what went wrong.
    Reason,
    Server,
}

/// What the logs have, by who has said it. The server's own lines are of no use to the model's author.
struct Said {
    printed: String,
    reason: String,
}

impl Said {
    fn of(logs: &str) -> Self {
        const MODEL: &str = "[coglet::setup";
        const SERVER: &str = "[coglet";
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
        Self {
            printed: printed.join("\n"),
            reason: reason.join("\n"),
        }
    }

    /// What the model printed, and why setup failed if that does not say it.
    fn all(&self, logs: &str) -> String {
        let Self { printed, reason } = self;
        let lines = match (printed.contains(reason.as_str()), printed.is_empty()) {
            (true, _) => printed.clone(),
            (false, true) => reason.clone(),
            (false, false) => format!("{printed}\n{reason}"),
        };
        // Other servers mark their lines otherwise.
        if lines.is_empty() {
            logs.to_owned()
        } else {
            lines
        }
    }

    /// Why setup failed, as far as that was not printed.
    fn reason(&self) -> String {
        let Self { printed, reason } = self;
        match reason.split_once('\n') {
            _ if printed.contains(reason.as_str()) => String::new(),
            Some((first, rest)) if printed.contains(rest.trim_end()) => first.to_owned(),
            _ => reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Said::of(&logs).all(&logs), expected);
        }
        let failed = |printed| {
            let failed = SetupFailed::new(&format!("{start}{trace}"), printed);
            failed.to_string()
        };
        assert_eq!(
            failed(Printed::Nothing).lines().next(),
            Some("Model setup failed:")
        );
        assert_eq!(failed(Printed::Shown), "Model setup failed");
        let crashed = "[coglet::setup] loading\n[coglet] Setup failed: worker crashed: signal 9";
        assert_eq!(
            SetupFailed::new(crashed, Printed::Shown).to_string(),
            "Model setup failed: worker crashed: signal 9"
        );
        let limit = Duration::from_secs(2);
        let timed_out = |printed| SetupTimedOut::new(trace, printed, limit).to_string();
        assert!(timed_out(Printed::Nothing).contains("it printed:\nTraceback"));
        assert!(timed_out(Printed::Shown).ends_with("(`--setup-timeout`)"));
    }
}
