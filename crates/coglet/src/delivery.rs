//! From what the worker gives to what the client gets: spilled values are read back, files become
//! data URLs.
//!
//! A plain value is finished on the spot. The first one that needs work starts a task for its
//! prediction, and all later output follows that way, so that the order of a stream is kept.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::app::App;
use crate::files::{OutputError, resolve};
use crate::predictions::{Ending, Output, Prediction};
use crate::worker::Worker;
use crate::worker::protocol::{Done, DoneStatus, Payload};

/// The way to a prediction's delivery task.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    queue: mpsc::UnboundedSender<Parcel>,
    pub(crate) task: AbortHandle,
}

#[derive(Debug)]
enum Parcel {
    Item(Payload),
    Done(Done),
}

/// An item of a stream has arrived.
pub(crate) fn deliver_item(
    app: &Arc<App>,
    worker: &Arc<Worker>,
    prediction: &Arc<Prediction>,
    item: Payload,
) {
    match prediction.delivery() {
        Some(delivery) => delivery.send(Parcel::Item(item)),
        None if item.needs_work() => start(app, worker, prediction).send(Parcel::Item(item)),
        None => prediction.push_output(&item.into_text().unwrap_or_default()),
    }
}

/// The worker is done with a prediction.
pub(crate) fn deliver_end(
    app: &Arc<App>,
    worker: &Arc<Worker>,
    prediction: &Arc<Prediction>,
    done: Done,
) {
    let needs_work = done.output.as_ref().is_some_and(Payload::needs_work);
    let delivery = prediction
        .delivery()
        .or_else(|| needs_work.then(|| start(app, worker, prediction)));
    if let Some(delivery) = delivery {
        prediction.begin_delivering();
        delivery.send(Parcel::Done(done));
        return;
    }
    let output = done.output.and_then(Payload::into_text);
    finish(app, prediction, done.status, output, done.error);
}

fn start(app: &Arc<App>, worker: &Arc<Worker>, prediction: &Arc<Prediction>) -> Delivery {
    let (queue, parcels) = mpsc::unbounded_channel();
    // The worker's handle keeps its spill directory in place.
    let task = tokio::spawn(run(
        Arc::clone(app),
        Arc::clone(worker),
        Arc::clone(prediction),
        parcels,
    ));
    let delivery = Delivery {
        queue,
        task: task.abort_handle(),
    };
    prediction.set_delivery(delivery.clone());
    delivery
}

async fn run(
    app: Arc<App>,
    _worker: Arc<Worker>,
    prediction: Arc<Prediction>,
    mut parcels: mpsc::UnboundedReceiver<Parcel>,
) {
    let mut failure: Option<OutputError> = None;
    while let Some(parcel) = parcels.recv().await {
        match parcel {
            Parcel::Item(item) => match resolve(item).await {
                Ok(text) => prediction.push_output(&text),
                Err(error) => failure = failure.or(Some(error)),
            },
            Parcel::Done(done) => {
                let output = match done.output {
                    Some(output) => resolve(output).await.map(Some),
                    None => Ok(None),
                };
                match (failure.take(), output) {
                    (None, Ok(output)) => {
                        finish(&app, &prediction, done.status, output, done.error);
                    }
                    (Some(error), _) | (None, Err(error)) => {
                        app.registry.finish(
                            &prediction,
                            Ending::failed(format!("Prediction failed: {error}")),
                        );
                    }
                }
                return;
            }
        }
    }
}

fn finish(
    app: &App,
    prediction: &Prediction,
    status: DoneStatus,
    output: Option<Bytes>,
    error: Option<String>,
) {
    let ending = match (status, output) {
        (DoneStatus::Succeeded, Some(text)) => {
            Ending::succeeded(Output::Value(app.as_declared(text)))
        }
        // The items of a stream are there already.
        (DoneStatus::Succeeded, None) => Ending::streamed(),
        (DoneStatus::Failed, _) => {
            Ending::failed(error.unwrap_or_else(|| "Prediction failed".into()))
        }
        (DoneStatus::Canceled, _) => Ending::canceled(),
    };
    app.registry.finish(prediction, ending);
}

impl Delivery {
    fn send(&self, parcel: Parcel) {
        // The task ends early only when the prediction was canceled: then nobody wants it.
        let _ = self.queue.send(parcel);
    }
}
