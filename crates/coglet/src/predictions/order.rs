//! What a client asked for.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::memory::Asked;
use crate::model::Model;
use crate::secrets::{Given, Secrets};
use crate::sync::lock;
use crate::validate::Kind;

/// What a client asked for, valid and complete.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) id: String,
    /// How long the client waits for it.
    pub(crate) timeout: Option<Duration>,
    pub(crate) file_names: FileNames,
    pub(crate) watching: Watching,
    pub(crate) kind: Kind,
    /// By which the input was checked, and which says what is secret in it; none before the first was set up.
    pub(crate) model: Option<Arc<Model>>,
    /// Given back at the end, however long somebody may still hold on to the prediction.
    asked: Mutex<Arc<Asked>>,
    /// What must not be told of it; there while a worker has it.
    given: Mutex<Option<Given>>,
}

/// Whether data URLs of output files say how the model has named them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FileNames {
    #[default]
    LeftOut,
    /// As the parameter `name`, for clients that ask for it: others may not expect any.
    InUrls,
}

/// Whether its events can be watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Watching {
    /// If the model's author has allowed it.
    #[default]
    AsDeclared,
    /// Whatever the author says, for a client that asks for that.
    Always,
}

impl Order {
    pub(crate) fn new(id: String, asked: Asked, timeout: Option<Duration>) -> Self {
        Self {
            id,
            timeout,
            file_names: FileNames::default(),
            watching: Watching::default(),
            kind: Kind::Prediction,
            model: None,
            asked: Mutex::new(Arc::new(asked)),
            given: Mutex::default(),
        }
    }

    /// Input and context; empty once the prediction has ended.
    pub(crate) fn asked(&self) -> Arc<Asked> {
        Arc::clone(&lock(&self.asked))
    }

    /// From now on, these inputs are kept out of what is told of it and of all that the process says which has these
    /// secrets.
    pub(crate) fn hide(&self, names: &HashSet<String>, secrets: &Arc<Secrets>) {
        let given = secrets.give(&self.asked().input, names);
        *lock(&self.given) = Some(given);
    }

    /// `text`, which the model may have said, as it may be told.
    pub(crate) fn told<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &*lock(&self.given) {
            Some(given) => given.hidden_in(text),
            None => Cow::Borrowed(text),
        }
    }

    pub(super) fn release(&self) {
        *lock(&self.asked) = Asked::nothing();
        *lock(&self.given) = None;
    }
}
