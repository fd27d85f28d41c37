//! Everything the tool says: results on stdout, all else on stderr.
//!
//! The only module that writes to the terminal. It knows colour, verbosity and progress bars; it does not know what is
//! being reported. A closed pipe on stdout is not an error.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use owo_colors::OwoColorize;
use rustix::termios::tcgetwinsize;

use crate::account::Account;
use crate::emulator;
use crate::live::{Kind, Region, Size, WorkId, Works};
use crate::pictures::Room;
use crate::standard_output::{self, Unwritten};

/// How often what moves is drawn. The size of the terminal is asked for each time.
const BEAT: Duration = Duration::from_millis(100);
/// The size of a terminal that does not tell.
const USUAL_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// Whether stderr gets ANSI colour and the marks in front of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    On,
    Off,
}

impl Colour {
    /// Off by flag, `NO_COLOR`, `COG_NO_COLOR`, `TERM=dumb`, or when stderr is not a terminal.
    pub(crate) fn choose(no_color_flag: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if no_color_flag || set("NO_COLOR") || set("COG_NO_COLOR") || !can_move() {
            Self::Off
        } else {
            Self::On
        }
    }
}

/// Whether standard error is a terminal that can write a line anew.
fn can_move() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !dumb && io::stderr().is_terminal()
}

/// How much is said, and whether it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Lines that are redrawn.
    Bars,
    /// One line a step.
    Lines,
    /// Warnings and errors only.
    Quiet,
}

/// Clones write to the same terminal and know the same progress.
#[derive(Clone)]
pub(crate) struct Printer {
    colour: Colour,
    debug: bool,
    progress: Arc<Mutex<Progress>>,
    works: Arc<Works>,
    /// Whoever writes to standard error holds it.
    region: Arc<Mutex<Region>>,
    /// Somebody shows what goes on.
    watched: Arc<Once>,
    /// Whether stdout and stderr are, see [`are_read_together`].
    read_together: OnceLock<bool>,
    /// Standard output has not ended its last line, and standard error goes to the same terminal.
    unfinished: Arc<AtomicBool>,
    account: Account,
}

impl Printer {
    pub(crate) fn new(colour: Colour, debug: bool) -> Self {
        let progress = if can_move() {
            Progress::Bars
        } else {
            Progress::Lines
        };
        let region = Region::new(emulator::of_environment().narrowing());
        Self {
            colour,
            debug,
            progress: Arc::new(Mutex::new(progress)),
            works: Arc::new(Works::new()),
            region: Arc::new(Mutex::new(region)),
            watched: Arc::new(Once::new()),
            read_together: OnceLock::new(),
            unfinished: Arc::default(),
            account: Account::default(),
        }
    }

    /// What cannot move on this terminal, or is no terminal, gets lines.
    pub(crate) fn set_progress(&self, progress: Progress) {
        let progress = match progress {
            Progress::Bars if !can_move() => Progress::Lines,
            progress => progress,
        };
        *self.progress.lock().expect("no holder panics") = progress;
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.lock().expect("no holder panics")
    }

    /// What is kept of all that is told.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn info(&self, message: &str) {
        if self.progress() != Progress::Quiet {
            self.line(" ⚙  ", message);
        }
    }

    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.line(" ⚙  ", message);
        }
    }

    pub(crate) fn success(&self, message: &str) {
        if self.progress() != Progress::Quiet {
            self.line(" ✔ ", message);
        }
    }

    pub(crate) fn warning(&self, message: &str) {
        self.account.warning(message);
        self.line(" ⚠ ", message);
    }

    /// One of several things that are wrong; what ends a command is rendered by `cog_errors`.
    pub(crate) fn error(&self, message: &str) {
        match self.colour {
            Colour::On => self.raw_line(&format!("{}{message}", " ✗ ".red().bold())),
            Colour::Off => self.raw_line(message),
        }
    }

    /// A line that belongs to what was said before it.
    pub(crate) fn detail_of(&self, line: &str) {
        self.raw_line(line);
    }

    /// An error as `cog_errors` rendered it, prefix included.
    pub(crate) fn rendered_error(&self, rendered: &str) {
        self.raw_line(rendered.trim_end());
    }

    /// A line of somebody else's output (a build command, a container), passed on as it is.
    pub(crate) fn foreign(&self, line: &str) {
        if self.progress() != Progress::Quiet {
            self.raw_line(line);
        }
    }

    /// A question, which an answer follows on the same line.
    pub(crate) fn prompt(&self, question: &str) {
        self.write(question);
        self.works.spoken();
    }

    /// A picture as the terminal takes it, on lines of its own.
    pub(crate) fn picture(&self, sequence: &str) {
        self.raw_line(sequence);
    }

    /// The terminal that pictures are shown in, if there is one.
    pub(crate) fn room(&self) -> Option<Room> {
        if !can_move() || self.progress() == Progress::Quiet {
            return None;
        }
        let size = tcgetwinsize(io::stderr()).ok()?;
        Some(Room {
            cells: terminal_size(),
            dots: (size.ws_xpixel.into(), size.ws_ypixel.into()),
        })
    }

    /// Work of unknown length, until the value is dropped: a line with the time that moves, or one now and then.
    pub(crate) fn under_way(&self, title: &str) -> UnderWay {
        self.begin(title, Kind::Work)
    }

    /// Bytes on their way, of which the sum may be known.
    pub(crate) fn transfer(&self, label: &str, total: Option<u64>) -> UnderWay {
        self.begin(label, Kind::Transfer(total))
    }

    /// One of several transfers at once, of which another one tells the sum.
    pub(crate) fn part(&self, label: &str, total: Option<u64>) -> UnderWay {
        self.begin(label, Kind::Part(total))
    }

    fn begin(&self, title: &str, kind: Kind) -> UnderWay {
        let work = self.works.begin(title, kind);
        self.watched.call_once(|| {
            let printer = self.clone();
            // It ends with the process.
            std::thread::spawn(move || printer.watch());
        });
        UnderWay {
            printer: self.clone(),
            work,
        }
    }

    /// Shows what goes on, while something does.
    fn watch(&self) -> ! {
        loop {
            self.works.wait();
            std::thread::sleep(BEAT);
            match self.progress() {
                Progress::Bars => self.redraw(),
                Progress::Lines => {
                    if let Some(sentence) = self.works.overdue() {
                        self.whole_line(&sentence);
                    }
                }
                Progress::Quiet => {}
            }
        }
    }

    fn redraw(&self) {
        let mut region = self.region();
        if self.progress() != Progress::Bars || self.unfinished.load(Ordering::Relaxed) {
            return;
        }
        let text = self.moving(&mut region);
        if !text.is_empty() {
            // A terminal that went away must not end a build.
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// What brings the moving lines up to date.
    fn moving(&self, region: &mut Region) -> String {
        let size = terminal_size();
        region.redraw(self.works.frame(size, self.colour), size.columns)
    }

    /// The primary result, on stdout; a reader that has gone away is not an error. `what` it is, a failure tells.
    pub(crate) fn result(
        &self,
        what: &'static str,
        content: impl AsRef<[u8]>,
    ) -> Result<(), Unwritten> {
        match self.part_of_result(what, content) {
            Err(error) if error.is_unwanted() => Ok(()),
            other => other,
        }
    }

    /// A part of the result, of which more may follow.
    pub(crate) fn part_of_result(
        &self,
        what: &'static str,
        content: impl AsRef<[u8]>,
    ) -> Result<(), Unwritten> {
        let content = content.as_ref();
        let read_together = *self
            .read_together
            .get_or_init(|| are_read_together(&io::stdout(), &io::stderr()));
        if read_together {
            self.write("");
        }
        let written = standard_output::write(content);
        if read_together {
            let is_unfinished = content.last().is_some_and(|last| *last != b'\n');
            self.unfinished.store(is_unfinished, Ordering::Relaxed);
        }
        written.map_err(|source| Unwritten { what, source })
    }

    fn line(&self, mark: &str, message: &str) {
        match self.colour {
            Colour::On => self.raw_line(&format!("{}{message}", mark.bold())),
            Colour::Off => self.raw_line(message),
        }
    }

    fn raw_line(&self, line: &str) {
        self.whole_line(line);
        self.works.spoken();
    }

    fn whole_line(&self, line: &str) {
        let is_unfinished = self.unfinished.swap(false, Ordering::Relaxed);
        let begin = if is_unfinished { "\n" } else { "" };
        self.write(&format!("{begin}{line}\n"));
    }

    /// Writes in the place of the moving lines, which follow when they are drawn next, or at once after the end of a line.
    /// In one piece: lines of several threads do not mix, and what a model and its server write goes to the same place at
    /// the same time.
    fn write(&self, text: &str) {
        let mut region = self.region();
        let mut whole = region.erase(terminal_size().columns);
        whole.push_str(text);
        if text.ends_with('\n') && self.progress() == Progress::Bars {
            whole.push_str(&self.moving(&mut region));
        }
        // A terminal that went away must not end a build.
        let _ = io::stderr().lock().write_all(whole.as_bytes());
    }

    fn region(&self) -> MutexGuard<'_, Region> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn terminal_size() -> Size {
    let size = tcgetwinsize(io::stderr()).map(|size| Size {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
    });
    match size {
        Ok(size) if size.columns > 0 && size.rows > 0 => size,
        _ => USUAL_SIZE,
    }
}

/// Work that goes on as long as this lives.
pub(crate) struct UnderWay {
    printer: Printer,
    work: WorkId,
}

impl UnderWay {
    /// It is called otherwise from now on.
    pub(crate) fn rename(&self, title: &str) {
        self.printer.works.rename(self.work, title);
    }

    /// What of it is being done now, or a line that it prints.
    pub(crate) fn says(&self, what: &str) {
        self.printer.works.say(self.work, what);
    }

    /// How many bytes are there.
    pub(crate) fn advance(&self, done: u64) {
        self.printer.works.advance(self.work, done, None);
    }

    /// The same, and how many there will be.
    pub(crate) fn advance_of(&self, done: u64, total: u64) {
        self.printer.works.advance(self.work, done, Some(total));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.printer.works.end(self.work);
        self.printer.redraw();
    }
}

/// Whether what is written to one comes between what is written to the other: on a terminal, in one file or pipe.
fn are_read_together(one: &(impl AsFd + IsTerminal), other: &(impl AsFd + IsTerminal)) -> bool {
    if one.is_terminal() && other.is_terminal() {
        return true;
    }
    let place = |stream: &dyn AsFd| {
        let found = rustix::fs::fstat(stream.as_fd()).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    place(one).is_some_and(|of_one| place(other) == Some(of_one))
}
