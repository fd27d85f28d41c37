//! The server as its workers see it.

use std::sync::Arc;

use serde_json::Value;

use super::Worker;
use crate::health::Phase;
use crate::protocol::{Done, Key, MetricMode, Payload, Source};
use crate::slots::Lane;
use crate::temp::TempFile;

/// Is told what happens to the worker of each lane, and what it says.
pub(crate) trait Owner: Send + Sync + 'static {
    /// A process is started, which will read the model's code.
    fn starting(&self, lane: Lane);

    /// A line for the record of the setup that is under way.
    fn setup_log(&self, lane: Lane, source: &str, text: &str);

    /// Its setup has succeeded: predictions may come.
    fn ready(&self, lane: Lane, worker: &Arc<Worker>);

    /// User code has printed whole lines; secrets are hidden in them. Returns whether they belong to a prediction; it is
    /// asked for one that runs.
    fn printed(&self, prediction: Key, source: Source, text: &str) -> bool;

    /// The prediction whose user code runs there, if there is exactly one.
    fn running_alone(&self, lane: Lane) -> Option<Key>;

    fn metric(&self, prediction: Key, name: &str, value: Value, mode: MetricMode);

    /// An item of a stream.
    fn item(&self, worker: &Arc<Worker>, prediction: Key, item: Payload);

    /// The end of a prediction, with what it has left in its scratch directory. Returns whether it was still known.
    fn done(&self, worker: &Arc<Worker>, done: Done, scratch: Option<TempFile>) -> bool;

    /// The model was given so many items at once.
    fn batch(&self, size: u64);

    /// It takes no more predictions: its process has ended.
    fn gone(&self, lane: Lane);

    /// It had been set up, and what it was running is lost with it. `inputs_are_suspect` where it died by itself.
    fn lost(&self, lane: Lane, reason: &str, inputs_are_suspect: bool);

    /// Whether predictions are taken in other lanes.
    fn others_serve(&self, lane: Lane) -> bool;

    /// Another one will be started, because of this.
    fn restarting(&self, lane: Lane, reason: &str);

    /// None will be started any more.
    fn given_up(&self, lane: Lane, cause: &GivenUp);
}

/// Why no worker is started any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GivenUp {
    SetupFailed {
        reason: String,
        phase: Phase,
    },
    LostTooOften,
    /// It was asked for.
    Withheld,
}
