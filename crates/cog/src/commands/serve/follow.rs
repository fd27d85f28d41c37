//! What a change of the project means for its server: nothing, a restart of the model, or another environment.
//!
//! Code counts always. Other files count if they were there when `cog serve` began, and only while the model does nothing:
//! what changes while it is set up or predicts is taken for its own doing.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use cog_build::{Changes, Snapshot, leave_schema};
use cog_errors::Colour;

use super::watch::{Watched, Watcher};
use super::{Service, watch_all};
use crate::commands::render;
use crate::runtime::{Control, Launcher, SETUP_FAILED, Told, setup_advice};
use crate::serving::State;
use crate::session::Project;

/// Predictions that run may go on for so long when the code has changed: most end by themselves, and whoever has saved a
/// file does not wait for one that takes minutes.
pub(super) const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// What a model writes may be noticed a little later than its prediction ended.
const SLACK: Duration = Duration::from_millis(200);
/// A file that restarts the model so often, each time so soon after the last, changes by itself.
const RESTLESS: u32 = 3;
const SOON: Duration = Duration::from_secs(10);

/// What is to be done with the server.
pub(super) enum Step {
    Stay,
    /// The project, as it is now, needs another environment.
    MakeWay(Box<Project>),
}

/// Looks after what a server serves.
pub(super) struct Follower<'s, 'a> {
    service: &'s mut Service<'a>,
    launcher: &'s Launcher,
    control: Control,
    directory: PathBuf,
    /// What is served, or about to be. Nothing where that cannot be said: then nothing is followed or announced.
    served: Option<Snapshot>,
    watcher: Option<Watcher>,
    is_watching: bool,
    /// Counts the changes.
    generation: u64,
    /// Why nothing is served.
    broken: Option<String>,
    /// What is told when the server has begun.
    notice: Option<Notice>,
    loading_since: Option<Instant>,
    ready_since: Option<Instant>,
    /// Files with no code that have changed, until it is known what the model does meanwhile.
    doubtful: Option<Doubtful>,
    restless: HashMap<String, (u32, Instant)>,
    /// What was told once.
    told: HashSet<String>,
}

enum Notice {
    /// For this reason.
    Restarting(String),
    Withheld,
}

struct Doubtful {
    project: Project,
    now: Snapshot,
    files: Vec<String>,
}

impl<'s, 'a> Follower<'s, 'a> {
    pub(super) fn new(
        service: &'s mut Service<'a>,
        project: Project,
        launcher: &'s Launcher,
        control: Control,
        served: Option<Snapshot>,
    ) -> Self {
        let directory = project.file.directory;
        let watcher = service.args.watch.then(|| Watcher::of(&directory));
        Self {
            watcher,
            told: project.interface.warnings.into_iter().collect(),
            service,
            launcher,
            control,
            directory,
            served,
            is_watching: false,
            generation: 0,
            broken: None,
            notice: None,
            loading_since: Some(Instant::now()),
            ready_since: None,
            doubtful: None,
            restless: HashMap::new(),
        }
    }

    pub(super) fn follows(&self) -> bool {
        self.watcher.is_some()
    }

    pub(super) fn loading_since(&self) -> Option<Instant> {
        self.loading_since
    }

    /// Resolves when the project may have changed: at once the first time, since what is watched from now on may have
    /// changed while the server was started.
    pub(super) async fn changed(&mut self) {
        match &mut self.watcher {
            Some(watcher) if std::mem::replace(&mut self.is_watching, true) => {
                watcher.changed().await;
            }
            // Looking watches.
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// The first setup has ended. Before that is told to people: what they save then comes later.
    pub(super) fn begun(&mut self, word: &str) {
        match word {
            "READY" if self.generation == 0 => self.settled(State::Serving),
            SETUP_FAILED if self.generation == 0 => self.settled(State::Failed),
            _ => {}
        }
    }

    /// Looks what has changed, and acts on it.
    pub(super) fn look(&mut self) -> anyhow::Result<Step> {
        let Some(served) = &self.served else {
            return Ok(Step::Stay);
        };
        let (project, now) = match self.service.read() {
            Ok(found) => found,
            Err(error) => {
                self.withhold(&error);
                return Ok(Step::Stay);
            }
        };
        if let Some(watcher) = &mut self.watcher
            && watch_all(watcher, &self.directory, &now) == Watched::WithNew
        {
            // There may be more in them than was seen.
            return self.look();
        }
        let changes = served.changes(&now);
        if changes.environment {
            return Ok(Step::MakeWay(Box::new(project)));
        }
        if !changes.code.is_empty() || self.broken.is_some() {
            return self.reload(&project, &now, &changes);
        }
        if changes.data.is_empty() {
            return Ok(Step::Stay);
        }
        self.doubt(project, now, changes.data);
        Ok(Step::Stay)
    }

    /// Takes what the server tells.
    pub(super) async fn hear(&mut self, told: Told, address: SocketAddr) -> anyhow::Result<Step> {
        let printer = self.service.session.printer;
        match told {
            Told::Reloading { generation } if generation == self.generation => {
                match self.notice.take() {
                    Some(Notice::Restarting(why)) => {
                        printer.info(&format!("{why}: restarting the model..."));
                    }
                    Some(Notice::Withheld) => {
                        printer.warning("Nothing is served until that is mended");
                    }
                    None => {}
                }
            }
            Told::Starting { .. } => {
                // It may have died and be started again.
                self.loading_since.get_or_insert_with(Instant::now);
                self.compare();
            }
            Told::Ready { generation }
                if generation == self.generation && self.loading_since.is_some() =>
            {
                let took = self.loading_since.map(|since| since.elapsed());
                if let (1.., Some(took)) = (generation, took) {
                    printer.success(&format!(
                        "Serving the changed code ({:.1} s)",
                        took.as_secs_f64()
                    ));
                }
                self.settled(State::Serving);
            }
            Told::Failed { generation, .. }
                if generation == self.generation && self.broken.is_none() =>
            {
                // The first time it is told by whoever waits for it.
                if generation > 0 {
                    printer.warning(
                        "The changed code could not be set up, as its log says; it is tried again when the code is changed",
                    );
                    if let Some(advice) = setup_advice(address).await {
                        printer.warning(&advice);
                    }
                }
                self.settled(State::Failed);
            }
            Told::Finishing { predictions } => {
                let plural = if predictions == 1 { "" } else { "s" };
                printer.info(&format!(
                    "Waiting up to {} s for {predictions} prediction{plural} to end",
                    FINISH_WITHIN.as_secs()
                ));
            }
            Told::Status { running, idle_ms } => {
                return self.resolve(running, idle_ms.map(Duration::from_millis));
            }
            _ => {}
        }
        Ok(Step::Stay)
    }

    /// Setup has ended so.
    fn settled(&mut self, state: State) {
        self.loading_since = None;
        self.ready_since = Some(Instant::now());
        self.compare();
        if let Some(served) = &self.served {
            self.service.announce(state, served);
        }
    }

    /// The code is read some time between a process's start and the end of its setup. Where nobody follows changes, it has
    /// to be what was announced at both moments: else nobody knows what is served.
    fn compare(&mut self) {
        if self.follows() || self.service.announcement.is_none() {
            return;
        }
        let now = self.service.read();
        let (Some(served), Ok((_, now))) = (&mut self.served, now) else {
            self.service.announcement = None;
            return;
        };
        let changes = served.changes(&now);
        if changes.environment || !changes.code.is_empty() {
            self.service.announcement = None;
        }
        // What setup writes is its own.
        for file in &changes.data {
            served.accept(file, &now);
        }
    }

    /// The code cannot be served.
    fn withhold(&mut self, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if self.broken.as_ref() == Some(&reason) {
            return;
        }
        let printer = self.service.session.printer;
        printer.rendered_error(&render(error, Colour::Off));
        self.notice = Some(Notice::Withheld);
        self.generation += 1;
        // A server that is gone is told elsewhere.
        let _ = self
            .control
            .withhold(self.generation, FINISH_WITHIN, &reason);
        self.broken = Some(reason);
        self.loading_since = None;
        if let Some(served) = &self.served {
            self.service.announce(State::Failed, served);
        }
    }

    fn reload(
        &mut self,
        project: &Project,
        now: &Snapshot,
        changes: &Changes,
    ) -> anyhow::Result<Step> {
        let session = self.service.session;
        for warning in &project.interface.warnings {
            if self.told.insert(warning.clone()) {
                session.printer.warning(warning);
            }
        }
        let what = match changes.first() {
            Some(file) => format!("`{file}` has changed"),
            None => "The project is as it was".to_owned(),
        };
        self.notice = Some(Notice::Restarting(what));
        let args = self.service.args;
        let build = &args.flags.build;
        session.with_request(project, None, build, |request| Ok(leave_schema(&request)?))?;
        if let Some(schema) = &project.interface.schema {
            self.launcher.replace_schema(schema)?;
        }
        self.broken = None;
        self.doubtful = None;
        self.generation += 1;
        self.loading_since = Some(Instant::now());
        let served = self.served.take().unwrap_or_default().brought_up_to(now);
        self.service.announce(State::Loading, &served);
        self.served = Some(served);
        // A server that is gone is told elsewhere.
        let _ = self.control.reload(self.generation, FINISH_WITHIN);
        Ok(Step::Stay)
    }

    /// Files with no code have changed.
    fn doubt(&mut self, project: Project, now: Snapshot, files: Vec<String>) {
        self.doubtful = Some(Doubtful {
            project,
            now,
            files,
        });
        // A server that is gone is told elsewhere.
        let _ = self.control.ask_status();
    }

    /// Says who has changed them: the model, if it was at work.
    fn resolve(&mut self, running: usize, idle: Option<Duration>) -> anyhow::Result<Step> {
        let Some(Doubtful {
            project,
            now,
            files,
        }) = self.doubtful.take()
        else {
            return Ok(Step::Stay);
        };
        let at_rest = [idle, self.ready_since.map(|since| since.elapsed())];
        let at_rest = at_rest.into_iter().flatten().min();
        let is_busy = running > 0 || self.loading_since.is_some();
        let mut count = Vec::new();
        for file in files {
            let age = age(&self.directory.join(&file));
            let is_models = is_busy || at_rest.is_some_and(|rest| age + SLACK >= rest);
            if !is_models && !self.is_restless(&file) {
                count.push(file);
                continue;
            }
            if let Some(served) = &mut self.served {
                served.accept(&file, &now);
            }
            if is_models && self.told.insert(file.clone()) {
                self.service.session.printer.info(&format!(
                    "`{file}` has changed while the model was at work: taken for its own doing, nothing is restarted"
                ));
            }
        }
        if count.is_empty() {
            return Ok(Step::Stay);
        }
        let changes = Changes {
            data: count,
            ..Changes::default()
        };
        self.reload(&project, &now, &changes)
    }

    /// Whether the file changes by itself, again and again. Then it is not watched any more.
    fn is_restless(&mut self, file: &str) -> bool {
        let now = Instant::now();
        let (count, last) = self.restless.entry(file.to_owned()).or_insert((0, now));
        *count = if now - *last < SOON { *count + 1 } else { 1 };
        *last = now;
        if *count <= RESTLESS {
            return false;
        }
        if let Some(served) = &mut self.served {
            served.forget(file);
        }
        self.service.session.printer.warning(&format!(
            "`{file}` changes again and again, and restarts nothing any more; if it is not part of the model, list it in .dockerignore"
        ));
        true
    }
}

/// How long ago a file has changed; none if it is gone.
fn age(path: &std::path::Path) -> Duration {
    use std::os::unix::fs::MetadataExt as _;
    let changed = fs_err::symlink_metadata(path).ok().and_then(|metadata| {
        let seconds = u64::try_from(metadata.ctime()).ok()?;
        let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
    });
    changed
        .and_then(|changed| SystemTime::now().duration_since(changed).ok())
        .unwrap_or_default()
}
