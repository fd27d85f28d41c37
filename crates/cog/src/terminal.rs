//! The user's terminal while a command in a container has one of its own.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use cog_engine::Terminal;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use tokio::signal::unix::{SignalKind, signal};

use crate::runtime::{Tail, block_on};

const STREAMS: [i32; 3] = [0, 1, 2];

/// What a command gets as its terminal: there is one if standard input is one. Streams that lead elsewhere stay as they
/// are.
pub(crate) fn wanted() -> Option<Terminal> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let size = tcgetwinsize(&stdin).ok()?;
    Some(Terminal {
        streams: STREAMS
            .into_iter()
            .filter(|stream| is_terminal(*stream))
            .collect(),
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// The stream as the command gets it, unless the terminal takes its place.
pub(crate) fn stream(terminal: Option<&Terminal>, number: i32) -> Stdio {
    match terminal {
        Some(terminal) if terminal.streams.contains(&number) => Stdio::null(),
        _ => Stdio::inherit(),
    }
}

fn is_terminal(stream: i32) -> bool {
    match stream {
        0 => io::stdin().is_terminal(),
        1 => io::stdout().is_terminal(),
        _ => io::stderr().is_terminal(),
    }
}

/// Passes everything on between the user's terminal and the command's until the command has closed its side; the end of
/// what it said.
pub(crate) fn connect(terminal: OwnedFd) -> anyhow::Result<Tail> {
    let raw = Raw::enter()?;
    let mut output = fs_err::File::from_parts(terminal.into(), "the container's terminal");
    let (input, resized) = (output.file().try_clone()?, output.file().try_clone()?);
    // Neither ends before the program does; nothing waits for them.
    std::thread::spawn(move || pass_on(io::stdin(), input));
    std::thread::spawn(move || follow_size(&resized));
    let mut said = Tail::default();
    let mut buffer = [0; 16 * 1024];
    loop {
        match output.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What Linux says when the other side is closed is an error.
            Ok(0) | Err(_) => break,
            Ok(length) => {
                said.add(&buffer[..length]);
                show(&buffer[..length])?;
            }
        }
    }
    drop(raw);
    Ok(said)
}

fn show(content: &[u8]) -> io::Result<()> {
    let shown = if io::stdout().is_terminal() {
        let mut stdout = io::stdout().lock();
        stdout.write_all(content).and_then(|()| stdout.flush())
    } else {
        io::stderr().lock().write_all(content)
    };
    match shown {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn pass_on(mut from: io::Stdin, mut to: std::fs::File) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Gives the command's terminal the size of the user's whenever that changes.
fn follow_size(terminal: &std::fs::File) {
    let _ = block_on(async {
        let mut changes = signal(SignalKind::window_change())?;
        while changes.recv().await.is_some() {
            if let Ok(size) = tcgetwinsize(io::stdin()) {
                let _ = tcsetwinsize(terminal, size);
            }
        }
        Ok(())
    });
}

/// The user's terminal without line editing, echo and signals, which the command's own terminal does. As before when
/// dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    pub(crate) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}
