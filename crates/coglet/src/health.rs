//! What the server says about itself: the phase of its workers and the record of their setup.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::clock::rfc3339;
use crate::log_text::LogText;
use crate::slots::Lane;
use crate::sync::lock;

/// Where a worker is in its life, or all of them together.
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
}

/// The setup that runs, or the last one.
#[derive(Debug)]
struct Setup {
    started_at: String,
    completed_at: Option<String>,
    status: SetupStatus,
    logs: LogText,
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
    /// Of each worker.
    lanes: Vec<Phase>,
    /// All workers have been ready at the same time.
    has_started: bool,
    setup: Setup,
    log_size: usize,
    /// How long the last setup that succeeded took.
    setup_duration: Option<Duration>,
}

impl Health {
    /// `log_size` bytes of the setup log are kept.
    pub(crate) fn new(workers: usize, log_size: usize) -> Self {
        Self {
            state: Mutex::new(State {
                lanes: vec![Phase::Starting; workers],
                has_started: false,
                setup: Setup::new(log_size),
                log_size,
                setup_duration: None,
            }),
        }
    }

    /// Of the server: it has started when all workers are ready, and works as long as one of them does.
    pub(crate) fn phase(&self) -> Phase {
        lock(&self.state).phase()
    }

    pub(crate) fn setup(&self) -> SetupRecord {
        lock(&self.state).setup.record()
    }

    pub(crate) fn setup_duration(&self) -> Option<Duration> {
        lock(&self.state).setup_duration
    }

    /// A worker is being started, for the first time or again: without another one, the record begins
    /// anew.
    pub(crate) fn begin_setup(&self, lane: Lane) {
        let mut state = lock(&self.state);
        state.lanes[lane.0] = Phase::Starting;
        let is_alone = state
            .lanes
            .iter()
            .filter(|phase| **phase == Phase::Starting)
            .count()
            == 1;
        let is_closed = state.setup.status != SetupStatus::Starting;
        if state.phase() == Phase::Starting && (is_alone || is_closed) {
            state.setup = Setup::new(state.log_size);
        }
    }

    /// All workers are started anew, with other code: it counts as a first start.
    pub(crate) fn begin_anew(&self) {
        let mut state = lock(&self.state);
        state.lanes.fill(Phase::Starting);
        state.has_started = false;
        state.setup = Setup::new(state.log_size);
    }

    /// Adds a line to the setup log, under the part of the server that says it, and which worker it is
    /// about if there are several.
    pub(crate) fn setup_log(&self, lane: Lane, target: &str, text: &str) {
        let mut state = lock(&self.state);
        let index = match state.lanes.len() {
            1 => String::new(),
            _ => format!(" {}", lane.0),
        };
        if state.setup.status != SetupStatus::Starting {
            return;
        }
        let text = text.trim_end_matches('\n');
        state
            .setup
            .logs
            .push(&format!("[{target}{index}] {text}\n"));
    }

    /// Setup succeeded: if it was the last one, the log is now fixed.
    pub(crate) fn end_setup(&self, lane: Lane) {
        let mut state = lock(&self.state);
        state.lanes[lane.0] = Phase::Ready;
        state.has_started |= state.lanes.iter().all(|phase| *phase == Phase::Ready);
        if state.phase() == Phase::Ready && state.setup.status == SetupStatus::Starting {
            state.close_setup(SetupStatus::Succeeded);
            state.setup_duration = Some(state.setup.began.elapsed());
        }
    }

    /// Setup failed: what was captured stays, the reason comes last.
    pub(crate) fn fail_setup(&self, lane: Lane, reason: &str, phase: Phase) {
        self.setup_log(lane, "coglet", reason);
        let mut state = lock(&self.state);
        state.lanes[lane.0] = phase;
        if matches!(state.phase(), Phase::SetupFailed | Phase::Defunct) {
            state.close_setup(SetupStatus::Failed);
        }
    }

    /// A worker is gone for good.
    pub(crate) fn give_up(&self, lane: Lane) {
        lock(&self.state).lanes[lane.0] = Phase::Defunct;
    }
}

impl State {
    fn phase(&self) -> Phase {
        let mut order = [
            Phase::Ready,
            Phase::Starting,
            Phase::Defunct,
            Phase::SetupFailed,
        ];
        // Until all have started the worst of them counts, then the best.
        if !self.has_started {
            order.reverse();
        }
        let found = order.into_iter().find(|phase| self.lanes.contains(phase));
        found.expect("there is a worker")
    }

    fn close_setup(&mut self, status: SetupStatus) {
        self.setup.status = status;
        self.setup.completed_at = Some(rfc3339(SystemTime::now()));
    }
}

impl Setup {
    fn new(log_size: usize) -> Self {
        Self {
            started_at: rfc3339(SystemTime::now()),
            completed_at: None,
            status: SetupStatus::Starting,
            logs: LogText::new(log_size),
            began: Instant::now(),
        }
    }

    fn record(&self) -> SetupRecord {
        SetupRecord {
            started_at: self.started_at.clone(),
            completed_at: self.completed_at.clone(),
            status: self.status,
            logs: self.logs.text().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_fixed_once_setup_ended() {
        let health = Health::new(1, 1 << 20);
        health.setup_log(Lane(0), "coglet::setup", "loading\n");
        health.end_setup(Lane(0));
        health.setup_log(Lane(0), "coglet", "late");
        assert_eq!(health.setup().logs, "[coglet::setup] loading\n");
        assert_eq!(health.phase(), Phase::Ready);
    }

    #[test]
    fn a_failure_keeps_what_setup_printed() {
        let health = Health::new(1, 1 << 20);
        health.setup_log(Lane(0), "coglet::setup", "loading");
        health.fail_setup(Lane(0), "Setup failed: no luck", Phase::SetupFailed);
        assert_eq!(
            health.setup().logs,
            "[coglet::setup] loading\n[coglet] Setup failed: no luck\n"
        );
    }

    #[test]
    fn all_workers_have_to_start_but_one_can_go_on() {
        let health = Health::new(2, 1 << 20);
        health.setup_log(Lane(0), "coglet::setup", "loading");
        health.end_setup(Lane(0));
        assert_eq!(health.phase(), Phase::Starting);
        health.end_setup(Lane(1));
        assert_eq!(health.phase(), Phase::Ready);
        health.begin_setup(Lane(0));
        assert_eq!(health.phase(), Phase::Ready);
        assert_eq!(health.setup().logs, "[coglet::setup 0] loading\n");
        health.give_up(Lane(0));
        assert_eq!(health.phase(), Phase::Ready);
        health.begin_setup(Lane(1));
        assert_eq!(health.phase(), Phase::Starting);
        assert_eq!(health.setup().logs, "", "nothing is ready: begun anew");
        health.fail_setup(Lane(1), "no luck", Phase::Defunct);
        assert_eq!(health.phase(), Phase::Defunct);
    }

    #[test]
    fn other_code_starts_as_if_nothing_had_been() {
        let health = Health::new(2, 1 << 20);
        health.end_setup(Lane(0));
        health.end_setup(Lane(1));
        health.begin_anew();
        assert_eq!(health.phase(), Phase::Starting);
        health.begin_setup(Lane(0));
        health.fail_setup(Lane(0), "Setup failed: no luck", Phase::SetupFailed);
        health.end_setup(Lane(1));
        assert_eq!(health.phase(), Phase::SetupFailed);
        health.begin_anew();
        assert_eq!(health.setup().logs, "");
    }

    #[test]
    fn one_failed_setup_is_the_end_of_the_start() {
        let health = Health::new(2, 1 << 20);
        health.fail_setup(Lane(1), "no luck", Phase::SetupFailed);
        health.end_setup(Lane(0));
        assert_eq!(health.phase(), Phase::SetupFailed);
        assert!(health.setup().completed_at.is_some());
    }
}
