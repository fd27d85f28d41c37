//! What a push tells, on the terminal: a bar for each layer on its way, a line for each that has arrived.

use std::collections::HashMap;

use cog_image::Digest;
use cog_image::registry::{Arrival, PushEvent};

use super::waits::Waits;
use crate::printer::{Printer, UnderWay};
use crate::sizes::human_size;

/// What goes on.
const UPLOAD: &str = "pushing layers";

/// One push after the other.
pub(super) struct Pushes {
    printer: Printer,
    state: State,
}

#[derive(Default)]
struct State {
    /// From beginning to end; a transfer as soon as it is known what has to be sent.
    whole: Option<UnderWay>,
    blobs: usize,
    arrived: usize,
    /// Those that are sent.
    sent: HashMap<Digest, Sent>,
    /// Those that were there, and their bytes.
    present: Count,
    waits: Waits,
}

struct Sent {
    /// While it is on its way.
    shown: Option<UnderWay>,
    done: u64,
    size: u64,
}

#[derive(Default)]
struct Count {
    blobs: usize,
    bytes: u64,
}

impl Pushes {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            state: State::default(),
        }
    }

    pub(super) fn tell(&mut self, event: PushEvent) {
        match event {
            PushEvent::Started { blobs, .. } => {
                self.state = State {
                    whole: Some(self.printer.under_way(UPLOAD)),
                    blobs,
                    ..State::default()
                };
            }
            PushEvent::Sending { digest, size } => {
                let shown = Some(self.printer.part(&digest.short(), Some(size)));
                let done = 0;
                self.state.sent.insert(digest, Sent { shown, done, size });
                self.goes_on();
            }
            PushEvent::Advanced { digest, done } => {
                if let Some(sent) = self.state.sent.get_mut(&digest) {
                    if let Some(shown) = &sent.shown {
                        shown.advance(done);
                    }
                    sent.done = done;
                }
                self.goes_on();
            }
            PushEvent::Waiting(wait) => {
                let State { waits, whole, .. } = &mut self.state;
                waits.tell(&self.printer, &wait, whole.as_ref());
            }
            PushEvent::Arrived {
                digest,
                size,
                arrival,
            } => self.arrived(&digest, size, arrival),
            PushEvent::Ended => self.ended(),
            _ => {}
        }
    }

    fn arrived(&mut self, digest: &Digest, size: u64, arrival: Arrival) {
        self.state.arrived += 1;
        self.printer.account().blob(digest, size, arrival);
        if let Some(sent) = self.state.sent.get_mut(digest) {
            sent.done = size;
            sent.shown = None;
        }
        let (layer, size_text) = (digest.short(), human_size(size));
        match arrival {
            Arrival::Present => {
                self.state.present.blobs += 1;
                self.state.present.bytes += size;
                self.printer
                    .debug(&format!("{layer}: was there ({size_text})"));
            }
            Arrival::Mounted => self.printer.info(&format!(
                "{layer}: taken from another repository there ({size_text})"
            )),
            Arrival::Sent => self.printer.info(&format!("{layer}: pushed ({size_text})")),
        }
    }

    fn ended(&mut self) {
        let state = std::mem::take(&mut self.state);
        let all_there = state.arrived == state.blobs && state.present.blobs > 0;
        let present = state.present.to_string();
        drop(state);
        if all_there {
            self.printer.info(&present);
        }
    }

    /// Brings the sum of what is sent up to date.
    fn goes_on(&self) {
        if let Some(whole) = &self.state.whole {
            let sum = |of: fn(&Sent) -> u64| self.state.sent.values().map(of).sum();
            whole.advance_of(sum(|sent| sent.done), sum(|sent| sent.size));
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = human_size(self.bytes);
        match self.blobs {
            1 => write!(f, "1 layer was there already ({size})"),
            blobs => write!(f, "{blobs} layers were there already ({size})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_were_there_are_counted() {
        let count = |blobs, bytes| Count { blobs, bytes }.to_string();
        assert_eq!(count(1, 10), "1 layer was there already (10B)");
        assert_eq!(count(3, 1024), "3 layers were there already (1.0KB)");
    }
}
