//! Questions to the person at the terminal, and their answers.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::time::Duration;

use rustix::process::{Signal, kill_current_process_group};

use crate::printer::Printer;
use crate::terminal::Raw;

/// What somebody types to be rid of the question.
const CONTROL_C: u8 = 3;
const CONTROL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const TAB: u8 = 9;
const CONTROL_U: u8 = 21;
const CONTROL_Z: u8 = 26;
const CONTROL_BACKSLASH: u8 = 28;
const DELETE: u8 = 127;
/// Nobody types more, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// A signal that suspends a program may be a moment late; the terminal is not to be hidden before.
const SUSPENSION: Duration = Duration::from_millis(100);

/// What came instead of an answer.
pub(crate) enum Answer {
    Text(String),
    Interrupted,
}

/// How the typing of a hidden answer ended.
#[derive(Debug, PartialEq)]
enum Typed {
    Text(String),
    Interrupted,
    /// What a terminal sends for this key, if it is not told to leave that to the program.
    Signal(Signal),
}

/// A line of standard input, without its end.
pub(crate) fn ask(printer: &Printer, question: &str) -> io::Result<String> {
    printer.prompt(question);
    let mut line = String::new();
    io::stdin().lock().take(MAX_ANSWER).read_line(&mut line)?;
    if !io::stdin().is_terminal() {
        printer.prompt("\n");
    }
    Ok(without_line_end(&line))
}

/// The same, and nothing of it is shown while it is typed.
pub(crate) fn ask_hidden(printer: &Printer, question: &str) -> io::Result<Answer> {
    if !io::stdin().is_terminal() {
        return ask(printer, question).map(Answer::Text);
    }
    loop {
        printer.prompt(question);
        let raw = Raw::enter()?;
        let typed = read_hidden(io::stdin().lock());
        drop(raw);
        printer.prompt("\n");
        match typed? {
            Typed::Text(text) => return Ok(Answer::Text(text)),
            Typed::Interrupted => return Ok(Answer::Interrupted),
            Typed::Signal(signal) => {
                kill_current_process_group(signal)?;
                // Whoever comes back is asked anew, as a terminal forgets a line that was not ended.
                std::thread::sleep(SUSPENSION);
            }
        }
    }
}

/// All of standard input, without the end of its last line.
pub(crate) fn rest_of_input() -> io::Result<String> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(MAX_ANSWER)
        .read_to_string(&mut text)?;
    Ok(without_line_end(&text))
}

fn without_line_end(text: &str) -> String {
    text.trim_end_matches(['\r', '\n']).to_owned()
}

/// Reads keys up to the end of the line, as a terminal gives them that does nothing with them.
fn read_hidden(mut keys: impl io::Read) -> io::Result<Typed> {
    let mut typed = Vec::new();
    let mut key = [0];
    loop {
        match keys.read(&mut key) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(0) => break,
            Ok(_) => {}
        }
        match key[0] {
            b'\r' | b'\n' | CONTROL_D => break,
            CONTROL_C => return Ok(Typed::Interrupted),
            CONTROL_Z => return Ok(Typed::Signal(Signal::TSTP)),
            CONTROL_BACKSLASH => return Ok(Typed::Signal(Signal::QUIT)),
            CONTROL_U => typed.clear(),
            BACKSPACE | DELETE => remove_character(&mut typed),
            // Other keys are no characters.
            other if other < b' ' && other != TAB => {}
            other if (typed.len() as u64) < MAX_ANSWER => typed.push(other),
            _ => {}
        }
    }
    let text = String::from_utf8(typed).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(Typed::Text(text))
}

/// The last character, all of its bytes.
fn remove_character(typed: &mut Vec<u8>) {
    while let Some(byte) = typed.pop() {
        let is_continued = byte & 0xc0 == 0x80;
        if !is_continued {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Option<String> {
        match read_hidden(keys).expect("slices can be read") {
            Typed::Text(text) => Some(text),
            Typed::Interrupted | Typed::Signal(_) => None,
        }
    }

    #[test]
    fn keys_become_a_line() {
        assert_eq!(typed(b"secret\rrest").as_deref(), Some("secret"));
        assert_eq!(typed(b" secret ").as_deref(), Some(" secret "));
        assert_eq!(typed("sé\u{7f}\u{7f}x\n".as_bytes()).as_deref(), Some("x"));
        assert_eq!(typed(b"\x08\n").as_deref(), Some(""));
        assert_eq!(typed(b"abc\x03def\n"), None);
    }

    #[test]
    fn keys_that_are_no_characters_are_not_of_it() {
        let key = |key: &[u8]| read_hidden(key).expect("slices can be read");
        assert_eq!(key(b"abc\x1adef\n"), Typed::Signal(Signal::TSTP));
        assert_eq!(key(b"abc\x1cdef\n"), Typed::Signal(Signal::QUIT));
        assert_eq!(typed(b"ab\x15cd\n").as_deref(), Some("cd"));
        assert_eq!(typed(b"a\0\x01\tb\x1b\x1f\n").as_deref(), Some("a\tb"));
        assert_eq!(typed(b"\x04").as_deref(), Some(""));
    }
}
