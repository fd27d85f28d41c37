//! The line to a server of ours that was started for this process: its standard input and output. No other client of the
//! server gets to it. What is said on it is in coglet's `control` module.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

use cog_engine::Running;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::unix::pipe;

/// Tells the server that there is such a line, and what is said on it.
pub(super) const COG_CONTROL: &str = "COG_CONTROL";
/// A longer line is none that our server says.
const MAX_LINE: usize = 8 << 20;

/// What is said on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Speech {
    /// The server says what happens.
    #[default]
    Events,
    /// And does what it is told.
    Commands,
    /// The same, of one that takes the place of another: clients of that one wait until it can answer.
    CommandsOfSuccessor,
}

impl Speech {
    /// As the server knows it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Commands => "reload",
            Self::CommandsOfSuccessor => "succeed",
        }
    }
}

/// What a server tells. Later ones may tell more.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Told {
    /// Nothing that is asked for from here on is answered by the code before.
    Reloading {
        generation: u64,
    },
    /// A process is started that reads the code.
    Starting {
        generation: u64,
    },
    /// Setup has printed a line.
    SetupLog {
        text: String,
    },
    Ready {
        generation: u64,
    },
    Failed {
        generation: u64,
        reason: String,
    },
    /// So many predictions may still end.
    Finishing {
        predictions: usize,
    },
    Status {
        running: usize,
        idle_ms: Option<u64>,
    },
    #[serde(other)]
    Other,
}

/// Our end of the line.
#[derive(Debug)]
pub(crate) struct Control {
    commands: Option<ChildStdin>,
    told: Option<ChildStdout>,
}

impl Control {
    /// Of a server that was started with pipes; nothing if it has none.
    pub(super) fn of(running: &mut dyn Running) -> Self {
        Self {
            commands: running.take_stdin(),
            told: running.take_stdout(),
        }
    }

    /// What it tells, for somebody in an event loop; can be taken once.
    pub(crate) fn take_events(&mut self) -> io::Result<Option<Events>> {
        let told = self.told.take();
        told.map(|told| Events::of(told.into())).transpose()
    }

    /// Has it serve the code as it is now. What runs may go on for so long.
    pub(crate) fn reload(&mut self, generation: u64, finish_within: Duration) -> io::Result<()> {
        self.say(&json!({
            "command": "reload",
            "generation": generation,
            "finish_within_ms": milliseconds(finish_within),
        }))
    }

    /// Has it serve nothing, and tell this reason.
    pub(crate) fn withhold(
        &mut self,
        generation: u64,
        finish_within: Duration,
        reason: &str,
    ) -> io::Result<()> {
        self.say(&json!({
            "command": "withhold",
            "generation": generation,
            "finish_within_ms": milliseconds(finish_within),
            "reason": reason,
        }))
    }

    /// Asks what goes on.
    pub(crate) fn ask_status(&mut self) -> io::Result<()> {
        self.say(&json!({"command": "status"}))
    }

    fn say(&mut self, command: &Value) -> io::Result<()> {
        let Some(commands) = &mut self.commands else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        commands.write_all(format!("{command}\n").as_bytes())
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a server tells, as it comes.
#[derive(Debug)]
pub(crate) struct Events {
    pipe: pipe::Receiver,
    lines: Lines,
}

impl Events {
    fn of(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe::Receiver::from_owned_fd(pipe)?,
            lines: Lines::default(),
        })
    }

    /// The next one; nothing when the server has gone. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some(line) = self.lines.next() {
                // What is none of ours is of no use here.
                if let Ok(told) = serde_json::from_slice(&line) {
                    return Some(told);
                }
            }
            self.pipe.readable().await.ok()?;
            match self.pipe.try_read_buf(self.lines.space()) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}

/// Puts lines together, of which none without end is kept.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    /// How much of it is known to have no line's end.
    searched: usize,
    is_too_long: bool,
}

impl Lines {
    /// Where more is added, with room for some.
    fn space(&mut self) -> &mut Vec<u8> {
        const PIECE: usize = 16 << 10;
        self.text.reserve(PIECE);
        &mut self.text
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let found = self.text[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            let Some(end) = found.map(|end| self.searched + end) else {
                if self.text.len() > MAX_LINE {
                    self.text.clear();
                    self.is_too_long = true;
                }
                self.searched = self.text.len();
                return None;
            };
            let rest = self.text.split_off(end + 1);
            let line = std::mem::replace(&mut self.text, rest);
            self.searched = 0;
            if !std::mem::take(&mut self.is_too_long) {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_none_is_kept_without_end() {
        let mut lines = Lines::default();
        let add = |lines: &mut Lines, piece: &[u8]| lines.space().extend_from_slice(piece);
        add(&mut lines, b"one\ntw");
        assert_eq!(lines.next().as_deref(), Some(&b"one\n"[..]));
        assert_eq!(lines.next(), None);
        add(&mut lines, b"o\n\n");
        assert_eq!(lines.next().as_deref(), Some(&b"two\n"[..]));
        assert_eq!(lines.next().as_deref(), Some(&b"\n"[..]));
        for _ in 0..100 {
            add(&mut lines, &vec![b'x'; MAX_LINE / 10]);
            assert_eq!(lines.next(), None);
            assert!(lines.text.len() <= MAX_LINE + MAX_LINE / 10);
        }
        add(&mut lines, b"end\nthree\n");
        assert_eq!(lines.next().as_deref(), Some(&b"three\n"[..]));
    }

    #[test]
    fn what_later_servers_tell_is_passed_over() {
        let told = |line: &str| serde_json::from_str::<Told>(line).unwrap();
        assert_eq!(told(r#"{"event":"sings","song":1}"#), Told::Other);
        assert_eq!(
            told(r#"{"event":"ready","generation":2,"more":[]}"#),
            Told::Ready { generation: 2 }
        );
    }
}
