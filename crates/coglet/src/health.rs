//! What the server says about itself: the phase of the worker and the record of its setup.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::clock::rfc3339;
use crate::sync::lock;

/// Where the worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Ready,
    SetupFailed,
    /// The worker was lost too often to be started again.
    Defunct,
}

/// The `setup` object of the health answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SetupRecord {
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    status: SetupStatus,
    #[serde(skip_serializing_if = "String::is_empty")]
    logs: String,
    #[serde(skip)]
    began: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum SetupStatus {
    Starting,
    Succeeded,
    Failed,
}

/// Shared by the supervisor, which writes it, and the HTTP side, which reads it.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    setup: SetupRecord,
    /// How long the last setup that succeeded took.
    setup_duration: Option<Duration>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Starting,
                setup: SetupRecord::new(),
                setup_duration: None,
            }),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.state).phase
    }

    pub(crate) fn setup(&self) -> SetupRecord {
        lock(&self.state).setup.clone()
    }

    pub(crate) fn setup_duration(&self) -> Option<Duration> {
        lock(&self.state).setup_duration
    }

    /// A worker is being started, for the first time or again: the record begins anew.
    pub(crate) fn begin_setup(&self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Starting;
        state.setup = SetupRecord::new();
    }

    /// Adds a line to the setup log, under the part of the server that says it.
    pub(crate) fn setup_log(&self, target: &str, line: &str) {
        let mut state = lock(&self.state);
        if state.setup.status != SetupStatus::Starting {
            return;
        }
        let logs = &mut state.setup.logs;
        for part in ["[", target, "] ", line.trim_end_matches('\n'), "\n"] {
            logs.push_str(part);
        }
    }

    /// Setup succeeded: the log is now fixed.
    pub(crate) fn end_setup(&self) {
        self.close_setup(Phase::Ready, SetupStatus::Succeeded);
    }

    /// Setup failed: what was captured stays, the reason comes last.
    pub(crate) fn fail_setup(&self, reason: &str, phase: Phase) {
        self.setup_log("coglet", reason);
        self.close_setup(phase, SetupStatus::Failed);
    }

    /// The worker is gone for good.
    pub(crate) fn give_up(&self) {
        lock(&self.state).phase = Phase::Defunct;
    }

    fn close_setup(&self, phase: Phase, status: SetupStatus) {
        let mut state = lock(&self.state);
        state.phase = phase;
        state.setup.status = status;
        state.setup.completed_at = Some(rfc3339(SystemTime::now()));
        if status == SetupStatus::Succeeded {
            state.setup_duration = Some(state.setup.began.elapsed());
        }
    }
}

impl SetupRecord {
    fn new() -> Self {
        Self {
            started_at: rfc3339(SystemTime::now()),
            completed_at: None,
            status: SetupStatus::Starting,
            logs: String::new(),
            began: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_fixed_once_setup_ended() {
        let health = Health::new();
        health.setup_log("coglet::setup", "loading\n");
        health.end_setup();
        health.setup_log("coglet", "late");
        assert_eq!(health.setup().logs, "[coglet::setup] loading\n");
        assert_eq!(health.phase(), Phase::Ready);
    }

    #[test]
    fn a_failure_keeps_what_setup_printed() {
        let health = Health::new();
        health.setup_log("coglet::setup", "loading");
        health.fail_setup("Setup failed: no luck", Phase::SetupFailed);
        assert_eq!(
            health.setup().logs,
            "[coglet::setup] loading\n[coglet] Setup failed: no luck\n"
        );
    }
}
