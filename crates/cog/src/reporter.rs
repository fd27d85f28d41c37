//! What builds and the store tell, on the terminal: a bar or a line for each step and transfer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cog_build::{Event, Outcome, Reporter, Unit};
use cog_image::{Observer, Transfer};
use indicatif::ProgressBar;

use crate::printer::{Printer, Progress};
use crate::sizes::human_size;

/// Key of what shows the last line of a command; no step has an empty title.
const LAST_LINE: &str = "";

pub(crate) struct Steps<'a> {
    printer: &'a Printer,
    /// By title or label, while they are shown.
    bars: Mutex<HashMap<String, ProgressBar>>,
    /// Since when nothing was printed, and how long that may last.
    silence: Mutex<Silence>,
}

/// Where there are no bars, lines that only say that something goes on come when nothing else was said for a while.
struct Silence {
    since: Instant,
}

impl Silence {
    const LONGEST: Duration = Duration::from_secs(2);

    fn new() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    /// Whether it has lasted long enough.
    fn is_over(&mut self) -> bool {
        // The one who waits counts seconds less exactly than we do.
        const SLACK: Duration = Duration::from_millis(500);
        let over = self.since.elapsed() + SLACK >= Self::LONGEST;
        if over {
            self.since = Instant::now();
        }
        over
    }
}

impl<'a> Steps<'a> {
    pub(crate) fn new(printer: &'a Printer) -> Self {
        Self {
            printer,
            bars: Mutex::default(),
            silence: Mutex::new(Silence::new()),
        }
    }

    fn started(&self, title: &str) {
        if self.printer.progress() == Progress::Bars {
            let bar = self.printer.spinner(title);
            self.bars().insert(title.to_owned(), bar);
        } else {
            self.printer.info(&format!("{title}..."));
        }
    }

    fn finished(&self, title: &str, outcome: Outcome, elapsed: Duration) {
        // The bars of one step end with it.
        for (_, bar) in self.bars().drain() {
            bar.finish_and_clear();
        }
        match outcome {
            Outcome::Built => self
                .printer
                .success(&format!("{title} ({:.1} s)", elapsed.as_secs_f64())),
            Outcome::Cached => self.printer.debug(&format!("{title} (cached)")),
        }
    }

    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: Unit) {
        if self.printer.progress() != Progress::Bars {
            let what = match (unit, total) {
                (Unit::Bytes, Some(total)) => {
                    format!("{label}: {} of {}", human_size(done), human_size(total))
                }
                (Unit::Bytes, None) => format!("{label}: {}", human_size(done)),
                (Unit::Items, Some(total)) => format!("{label}: {done} of {total}"),
                (Unit::Items, None) => format!("{label}: {done}"),
            };
            return self.waiting(&what);
        }
        if unit == Unit::Items {
            return;
        }
        let mut bars = self.bars();
        let bar = bars
            .entry(label.to_owned())
            .or_insert_with(|| self.printer.byte_bar(label, total.unwrap_or_default()));
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// A line that a command printed: below its step while it runs, where there are bars.
    fn output(&self, line: &str) {
        if self.printer.progress() != Progress::Bars {
            return self.printer.foreign(line);
        }
        if !line.trim().is_empty() {
            self.bars()
                .entry(LAST_LINE.to_owned())
                .or_insert_with(|| self.printer.detail())
                .set_message(line.to_owned());
        }
    }

    /// What goes on while nothing else is said.
    fn waiting(&self, line: &str) {
        let mut silence = self
            .silence
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.printer.progress() == Progress::Bars || silence.is_over() {
            self.output(line);
        }
    }

    fn spoken(&self) {
        *self
            .silence
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Silence::new();
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.bars
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Shows what the store fetches from registries.
pub(crate) fn transfers(printer: Printer) -> Observer {
    let bar: Mutex<Option<ProgressBar>> = Mutex::default();
    Arc::new(move |transfer| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        match transfer {
            Transfer::Started { blobs, bytes } => {
                printer.info(&format!(
                    "downloading {blobs} layer{} ({})...",
                    if blobs == 1 { "" } else { "s" },
                    human_size(bytes)
                ));
                *bar = Some(printer.byte_bar("downloading layers", bytes));
            }
            Transfer::Advanced { done, .. } => {
                if let Some(bar) = &*bar {
                    bar.set_position(done);
                }
            }
            _ => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    })
}

impl Reporter for Steps<'_> {
    fn report(&self, event: Event<'_>) {
        if !matches!(event, Event::Waiting { .. } | Event::Progress { .. }) {
            self.spoken();
        }
        match event {
            Event::StepStarted { title } => self.started(title),
            Event::StepFinished {
                title,
                outcome,
                elapsed,
            } => self.finished(title, outcome, elapsed),
            Event::Progress {
                label,
                done,
                total,
                unit,
            } => self.progress(label, done, total, unit),
            Event::Output { line } => self.output(line),
            Event::Waiting { line } => self.waiting(line),
            Event::Warning { message } => self.printer.warning(message),
            Event::Notice { message } => self.printer.info(message),
            Event::Detail { message } => self.printer.debug(message),
            _ => {}
        }
    }
}
