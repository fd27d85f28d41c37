//! What all requests share, and the way of a prediction through it: accepted, prepared, sent to the
//! worker, canceled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::files::{Files, TempFile, Uploads, run_blocking, wanted};
use crate::health::{Health, Phase};
use crate::measures::Measures;
use crate::predictions::{CancelStep, Ending, History, Order, Prediction, Registry};
use crate::quarantine::{InputDigest, Quarantine};
use crate::ready::ReadySignal;
use crate::slots::{SlotPermit, Slots, Turn};
use crate::sync::lock;
use crate::traces::{Exporter, Tracer};
use crate::validate::ModelSchema;
use crate::webhooks::{WebhookOrder, Webhooks};
use crate::worker::Worker;
use crate::worker::protocol::{LocalFile, ToWorker, WireId};
use crate::{Error, Settings};

/// How often a prediction whose turn it is looks for a worker that is being restarted.
const RESTART_POLL: Duration = Duration::from_millis(20);
/// Larger inputs travel to the worker as files.
const MAX_INLINE_INPUT: usize = 1 << 20;
/// Where the build puts the model's document, seen from the working directory.
const SCHEMA_FILE: &str = ".cog/openapi_schema.json";

/// The server's shared state.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) health: Health,
    pub(crate) slots: Slots,
    pub(crate) registry: Registry,
    pub(crate) webhooks: Webhooks,
    pub(crate) quarantine: Quarantine,
    pub(crate) ready_signal: ReadySignal,
    /// If file outputs are sent somewhere.
    pub(crate) uploads: Option<Uploads>,
    pub(crate) measures: Arc<Measures>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    exporter: Mutex<Option<Exporter>>,
    files: Files,
    schema: OnceLock<Option<ModelSchema>>,
    worker: Mutex<Option<Arc<Worker>>>,
    shutdown: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(mut settings: Settings) -> Result<Self, Error> {
        let (tracer, exporter) = settings.tracing.take().map(Tracer::new).unzip();
        let measures = Arc::new(Measures::default());
        let history = History::new(settings.history);
        Ok(Self {
            ready_signal: ReadySignal::new(settings.ready_fd)?,
            health: Health::new(),
            slots: Slots::new(settings.slots, settings.queue),
            registry: Registry::new(history, Arc::clone(&measures)),
            measures,
            quarantine: Quarantine::default(),
            tracer,
            exporter: Mutex::new(exporter),
            webhooks: Webhooks::new(
                settings.webhook_token.clone(),
                settings.throttle_interval,
                crate::descriptors::shares().calls,
                settings.downloads.destinations.clone(),
            ),
            uploads: settings.upload_url.clone().map(Uploads::new),
            files: Files::new(settings.user_agent.clone(), settings.downloads.clone()),
            schema: OnceLock::new(),
            worker: Mutex::default(),
            shutdown: watch::Sender::new(false),
            settings,
        })
    }

    /// What has to run beside everything else, if requests are traced. For one caller.
    pub(crate) fn take_exporter(&self) -> Option<Exporter> {
        lock(&self.exporter).take()
    }

    /// The model's document, once setup has succeeded and if there is one.
    pub(crate) fn schema(&self) -> Option<&ModelSchema> {
        self.schema.get().and_then(Option::as_ref)
    }

    /// The model's author has allowed event streams.
    pub(crate) fn can_be_watched(&self) -> bool {
        self.schema().is_some_and(|schema| schema.streams)
    }

    /// The worker, if it can take predictions.
    pub(crate) fn ready_worker(&self) -> Option<Arc<Worker>> {
        let worker = self.worker().filter(|worker| worker.is_alive());
        worker.filter(|_| self.health.phase() == Phase::Ready)
    }

    /// The worker that was set up last.
    pub(crate) fn worker(&self) -> Option<Arc<Worker>> {
        lock(&self.worker).clone()
    }

    /// Setup has succeeded: predictions may come.
    pub(crate) fn worker_ready(&self, worker: Arc<Worker>) {
        self.schema.get_or_init(load_schema);
        *lock(&self.worker) = Some(worker);
        self.health.end_setup();
        self.ready_signal.tell("READY");
        tracing::info!("Setup complete, now accepting requests");
    }

    pub(crate) fn worker_gone(&self) {
        *lock(&self.worker) = None;
    }

    /// Asks the server to drain and stop.
    pub(crate) fn request_shutdown(&self) {
        self.shutdown.send_replace(true);
    }

    /// A shutdown was requested: what runs is finished, nothing new is begun.
    pub(crate) fn is_draining(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Setup has succeeded, now or earlier.
    pub(crate) fn has_been_ready(&self) -> bool {
        self.schema.get().is_some()
    }

    /// Resolves when a shutdown was requested.
    pub(crate) async fn shutdown_requested(&self) {
        // The sender lives in `self`: it cannot have gone.
        let _ = self
            .shutdown
            .subscribe()
            .wait_for(|requested| *requested)
            .await;
    }

    /// Takes a prediction in. Its id is known from now on, but nothing happens before `start`: whoever
    /// wants to see everything of it can begin to watch.
    pub(crate) fn admit(&self, order: Order, webhook: Option<WebhookOrder>) -> Arc<Prediction> {
        let prediction = Arc::new(Prediction::new(self.registry.next_key(), order));
        if self.can_be_watched() {
            prediction.keep_events(self.settings.replayed_events);
        }
        self.registry.insert(Arc::clone(&prediction));
        if let Some(webhook) = webhook {
            prediction.set_webhook(self.webhooks.open(&prediction, webhook));
        }
        prediction
    }

    /// Starts a prediction when it is its turn. It ends by itself; the caller may wait for that.
    pub(crate) fn start_in_turn(
        self: &Arc<Self>,
        worker: Arc<Worker>,
        turn: Turn,
        prediction: &Arc<Prediction>,
    ) {
        match turn {
            Turn::Now(permit) => {
                prediction.occupy(permit);
                self.start(worker, prediction);
            }
            Turn::Later(turn) => {
                let task = tokio::spawn(Arc::clone(self).queue(turn, Arc::clone(prediction)));
                prediction.preparing(task.abort_handle());
            }
        }
    }

    async fn queue(
        self: Arc<Self>,
        turn: oneshot::Receiver<SlotPermit>,
        prediction: Arc<Prediction>,
    ) {
        let Ok(permit) = turn.await else {
            return;
        };
        prediction.occupy(permit);
        // The worker may have been lost in the meantime. What only waited is not lost with it.
        let worker = loop {
            match (self.ready_worker(), self.health.phase()) {
                (Some(worker), _) => break worker,
                (None, Phase::Defunct | Phase::SetupFailed) => {
                    self.registry
                        .finish(&prediction, Ending::failed("Worker crashed"));
                    return;
                }
                (None, _) => tokio::time::sleep(RESTART_POLL).await,
            }
        };
        self.start(worker, &prediction);
    }

    /// Starts a prediction that has its slot.
    fn start(self: &Arc<Self>, worker: Arc<Worker>, prediction: &Arc<Prediction>) {
        let input = &prediction.order.input;
        if input.len() <= MAX_INLINE_INPUT && !self.quarantine.may_know(&prediction.order) {
            let (wanted, rest) = wanted(input, &self.files.signature(&worker.loaded().signature));
            if wanted.is_empty() {
                let input = Input::Inline(rest);
                self.dispatch(&worker, prediction, &input, Vec::new(), &BTreeMap::new());
                return;
            }
        }
        let task = tokio::spawn(Arc::clone(self).prepare(worker, Arc::clone(prediction)));
        prediction.preparing(task.abort_handle());
    }

    /// Ends a prediction early, wherever it is.
    pub(crate) fn cancel(self: &Arc<Self>, prediction: &Arc<Prediction>) {
        match prediction.request_cancel() {
            CancelStep::End => {
                self.registry.finish(prediction, Ending::canceled());
            }
            CancelStep::Interrupt => {
                if let Some(worker) = self.worker() {
                    interrupt(&worker, prediction);
                }
            }
            CancelStep::Nothing => {}
        }
    }

    /// Fails what the worker was running when it was lost.
    pub(crate) fn fail_running(&self, running: &[Arc<Prediction>], error: &str) {
        for prediction in running {
            self.registry.finish(prediction, Ending::failed(error));
        }
    }

    /// A handler declared to give a list gives one, whatever it returned.
    pub(crate) fn as_declared(&self, output: Bytes) -> Bytes {
        let is_array = self
            .schema()
            .is_some_and(|schema| schema.output_is_array(self.settings.mode));
        match output.first() {
            Some(b'[') => output,
            Some(b'n') if is_array => Bytes::from_static(b"[]"),
            Some(_) if is_array => [b"[", output.as_ref(), b"]"].concat().into(),
            _ => output,
        }
    }

    /// Why the prediction may not run, if its input has crashed the model before.
    async fn refusal(&self, prediction: &Arc<Prediction>) -> Option<String> {
        if !self.quarantine.may_know(&prediction.order) {
            return None;
        }
        let of = Arc::clone(prediction);
        let digest = run_blocking(move || InputDigest::of(&of.order)).await;
        self.quarantine.refusal(digest)
    }

    /// Finds and fetches the files of an input, beside the event loop: the input may be large.
    async fn prepare(self: Arc<Self>, worker: Arc<Worker>, prediction: Arc<Prediction>) {
        if let Some(refusal) = self.refusal(&prediction).await {
            self.registry.finish(&prediction, Ending::failed(refusal));
            return;
        }
        let (app, of, model) = (
            Arc::clone(&self),
            Arc::clone(&prediction),
            Arc::clone(&worker),
        );
        let look = move || {
            let signature = app.files.signature(&model.loaded().signature);
            wanted(&of.order.input, &signature)
        };
        let (wanted, input) = run_blocking(look).await;
        let fetching = (!wanted.is_empty()).then(Instant::now);
        let mut fetched = match self.files.fetch(wanted).await {
            Ok(fetched) => {
                if let Some(start) = fetching {
                    prediction.fetched_since(start);
                }
                fetched
            }
            Err(error) => {
                let ending = Ending::failed(format!("Input validation error: {error}"));
                self.registry.finish(&prediction, ending);
                return;
            }
        };
        let mut files = std::mem::take(&mut fetched.files);
        let input = if input.len() <= MAX_INLINE_INPUT {
            Input::Inline(input)
        } else {
            match self.files.spill(worker.spill_dir(), input).await {
                Ok(file) => {
                    let path = file.path().to_owned();
                    files.push(file);
                    Input::Spilled(path)
                }
                Err(error) => {
                    let error = format!("could not hand a large input to the model: {error}");
                    self.registry.finish(&prediction, Ending::failed(error));
                    return;
                }
            }
        };
        self.dispatch(&worker, &prediction, &input, files, &fetched.by_input);
    }

    fn dispatch(
        &self,
        worker: &Worker,
        prediction: &Prediction,
        input: &Input,
        files: Vec<TempFile>,
        by_input: &BTreeMap<String, LocalFile>,
    ) {
        if !worker.is_alive() {
            self.registry
                .finish(prediction, Ending::failed("Worker crashed"));
            return;
        }
        if !prediction.begin_running(files) {
            return;
        }
        self.measures.batch_size.observe(1);
        let message = |input_file| ToWorker::Predict {
            id: WireId(prediction.key),
            input_file,
            context: &prediction.order.context,
            files: by_input,
        };
        match input {
            Input::Inline(text) => worker.send_with_input(&message(None), text),
            Input::Spilled(path) => worker.send(&message(Some(path))),
        }
    }
}

/// A missing or broken document is no reason not to serve: inputs then go unchecked.
fn load_schema() -> Option<ModelSchema> {
    let document = fs_err::read(SCHEMA_FILE)
        .inspect_err(|error| tracing::warn!("Inputs are not validated: {error}"))
        .ok()?;
    ModelSchema::parse(document.into())
        .inspect_err(|error| {
            tracing::warn!("Inputs are not validated: `{SCHEMA_FILE}` is not JSON: {error}");
        })
        .ok()
}

/// The input on its way to the worker.
enum Input {
    Inline(Bytes),
    /// In a file, which the worker removes when it has read it.
    Spilled(PathBuf),
}

/// Makes the worker stop a prediction: by a frame if it has an event loop that reads one, else by a
/// signal to its main thread.
fn interrupt(worker: &Arc<Worker>, prediction: &Arc<Prediction>) {
    if worker.loaded().is_async {
        worker.send(&ToWorker::Cancel {
            id: WireId(prediction.key),
        });
        return;
    }
    let (worker, prediction) = (Arc::clone(worker), Arc::clone(prediction));
    tokio::spawn(async move {
        // Repeated until it works: a signal that comes before the handler has begun, or while the
        // worker is busy with itself, is ignored there.
        let mut pause = Duration::from_millis(10);
        while prediction.is_running() && worker.is_alive() {
            worker.interrupt();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    });
}
