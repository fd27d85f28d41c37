//! What every step works with (store, engine, reporter, and the options that decide digests), and how it is done once.

use std::path::Path;
use std::time::Instant;

use cog_engine::Engine;
use cog_image::{Compression, LayerOptions, Modes, StepKey, StepRecord, Store, trust};

use cog_python::uv::{Progress, Uv};

use crate::architecture::Architecture;
use crate::base::LockedBase;
use crate::container::Containers;
use crate::error::Result;
use crate::plan::{Bytecode, LayerSettings, PlanSettings, Symbols, key};
use crate::reporter::{Event, Outcome, Reporter, Unit};
use crate::step_output::StepOutput;

/// Whether results of earlier builds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cache {
    /// A step with the same key is not done again.
    #[default]
    Use,
    /// Every step is done again.
    Ignore,
}

pub(crate) struct Executor<'a> {
    pub(crate) project_dir: &'a Path,
    pub(crate) store: &'a Store,
    /// What the image is for.
    pub(crate) architecture: Architecture,
    /// What runs programs of the image.
    pub(crate) containers: Option<Containers<'a>>,
    /// What runs programs for this machine.
    pub(crate) here: Option<Containers<'a>>,
    /// What runs containers of our own for the image, also beside a daemon.
    pub(crate) own: Option<&'a dyn Engine>,
    pub(crate) reporter: &'a dyn Reporter,
    pub(crate) cache: Cache,
    pub(crate) symbols: Symbols,
    pub(crate) compression: Compression,
    /// The date of all files, in seconds since 1970.
    pub(crate) timestamp: i64,
    /// 0 means one per core.
    pub(crate) threads: usize,
}

impl Executor<'_> {
    pub(crate) fn plan_settings(&self) -> PlanSettings {
        PlanSettings {
            layers: LayerSettings {
                timestamp: self.timestamp,
                compression: self.compression,
            },
            // Whether a daemon runs programs of another platform is not known, and nobody asked for these.
            bytecode: match self.containers {
                Some(Containers::Docker(_)) if self.architecture.emulator().is_some() => {
                    Bytecode::Absent
                }
                Some(_) if self.architecture.runs_here() => Bytecode::Compiled,
                _ => Bytecode::Absent,
            },
            symbols: self.symbols,
        }
    }

    /// The same over `base`.
    pub(crate) fn plan_settings_on(&self, base: &LockedBase) -> PlanSettings {
        let settings = self.plan_settings();
        match base.compiler {
            Some(_) => PlanSettings {
                bytecode: Bytecode::Compiled,
                ..settings
            },
            None => settings,
        }
    }

    /// How layers are made of files whose permissions come from packages or from us.
    pub(crate) fn layer_options(&self, created_by: impl Into<String>) -> LayerOptions {
        LayerOptions {
            created_by: created_by.into(),
            compression: self.compression,
            timestamp: self.timestamp,
            threads: self.threads,
            ..LayerOptions::default()
        }
    }

    /// How layers are made of what a command left. Permissions stay; everything belongs to root,
    /// because an ordinary user's namespace has no other owner to give, and both must build the
    /// same image.
    pub(crate) fn command_layer_options(&self, created_by: impl Into<String>) -> LayerOptions {
        LayerOptions {
            modes: Modes::Keep,
            ..self.layer_options(created_by)
        }
    }

    pub(crate) fn worker_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// The result of the step `key`, from the store if it is there, else from `work`.
    ///
    /// Of two builds that need the same step at once, one works and the other waits. Lock files stay for
    /// good, hence few of them: a step seldom waits for another one without need.
    pub(crate) fn step(
        &self,
        title: &str,
        key: &StepKey,
        work: impl FnOnce() -> Result<StepOutput>,
    ) -> Result<StepOutput> {
        let started = Instant::now();
        let finished = |outcome| {
            let elapsed = started.elapsed();
            self.reporter.report(Event::StepFinished {
                title,
                outcome,
                elapsed,
            });
        };
        if let Some(output) = self.done(key)? {
            finished(Outcome::Cached);
            return Ok(output);
        }
        let _lock = self
            .store
            .lock(&format!("step-{}", &key.to_string()[..2]))?;
        if let Some(output) = self.done(key)? {
            finished(Outcome::Cached);
            return Ok(output);
        }
        self.reporter.report(Event::StepStarted { title });
        let output = work()?;
        self.store.record_step(key, &output.to_record())?;
        finished(Outcome::Built);
        Ok(output)
    }

    /// Does `work`, which is done every time, and reports how long it took.
    pub(crate) fn timed<T>(&self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        self.reporter.report(Event::StepStarted { title });
        let result = work()?;
        let (outcome, elapsed) = (Outcome::Built, started.elapsed());
        self.reporter.report(Event::StepFinished {
            title,
            outcome,
            elapsed,
        });
        Ok(result)
    }

    fn done(&self, key: &StepKey) -> Result<Option<StepOutput>> {
        Ok(self.recorded(key)?.and_then(StepOutput::from_record))
    }

    /// What is remembered under `key`, unless earlier results are to be ignored.
    pub(crate) fn recorded(&self, key: &StepKey) -> Result<Option<StepRecord>> {
        match self.cache {
            Cache::Use => Ok(self.store.step(key)?),
            Cache::Ignore => Ok(None),
        }
    }

    /// The same for what was found out about an image in a registry, the layers of which may be there alone.
    pub(crate) fn recorded_of_others(&self, key: &StepKey) -> Result<Option<StepRecord>> {
        match self.cache {
            Cache::Use => Ok(self.store.step_of_others(key)?),
            Cache::Ignore => Ok(None),
        }
    }

    /// Tells what of the running step is done now.
    pub(crate) fn doing(&self, what: &str) {
        self.reporter.report(Event::Doing { what });
    }

    /// The program that resolves and installs Python packages.
    pub(crate) fn uv(&self) -> Result<Uv<'_>> {
        let observe = |progress: Progress<'_>| match progress {
            Progress::Notice(message) => self.notice(message),
            Progress::Line(line) => self.reporter.report(Event::Output { line }),
            Progress::Waiting(waiting) => {
                self.doing(&waiting.to_string());
            }
            Progress::Downloading { done, total } => self.reporter.report(Event::Progress {
                label: "downloading Python packages",
                done,
                total: Some(total),
                unit: Unit::Bytes,
            }),
            _ => {}
        };
        let certificates = trust::extended_bundle()?;
        Ok(Uv::find(
            self.store.root(),
            certificates.as_deref(),
            observe,
        )?)
    }

    /// Warns of what `key` stands for, unless it was told before. Who ignores the cache is told again.
    pub(crate) fn warn_once(&self, key: &StepKey, message: &str) -> Result<()> {
        if self.recorded(key)?.is_none() {
            self.warn(message);
            let record = StepRecord {
                layers: Vec::new(),
                facts: serde_json::Value::Null,
            };
            self.store.record_step(key, &record)?;
        }
        Ok(())
    }

    /// Warns of the state that `topic` is in, unless it was in that state when it was last looked at. Nothing to tell is a
    /// state, too.
    pub(crate) fn warn_of_change(&self, topic: &StepKey, state: Option<&str>) -> Result<()> {
        let told = self.recorded(topic)?.map(|record| record.facts);
        let told = told.as_ref().and_then(serde_json::Value::as_str);
        if told == state {
            return Ok(());
        }
        if let Some(message) = state {
            self.warn(message);
        }
        let record = StepRecord {
            layers: Vec::new(),
            facts: state.into(),
        };
        Ok(self.store.record_step(topic, &record)?)
    }

    /// Warns unless this project was told the same under the name `topic` before.
    pub(crate) fn warn_once_in_project(&self, topic: &str, message: &str) -> Result<()> {
        let project = self.project_dir.as_os_str().as_encoded_bytes();
        let key = key(&format!("told of {topic}"), 1)
            .field("project", project)
            .field("warning", message)
            .finish();
        self.warn_once(&key, message)
    }

    pub(crate) fn warn(&self, message: &str) {
        self.reporter.report(Event::Warning { message });
    }

    pub(crate) fn detail(&self, message: &str) {
        self.reporter.report(Event::Detail { message });
    }

    pub(crate) fn notice(&self, message: &str) {
        self.reporter.report(Event::Notice { message });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::plan::key;

    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);

    impl Reporter for Warnings {
        fn report(&self, event: Event<'_>) {
            if let Event::Warning { message } = event {
                self.0.lock().expect("no panic").push(message.to_owned());
            }
        }
    }

    #[test]
    fn a_state_is_told_of_when_it_changes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("it opens");
        let warnings = Warnings::default();
        let executor = Executor {
            project_dir: folder.path(),
            store: &store,
            architecture: Architecture::host(),
            containers: None,
            here: None,
            own: None,
            reporter: &warnings,
            cache: Cache::Use,
            symbols: Symbols::Kept,
            compression: Compression::default(),
            timestamp: 0,
            threads: 0,
        };
        let topic = key("a topic", 1).finish();
        let states = [
            None,
            Some("gone"),
            Some("gone"),
            None,
            None,
            Some("gone"),
            Some("far"),
        ];
        for state in states {
            executor
                .warn_of_change(&topic, state)
                .expect("it is remembered");
        }
        assert_eq!(
            *warnings.0.lock().expect("no panic"),
            ["gone", "gone", "far"]
        );
    }
}
