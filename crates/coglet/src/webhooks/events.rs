//! What a client can be told, and what it wants to be told.

use serde::Deserialize;

/// What a client can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EventKind {
    Start,
    Output,
    Logs,
    Completed,
}

/// A set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventKinds(u8);

/// Something happened to a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// How many items the output had then.
    pub(crate) items: usize,
}

impl EventKinds {
    pub(crate) fn none() -> Self {
        Self(0)
    }

    pub(crate) fn all() -> Self {
        let mut all = Self::none();
        for kind in [
            EventKind::Start,
            EventKind::Output,
            EventKind::Logs,
            EventKind::Completed,
        ] {
            all.add(kind);
        }
        all
    }

    pub(crate) fn add(&mut self, kind: EventKind) {
        self.0 |= 1 << kind as u8;
    }

    pub(crate) fn contains(self, kind: EventKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}
