//! What a worker wrote to its descriptor 2 before it died: Python's own account of a fatal signal, else
//! the last lines. Bounded, since it goes into the error that the client gets.

use std::collections::VecDeque;
use std::process::ExitStatus;

use super::exit;

/// How the trace of Python's fault handler begins. It is written most recent call first, so its
/// beginning says most.
const TRACE: &str = "Fatal Python error: ";
const LINES: usize = 20;
/// A longer line is cut.
const MAX_LINE: usize = 500;

/// The end of the worker's standard error.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    lines: VecDeque<String>,
    /// The last trace seen. It may be that of a child process, which the worker has survived.
    trace: Vec<String>,
}

impl LastWords {
    pub(super) fn push(&mut self, text: &str) {
        for line in text.lines() {
            let line = &line[..line.floor_char_boundary(MAX_LINE)];
            if line.starts_with(TRACE) {
                self.trace.clear();
            }
            if (1..LINES).contains(&self.trace.len()) || line.starts_with(TRACE) {
                self.trace.push(line.to_owned());
            }
            if self.lines.len() == LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(line.to_owned());
        }
    }

    /// What was written until now has nothing to do with what comes.
    pub(super) fn forget(&mut self) {
        self.lines.clear();
        self.trace.clear();
    }

    /// What to add to the error: nothing, or lines that each begin on a new line.
    ///
    /// A trace shows code only. Other lines may have been written by, or for, any of the predictions
    /// that ran, and are told only to one that ran alone.
    pub(super) fn about(&self, status: ExitStatus, ran_alone: bool) -> String {
        let lines: Vec<_> = if exit::leaves_trace(status) && !self.trace.is_empty() {
            self.trace.iter().map(String::as_str).collect()
        } else if ran_alone {
            self.lines.iter().map(String::as_str).collect()
        } else {
            Vec::new()
        };
        let text = lines.join("\n");
        match text.trim_end() {
            "" => String::new(),
            text => format!("\n{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn segfault() -> ExitStatus {
        ExitStatus::from_raw(libc::SIGSEGV)
    }

    fn exit_code() -> ExitStatus {
        ExitStatus::from_raw(3 << 8)
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut words = LastWords::default();
        for line in 0..30 {
            words.push(&format!("{line}\n"));
        }
        let text = words.about(exit_code(), true);
        assert!(text.starts_with("\n10\n"), "{text}");
        assert!(text.ends_with("\n29"), "{text}");
        assert_eq!(words.about(exit_code(), false), "");
        assert_eq!(LastWords::default().about(exit_code(), true), "");
    }

    #[test]
    fn a_trace_is_kept_from_its_beginning() {
        let mut words = LastWords::default();
        words.push("noise\nFatal Python error: Segmentation fault\n\n");
        for frame in 0..100 {
            words.push(&format!("  File \"a.py\", line {frame} in f\n"));
        }
        let text = words.about(segfault(), false);
        assert!(
            text.starts_with(
                "\nFatal Python error: Segmentation fault\n\n  File \"a.py\", line 0 in f\n"
            ),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1 + LINES);
        assert!(words.about(exit_code(), true).ends_with("line 99 in f"));
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let mut words = LastWords::default();
        words.push(&"é".repeat(1000));
        assert_eq!(words.about(exit_code(), true).len(), 1 + MAX_LINE);
    }
}
