//! A prediction's end of the task that turns what the worker gives into what the client gets.

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::protocol::{Done, Payload};

/// The way to the delivery task.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    queue: mpsc::UnboundedSender<Parcel>,
    pub(super) task: AbortHandle,
}

/// What the worker has given.
#[derive(Debug)]
pub(crate) enum Parcel {
    Item(Payload),
    Done(Done),
}

impl Delivery {
    pub(crate) fn new(queue: mpsc::UnboundedSender<Parcel>, task: AbortHandle) -> Self {
        Self { queue, task }
    }

    pub(crate) fn send(&self, parcel: Parcel) {
        // The task ends early only when the prediction was canceled: then nobody wants it.
        let _ = self.queue.send(parcel);
    }
}
