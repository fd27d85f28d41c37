//! What builds and the store tell, on the terminal: a line for each step and transfer, that moves where lines can.

mod fetches;
mod pushes;
mod waits;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cog_build::{Event, Outcome, Reporter, Unit};
use cog_image::{Observer, Transfer};

use self::fetches::Fetches;
use self::pushes::Pushes;
use crate::printer::{Printer, Progress, UnderWay};

pub(crate) struct Steps<'a> {
    printer: &'a Printer,
    shown: Mutex<Shown>,
}

/// What of a build is on the screen.
#[derive(Default)]
struct Shown {
    /// The innermost last.
    steps: Vec<Step>,
    /// What is done while there is no step.
    between: Option<UnderWay>,
}

struct Step {
    title: String,
    shown: UnderWay,
    /// By their labels.
    transfers: Vec<(String, UnderWay)>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(printer: &'a Printer) -> Self {
        Self {
            printer,
            shown: Mutex::default(),
        }
    }

    fn started(&self, title: &str) {
        if self.printer.progress() != Progress::Bars {
            self.printer.info(&format!("{title}..."));
        }
        let step = Step {
            title: title.to_owned(),
            shown: self.printer.under_way(title),
            transfers: Vec::new(),
        };
        let mut shown = self.shown();
        shown.between = None;
        shown.steps.push(step);
    }

    fn finished(&self, title: &str, outcome: Outcome, elapsed: Duration) {
        let mut shown = self.shown();
        shown.between = None;
        if let Some(at) = shown.steps.iter().rposition(|step| step.title == title) {
            shown.steps.truncate(at);
        }
        drop(shown);
        self.printer.account().step(title, outcome, elapsed);
        match outcome {
            Outcome::Built => self
                .printer
                .success(&format!("{title} ({:.1} s)", elapsed.as_secs_f64())),
            Outcome::Cached => self.printer.debug(&format!("{title} (cached)")),
        }
    }

    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: Unit) {
        let mut shown = self.shown();
        let Some(step) = shown.steps.last_mut() else {
            return;
        };
        if unit == Unit::Items {
            let so_far = match total {
                Some(total) => format!("{label}: {done} of {total}"),
                None => format!("{label}: {done}"),
            };
            return step.shown.says(&so_far);
        }
        let known = step.transfers.iter().position(|(known, _)| known == label);
        let at = known.unwrap_or_else(|| {
            let transfer = self.printer.transfer(label, total);
            step.transfers.push((label.to_owned(), transfer));
            step.transfers.len() - 1
        });
        let transfer = &step.transfers[at].1;
        match total {
            Some(total) => transfer.advance_of(done, total),
            None => transfer.advance(done),
        }
        if total == Some(done) {
            step.transfers.remove(at);
        }
    }

    /// A line that a command printed: below its step while it runs, where that can be.
    fn output(&self, line: &str) {
        if self.printer.progress() == Progress::Bars {
            self.doing(line);
        } else {
            self.printer.foreign(line);
        }
    }

    /// What of the step goes on.
    fn doing(&self, what: &str) {
        if what.trim().is_empty() {
            return;
        }
        let mut shown = self.shown();
        match (shown.steps.last(), &shown.between) {
            (Some(step), _) => step.shown.says(what),
            (None, Some(between)) => between.rename(what),
            (None, None) => shown.between = Some(self.printer.under_way(what)),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows what the store asks registries for and fetches from them, and what it pushes.
pub(crate) fn transfers(printer: Printer) -> Observer {
    let fetches = Mutex::new(Fetches::new(printer.clone()));
    let pushes = Mutex::new(Pushes::new(printer));
    Arc::new(move |transfer| match transfer {
        Transfer::Push(event) => pushes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tell(event),
        transfer => fetches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tell(transfer),
    })
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
