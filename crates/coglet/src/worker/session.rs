//! The life of one worker process, from its start to its last byte.
//!
//! One task reads everything that comes from the process: its frames, what it prints, its exit status.
//! So whatever it has said before it died is known before its death is dealt with.

use std::borrow::Cow;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::capture::Capture;
use super::directories::Directories;
use super::exit::{self, OutOfMemoryKills};
use super::last_words::LastWords;
use super::pipes::{self, Incoming};
use super::spawn::{Place, Spawned, spawn};
use super::{Owner, Stop, Wish, Worker};
use crate::Settings;
use crate::logging::user_lines;
use crate::process::{Reaper, signal_group};
use crate::protocol::codec::FrameReader;
use crate::protocol::{self, Done, FromWorker, Key, Source, ToWorker};
use crate::slots::Lane;

/// What a worker may take to end by itself after it was asked to.
const EXIT_LIMIT: Duration = Duration::from_secs(10);
/// The same for one that makes way for other code: its author waits.
const MAKE_WAY_LIMIT: Duration = Duration::from_secs(2);
/// After SIGTERM, or once it has said that it is about to exit.
const TERMINATE_LIMIT: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// As asked for.
    Stopped,
    SetupFailed {
        reason: String,
    },
    /// After setup.
    Crashed {
        /// It has finished at least one prediction.
        was_useful: bool,
        reason: String,
    },
}

impl End {
    /// For the record of the setup that comes next.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Stopped => "Stopped",
            Self::SetupFailed { reason } | Self::Crashed { reason, .. } => reason,
        }
    }
}

pub(super) struct Session {
    owner: Arc<dyn Owner>,
    lane: Lane,
    worker: Arc<Worker>,
    incoming: Incoming,
    incoming_open: bool,
    frames: FrameReader,
    stdout: Capture,
    stderr: Capture,
    last_words: LastWords,
    stage: Stage,
    deadline: Option<(Instant, Overdue)>,
    setup_failure: Option<String>,
    was_useful: bool,
    kills_before: OutOfMemoryKills,
    exited: Option<oneshot::Receiver<ExitStatus>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    SettingUp,
    Ready,
    /// It was told to end.
    Stopping,
}

/// What has taken too long.
#[derive(Debug, Clone, Copy)]
enum Overdue {
    Setup,
    Exit,
    Termination,
}

impl Session {
    /// Starts a worker process.
    pub(super) fn start(
        owner: Arc<dyn Owner>,
        settings: &Settings,
        lane: Lane,
        reaper: &Reaper,
        directories: Directories,
    ) -> io::Result<Self> {
        owner.starting(lane);
        owner.setup_log(lane, "coglet", "Spawning worker subprocess");
        let Spawned {
            pid,
            exited,
            incoming,
            outgoing,
            stdout,
            stderr,
        } = spawn(reaper, &directories, &Place::of(lane, settings))?;
        owner.setup_log(lane, "coglet", "File descriptor redirection complete");
        let deadline = settings
            .setup_timeout
            .map(|limit| (Instant::now() + limit, Overdue::Setup));
        let worker = Arc::new(Worker::new(pid, outgoing, directories));
        worker.send(&ToWorker::Init {
            version: protocol::VERSION,
            reference: &settings.model,
            mode: settings.mode,
            slots: settings.slots,
            weights: settings.weights.as_deref(),
        });
        let secrets = Arc::clone(worker.secrets());
        Ok(Self {
            worker,
            owner,
            lane,
            incoming,
            incoming_open: true,
            frames: FrameReader::default(),
            stdout: Capture::new(stdout, &secrets),
            stderr: Capture::new(stderr, &secrets),
            last_words: LastWords::default(),
            stage: Stage::SettingUp,
            deadline,
            setup_failure: None,
            was_useful: false,
            kills_before: OutOfMemoryKills::now(),
            exited: Some(exited),
        })
    }

    /// Serves the process until it is gone.
    pub(super) async fn run(mut self, for_wish: Wish, wish: &mut watch::Receiver<Wish>) -> End {
        let mut exited = self.exited.take().expect("a session runs once");
        let worker = Arc::clone(&self.worker);
        let status = loop {
            tokio::select! {
                status = &mut exited => break status,
                read = self.incoming.read(self.frames.space()), if self.incoming_open => self.on_read(&read),
                () = self.stdout.readable() => self.on_captured(Source::Stdout).await,
                () = self.stderr.readable() => self.on_captured(Source::Stderr).await,
                () = passed(self.deadline) => self.on_overdue(),
                Ok(()) = wish.changed() => {
                    let now = *wish.borrow_and_update();
                    match now.stop {
                        Stop::No if now.generation != for_wish.generation => self.make_way(),
                        stop => self.on_stop(stop),
                    }
                }
                () = worker.flush() => {}
            }
            // One that says something without end must not keep everybody else waiting.
            tokio::task::coop::consume_budget().await;
        };
        // The reaper ends only with the event loop, which runs this.
        self.on_exit(status.unwrap_or_default())
    }

    fn on_read(&mut self, read: &io::Result<usize>) {
        if matches!(read, Ok(0) | Err(_)) {
            // It has closed its pipe: it is exiting, or it is of no use any more.
            self.incoming_open = false;
            self.limit(TERMINATE_LIMIT, Overdue::Termination);
        }
        self.handle_frames();
    }

    fn handle_frames(&mut self) {
        loop {
            let problem = match self.frames.next() {
                Ok(None) => return,
                Ok(Some(frame)) => match FromWorker::parse(&frame) {
                    Ok(message) => {
                        self.on_message(message);
                        continue;
                    }
                    Err(error) => {
                        let error = error.to_string();
                        format!("{} in {}", self.told(&error), self.excerpt(&frame))
                    }
                },
                Err(error) => error.to_string(),
            };
            tracing::error!("The worker does not keep to the protocol and is killed: {problem}");
            self.incoming_open = false;
            signal_group(self.worker.pid, Signal::KILL);
            return;
        }
    }

    fn on_message(&mut self, message: FromWorker) {
        match message {
            FromWorker::Loaded(loaded) => {
                self.owner
                    .setup_log(self.lane, "coglet", "Connected to slot transport");
                self.worker.set_loaded(loaded);
            }
            FromWorker::Ready => self.on_ready(),
            FromWorker::SetupFailed { error } => {
                self.setup_failure = Some(format!("Setup failed: {error}"));
                self.limit(TERMINATE_LIMIT, Overdue::Termination);
            }
            FromWorker::Log { id, source, data } => self.on_log(id, source, &self.told(&data)),
            FromWorker::Metric {
                id,
                name,
                value,
                mode,
            } => {
                self.owner.metric(id, &name, value, mode);
            }
            FromWorker::Chunk { id, value } => self.owner.item(&self.worker, id, value),
            FromWorker::Done(done) => self.on_done(done),
            FromWorker::Batch { size } => self.owner.batch(size),
            FromWorker::Health { seq, ok, error } => {
                let result = if ok {
                    Ok(())
                } else {
                    Err(self.told(&error.unwrap_or_default()).into_owned())
                };
                self.worker.health_answer(seq, &result);
            }
        }
    }

    fn on_ready(&mut self) {
        if self.stage != Stage::SettingUp {
            return;
        }
        self.drain_captured();
        self.owner.setup_log(self.lane, "coglet", "Server ready");
        self.stage = Stage::Ready;
        self.last_words.forget();
        self.deadline = None;
        self.owner.ready(self.lane, &self.worker);
    }

    /// What the process has said, without the secrets that it was given.
    fn told<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.worker.secrets().hidden_in(text)
    }

    /// Of something that is no message.
    fn excerpt(&self, frame: &Bytes) -> String {
        const LENGTH: usize = 200;
        let text = String::from_utf8_lossy(&frame[..frame.len().min(LENGTH)]);
        self.worker
            .secrets()
            .hidden_in_beginning(&text)
            .into_owned()
    }

    /// As it may be told.
    fn on_log(&self, id: Option<Key>, source: Source, text: &str) {
        if !id.is_some_and(|id| self.owner.printed(id, source, text)) {
            self.log_unattributed(source, text);
        }
    }

    fn on_done(&mut self, done: Done) {
        let scratch = self.worker.scratch_of(&done);
        if self.owner.running_alone(self.lane).is_some() {
            self.drain_captured();
        }
        if self.owner.done(&self.worker, done, scratch) {
            self.was_useful = true;
            self.last_words.forget();
        }
    }

    async fn on_captured(&mut self, source: Source) {
        let capture = self.capture(source);
        if let Some(text) = capture.read() {
            self.log_captured(source, &text);
        }
        // Short lines are much work, and a child may print them without end: first it is everybody else's turn.
        tokio::task::yield_now().await;
    }

    fn drain_captured(&mut self) {
        for source in [Source::Stdout, Source::Stderr] {
            if let Some(text) = self.capture(source).drain() {
                self.log_captured(source, &text);
            }
        }
    }

    fn capture(&mut self, source: Source) -> &mut Capture {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }

    /// Output that did not pass through Python belongs to the prediction that runs, if it runs alone.
    fn log_captured(&mut self, source: Source, text: &str) {
        // Before anything is cut.
        let text = self.worker.secrets().hidden_in(text);
        if source == Source::Stderr {
            self.last_words.push(&text);
        }
        self.on_log(self.owner.running_alone(self.lane), source, &text);
    }

    fn log_unattributed(&self, source: Source, text: &str) {
        if self.stage == Stage::SettingUp {
            for line in text.lines() {
                self.owner.setup_log(self.lane, "coglet::setup", line);
            }
        }
        user_lines(None, source.name(), text);
    }

    fn on_overdue(&mut self) {
        let Some((_, overdue)) = self.deadline.take() else {
            return;
        };
        match overdue {
            Overdue::Setup => {
                self.setup_failure = Some("Setup failed: worker setup timed out".into());
                self.terminate();
            }
            Overdue::Exit => self.terminate(),
            Overdue::Termination => signal_group(self.worker.pid, Signal::KILL),
        }
    }

    fn on_stop(&mut self, stop: Stop) {
        match stop {
            Stop::No => {}
            Stop::Gracefully if self.stage == Stage::Ready => {
                self.worker.send(&ToWorker::Shutdown {});
                self.limit(EXIT_LIMIT, Overdue::Exit);
                self.stage = Stage::Stopping;
            }
            Stop::Gracefully => {
                self.terminate();
                self.stage = Stage::Stopping;
            }
            Stop::Now => {
                self.worker
                    .kill("the server was told to stop without waiting any longer");
                self.stage = Stage::Stopping;
            }
        }
    }

    /// Ends for a worker with other code. Nothing runs in it that is to end by itself.
    fn make_way(&mut self) {
        match self.stage {
            Stage::Ready => {
                self.worker.send(&ToWorker::Shutdown {});
                self.limit(MAKE_WAY_LIMIT, Overdue::Exit);
            }
            Stage::SettingUp => self.terminate(),
            Stage::Stopping => return,
        }
        self.stage = Stage::Stopping;
    }

    fn terminate(&mut self) {
        signal_group(self.worker.pid, Signal::TERM);
        self.limit(TERMINATE_LIMIT, Overdue::Termination);
    }

    fn limit(&mut self, limit: Duration, overdue: Overdue) {
        self.deadline = Some((Instant::now() + limit, overdue));
    }

    fn on_exit(mut self, status: ExitStatus) -> End {
        self.worker.set_dead();
        self.read_remaining_frames();
        self.drain_captured();
        self.owner.gone(self.lane);
        let killed = self.worker.killed();
        let cause = match killed {
            Some(reason) => reason.to_owned(),
            None => exit::describe(status, self.kills_before),
        };
        match self.stage {
            Stage::SettingUp => {
                let reason = self.setup_failure.take();
                End::SetupFailed {
                    reason: reason
                        .unwrap_or_else(|| format!("Setup failed: worker crashed: {cause}")),
                }
            }
            stage => {
                let reason = format!("Worker crashed: {cause}");
                let ran_alone = self.owner.running_alone(self.lane).is_some();
                let words = self.last_words.about(status, ran_alone);
                let died_by_itself = stage != Stage::Stopping && killed.is_none();
                self.owner
                    .lost(self.lane, &format!("{reason}{words}"), died_by_itself);
                if stage == Stage::Stopping {
                    return End::Stopped;
                }
                // Its last words are in the log already, like everything that it has said.
                tracing::error!("{reason}");
                End::Crashed {
                    // Nothing is wrong with a model that was killed for being slow.
                    was_useful: self.was_useful || killed.is_some(),
                    reason,
                }
            }
        }
    }

    /// What the process had written before it died is still in the pipe. Asking the pipe itself ends
    /// where the data ends, even if a child of the worker keeps the other end open.
    fn read_remaining_frames(&mut self) {
        // Twice what a pipe holds: a child that goes on writing is not waited for.
        let mut rest = 2 * pipes::CAPACITY;
        while self.incoming_open
            && rest > 0
            && let Ok(length @ 1..) = self.incoming.read_now(self.frames.space())
        {
            rest = rest.saturating_sub(length);
            self.handle_frames();
        }
        self.handle_frames();
    }
}

async fn passed(deadline: Option<(Instant, Overdue)>) {
    match deadline {
        Some((moment, _)) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
