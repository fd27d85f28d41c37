//! The last lines of a terminal, which are written anew again and again: what to send for that.
//!
//! Lines are written over the old ones and not cleared before, so that nothing flickers. The cursor stays visible, at the
//! end of the last one: whoever ends this program has nothing to put right.

use std::fmt::Write as _;

use super::frame::Line;

/// What a terminal does with lines that are wider than it has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Narrowing {
    /// They take several rows.
    Wraps,
    /// They are cut.
    Cuts,
}

/// What is on the screen.
#[derive(Debug)]
pub(crate) struct Region {
    narrowing: Narrowing,
    lines: Vec<Line>,
    /// Those of the terminal when they were written.
    columns: usize,
}

impl Region {
    pub(crate) fn new(narrowing: Narrowing) -> Self {
        Self {
            narrowing,
            lines: Vec::new(),
            columns: 0,
        }
    }

    /// Takes the lines away from a terminal that has `columns` now: what is written next takes their place.
    pub(crate) fn erase(&mut self, columns: usize) -> String {
        let mut text = self.to_begin(columns);
        if !self.lines.is_empty() {
            text.push_str("\x1b[J");
        }
        self.lines.clear();
        text
    }

    /// Shows these lines instead of the old ones; nothing is sent if they are the same.
    pub(crate) fn redraw(&mut self, lines: Vec<Line>, columns: usize) -> String {
        if lines == self.lines && columns == self.columns {
            return String::new();
        }
        if lines.is_empty() {
            return self.erase(columns);
        }
        let mut text = self.to_begin(columns);
        for (number, line) in lines.iter().enumerate() {
            let begin = if number == 0 { "" } else { "\n" };
            let _ = write!(text, "{begin}{}\x1b[K", line.text);
        }
        text.push_str("\x1b[J");
        self.lines = lines;
        self.columns = columns;
        text
    }

    /// From where the cursor is to the begin of the first line.
    fn to_begin(&self, columns: usize) -> String {
        let rows: usize = self.lines.iter().map(|line| self.rows(line, columns)).sum();
        match rows {
            0 => String::new(),
            1 => "\r".to_owned(),
            rows => format!("\r\x1b[{}A", rows - 1),
        }
    }

    fn rows(&self, line: &Line, columns: usize) -> usize {
        match self.narrowing {
            Narrowing::Wraps => line.width.div_ceil(columns.max(1)).max(1),
            Narrowing::Cuts => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line = |text: &&str| Line {
            text: (*text).to_owned(),
            width: text.len(),
        };
        texts.iter().map(line).collect()
    }

    #[test]
    fn lines_are_written_over_the_old_ones() {
        let mut region = Region::new(Narrowing::Cuts);
        assert_eq!(region.erase(80), "");
        assert_eq!(
            region.redraw(lines(&["a", "b"]), 80),
            "a\x1b[K\nb\x1b[K\x1b[J"
        );
        assert_eq!(region.redraw(lines(&["a", "b"]), 80), "", "nothing is new");
        assert_eq!(region.redraw(lines(&["c"]), 80), "\r\x1b[1Ac\x1b[K\x1b[J");
        assert_eq!(region.redraw(Vec::new(), 80), "\r\x1b[J");
        assert_eq!(region.redraw(Vec::new(), 80), "");
    }

    #[test]
    fn what_is_erased_is_gone() {
        let mut region = Region::new(Narrowing::Cuts);
        region.redraw(lines(&["a", "b", "c"]), 80);
        assert_eq!(region.erase(80), "\r\x1b[2A\x1b[J");
        assert_eq!(region.erase(80), "");
    }

    #[test]
    fn a_terminal_that_became_narrow_is_written_anew() {
        let ten = "0123456789";
        for (narrowing, up) in [(Narrowing::Cuts, 1), (Narrowing::Wraps, 5)] {
            let mut region = Region::new(narrowing);
            region.redraw(lines(&[ten, ten]), 20);
            let again = region.redraw(lines(&["012", "012"]), 4);
            assert!(again.starts_with(&format!("\r\x1b[{up}A012")), "{again:?}");
        }
    }

    #[test]
    fn the_cursor_is_never_hidden() {
        let mut region = Region::new(Narrowing::Wraps);
        let shown = region.redraw(lines(&["a", "b"]), 80) + &region.erase(80);
        assert!(!shown.contains("?25l"), "{shown:?}");
    }
}
