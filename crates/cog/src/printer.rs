//! Everything the tool says: results on stdout, all else on stderr.
//!
//! The only module that writes to the terminal. It knows colour, verbosity and progress bars; it does not know what is
//! being reported. A closed pipe on stdout is not an error.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize;

use crate::silence::Silence;

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
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if no_color_flag
            || set("NO_COLOR")
            || set("COG_NO_COLOR")
            || dumb
            || !io::stderr().is_terminal()
        {
            Self::Off
        } else {
            Self::On
        }
    }
}

/// How much is said, and whether it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Bars that are redrawn.
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
    bars: MultiProgress,
    silence: Arc<Silence>,
    /// Whether stdout and stderr are, see [`are_read_together`].
    read_together: OnceLock<bool>,
    /// Standard output has not ended its last line, and standard error goes to the same terminal.
    unfinished: Arc<AtomicBool>,
}

impl Printer {
    pub(crate) fn new(colour: Colour, debug: bool) -> Self {
        let progress = if colour == Colour::On {
            Progress::Bars
        } else {
            Progress::Lines
        };
        let bars = MultiProgress::new();
        if progress != Progress::Bars {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self {
            colour,
            debug,
            progress: Arc::new(Mutex::new(progress)),
            bars,
            silence: Arc::new(Silence::new()),
            read_together: OnceLock::new(),
            unfinished: Arc::default(),
        }
    }

    pub(crate) fn set_progress(&self, progress: Progress) {
        *self.progress.lock().expect("no holder panics") = progress;
        if progress != Progress::Bars {
            self.bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.lock().expect("no holder panics")
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
        self.bars.suspend(|| {
            let mut stderr = io::stderr().lock();
            // A terminal that went away answers nothing either.
            let _ = stderr
                .write_all(question.as_bytes())
                .and_then(|()| stderr.flush());
        });
        self.silence.spoken();
    }

    /// Where there are no bars, `title` or what [`Self::goes_on`] says of it is printed again and again while nothing
    /// else is, until [`Self::ends`].
    pub(crate) fn begins(&self, title: &str) {
        if self.progress() == Progress::Lines && self.silence.begins(title) {
            let printer = self.clone();
            // It ends with the process.
            std::thread::spawn(move || {
                loop {
                    printer.foreign(&printer.silence.next());
                }
            });
        }
    }

    /// Work of unknown length, until the value is dropped: a line with the time where there are bars, and where there are
    /// none, one whenever nothing else was said for a while.
    pub(crate) fn under_way(&self, title: &str) -> UnderWay {
        let bar = (self.progress() == Progress::Bars).then(|| self.spinner(title));
        self.begins(title);
        UnderWay {
            printer: self.clone(),
            title: title.to_owned(),
            bar,
        }
    }

    pub(crate) fn goes_on(&self, what: &str) {
        self.silence.goes_on(what);
    }

    pub(crate) fn ends(&self, title: &str) {
        self.silence.ends(title);
    }

    /// Nothing goes on any more, whatever was not ended because it failed.
    pub(crate) fn rests(&self) {
        self.silence.rests();
    }

    /// The primary result, on stdout; a reader that has gone away is not an error.
    pub(crate) fn result(&self, content: impl AsRef<[u8]>) -> io::Result<()> {
        match self.part_of_result(content) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// A part of the result, of which more may follow.
    pub(crate) fn part_of_result(&self, content: impl AsRef<[u8]>) -> io::Result<()> {
        let content = content.as_ref();
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(content).and_then(|()| stdout.flush());
        if *self
            .read_together
            .get_or_init(|| are_read_together(&stdout, &io::stderr()))
        {
            let is_unfinished = content.last().is_some_and(|last| *last != b'\n');
            self.unfinished.store(is_unfinished, Ordering::Relaxed);
        }
        written
    }

    /// A bar for bytes of which the total is known; hidden where bars are not drawn.
    pub(crate) fn byte_bar(&self, label: &str, total: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "    {msg:30!} {wide_bar} {bytes:>10}/{total_bytes:<10} {eta:>4}",
        )
        .expect("the template is a constant that parses");
        let bar = self.bars.add(ProgressBar::new(total).with_style(style));
        bar.set_message(label.to_owned());
        bar
    }

    /// A spinner for a step of unknown length; hidden where bars are not drawn.
    pub(crate) fn spinner(&self, label: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("    {spinner} {msg} {elapsed}")
            .expect("the template is a constant that parses");
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
        bar.set_message(label.to_owned());
        if self.progress() == Progress::Bars {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    /// A line below a spinner that says more; cut to the terminal's width.
    pub(crate) fn detail(&self) -> ProgressBar {
        let style = ProgressStyle::with_template("      {wide_msg:.dim}")
            .expect("the template is a constant that parses");
        self.bars.add(ProgressBar::new_spinner().with_style(style))
    }

    fn line(&self, mark: &str, message: &str) {
        match self.colour {
            Colour::On => self.raw_line(&format!("{}{message}", mark.bold())),
            Colour::Off => self.raw_line(message),
        }
    }

    /// One write a line, above any bars, so that lines of several threads do not mix.
    fn raw_line(&self, line: &str) {
        self.bars.suspend(|| {
            let is_unfinished = self.unfinished.swap(false, Ordering::Relaxed);
            let begin = if is_unfinished { "\n" } else { "" };
            // In one piece: what a model and its server write goes to the same place at the same time. A terminal that
            // went away must not end a build.
            let whole = format!("{begin}{line}\n");
            let _ = io::stderr().lock().write_all(whole.as_bytes());
        });
        self.silence.spoken();
    }
}

/// Work that goes on as long as this lives.
pub(crate) struct UnderWay {
    printer: Printer,
    title: String,
    bar: Option<ProgressBar>,
}

impl UnderWay {
    /// Says more of it.
    pub(crate) fn goes_on(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
        self.printer.goes_on(what);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.printer.ends(&self.title);
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
