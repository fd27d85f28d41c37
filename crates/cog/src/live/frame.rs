//! What goes on, as lines of a terminal or as a sentence. Pure: of the works, the size of the terminal and the time.

use std::fmt::Write as _;
use std::time::Instant;

use super::Work;
use super::text::{cut, cut_middle, one_line, time, width};
use crate::printer::Colour;
use crate::sizes::human_size;

const INDENT: &str = "    ";
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// How long each is shown.
const TURN_MILLISECONDS: u128 = 100;
/// Columns that a name keeps, whatever else there is to tell.
const LEAST_NAME: usize = 12;
/// Columns of a bar; with fewer there is none.
const BAR: std::ops::RangeInclusive<usize> = 8..=40;
/// Columns of the longest of their kind: `1023.9MB/1023.9MB`, `1023.9MB/s`, `59m59s left`.
const AMOUNT: usize = 17;
const RATE: usize = 10;
const LEFT: usize = 11;

/// A terminal's columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// A line on the screen. No character of it moves the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Columns that it takes.
    pub(crate) width: usize,
}

/// One line for each thing that goes on, and one for what it says, as many as fit. The last column stays free: a terminal
/// is not sure what to do about a line that fills it.
pub(crate) fn frame(works: &[Work], size: Size, colour: Colour, now: Instant) -> Vec<Line> {
    let columns = size.columns.saturating_sub(1).max(1);
    let name = name_width(works, columns);
    let mut lines = Vec::new();
    for work in works {
        let text = if work.meter.is_some() {
            transfer(work, name, columns, now)
        } else {
            work_line(work, columns, now)
        };
        lines.push(line(&text, columns));
        if !work.says.is_empty() {
            let indented = format!("{INDENT}  {}", one_line(&work.says));
            let mut said = line(&indented, columns);
            if colour == Colour::On {
                said.text = format!("\x1b[2m{}\x1b[0m", said.text);
            }
            lines.push(said);
        }
    }
    // One row is for what is printed next.
    let most = size.rows.saturating_sub(1).max(1);
    if lines.len() > most {
        let more = lines.len() + 1 - most;
        lines.truncate(most - 1);
        lines.push(line(&format!("{INDENT}and {more} more"), columns));
    }
    lines
}

/// What to say of it where nothing moves: of the last that was begun, and is no part of another one.
pub(crate) fn sentence(works: &[Work], now: Instant) -> Option<String> {
    let work = works.iter().rev().find(|work| !work.is_part)?;
    let mut text = match &work.meter {
        None if !work.says.is_empty() => work.says.clone(),
        None => work.title.clone(),
        Some(meter) => {
            let mut parts = vec![match meter.total {
                Some(total) => format!("{} of {}", human_size(meter.done), human_size(total)),
                None => human_size(meter.done),
            }];
            parts.extend(
                meter
                    .rate(now)
                    .map(|rate| format!("{}/s", human_size(rate))),
            );
            parts.extend(meter.left(now).map(|left| format!("{} left", time(left))));
            format!("{}: {}", work.title, parts.join(", "))
        }
    };
    let _ = write!(text, " ({} s)", work.elapsed(now).as_secs());
    Some(text)
}

fn line(text: &str, columns: usize) -> Line {
    let text = cut(text, columns);
    let width = width(&text);
    Line { text, width }
}

/// Transfers have their numbers below each other.
fn name_width(works: &[Work], columns: usize) -> usize {
    let transfers = works.iter().filter(|work| work.meter.is_some());
    let longest = transfers.map(|work| width(&work.title)).max();
    longest.unwrap_or(0).min(columns / 3).max(LEAST_NAME)
}

fn work_line(work: &Work, columns: usize, now: Instant) -> String {
    let elapsed = work.elapsed(now);
    let turn = elapsed.as_millis() / TURN_MILLISECONDS;
    let spinner = SPINNER[usize::try_from(turn).unwrap_or(0) % SPINNER.len()];
    let time = time(elapsed);
    let room = columns.saturating_sub(INDENT.len() + 2 + 1 + time.len());
    let title = cut_middle(&one_line(&work.title), room);
    format!("{INDENT}{spinner} {title} {time}")
}

/// The most that fits of name, bar, bytes, rate and time left, in this order of the line.
fn transfer(work: &Work, name_width: usize, columns: usize, now: Instant) -> String {
    let Some(meter) = &work.meter else {
        return String::new();
    };
    let done = human_size(meter.done);
    let amount = match meter.total {
        Some(total) => format!("{done}/{}", human_size(total)),
        None => done,
    };
    let rate = meter
        .rate(now)
        .map(|rate| format!("{}/s", human_size(rate)));
    let left = match meter.total {
        Some(_) => meter.left(now).map(|left| format!("{} left", time(left))),
        None => Some(time(work.elapsed(now))),
    };
    let (rate, left) = (rate.unwrap_or_default(), left.unwrap_or_default());
    let columns_of =
        |fields: &[usize]| INDENT.len() + fields.iter().map(|width| 2 + width).sum::<usize>();
    let name = |room: usize| {
        let name = cut_middle(&one_line(&work.title), room);
        let padding = room.saturating_sub(width(&name));
        format!("{name}{}", " ".repeat(padding))
    };
    let all = columns_of(&[AMOUNT, RATE, LEFT]) + name_width;
    if columns >= all {
        let bar = match meter.total {
            Some(total) => bar(meter.done, total, columns - all),
            None => String::new(),
        };
        let name = name(name_width);
        return format!("{INDENT}{name}{bar}  {amount:>AMOUNT$}  {rate:>RATE$}  {left:>LEFT$}");
    }
    // Numbers as short as they are, then fewer of them.
    let numbers = [
        vec![&amount, &rate, &left],
        vec![&amount, &left],
        vec![&amount],
    ];
    for numbers in numbers {
        let widths: Vec<usize> = numbers.iter().map(|number| number.len()).collect();
        if let Some(room) = columns.checked_sub(columns_of(&widths))
            && room >= LEAST_NAME
        {
            let name = name(room.min(name_width));
            let numbers = numbers.iter().map(|number| format!("  {number}"));
            return format!("{INDENT}{name}{}", numbers.collect::<String>());
        }
    }
    let room = columns.saturating_sub(amount.len() + 1);
    format!("{} {amount}", cut_middle(&one_line(&work.title), room))
}

/// A bar with two columns before it, or nothing if there is no room.
fn bar(done: u64, total: u64, columns: usize) -> String {
    let room = columns.saturating_sub(2).min(*BAR.end());
    if room < *BAR.start() {
        return String::new();
    }
    let filled = u128::from(done.min(total)) * room as u128 / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or(room).min(room);
    format!("  {}{}", "━".repeat(filled), "─".repeat(room - filled))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::live::meter::Meter;

    const MEGABYTE: u64 = 1 << 20;

    fn size(columns: usize, rows: usize) -> Size {
        Size { columns, rows }
    }

    fn work(title: &str, since: Instant) -> Work {
        Work::new(title, since)
    }

    /// One that has got a megabyte a second, and is there for three seconds.
    fn transfer_of(title: &str, total: Option<u64>, since: Instant) -> Work {
        let mut meter = Meter::new(total);
        for second in 0..4 {
            meter.advance(second * MEGABYTE, since + Duration::from_secs(second));
        }
        Work {
            meter: Some(meter),
            ..work(title, since)
        }
    }

    fn texts(works: &[Work], size: Size, now: Instant) -> Vec<String> {
        let lines = frame(works, size, Colour::Off, now);
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_transfer_shows_bytes_total_rate_and_time_left() {
        let start = Instant::now();
        let now = start + Duration::from_secs(3);
        let works = [transfer_of("3f1c0d8e55aa", Some(123 * MEGABYTE), start)];
        let shown = |columns| texts(&works, size(columns, 24), now).remove(0);
        assert_eq!(
            shown(100),
            "    3f1c0d8e55aa  ─────────────────────────────────────      3.0MB/123.0MB     1.0MB/s   2m00s left"
        );
        assert_eq!(
            shown(80),
            "    3f1c0d8e55aa  ─────────────────      3.0MB/123.0MB     1.0MB/s   2m00s left"
        );
        assert_eq!(
            shown(60),
            "    3f1c0d8e55aa  3.0MB/123.0MB  1.0MB/s  2m00s left"
        );
        assert_eq!(shown(50), "    3f1c0d8e55aa  3.0MB/123.0MB  2m00s left");
        assert_eq!(shown(40), "    3f1c0d8e55aa  3.0MB/123.0MB");
        assert_eq!(shown(24), "3f1c…55aa 3.0MB/123.0MB");
        assert_eq!(shown(10), " 3.0MB/1…");
    }

    #[test]
    fn without_a_total_it_shows_what_has_come() {
        let start = Instant::now();
        let works = [transfer_of("handing over", None, start)];
        let now = start + Duration::from_secs(3);
        let shown = texts(&works, size(80, 24), now).remove(0);
        let fields: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(fields, ["handing", "over", "3.0MB", "1.0MB/s", "3s"]);
    }

    #[test]
    fn work_shows_how_long_it_takes_and_what_it_says() {
        let start = Instant::now();
        let mut running = work("run: make", start);
        "\x1b[32mcompiling\x1b[0m a".clone_into(&mut running.says);
        let now = start + Duration::from_secs(65);
        assert_eq!(
            texts(&[running], size(80, 24), now),
            ["    ⠋ run: make 1m05s", "      compiling a"]
        );
    }

    #[test]
    fn no_line_reaches_the_last_column() {
        let start = Instant::now();
        let now = start + Duration::from_secs(3);
        let long = "registry.example.com/模型/".repeat(9);
        let mut says = work(&long, start);
        says.says.clone_from(&long);
        let works = [
            says,
            transfer_of(&long, Some(u64::MAX), start),
            transfer_of(&long, None, start),
        ];
        for columns in 1..200 {
            for line in frame(&works, size(columns, 24), Colour::On, now) {
                assert!(line.width < columns.max(2), "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        let start = Instant::now();
        let works = [work("base: registry.example.com/team/model:v1", start)];
        let shown = texts(&works, size(32, 24), start).remove(0);
        assert_eq!(shown, "    ⠋ base: regis…m/model:v1 0s");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let start = Instant::now();
        let works: Vec<Work> = (0..9)
            .map(|number| work(&number.to_string(), start))
            .collect();
        let shown = texts(&works, size(80, 5), start);
        assert_eq!(shown.len(), 4);
        assert_eq!(shown[3], "    and 6 more");
        assert_eq!(texts(&works, size(80, 0), start), ["    and 9 more"]);
    }

    #[test]
    fn a_sentence_tells_of_what_was_begun_last() {
        let start = Instant::now();
        let now = start + Duration::from_secs(3);
        let part = Work {
            is_part: true,
            ..transfer_of("3f1c0d8e55aa", Some(1), start)
        };
        let works = [
            work("base", start),
            transfer_of("downloading 2 layers", Some(123 * MEGABYTE), start),
            part,
        ];
        assert_eq!(
            sentence(&works, now).as_deref(),
            Some("downloading 2 layers: 3.0MB of 123.0MB, 1.0MB/s, 2m00s left (3 s)")
        );
        let mut base = work("base", start);
        assert_eq!(
            sentence(&[base.clone()], now).as_deref(),
            Some("base (3 s)")
        );
        "unpacking".clone_into(&mut base.says);
        assert_eq!(sentence(&[base], now).as_deref(), Some("unpacking (3 s)"));
        assert_eq!(sentence(&[], now), None);
    }

    #[test]
    fn only_colour_has_colours() {
        let start = Instant::now();
        let mut running = work("run", start);
        "line".clone_into(&mut running.says);
        let said = |colour| frame(&[running.clone()], size(80, 24), colour, start).remove(1);
        assert_eq!(said(Colour::Off).text, "      line");
        assert_eq!(said(Colour::On).text, "\x1b[2m      line\x1b[0m");
        assert_eq!(said(Colour::On).width, 10);
    }
}
