//! Programs of this machine that are asked something.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long one may take for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// More than any of them says, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// What a program prints; nothing if it is not there, fails or takes too long.
pub(super) fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        // What is in the project has no say in it.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.take(MAX_ANSWER).read_to_string(&mut text).ok()?;
        Some(text)
    });
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(PAUSE),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    // A child of its own may keep the pipe open; what was said is not worth waiting for that.
    while !reader.is_finished() && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
    if !status.success() || !reader.is_finished() {
        return None;
    }
    reader.join().ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_answers_or_there_is_nothing() {
        assert_eq!(ask("echo", &["hello"]).as_deref(), Some("hello\n"));
        assert_eq!(ask("false", &[]), None);
        assert_eq!(ask("there-is-no-such-program", &[]), None);
    }
}
