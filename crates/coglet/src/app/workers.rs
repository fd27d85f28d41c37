//! What workers tell the server, and what comes of it.

use std::sync::Arc;

use serde_json::Value;

use super::App;
use super::renewal::Renewal;
use crate::control::Event;
use crate::delivery::discard_late;
use crate::health::Phase;
use crate::logging::user_lines;
use crate::model::{Model, is_newer_than};
use crate::protocol::{Done, DoneStatus, Key, MetricMode, Payload, Source};
use crate::slots::Lane;
use crate::sync::lock;
use crate::temp::TempFile;
use crate::worker::{GivenUp, Owner, Worker};

/// Under this, the log of setup has what the model prints.
const SETUP: &str = "coglet::setup";

impl Owner for App {
    fn starting(&self, _lane: Lane) {
        let generation = self.generation();
        self.control.tell(&Event::Starting { generation });
    }

    fn setup_log(&self, lane: Lane, source: &str, text: &str) {
        self.health.setup_log(lane, source, text);
        if source == SETUP {
            self.control.tell(&Event::SetupLog { text });
        }
    }

    fn ready(&self, lane: Lane, worker: &Arc<Worker>) {
        let before = self.model();
        let model = Arc::new(Model::read(
            worker.loaded(),
            &self.settings.schema_file,
            before.as_deref(),
        ));
        let settings = &self.settings;
        // Whoever asks for other code looks after its document.
        let generation = self.generation();
        let is_described = before.is_some() && model.schema().is_some() && generation == 0;
        if is_described && is_newer_than(&settings.model, &settings.schema_file) {
            tracing::warn!(
                "The code of `{}` has changed since `{}` was made: inputs are still checked by that. Start the server \
                 anew with `cog serve`, or build the image again",
                settings.model,
                settings.schema_file.display()
            );
        }
        worker.set_model(Arc::clone(&model));
        self.pool.put(lane, Arc::clone(worker));
        *lock(&self.model) = Some(model);
        self.health.end_setup(lane);
        if *self.renewal.borrow() == Renewal::Finishing {
            // It has taken the place of one that was lost, and is about to make way itself.
            return;
        }
        self.slots.open(lane);
        if self.is_ready() {
            self.settle(None);
            self.ready_signal.tell("READY");
            self.control.tell(&Event::Ready { generation });
            tracing::info!("Setup complete, now accepting requests");
        }
    }

    fn printed(&self, prediction: Key, source: Source, text: &str) -> bool {
        let Some(prediction) = self.registry.by_key(prediction) else {
            return false;
        };
        prediction.append_log(source, text);
        user_lines(Some(&prediction.order.id), source.name(), text);
        true
    }

    fn running_alone(&self, lane: Lane) -> Option<Key> {
        self.registry
            .only_running(lane)
            .map(|prediction| prediction.key)
    }

    fn metric(&self, prediction: Key, name: &str, value: Value, mode: MetricMode) {
        if let Some(prediction) = self.registry.by_key(prediction) {
            prediction.record_metric(name, value, mode);
        }
    }

    fn item(&self, worker: &Arc<Worker>, prediction: Key, item: Payload) {
        match self.registry.by_key(prediction) {
            Some(prediction) => self.deliveries.item(worker, &prediction, item),
            None => discard_late(item),
        }
    }

    fn done(&self, worker: &Arc<Worker>, done: Done, scratch: Option<TempFile>) -> bool {
        let Some(prediction) = self.registry.by_key(done.id) else {
            if let Some(output) = done.output {
                discard_late(output);
            }
            return false;
        };
        if let Some(scratch) = scratch {
            prediction.keep_until_end(scratch);
        }
        if done.status != DoneStatus::Canceled {
            self.quarantine.clear(&prediction.order.asked());
        }
        self.deliveries.end(worker, &prediction, done);
        true
    }

    fn batch(&self, size: u64) {
        self.measures.batch_size.observe(size);
    }

    fn gone(&self, lane: Lane) {
        self.slots.close(lane);
        self.pool.remove(lane);
        self.show_a_model_that_answers();
    }

    fn lost(&self, lane: Lane, reason: &str, inputs_are_suspect: bool) {
        // Whoever asks next must not be told that all is well.
        self.health.begin_setup(lane);
        let running = self.registry.running(lane);
        if inputs_are_suspect {
            let asked: Vec<_> = running
                .iter()
                .map(|prediction| prediction.order.asked())
                .collect();
            self.quarantine.blame(asked.iter().map(Arc::as_ref));
        }
        for prediction in running {
            self.deliveries.lose(&prediction, reason);
        }
    }

    fn others_serve(&self, lane: Lane) -> bool {
        self.pool.all().any(|(other, _)| other != lane)
    }

    fn restarting(&self, lane: Lane, reason: &str) {
        self.health.begin_setup(lane);
        self.health.setup_log(lane, "coglet", reason);
        self.measures.worker_restarts.increment();
    }

    fn given_up(&self, lane: Lane, cause: &GivenUp) {
        let reason = match cause {
            GivenUp::SetupFailed { reason, phase } => {
                // Who started the server and waits for it is told, and tells the reason.
                if self.ready_signal.is_awaited() {
                    tracing::info!("{reason}");
                } else {
                    tracing::error!("{reason}");
                }
                self.health.fail_setup(lane, reason, *phase);
                reason.clone()
            }
            GivenUp::LostTooOften => {
                self.health.give_up(lane);
                "The model's process died again and again".to_owned()
            }
            GivenUp::Withheld => {
                let reason = lock(&self.withheld).clone().unwrap_or_default();
                self.health.fail_setup(lane, &reason, Phase::SetupFailed);
                reason
            }
        };
        if matches!(self.health.phase(), Phase::SetupFailed | Phase::Defunct) {
            self.slots.dismiss();
            self.settle(Some(&reason));
            self.ready_signal.tell("SETUP_FAILED");
            self.control.tell(&Event::Failed {
                generation: self.generation(),
                reason: &reason,
            });
        }
    }
}

impl App {
    /// Inputs are checked by a model that a worker serves, as long as there is one: the newest may have gone with its
    /// worker.
    fn show_a_model_that_answers(&self) {
        let mut shown = lock(&self.model);
        let serving: Vec<_> = self
            .pool
            .all()
            .filter_map(|(_, worker)| worker.model().cloned())
            .collect();
        let is_shown = |model: &Arc<Model>| shown.as_ref().is_some_and(|it| Arc::ptr_eq(it, model));
        if let Some(other) = serving.first()
            && !serving.iter().any(is_shown)
        {
            *shown = Some(Arc::clone(other));
        }
    }
}
