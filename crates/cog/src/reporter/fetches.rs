//! What the store asks registries for and fetches from them, on the terminal: a line for each question and each layer.

use std::collections::HashMap;

use cog_image::registry::Progress;
use cog_image::{Digest, Transfer};

use super::waits::Waits;
use crate::printer::{Printer, UnderWay};
use crate::sizes::human_size;

/// What is fetched from a registry.
const DOWNLOAD: &str = "downloading layers";

/// One fetch after the other.
pub(super) struct Fetches {
    printer: Printer,
    /// What a registry is asked for.
    asking: Option<UnderWay>,
    /// The sum of a fetch.
    whole: Option<UnderWay>,
    /// Whether it has several layers, which have lines of their own.
    has_parts: bool,
    parts: HashMap<Digest, UnderWay>,
    waits: Waits,
}

impl Fetches {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            asking: None,
            whole: None,
            has_parts: false,
            parts: HashMap::new(),
            waits: Waits::default(),
        }
    }

    pub(super) fn tell(&mut self, transfer: Transfer) {
        match transfer {
            Transfer::Asking { registry, what } => {
                self.waits = Waits::default();
                let title = format!("asking {registry} for {what}");
                self.asking = Some(self.printer.under_way(&title));
            }
            Transfer::Asked => self.asking = None,
            Transfer::Waiting(wait) => {
                let shown = self.asking.as_ref().or(self.whole.as_ref());
                self.waits.tell(&self.printer, &wait, shown);
            }
            Transfer::Started { blobs, bytes } => self.started(blobs, bytes),
            Transfer::Blob(progress) => self.blob(progress),
            Transfer::Advanced { done, total } => {
                if let Some(whole) = &self.whole {
                    whole.advance_of(done, total);
                }
            }
            _ => {
                self.parts.clear();
                self.whole = None;
            }
        }
    }

    fn started(&mut self, blobs: usize, bytes: u64) {
        self.waits = Waits::default();
        self.printer.info(&format!(
            "downloading {blobs} layer{} ({})...",
            if blobs == 1 { "" } else { "s" },
            human_size(bytes)
        ));
        self.whole = Some(self.printer.transfer(DOWNLOAD, Some(bytes)));
        self.has_parts = blobs > 1;
    }

    fn blob(&mut self, progress: Progress) {
        match progress {
            Progress::Started { digest, size } if self.has_parts => {
                let part = self.printer.part(&digest.short(), Some(size));
                self.parts.insert(digest, part);
            }
            Progress::Advanced { digest, done } => {
                if let Some(part) = self.parts.get(&digest) {
                    part.advance(done);
                }
            }
            Progress::Finished { digest } => {
                self.parts.remove(&digest);
            }
            _ => {}
        }
    }
}
