//! What a push tells, on the terminal: a bar for each layer on its way, a line for each that has arrived.

use std::collections::HashMap;

use cog_image::Digest;
use cog_image::registry::{Arrival, PushEvent};
use indicatif::ProgressBar;

use super::waits::Waits;
use crate::printer::{Printer, Progress};
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
    /// Turns while it is found out what has to be sent, and to the end.
    spinner: Option<ProgressBar>,
    blobs: usize,
    arrived: usize,
    /// Those that are sent, with their sizes.
    sent: HashMap<Digest, Sent>,
    /// Those that were there, and their bytes.
    present: Count,
    waits: Waits,
}

struct Sent {
    bar: ProgressBar,
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
                    spinner: Some(self.printer.spinner(UPLOAD)),
                    blobs,
                    ..State::default()
                };
                self.printer.begins(UPLOAD);
            }
            PushEvent::Sending { digest, size } => {
                let bar = self.printer.byte_bar(&digest.short(), size);
                let done = 0;
                self.state.sent.insert(digest, Sent { bar, done, size });
                self.goes_on();
            }
            PushEvent::Advanced { digest, done } => {
                if let Some(sent) = self.state.sent.get_mut(&digest) {
                    sent.bar.set_position(done);
                    sent.done = done;
                }
                self.goes_on();
            }
            PushEvent::Waiting(wait) => self.state.waits.tell(&self.printer, &wait),
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
        if let Some(sent) = self.state.sent.get_mut(digest) {
            sent.done = size;
            sent.bar.finish_and_clear();
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
        let bars = state.sent.values().map(|sent| &sent.bar);
        for bar in bars.chain(&state.spinner) {
            bar.finish_and_clear();
        }
        self.printer.ends(UPLOAD);
        if state.arrived == state.blobs && state.present.blobs > 0 {
            self.printer.info(&state.present.to_string());
        }
    }

    fn goes_on(&self) {
        if self.printer.progress() == Progress::Lines {
            let sum = |of: fn(&Sent) -> u64| self.state.sent.values().map(of).sum();
            let (done, size) = (sum(|sent| sent.done), sum(|sent| sent.size));
            self.printer.goes_on(&format!(
                "{UPLOAD}: {} of {}",
                human_size(done),
                human_size(size)
            ));
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
