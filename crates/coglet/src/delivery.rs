//! From what the worker gives to what the client gets: spilled values are read back, files become
//! data URLs or are uploaded.
//!
//! A plain value is finished on the spot. The first one that needs work starts a task for its
//! prediction, and all later output follows that way, so that the order of a stream is kept.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::app::App;
use crate::files::{Loaded, Names, OutputError, deliver, discard, load};
use crate::predictions::{Ending, Output, Prediction};
use crate::worker::Worker;
use crate::worker::protocol::{Done, DoneStatus, Payload};

/// Outputs of one prediction that are uploaded at the same time.
const PARALLEL_UPLOADS: usize = 8;

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

/// What has arrived. What is left in it when it is dropped is not wanted any more, and leaves no files.
struct Parcels {
    queue: mpsc::UnboundedReceiver<Parcel>,
    /// The last one has been taken out.
    done: bool,
}

/// A parcel whose files are known, in the order in which they came.
enum Opened {
    Item(Loaded),
    Done {
        status: DoneStatus,
        output: Option<Loaded>,
        error: Option<String>,
    },
}

/// A parcel that is as the client gets it.
enum Delivered {
    Item(Bytes),
    Done {
        status: DoneStatus,
        output: Option<Bytes>,
        error: Option<String>,
    },
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

/// A value of a prediction that has ended already.
pub(crate) fn discard_late(payload: Payload) {
    if payload.needs_work() {
        tokio::spawn(discard(payload));
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
        if done.status == DoneStatus::Canceled {
            // Ends what is on its way, too.
            app.registry.finish(prediction, Ending::canceled());
            return;
        }
        prediction.begin_delivering();
        delivery.send(Parcel::Done(done));
        return;
    }
    let output = done.output.and_then(Payload::into_text);
    finish(app, prediction, done.status, output, done.error);
}

fn start(app: &Arc<App>, worker: &Arc<Worker>, prediction: &Arc<Prediction>) -> Delivery {
    let (queue, arriving) = mpsc::unbounded_channel();
    // Made here: the task may be aborted before it has begun.
    let parcels = Parcels {
        queue: arriving,
        done: false,
    };
    let (app, of) = (Arc::clone(app), Arc::clone(prediction));
    let worker = Arc::clone(worker);
    let task = tokio::spawn(async move {
        let work = run(&app, &of, parcels);
        app.registry.fail_if_it_panics(&of, work).await;
        // It keeps its spill directory in place until here.
        drop(worker);
    });
    let delivery = Delivery {
        queue,
        task: task.abort_handle(),
    };
    prediction.set_delivery(delivery.clone());
    delivery
}

async fn run(app: &App, prediction: &Prediction, mut parcels: Parcels) {
    let names = Names::default();
    let parallel = if app.uploads.is_some() {
        PARALLEL_UPLOADS
    } else {
        1
    };
    let mut on_the_way = FuturesOrdered::new();
    let failure = loop {
        let has_room = !parcels.done && on_the_way.len() < parallel;
        tokio::select! {
            Some(delivered) = on_the_way.next() => match delivered {
                Ok(Delivered::Item(text)) => prediction.push_output(&text),
                Ok(Delivered::Done { status, output, error }) => {
                    return finish(app, prediction, status, output, error);
                }
                Err(error) => break error,
            },
            parcel = parcels.next(), if has_room => match parcel {
                Some(parcel) => {
                    // Not beside others: names are given in order.
                    let opened = open(parcel, &names).await;
                    on_the_way.push_back(deliver_opened(app, prediction, opened));
                }
                // The worker was lost, and the prediction has ended with it.
                None => return,
            },
        }
    };
    drop(on_the_way);
    // What the model still does is in vain, but it keeps its slot until it is done.
    while !parcels.done {
        match parcels.next().await {
            Some(parcel) => parcel.discard().await,
            None => return,
        }
    }
    let error = format!("Prediction failed: {failure}");
    app.registry.finish(prediction, Ending::failed(error));
}

async fn open(parcel: Parcel, names: &Names) -> Result<Opened, OutputError> {
    Ok(match parcel {
        Parcel::Item(item) => Opened::Item(load(item, names).await?),
        Parcel::Done(done) => Opened::Done {
            status: done.status,
            output: match done.output {
                Some(output) => Some(load(output, names).await?),
                None => None,
            },
            error: done.error,
        },
    })
}

async fn deliver_opened(
    app: &App,
    prediction: &Prediction,
    opened: Result<Opened, OutputError>,
) -> Result<Delivered, OutputError> {
    let deliver = |loaded| deliver(loaded, app.uploads.as_ref(), &prediction.order);
    Ok(match opened? {
        Opened::Item(item) => Delivered::Item(deliver(item).await?),
        Opened::Done {
            status,
            output,
            error,
        } => Delivered::Done {
            status,
            output: match output {
                Some(output) => Some(deliver(output).await?),
                None => None,
            },
            error,
        },
    })
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

impl Parcels {
    async fn next(&mut self) -> Option<Parcel> {
        let parcel = self.queue.recv().await;
        self.done |= matches!(parcel, Some(Parcel::Done(_)));
        parcel
    }
}

impl Drop for Parcels {
    fn drop(&mut self) {
        while let Ok(parcel) = self.queue.try_recv() {
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(parcel.discard());
            }
        }
    }
}

impl Parcel {
    async fn discard(self) {
        match self {
            Self::Item(payload) => discard(payload).await,
            Self::Done(done) => {
                if let Some(payload) = done.output {
                    discard(payload).await;
                }
            }
        }
    }
}

impl Delivery {
    fn send(&self, parcel: Parcel) {
        // The task ends early only when the prediction was canceled: then nobody wants it.
        let _ = self.queue.send(parcel);
    }
}
