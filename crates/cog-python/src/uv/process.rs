//! Runs uv to its end, and tells meanwhile what it does.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use super::explain::UvError;
use super::progress::{Activity, Observer, Progress, Waiting};
use super::received::Received;

/// How long nothing may be heard of uv before it is said that it still works.
const BEAT: Duration = Duration::from_secs(1);
/// What uv may answer on stdout: a lock of thousands of packages is a few megabytes.
const MAX_ANSWER: u64 = 64 << 20;
/// Bytes of messages that are kept; the oldest go first.
const MAX_MESSAGES: usize = 1 << 20;
/// Bytes of a line; what is longer is split.
const MAX_LINE: u64 = 16 << 10;

/// What a program left when it ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    /// What it wrote to stdout.
    pub(super) answer: String,
    /// What it wrote to stderr, or the end of it.
    pub(super) messages: String,
}

/// Runs `command`, which does `activity`. It ends with this process, whatever ends that.
pub(super) fn run(
    command: &mut Command,
    activity: &str,
    observer: Observer<'_>,
) -> Result<Finished, UvError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    die_with_us(command);
    let child = command.spawn().map_err(|source| UvError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    let mut child = Guard(child);
    let answer = child.0.stdout.take().expect("it is piped");
    let messages = child.0.stderr.take().expect("it is piped");
    let (sender, receiver) = mpsc::channel();
    let answer = thread::spawn(move || read_answer(answer));
    thread::spawn(move || read_lines(messages, &sender));
    let messages = Watch::new(&child.0, activity, observer).follow(&receiver);
    let answer = answer.join().unwrap_or_default();
    let status = child.0.wait().map_err(UvError::Wait)?;
    Ok(Finished {
        status,
        answer,
        messages,
    })
}

/// A child that does not outlive a panic.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both are errors if it has been waited for, which is what usually happens.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has the kernel kill the child when the thread that starts it ends, even if that is killed.
fn die_with_us(command: &mut Command) {
    let parent = getpid();
    let tie = move || -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() == Some(parent) {
            Ok(())
        } else {
            // It has ended already.
            Err(rustix::io::Errno::SRCH.into())
        }
    };
    // SAFETY: it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(tie) };
}

fn read_answer(stdout: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stdout.take(MAX_ANSWER).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_lines(stderr: impl Read, lines: &Sender<String>) {
    let mut reader = BufReader::new(stderr);
    let mut bytes = Vec::new();
    while let Ok(1..) = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes) {
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']).to_owned();
        if lines.send(line).is_err() {
            return;
        }
        bytes.clear();
    }
}

/// Passes on what a child says, and says something when it does not.
struct Watch<'a> {
    observer: Observer<'a>,
    activity: Activity,
    /// The child's counters.
    counters: String,
    received: Received,
    /// What was received when the first download began.
    before: Option<u64>,
    messages: VecDeque<String>,
    /// Bytes of them.
    size: usize,
}

impl<'a> Watch<'a> {
    fn new(child: &Child, activity: &str, observer: Observer<'a>) -> Self {
        Self {
            observer,
            activity: Activity::new(activity),
            counters: format!("/proc/{}/io", child.id()),
            received: Received::of(child.id()),
            before: None,
            messages: VecDeque::new(),
            size: 0,
        }
    }

    /// Until the child closes its messages.
    fn follow(mut self, lines: &Receiver<String>) -> String {
        loop {
            match lines.recv_timeout(BEAT) {
                Ok(line) => self.line(line),
                Err(RecvTimeoutError::Timeout) => self.beat(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.messages.into_iter().map(|line| line + "\n").collect()
    }

    fn line(&mut self, line: String) {
        if self.activity.learn(&line) {
            (self.observer)(Progress::Line(line.trim()));
            self.downloads();
        }
        self.size += line.len() + 1;
        self.messages.push_back(line);
        while self.size > MAX_MESSAGES
            && let Some(oldest) = self.messages.pop_front()
        {
            self.size -= oldest.len() + 1;
        }
    }

    fn beat(&mut self) {
        self.downloads();
        let waiting = Waiting {
            activity: self.activity.describe(),
            written: written(&self.counters),
        };
        (self.observer)(Progress::Waiting(&waiting));
    }
}

impl Watch<'_> {
    /// Tells how far the downloads are, all of this run together.
    fn downloads(&mut self) {
        let Some(total) = self.activity.announced() else {
            return;
        };
        if self.activity.downloads_are_over() {
            return (self.observer)(Progress::Downloading { done: total, total });
        }
        let Some(received) = self.received.bytes() else {
            return;
        };
        let before = *self.before.get_or_insert(received);
        // What else came by the same connections is not told apart; it is little.
        let done = (received - before).min(total.saturating_sub(1));
        (self.observer)(Progress::Downloading { done, total });
    }
}

/// Bytes that the process with these counters has written.
fn written(counters: &str) -> Option<u64> {
    let text = fs_err::read_to_string(counters).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn told(script: &str) -> (Finished, Vec<String>) {
        let told = RefCell::new(Vec::new());
        let finished = run(&mut shell(script), "resolving", &|progress| {
            told.borrow_mut().push(match progress {
                Progress::Line(line) | Progress::Notice(line) => line.to_owned(),
                Progress::Waiting(waiting) => format!("… {}", waiting.activity),
                Progress::Downloading { .. } => return,
            });
        });
        (finished.unwrap(), told.into_inner())
    }

    #[test]
    fn what_uv_says_is_passed_on_and_silence_is_filled() {
        let (finished, told) = told(
            "echo answer; echo Downloading torch '(5.0MiB)' >&2; echo odd >&2; sleep 2.5; \
             echo ' Downloaded torch' >&2; exit 3",
        );
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.answer, "answer\n");
        assert_eq!(
            finished.messages,
            "Downloading torch (5.0MiB)\nodd\n Downloaded torch\n"
        );
        assert_eq!(told.first().unwrap(), "Downloading torch (5.0MiB)");
        assert_eq!(told.last().unwrap(), "Downloaded torch");
        let beats = &told[1..told.len() - 1];
        assert!(!beats.is_empty());
        assert!(
            beats
                .iter()
                .all(|beat| beat == "… downloading torch (5.0MiB)"),
            "{told:?}"
        );
    }

    #[test]
    fn messages_without_end_keep_their_end() {
        let (finished, _) = told(
            "head -c 3000000 /dev/zero | tr '\\0' x >&2; seq 400000 >&2; echo error: last >&2",
        );
        assert!(finished.messages.len() <= MAX_MESSAGES);
        assert!(finished.messages.ends_with("400000\nerror: last\n"));
    }

    #[test]
    fn the_program_ends_with_who_started_it() {
        let (sender, receiver) = mpsc::channel();
        let mut reader = thread::spawn(move || {
            let (reader, writer) = std::io::pipe().unwrap();
            let mut command = shell("exec sleep 600");
            die_with_us(&mut command);
            // It holds the only other end.
            let child = command.stdout(writer).spawn().unwrap();
            sender.send(child).unwrap();
            reader
        })
        .join()
        .unwrap();
        // The thread has ended; the pipe closes when the kernel has killed what it started.
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
        let status = receiver.recv().unwrap().wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/no/such/uv"), "x", &|_| {}).unwrap_err();
        assert_eq!(error.to_string(), "could not start `/no/such/uv`");
    }
}
