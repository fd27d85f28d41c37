//! Shows what is told of a prediction, beside the conversation with its server: that goes on, and a signal is noticed,
//! however slowly somebody reads our output.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::value::RawValue;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::OUTPUT;
use super::conversation::Failure;
use crate::outputs::Growing;
use crate::printer::Printer;
use crate::standard_output::Unwritten;

/// How many bytes may wait to be shown. What comes then is left out if it is a log; an item comes with the result.
const MOST_WAITING: usize = 32 << 20;
/// About what anything takes in memory beside its text.
const OVERHEAD: usize = 128;

/// Takes what is to be shown.
pub(super) struct Screen {
    sender: UnboundedSender<Said>,
    thread: JoinHandle<Result<Option<Growing>, Unwritten>>,
    all_shown: oneshot::Receiver<()>,
    waiting: Arc<AtomicUsize>,
    /// Bytes of log since something of it was taken.
    left_out: Cell<usize>,
    shows_items: bool,
}

/// Something to show, and what it counts for.
struct Said {
    what: What,
    bytes: usize,
}

enum What {
    Notice(String),
    Warning(String),
    Log(String),
    Item(Box<RawValue>),
}

/// Whether something will be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    No,
}

impl Screen {
    /// With a list in it, its items are shown as they come.
    pub(super) fn start(printer: Printer, list: Option<Growing>) -> Self {
        let (sender, receiver) = unbounded_channel();
        let (shown, all_shown) = oneshot::channel();
        let waiting = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&waiting);
        Self {
            sender,
            all_shown,
            waiting,
            left_out: Cell::default(),
            shows_items: list.is_some(),
            thread: thread::spawn(move || {
                let list = show(&printer, receiver, &counted, list);
                let _ = shown.send(());
                list
            }),
        }
    }

    pub(super) fn shows_items(&self) -> bool {
        self.shows_items
    }

    pub(super) fn notice(&self, text: impl Into<String>) -> Result<(), Failure> {
        self.say(What::Notice(text.into()), 0)
    }

    pub(super) fn warning(&self, text: impl Into<String>) -> Result<(), Failure> {
        self.say(What::Warning(text.into()), 0)
    }

    /// Lines that the model has printed.
    pub(super) fn log(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if !self.has_room_for(text.len()) {
            self.left_out.set(self.left_out.get() + text.len());
            return Ok(());
        }
        self.mark_gap()?;
        let lines = text.strip_suffix('\n').unwrap_or(text);
        self.say(What::Log(lines.to_owned()), text.len())
    }

    /// The next item of the output.
    pub(super) fn item(&self, item: &RawValue) -> Result<Taken, Failure> {
        let bytes = item.get().len();
        if !self.has_room_for(bytes) {
            return Ok(Taken::No);
        }
        let item = What::Item(item.to_owned());
        self.say(item, bytes).map(|()| Taken::Yes)
    }

    /// Waits until all is shown, or that has failed, for one who has other things to wait for, too.
    pub(super) async fn finished(self) {
        drop(self.sender);
        let _ = self.all_shown.await;
    }

    /// Waits until all is shown; the list as far as it is.
    pub(super) fn finish(self) -> Result<Option<Growing>, Unwritten> {
        // If nobody shows it, that is told below.
        let _ = self.mark_gap();
        drop(self.sender);
        self.thread.join().unwrap_or_else(|_| {
            Err(unwritten(io::Error::other(
                "the thread that shows it ended",
            )))
        })
    }

    /// One that is larger than all the room is taken if nothing else waits.
    fn has_room_for(&self, bytes: usize) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        waiting == 0 || waiting.saturating_add(bytes + OVERHEAD) <= MOST_WAITING
    }

    fn mark_gap(&self) -> Result<(), Failure> {
        match self.left_out.take() {
            0 => Ok(()),
            bytes => {
                let mark = format!("[**** {bytes} BYTES OF LOG LEFT OUT ****]");
                self.say(What::Log(mark), 0)
            }
        }
    }

    fn say(&self, what: What, bytes: usize) -> Result<(), Failure> {
        let bytes = bytes + OVERHEAD;
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.sender
            .send(Said { what, bytes })
            .map_err(|_| Failure::Unseen)
    }
}

fn show(
    printer: &Printer,
    mut said: UnboundedReceiver<Said>,
    waiting: &AtomicUsize,
    mut list: Option<Growing>,
) -> Result<Option<Growing>, Unwritten> {
    while let Some(Said { what, bytes }) = said.blocking_recv() {
        match what {
            What::Notice(text) => printer.info(&text),
            What::Warning(text) => printer.warning(&text),
            What::Log(lines) => printer.foreign(&lines),
            What::Item(item) => {
                if let Some(list) = &mut list {
                    let text = serde_json::from_str(item.get()).and_then(|item| list.add(&item));
                    let text = text.map_err(|error| unwritten(error.into()))?;
                    printer.part_of_result(OUTPUT, text)?;
                }
            }
        }
        waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
    Ok(list)
}

fn unwritten(source: io::Error) -> Unwritten {
    Unwritten {
        what: OUTPUT,
        source,
    }
}
