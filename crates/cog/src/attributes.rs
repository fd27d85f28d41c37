//! What a terminal says of itself when it is asked. Few name themselves in the environment; nearly all answer.
//!
//! The answer comes as if it were typed, so it is asked for only where something depends on it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use fs_err::{File, OpenOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};

/// How many colours there can be in a picture (xterm's `XTSMGRAPHICS`), and what it is (`DA1`), which all understand:
/// its answer is the last one.
const QUESTION: &[u8] = b"\x1b[?1;1;0S\x1b[c";
/// How long an answer may take. It may come from the other side of the world.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than any answer has.
const MOST: usize = 1024;
/// Among what a terminal can do.
const SIXEL: &str = "4";

/// What it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Whether it draws sixels.
    pub(crate) sixel: bool,
    /// Colours of a picture; nothing if it does not say.
    pub(crate) colours: Option<usize>,
}

/// Asks the terminal that this process was started at. Nothing if there is none, it is not ours to ask at the moment, or
/// it says nothing.
pub(crate) fn ask() -> Option<Attributes> {
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()?;
    // One in the background is stopped when it changes the terminal.
    if tcgetpgrp(&terminal).ok()? != getpgrp() {
        return None;
    }
    let quiet = Quiet::enter(&terminal).ok()?;
    (&terminal).write_all(QUESTION).ok()?;
    let answer = listen(&terminal);
    drop(quiet);
    answer.ok()?
}

fn listen(mut terminal: &File) -> io::Result<Option<Attributes>> {
    let until = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while said.len() < MOST {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut waited = [PollFd::new(&terminal, PollFlags::IN)];
        match poll(&mut waited, Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let mut piece = [0; 256];
        let length = terminal.read(&mut piece)?;
        if length == 0 {
            return Ok(None);
        }
        said.extend_from_slice(&piece[..length]);
        if let Some(attributes) = Attributes::of(&said) {
            return Ok(Some(attributes));
        }
    }
    Ok(None)
}

impl Attributes {
    /// Nothing until all was said. Keys that somebody has typed may be among it.
    fn of(said: &[u8]) -> Option<Self> {
        let said = String::from_utf8_lossy(said);
        let mut colours = None;
        for answer in said.split("\x1b[?").skip(1) {
            let end = answer.find(|letter: char| !(letter.is_ascii_digit() || letter == ';'))?;
            let numbers: Vec<&str> = answer[..end].split(';').collect();
            match (
                &answer[end..end + answer[end..].chars().next()?.len_utf8()],
                &numbers[..],
            ) {
                // The first number says of which kind it is.
                ("c", [_, can @ ..]) => {
                    return Some(Self {
                        sixel: can.contains(&SIXEL),
                        colours,
                    });
                }
                ("S", ["1", "0", number]) => colours = number.parse().ok(),
                _ => {}
            }
        }
        None
    }
}

/// The terminal without echo and without lines. As before when dropped, and without what was not read of an answer.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn enter(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal.as_fd(), OptionalActions::Now, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: &str) -> Option<(bool, Option<usize>)> {
        let found = Attributes::of(said.as_bytes())?;
        Some((found.sixel, found.colours))
    }

    #[test]
    fn answers_are_understood() {
        for (said, expected) in [
            // foot
            ("\x1b[?1;0;1024S\x1b[?62;4;22;28c", Some((true, Some(1024)))),
            // xterm as a VT340, and as it usually is
            (
                "\x1b[?1;0;16S\x1b[?63;1;2;4;6;9;15;22c",
                Some((true, Some(16))),
            ),
            (
                "\x1b[?1;3S\x1b[?64;1;2;6;9;15;18;21;22c",
                Some((false, None)),
            ),
            // kitty, Alacritty, the console of Linux
            ("\x1b[?62;c", Some((false, None))),
            ("\x1b[?6c", Some((false, None))),
            // Of this kind, and not with this.
            ("\x1b[?4c", Some((false, None))),
            ("\x1b[?62;14;44c", Some((false, None))),
            ("typed\x1b[A\x1b[?62;4cmore", Some((true, None))),
            ("\x1b[?1;0;256S\x1b[?62;4", None),
            ("\x1b[?1;0;256S", None),
            ("\x1b[", None),
            ("\x1b[?", None),
            ("\x1b[?é", None),
            ("", None),
        ] {
            assert_eq!(of(said), expected, "{said:?}");
        }
    }
}
