//! The way of a prediction through the server: taken in, given its turn, prepared, sent to its worker, stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::App;
use crate::files::{run_blocking, wanted};
use crate::model::secret_inputs;
use crate::predictions::{Ending, Order, Prediction, StopReason, StopStep, Watching};
use crate::protocol::{LocalFile, ToWorker, WireId};
use crate::quarantine::InputDigest;
use crate::slots::{SlotPermit, Turn};
use crate::temp::TempFile;
use crate::validate::Violation;
use crate::webhooks::WebhookOrder;
use crate::worker::Worker;

/// How long a prediction may take to stop when its time is over, or the server's.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Larger inputs travel to the worker as files.
const MAX_INLINE_INPUT: usize = 1 << 20;

/// Who limits the time of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeLimit {
    OfClient,
    OfOperator,
}

impl App {
    /// Takes a prediction in. Its id is known from now on, but nothing happens before `start`: whoever
    /// wants to see everything of it can begin to watch.
    pub(crate) fn admit(
        self: &Arc<Self>,
        order: Order,
        webhook: Option<WebhookOrder>,
    ) -> Arc<Prediction> {
        let timeout = order.timeout;
        let is_watched = order.watching == Watching::Always || self.can_be_watched();
        let key = self.registry.next_key();
        let prediction = Arc::new(Prediction::new(key, order, self.settings.log_size));
        if is_watched {
            prediction.keep_events(self.settings.replayed_events);
        }
        self.registry.insert(Arc::clone(&prediction));
        if let Some(webhook) = webhook {
            let subject = Arc::downgrade(&prediction);
            prediction.set_webhook(self.webhooks.open(subject, webhook));
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
                let failure = self.failure().filter(|_| self.reloads());
                let ending = Ending::failed(failure.unwrap_or_else(|| "Worker crashed".into()));
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
        if asked.input.len() <= MAX_INLINE_INPUT
            && !self.quarantine.may_know(&asked)
            && was_checked_for(&worker, prediction)
        {
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

    pub(super) fn stop(self: &Arc<Self>, prediction: &Arc<Prediction>, reason: StopReason) {
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

    /// Why the prediction may not run, if its input has crashed the model before.
    async fn refusal(&self, prediction: &Arc<Prediction>) -> Option<String> {
        let asked = prediction.order.asked();
        if !self.quarantine.may_know(&asked) {
            return None;
        }
        let digest = run_blocking(move || InputDigest::of(&asked)).await;
        self.quarantine.refusal(digest)
    }

    /// The input as the worker's model takes it. It was checked when it came; the model may be another one since.
    async fn checked_again(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        prediction: &Prediction,
    ) -> Result<Bytes, Vec<Violation>> {
        let asked = prediction.order.asked();
        if was_checked_for(worker, prediction) {
            return Ok(asked.input.clone());
        }
        let (app, worker) = (Arc::clone(self), Arc::clone(worker));
        let kind = prediction.order.kind;
        run_blocking(move || {
            let model = worker.model().map(Arc::as_ref);
            let accepted = app.accept(model, kind, &asked.input)?;
            Ok(accepted.input)
        })
        .await
    }

    /// Finds and fetches the files of an input, beside the event loop: the input may be large.
    async fn prepare(self: Arc<Self>, worker: Arc<Worker>, prediction: Arc<Prediction>) {
        if let Some(refusal) = self.refusal(&prediction).await {
            self.registry.finish(&prediction, Ending::failed(refusal));
            return;
        }
        let input = match self.checked_again(&worker, &prediction).await {
            Ok(input) => input,
            Err(violations) => {
                let found: Vec<_> = violations.iter().map(Violation::describe).collect();
                let error = format!(
                    "Input validation error: the model was replaced while this waited, and takes it no more: {}",
                    found.join("; ")
                );
                self.registry.finish(&prediction, Ending::failed(error));
                return;
            }
        };
        let (app, model) = (Arc::clone(&self), Arc::clone(&worker));
        let look = move || {
            let signature = app.files.signature(&model.loaded().signature);
            wanted(&input, &signature)
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

/// Whether the worker serves the model that the input was checked by, or one that takes the same.
fn was_checked_for(worker: &Worker, prediction: &Prediction) -> bool {
    match (worker.model(), &prediction.order.model) {
        (Some(serves), Some(checked)) => {
            Arc::ptr_eq(serves, checked) || serves.takes_the_same_as(checked)
        }
        (None, _) => true,
        (Some(_), None) => false,
    }
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
    // While its input is there: it may end at any time.
    let models = [prediction.order.model.as_ref(), worker.model()];
    prediction
        .order
        .hide(&secret_inputs(models), worker.secrets());
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
