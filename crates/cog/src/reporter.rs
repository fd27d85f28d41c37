//! What builds and the store tell, on the terminal: a bar or a line for each step and transfer.

mod pushes;
mod waits;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cog_build::{Event, Outcome, Reporter, Unit};
use cog_image::{Observer, Transfer};
use indicatif::ProgressBar;

use self::pushes::Pushes;
use self::waits::Waits;
use crate::printer::{Printer, Progress};
use crate::sizes::human_size;

/// Key of what shows the last line of a command; no step has an empty title.
const LAST_LINE: &str = "";

/// What is fetched from a registry.
const DOWNLOAD: &str = "downloading layers";

pub(crate) struct Steps<'a> {
    printer: &'a Printer,
    /// By title or label, while they are shown.
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(printer: &'a Printer) -> Self {
        Self {
            printer,
            bars: Mutex::default(),
        }
    }

    fn started(&self, title: &str) {
        if self.printer.progress() == Progress::Bars {
            let bar = self.printer.spinner(title);
            self.bars().insert(title.to_owned(), bar);
        } else {
            self.printer.info(&format!("{title}..."));
            self.printer.begins(title);
        }
    }

    fn finished(&self, title: &str, outcome: Outcome, elapsed: Duration) {
        // The bars of one step end with it.
        for (_, bar) in self.bars().drain() {
            bar.finish_and_clear();
        }
        self.printer.ends(title);
        match outcome {
            Outcome::Built => self
                .printer
                .success(&format!("{title} ({:.1} s)", elapsed.as_secs_f64())),
            Outcome::Cached => self.printer.debug(&format!("{title} (cached)")),
        }
    }

    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: Unit) {
        if self.printer.progress() != Progress::Bars {
            return self.printer.goes_on(&so_far(label, done, total, unit));
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
        if self.printer.progress() == Progress::Bars {
            self.detail(line);
        } else {
            self.printer.foreign(line);
        }
    }

    /// What of the step goes on.
    fn doing(&self, what: &str) {
        if self.printer.progress() == Progress::Bars {
            self.detail(what);
        } else {
            self.printer.goes_on(what);
        }
    }

    fn detail(&self, line: &str) {
        if !line.trim().is_empty() {
            self.bars()
                .entry(LAST_LINE.to_owned())
                .or_insert_with(|| self.printer.detail())
                .set_message(line.to_owned());
        }
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.bars
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        self.printer.rests();
    }
}

/// How far something is, in words.
fn so_far(label: &str, done: u64, total: Option<u64>, unit: Unit) -> String {
    let count = |number: u64| match unit {
        Unit::Bytes => human_size(number),
        Unit::Items => number.to_string(),
    };
    match total {
        Some(total) => format!("{label}: {} of {}", count(done), count(total)),
        None => format!("{label}: {}", count(done)),
    }
}

/// Shows what the store asks registries for and fetches from them, and what it pushes.
pub(crate) fn transfers(printer: Printer) -> Observer {
    let shown: Mutex<Shown> = Mutex::default();
    let pushes = Mutex::new(Pushes::new(printer.clone()));
    Arc::new(move |transfer| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Shown { bar, asking, waits } = &mut *shown;
        match transfer {
            Transfer::Asking { registry, what } => {
                let title = format!("asking {registry} for {what}");
                *waits = Waits::default();
                *asking = Some((title.clone(), printer.spinner(&title)));
                printer.begins(&title);
            }
            Transfer::Asked => {
                if let Some((title, spinner)) = asking.take() {
                    spinner.finish_and_clear();
                    printer.ends(&title);
                }
            }
            Transfer::Waiting(wait) => waits.tell(&printer, &wait),
            Transfer::Started { blobs, bytes } => {
                *waits = Waits::default();
                printer.info(&format!(
                    "downloading {blobs} layer{} ({})...",
                    if blobs == 1 { "" } else { "s" },
                    human_size(bytes)
                ));
                *bar = Some(printer.byte_bar(DOWNLOAD, bytes));
                printer.begins(DOWNLOAD);
            }
            Transfer::Advanced { done, total } => {
                if let Some(bar) = bar {
                    bar.set_position(done);
                }
                if printer.progress() == Progress::Lines {
                    printer.goes_on(&so_far(DOWNLOAD, done, Some(total), Unit::Bytes));
                }
            }
            Transfer::Push(event) => pushes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .tell(event),
            _ => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
                printer.ends(DOWNLOAD);
            }
        }
    })
}

/// What is on the screen of transfers into the store.
#[derive(Default)]
struct Shown {
    bar: Option<ProgressBar>,
    /// What a registry is asked for.
    asking: Option<(String, ProgressBar)>,
    waits: Waits,
}

impl Reporter for Steps<'_> {
    fn report(&self, event: Event<'_>) {
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
            Event::Doing { what } => self.doing(what),
            Event::Warning { message } => self.printer.warning(message),
            Event::Notice { message } => self.printer.info(message),
            Event::Detail { message } => self.printer.debug(message),
            _ => {}
        }
    }
}
