//! The line to whoever has started the server: commands come on standard input, and what happens is told on standard
//! output, both as lines of JSON. It is there only with `COG_CONTROL`. Nobody who comes over the network gets here, and
//! workers have neither stream.
//!
//! What a command does is in [`crate::app`]; nothing here knows.

use std::io::{BufRead as _, Read as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::logging::Sink;

/// Bytes of one command.
const MAX_COMMAND: u64 = 256 << 10;
/// Commands that wait for their turn.
const MAX_WAITING: usize = 64;

/// What is to be done.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Serve the code as it is now.
    Reload {
        /// What the one who asks calls it.
        generation: u64,
        /// What runs may go on for so long.
        finish_within_ms: u64,
    },
    /// Serve nothing: the code cannot be, for this reason.
    Withhold {
        generation: u64,
        finish_within_ms: u64,
        reason: String,
    },
    /// Say what is going on.
    Status,
}

/// What happens.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// From here on, nothing that is asked for is answered by the code before.
    Reloading { generation: u64 },
    /// A worker is started, which will read the code.
    Starting { generation: u64 },
    /// A line that setup has printed.
    SetupLog { text: &'a str },
    /// Predictions are taken.
    Ready { generation: u64 },
    /// None will be.
    Failed { generation: u64, reason: &'a str },
    /// So many predictions may still end before the code is read anew.
    Finishing { predictions: usize },
    /// The answer to [`Command::Status`].
    Status {
        /// Predictions that run.
        running: usize,
        /// Since the last one has ended.
        idle_ms: Option<u64>,
    },
}

/// What happens is told here, if somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Control {
    sink: Option<Sink>,
}

impl Control {
    /// Begins to write to standard output, where nothing else of this program goes.
    pub(crate) fn open() -> Self {
        let sink = Sink::default();
        let output = sink.clone();
        let started = std::thread::Builder::new()
            .name("control".into())
            .stack_size(128 << 10)
            .spawn(move || output.write_out(&mut std::io::stdout(), Duration::ZERO));
        Self {
            sink: started.ok().map(|_| sink),
        }
    }

    /// Tells it. Never waits; what nobody reads is dropped in the end.
    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(sink) = &self.sink
            && let Ok(mut line) = serde_json::to_vec(event)
        {
            line.push(b'\n');
            sink.push(&line);
        }
    }

    /// Waits a moment for everything to be written.
    pub(crate) fn flush(&self) {
        if let Some(sink) = &self.sink {
            sink.flush(Duration::from_secs(1));
        }
    }
}

/// Begins to read commands from standard input, in a thread of its own: whatever it is, it can be waited for there.
pub(crate) fn commands() -> mpsc::Receiver<Command> {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let reads = std::thread::Builder::new()
        .name("commands".into())
        .stack_size(128 << 10)
        .spawn(move || read(&mut std::io::stdin().lock(), &sender));
    if let Err(error) = reads {
        tracing::warn!("Commands are not read: {error}");
    }
    receiver
}

/// Reads until there is nothing more, or nobody who wants it.
fn read(input: &mut impl std::io::BufRead, commands: &mpsc::Sender<Command>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match input
            .by_ref()
            .take(MAX_COMMAND)
            .read_until(b'\n', &mut line)
        {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        match serde_json::from_slice(&line) {
            Ok(command) => {
                if commands.blocking_send(command).is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!("A command is not understood: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lines_and_others_are_passed_over() {
        let (sender, mut receiver) = mpsc::channel(8);
        let input = concat!(
            r#"{"command":"reload","generation":2,"finish_within_ms":50}"#,
            "\n{\"command\":\"dance\"}\n",
            r#"{"command":"withhold","generation":3,"finish_within_ms":0,"reason":"no"}"#,
            "\n",
            r#"{"command":"status"}"#,
        );
        read(&mut input.as_bytes(), &sender);
        drop(sender);
        let mut found = Vec::new();
        while let Some(command) = receiver.blocking_recv() {
            found.push(command);
        }
        let expected = [
            Command::Reload {
                generation: 2,
                finish_within_ms: 50,
            },
            Command::Withhold {
                generation: 3,
                finish_within_ms: 0,
                reason: "no".into(),
            },
            Command::Status,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn events_say_what_they_are() {
        let line = |event: &Event<'_>| serde_json::to_string(event).unwrap();
        assert_eq!(
            line(&Event::Failed {
                generation: 1,
                reason: "a\nb"
            }),
            r#"{"event":"failed","generation":1,"reason":"a\nb"}"#
        );
        assert_eq!(
            line(&Event::Status {
                running: 1,
                idle_ms: None
            }),
            r#"{"event":"status","running":1,"idle_ms":null}"#
        );
        // Without a line nobody is told, and nothing happens.
        Control::default().tell(&Event::Starting { generation: 0 });
    }
}
