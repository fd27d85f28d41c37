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

use crate::args::Mode;
use crate::files::{Loaded, Names, OutputError, Uploads, deliver, discard, load};
use crate::predictions::{Delivery, Ending, Output, Parcel, Prediction, Registry};
use crate::protocol::{Done, DoneStatus, Payload};
use crate::worker::Worker;

/// Outputs of one prediction that are uploaded at the same time.
const PARALLEL_UPLOADS: usize = 8;

/// Makes what clients get, and ends predictions with it.
#[derive(Debug)]
pub(crate) struct Deliveries {
    registry: Arc<Registry>,
    /// If file outputs are sent somewhere.
    uploads: Option<Uploads>,
    mode: Mode,
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

impl Deliveries {
    pub(crate) fn new(registry: Arc<Registry>, uploads: Option<Uploads>, mode: Mode) -> Self {
        Self {
            registry,
            uploads,
            mode,
        }
    }

    /// An item of a stream has arrived.
    pub(crate) fn item(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        prediction: &Arc<Prediction>,
        item: Payload,
    ) {
        match prediction.delivery() {
            Some(delivery) => delivery.send(Parcel::Item(item)),
            None if item.needs_work() => {
                self.start(worker, prediction).send(Parcel::Item(item));
            }
            None => prediction.push_output(&item.into_text().unwrap_or_default()),
        }
    }

    /// The worker is done with a prediction.
    pub(crate) fn end(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        prediction: &Arc<Prediction>,
        done: Done,
    ) {
        let needs_work = done.output.as_ref().is_some_and(Payload::needs_work);
        let delivery = prediction
            .delivery()
            .or_else(|| needs_work.then(|| self.start(worker, prediction)));
        if let Some(delivery) = delivery {
            if done.status == DoneStatus::Canceled {
                // Ends what is on its way, too.
                self.registry.finish(prediction, Ending::canceled());
                return;
            }
            prediction.begin_delivering();
            delivery.send(Parcel::Done(done));
            return;
        }
        let output = done.output.and_then(Payload::into_text);
        self.finish(worker, prediction, done.status, output, done.error);
    }

    /// The worker is gone. What it has given is delivered all the same, and then the prediction fails.
    pub(crate) fn lose(&self, prediction: &Prediction, reason: &str) {
        let Some(delivery) = prediction.delivery() else {
            self.registry.finish(prediction, Ending::failed(reason));
            return;
        };
        prediction.begin_delivering();
        delivery.send(Parcel::Done(Done {
            id: prediction.key,
            status: DoneStatus::Failed,
            output: None,
            error: Some(reason.to_owned()),
            scratch: false,
        }));
    }

    fn start(self: &Arc<Self>, worker: &Arc<Worker>, prediction: &Arc<Prediction>) -> Delivery {
        let (queue, arriving) = mpsc::unbounded_channel();
        // Made here: the task may be aborted before it has begun.
        let parcels = Parcels {
            queue: arriving,
            done: false,
        };
        let (deliveries, of) = (Arc::clone(self), Arc::clone(prediction));
        // It keeps its spill directory in place as long as the task has it.
        let worker = Arc::clone(worker);
        let task = tokio::spawn(async move {
            let work = deliveries.run(&worker, &of, parcels);
            deliveries.registry.fail_if_it_panics(&of, work).await;
        });
        let delivery = Delivery::new(queue, task.abort_handle());
        prediction.set_delivery(delivery.clone());
        delivery
    }

    async fn run(&self, worker: &Worker, prediction: &Prediction, mut parcels: Parcels) {
        let names = Names::default();
        let parallel = if self.uploads.is_some() {
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
                        return self.finish(worker, prediction, status, output, error);
                    }
                    Err(error) => break error,
                },
                parcel = parcels.next(), if has_room => match parcel {
                    Some(parcel) => {
                        // Not beside others: names are given in order.
                        let opened = open(parcel, &names).await;
                        on_the_way.push_back(self.deliver(prediction, opened));
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
        self.registry.finish(prediction, Ending::failed(error));
    }

    async fn deliver(
        &self,
        prediction: &Prediction,
        opened: Result<Opened, OutputError>,
    ) -> Result<Delivered, OutputError> {
        let deliver = |loaded| deliver(loaded, self.uploads.as_ref(), &prediction.order);
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
        &self,
        worker: &Worker,
        prediction: &Prediction,
        status: DoneStatus,
        output: Option<Bytes>,
        error: Option<String>,
    ) {
        let ending = match (status, output) {
            (DoneStatus::Succeeded, Some(text)) => {
                let text = match worker.model() {
                    Some(model) => model.as_declared(text, self.mode),
                    None => text,
                };
                Ending::succeeded(Output::Value(text))
            }
            // The items of a stream are there already.
            (DoneStatus::Succeeded, None) => Ending::streamed(),
            (DoneStatus::Failed, _) => {
                Ending::failed(error.unwrap_or_else(|| "Prediction failed".into()))
            }
            (DoneStatus::Canceled, _) => Ending::canceled(),
        };
        self.registry.finish(prediction, ending);
    }
}

/// A value of a prediction that has ended already.
pub(crate) fn discard_late(payload: Payload) {
    if payload.needs_work() {
        tokio::spawn(discard(payload));
    }
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
