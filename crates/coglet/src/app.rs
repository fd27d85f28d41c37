//! What all requests share, and the way of a prediction through it: accepted, prepared, sent to the
//! worker, canceled.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

use crate::files::{Files, TempFile, Uploads, masked, run_blocking, wanted};
use crate::health::{Health, Phase};
use crate::json::Parts;
use crate::measures::Measures;
use crate::memory::BodyMemory;
use crate::predictions::{Ending, History, Order, Prediction, Registry, StopReason, StopStep};
use crate::quarantine::{InputDigest, Quarantine};
use crate::ready::ReadySignal;
use crate::slots::{Lane, SlotPermit, Slots, Turn};
use crate::sync::lock;
use crate::traces::{Exporter, Tracer};
use crate::validate::{ModelSchema, Violation};
use crate::webhooks::{WebhookOrder, WebhookRules, Webhooks};
use crate::worker::protocol::{LocalFile, Parameter, ToWorker, WireId};
use crate::worker::{Pool, Worker};
use crate::{Error, Settings};

/// How long a prediction may take to stop when its time is over, or the server's.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Larger inputs travel to the worker as files.
const MAX_INLINE_INPUT: usize = 1 << 20;
/// Where the build puts the model's document, seen from the working directory.
const SCHEMA_FILE: &str = ".cog/openapi_schema.json";

/// Who limits the time of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeLimit {
    OfClient,
    OfOperator,
}

/// The server's shared state.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) health: Health,
    pub(crate) slots: Slots,
    pub(crate) registry: Registry,
    pub(crate) webhooks: Webhooks,
    pub(crate) quarantine: Quarantine,
    /// For what clients send.
    pub(crate) body_memory: BodyMemory,
    pub(crate) ready_signal: ReadySignal,
    /// If file outputs are sent somewhere.
    pub(crate) uploads: Option<Uploads>,
    pub(crate) measures: Arc<Measures>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    exporter: Mutex<Option<Exporter>>,
    files: Files,
    schema: OnceLock<Option<ModelSchema>>,
    /// Inputs that are shown to nobody.
    secrets: OnceLock<HashSet<String>>,
    /// The workers that are set up.
    pub(crate) pool: Pool,
    shutdown: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(mut settings: Settings) -> Result<Self, Error> {
        let (tracer, exporter) = settings.tracing.take().map(Tracer::new).unzip();
        let measures = Arc::new(Measures::default());
        let history = History::new(settings.history);
        Ok(Self {
            ready_signal: ReadySignal::new(settings.ready_fd)?,
            health: Health::new(settings.workers, settings.setup_log_size),
            slots: Slots::new(settings.workers, settings.slots, settings.queue),
            registry: Registry::new(history, Arc::clone(&measures)),
            measures,
            quarantine: Quarantine::default(),
            body_memory: BodyMemory::new(
                settings.body_memory,
                u64::try_from(settings.max_body).unwrap_or(u64::MAX),
            ),
            tracer,
            exporter: Mutex::new(exporter),
            webhooks: Webhooks::new(WebhookRules {
                token: settings.webhook_token.clone(),
                token_hosts: settings.webhook_token_hosts.clone(),
                throttle_interval: settings.throttle_interval,
                max_calls: crate::descriptors::shares().calls,
                memory: settings.webhook_memory,
                destinations: settings.downloads.destinations.clone(),
            }),
            uploads: settings.upload_url.clone().map(Uploads::new),
            files: Files::new(settings.user_agent.clone(), settings.downloads.clone()),
            schema: OnceLock::new(),
            secrets: OnceLock::new(),
            pool: Pool::new(settings.workers),
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

    /// A prediction as far as it is, with its input but for what is secret in it.
    pub(crate) fn progress(&self, prediction: &Prediction) -> Parts {
        let asked = prediction.order.asked();
        let input = match self.secrets.get().filter(|names| !names.is_empty()) {
            Some(names) => masked(&asked.input, names),
            None => asked.input.clone(),
        };
        prediction.render_with_input(input)
    }

    /// What is wrong with the files that an input names: they are not to be had here, or too many.
    pub(crate) fn file_violations(&self, input: &Bytes) -> Vec<Violation> {
        let worker = self.pool.any();
        worker.map_or_else(Vec::new, |worker| {
            let signature = &worker.loaded().signature;
            self.files
                .violations(input, signature, self.settings.max_files)
        })
    }

    /// The model's author has allowed event streams.
    pub(crate) fn can_be_watched(&self) -> bool {
        self.schema().is_some_and(|schema| schema.streams)
    }

    /// Predictions can be taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.health.phase() == Phase::Ready
    }

    /// The setup of a worker has succeeded: predictions may come, if it was the last one.
    pub(crate) fn worker_ready(&self, lane: Lane, worker: Arc<Worker>) {
        self.schema.get_or_init(load_schema);
        self.secrets
            .get_or_init(|| self.secret_inputs(&worker.loaded().signature));
        self.pool.put(lane, worker);
        self.health.end_setup(lane);
        self.slots.open(lane);
        if self.is_ready() {
            self.ready_signal.tell("READY");
            tracing::info!("Setup complete, now accepting requests");
        }
    }

    /// As the handler's annotations and the document have it.
    fn secret_inputs(&self, signature: &HashMap<String, Parameter>) -> HashSet<String> {
        let annotated = signature
            .iter()
            .filter(|(_, kind)| **kind == Parameter::Secret)
            .map(|(name, _)| name.clone());
        let documented = self.schema().into_iter().flat_map(|schema| &schema.secrets);
        annotated.chain(documented.cloned()).collect()
    }

    pub(crate) fn worker_gone(&self, lane: Lane) {
        self.slots.close(lane);
        self.pool.remove(lane);
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
    pub(crate) fn admit(
        self: &Arc<Self>,
        order: Order,
        webhook: Option<WebhookOrder>,
    ) -> Arc<Prediction> {
        let timeout = order.timeout;
        let key = self.registry.next_key();
        let prediction = Arc::new(Prediction::new(key, order, self.settings.log_size));
        if self.can_be_watched() {
            prediction.keep_events(self.settings.replayed_events);
        }
        self.registry.insert(Arc::clone(&prediction));
        if let Some(webhook) = webhook {
            prediction.set_webhook(self.webhooks.open(&prediction, webhook));
        }
        self.limit(&prediction, timeout, TimeLimit::OfClient);
        prediction
    }

    /// Starts a prediction when it is its turn. It ends by itself; the caller may wait for that.
    pub(crate) fn start_in_turn(self: &Arc<Self>, turn: Turn, prediction: &Arc<Prediction>) {
        match self.enter(turn, prediction) {
            Ok(()) => {}
            Err(turn) => {
                let task = tokio::spawn(Arc::clone(self).queue(turn, Arc::clone(prediction)));
                prediction.preparing(task.abort_handle());
            }
        }
    }

    /// Starts a prediction if it is its turn, or says what to wait for.
    fn enter(
        self: &Arc<Self>,
        turn: Turn,
        prediction: &Arc<Prediction>,
    ) -> Result<(), oneshot::Receiver<SlotPermit>> {
        let mut turn = turn;
        loop {
            let permit = match turn {
                Turn::Now(permit) => permit,
                Turn::Later(later) => return Err(later),
            };
            if let Some(worker) = self.pool.get(permit.lane()) {
                prediction.occupy(permit);
                self.start(worker, prediction);
                return Ok(());
            }
            // Lost since the slot was given. What only waited is not lost with it.
            drop(permit);
            turn = self.slots.retake_turn();
        }
    }

    async fn queue(
        self: Arc<Self>,
        mut turn: oneshot::Receiver<SlotPermit>,
        prediction: Arc<Prediction>,
    ) {
        loop {
            let Ok(permit) = turn.await else {
                // No worker will be started again.
                let ending = Ending::failed("Worker crashed");
                self.registry.finish(&prediction, ending);
                return;
            };
            match self.enter(Turn::Now(permit), &prediction) {
                Ok(()) => return,
                Err(later) => turn = later,
            }
        }
    }

    /// Starts a prediction that has its slot.
    fn start(self: &Arc<Self>, worker: Arc<Worker>, prediction: &Arc<Prediction>) {
        let limit = self.settings.predict_timeout;
        self.limit(prediction, limit, TimeLimit::OfOperator);
        let asked = prediction.order.asked();
        if asked.input.len() <= MAX_INLINE_INPUT && !self.quarantine.may_know(&asked) {
            let (wanted, rest) = wanted(
                &asked.input,
                &self.files.signature(&worker.loaded().signature),
            );
            if wanted.is_empty() {
                let input = Input::Inline(rest);
                dispatch(&worker, prediction, &input, Vec::new(), &BTreeMap::new());
                return;
            }
        }
        let (app, of) = (Arc::clone(self), Arc::clone(prediction));
        let task = tokio::spawn(async move {
            let work = Arc::clone(&app).prepare(worker, Arc::clone(&of));
            app.registry.fail_if_it_panics(&of, work).await;
        });
        prediction.preparing(task.abort_handle());
    }

    /// Ends a prediction early, wherever it is.
    pub(crate) fn cancel(self: &Arc<Self>, prediction: &Arc<Prediction>) {
        self.stop(prediction, StopReason::Canceled);
    }

    fn stop(self: &Arc<Self>, prediction: &Arc<Prediction>, reason: StopReason) {
        match prediction.request_stop(reason) {
            StopStep::End => {
                self.registry.finish(prediction, Ending::canceled());
            }
            StopStep::Interrupt => {
                if let Some(worker) = prediction.lane().and_then(|lane| self.pool.get(lane)) {
                    tokio::spawn(Arc::clone(self).interrupt(worker, Arc::clone(prediction)));
                }
            }
            StopStep::Nothing => {}
        }
    }

    /// Cancels everything that has not ended by then.
    pub(crate) async fn cancel_after(self: Arc<Self>, limit: Duration) {
        tokio::time::sleep(limit).await;
        let late = self.registry.all();
        let count = late.len();
        tracing::warn!("Canceling {count} predictions: the time for them to finish is over");
        for prediction in late {
            self.cancel(&prediction);
        }
        tokio::time::sleep(STOP_LIMIT).await;
        for (_, worker) in self.pool.all() {
            worker.kill("killed because it did not stop in time for the server's end");
        }
    }

    /// Makes the worker stop a prediction: by a frame if it reads them meanwhile, else by a signal to its
    /// main thread. Repeated until the model has left it: Python and the model can swallow what is raised
    /// then, and a signal that comes before the handler has begun is ignored.
    ///
    /// After the operator's grace the worker is replaced, as soon as that costs no other prediction.
    async fn interrupt(self: Arc<Self>, worker: Arc<Worker>, prediction: Arc<Prediction>) {
        let began = Instant::now();
        let by_frame = worker.loaded().cancel_frames;
        let (mut pause, longest) = if by_frame {
            (Duration::from_secs(1), Duration::from_secs(1))
        } else {
            (Duration::from_millis(10), Duration::from_millis(500))
        };
        while prediction.is_running() && worker.is_alive() {
            if by_frame {
                let id = WireId(prediction.key);
                worker.send(&ToWorker::Cancel { id });
            } else {
                worker.interrupt();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            let grace = self.settings.cancel_grace;
            if grace.is_some_and(|grace| began.elapsed() >= grace) && self.runs_alone(&prediction) {
                worker
                    .kill("killed because a canceled prediction did not stop (`COG_CANCEL_GRACE`)");
                return;
            }
        }
    }

    fn runs_alone(&self, prediction: &Prediction) -> bool {
        let alone = prediction
            .lane()
            .and_then(|lane| self.registry.only_running(lane));
        alone.is_some_and(|alone| alone.key == prediction.key)
    }

    /// From now on, the prediction has only so much time.
    fn limit(
        self: &Arc<Self>,
        prediction: &Arc<Prediction>,
        time: Option<Duration>,
        whose: TimeLimit,
    ) {
        let Some(time) = time else {
            return;
        };
        let task =
            tokio::spawn(Arc::clone(self).stop_later(Arc::downgrade(prediction), time, whose));
        prediction.abort_at_end(task.abort_handle());
    }

    /// A model that does not stop is not waited for when the operator's time is over: others need its place.
    /// A client's own limit ends nothing but its own prediction.
    async fn stop_later(
        self: Arc<Self>,
        prediction: Weak<Prediction>,
        time: Duration,
        whose: TimeLimit,
    ) {
        tokio::time::sleep(time).await;
        let Some(prediction) = prediction.upgrade() else {
            return;
        };
        let error = format!("Prediction timed out after {} s", time.as_secs_f64());
        self.stop(&prediction, StopReason::TimedOut(error));
        if whose == TimeLimit::OfClient {
            return;
        }
        tokio::time::sleep(STOP_LIMIT).await;
        if let Some(worker) = prediction.lane().and_then(|lane| self.pool.get(lane)) {
            worker.kill(
                "killed because a prediction did not stop when its time was over (`COG_PREDICT_TIMEOUT`)",
            );
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
        let asked = prediction.order.asked();
        if !self.quarantine.may_know(&asked) {
            return None;
        }
        let digest = run_blocking(move || InputDigest::of(&asked)).await;
        self.quarantine.refusal(digest)
    }

    /// Finds and fetches the files of an input, beside the event loop: the input may be large.
    async fn prepare(self: Arc<Self>, worker: Arc<Worker>, prediction: Arc<Prediction>) {
        if let Some(refusal) = self.refusal(&prediction).await {
            self.registry.finish(&prediction, Ending::failed(refusal));
            return;
        }
        let (app, model) = (Arc::clone(&self), Arc::clone(&worker));
        let asked = prediction.order.asked();
        let look = move || {
            let signature = app.files.signature(&model.loaded().signature);
            wanted(&asked.input, &signature)
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
        if worker.is_alive() {
            dispatch(&worker, &prediction, &input, files, &fetched.by_input);
        } else {
            // Lost before it was given this one: then another worker begins anew.
            prediction.vacate();
            self.start_in_turn(self.slots.retake_turn(), &prediction);
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

/// Gives the prediction to the worker, which is alive.
fn dispatch(
    worker: &Worker,
    prediction: &Prediction,
    input: &Input,
    files: Vec<TempFile>,
    by_input: &BTreeMap<String, LocalFile>,
) {
    if !prediction.begin_running(files) {
        return;
    }
    let asked = prediction.order.asked();
    // It was checked when it came; empty it is only after the end.
    let context = serde_json::from_slice(&asked.context).unwrap_or(RawValue::NULL);
    let message = |input_file| ToWorker::Predict {
        id: WireId(prediction.key),
        input_file,
        context,
        files: by_input,
    };
    match input {
        Input::Inline(text) => worker.send_with_input(&message(None), text),
        Input::Spilled(path) => worker.send(&message(Some(path))),
    }
}
