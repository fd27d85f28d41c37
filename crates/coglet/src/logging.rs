//! The server's own log, on stderr.
//!
//! Whatever reads stderr may be slow or stuck, and the server runs on one thread: so events go to a
//! buffer that a thread of its own writes out. When the buffer is full, log lines are dropped and
//! counted rather than letting a model or a request wait.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry};

use crate::clock::rfc3339;
use crate::settings::{LogFilter, LogFormat, LogSettings};
use crate::sync::lock;

/// What user code writes is logged under this target.
const USER: &str = "user";

/// Where user lines go, past the general machinery.
static USER_LINES: OnceLock<(Sink, LogFormat)> = OnceLock::new();

/// Bytes waiting for stderr before lines are dropped.
const CAPACITY: usize = 8 << 20;
/// How long a line may wait for others.
const GATHERING: Duration = Duration::from_millis(5);
const DROP_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Logs lines that user code has printed; `prediction` if they belong to one.
///
/// A model may print thousands of lines per second, and they have no fields that a subscriber would have
/// to discover: so they are formatted here, all lines of a text at once.
pub(crate) fn user_lines(prediction: Option<&str>, source: &'static str, text: &str) {
    if !tracing::enabled!(target: USER, tracing::Level::INFO) {
        return;
    }
    let Some((sink, format)) = USER_LINES.get() else {
        return;
    };
    let timestamp = rfc3339(SystemTime::now());
    for piece in pieces(text) {
        let lines = format_user_lines(*format, &timestamp, prediction, source, piece);
        sink.push(&lines);
    }
}

/// Text in pieces of whole lines. A line in the log may be a thousand times as long as what was printed, so
/// many short ones are not all formatted before the first are seen to have no room.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const LINES: usize = 200;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.match_indices('\n').nth(LINES - 1);
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |(newline, _)| newline + 1));
        rest = after;
        Some(piece)
    })
}

fn format_user_lines(
    format: LogFormat,
    timestamp: &str,
    prediction: Option<&str>,
    source: &'static str,
    text: &str,
) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        timestamp: &'a str,
        level: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        prediction_id: Option<&'a str>,
        source: &'static str,
        target: &'static str,
    }
    let mut out = Vec::with_capacity(text.len() + 160);
    for message in text.lines() {
        // Writing to memory cannot fail.
        let _ = match format {
            LogFormat::Json => {
                let line = Line {
                    timestamp,
                    level: "INFO",
                    message,
                    prediction_id: prediction,
                    source,
                    target: USER,
                };
                serde_json::to_writer(&mut out, &line).map_err(io::Error::from)
            }
            LogFormat::Console => {
                let prediction = prediction
                    .map(|id| format!(" prediction_id={id}"))
                    .unwrap_or_default();
                write!(
                    out,
                    "{timestamp}  INFO {USER}: {message}{prediction} source={source}"
                )
            }
        };
        out.push(b'\n');
    }
    out
}

/// Keeps the log alive; `flush` before the process ends.
pub(crate) struct Log {
    sink: Sink,
}

impl Log {
    /// Starts logging for the whole process.
    pub(crate) fn start(settings: &LogSettings) -> Self {
        let sink = Sink::default();
        let writer = sink.clone();
        // Set already if a log was started before: then that one serves.
        let _ = USER_LINES.set((sink.clone(), settings.format));
        // Without the thread the lines stay in the buffer until `flush`, which is still a log.
        let _ = std::thread::Builder::new()
            .name("log".into())
            .stack_size(128 << 10)
            .spawn(move || writer.write_out(&mut io::stderr(), GATHERING));
        match &settings.filter {
            LogFilter::Level(level) => subscribe(
                LevelFilter::from_level(*level),
                settings.format,
                sink.clone(),
            ),
            LogFilter::Expression(expression) => {
                subscribe(
                    EnvFilter::builder().parse_lossy(expression),
                    settings.format,
                    sink.clone(),
                );
            }
        }
        Self { sink }
    }

    /// Waits until everything logged so far has left, a second at most.
    pub(crate) fn flush(&self) {
        self.sink.flush(Duration::from_secs(1));
    }
}

fn subscribe<F: Layer<Registry> + Send + Sync>(filter: F, format: LogFormat, sink: Sink) {
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(sink)
        .with_ansi(false);
    // Fails only if a log was started before: then that one serves.
    let _ = match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Console => registry.with(lines).try_init(),
    };
}

/// Lines on their way to somebody who may be slow.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    pending: Vec<u8>,
    dropped: u64,
    /// The thread is awake: it need not be woken for what is added.
    writing: bool,
    /// Somebody waits for everything to be written.
    flushing: bool,
}

impl Sink {
    /// Takes lines, or drops them if too many wait already. Never waits.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut buffer = lock(&self.shared.buffer);
        if buffer.pending.len() + lines.len() > CAPACITY {
            buffer.dropped += lines.split_inclusive(|byte| *byte == b'\n').count() as u64;
            return;
        }
        buffer.pending.extend_from_slice(lines);
        if !buffer.writing {
            self.shared.changed.notify_all();
        }
    }

    /// Writes out what is taken, for ever; a line may wait so long for others.
    pub(crate) fn write_out(&self, to: &mut dyn Write, gathering: Duration) {
        let mut chunk = Vec::new();
        let mut last_report = Instant::now();
        loop {
            let mut buffer = lock(&self.shared.buffer);
            while buffer.pending.is_empty() {
                buffer.writing = false;
                self.shared.changed.notify_all();
                let until_report = DROP_REPORT_INTERVAL.saturating_sub(last_report.elapsed());
                if buffer.dropped == 0 {
                    let waited = self.shared.changed.wait(buffer);
                    buffer = waited.unwrap_or_else(PoisonError::into_inner);
                } else if !until_report.is_zero() {
                    let waited = self.shared.changed.wait_timeout(buffer, until_report);
                    buffer = waited.unwrap_or_else(PoisonError::into_inner).0;
                } else {
                    // Nothing else is left to say.
                    break;
                }
            }
            buffer.writing = true;
            // Lets more lines come: a chatty model then costs one wake-up for many of them.
            let waits = |buffer: &mut Buffer| !buffer.flushing;
            let (mut buffer, _) = self
                .shared
                .changed
                .wait_timeout_while(buffer, gathering, waits)
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut chunk, &mut buffer.pending);
            let report_due = buffer.dropped > 0 && last_report.elapsed() >= DROP_REPORT_INTERVAL;
            let dropped = if report_due {
                std::mem::take(&mut buffer.dropped)
            } else {
                0
            };
            drop(buffer);
            // A reader that has gone is not a reason to stop serving.
            let _ = to.write_all(&chunk).and_then(|()| to.flush());
            chunk.clear();
            chunk.shrink_to(64 << 10);
            if report_due {
                last_report = Instant::now();
                tracing::warn!(
                    "Log production exceeds consumption rate. {dropped} logs dropped in last 5.0s"
                );
            }
        }
    }

    /// Waits until everything taken so far has left, for this time at most.
    pub(crate) fn flush(&self, limit: Duration) {
        let mut buffer = lock(&self.shared.buffer);
        buffer.flushing = true;
        self.shared.changed.notify_all();
        let busy = |buffer: &mut Buffer| buffer.writing || !buffer.pending.is_empty();
        // Nothing to do when the time is up: the process is about to end.
        drop(self.shared.changed.wait_timeout_while(buffer, limit, busy));
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { sink: self }
    }
}

/// Receives one formatted event in one `write`.
pub(crate) struct Line<'a> {
    sink: &'a Sink,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.sink.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_lines_in_both_formats() {
        let lines = |format| {
            let lines = format_user_lines(format, "now", Some("p\"1"), "stdout", "one\ntwo\n");
            String::from_utf8(lines).unwrap()
        };
        insta::assert_snapshot!(lines(LogFormat::Json), @r#"
        {"timestamp":"now","level":"INFO","message":"one","prediction_id":"p\"1","source":"stdout","target":"user"}
        {"timestamp":"now","level":"INFO","message":"two","prediction_id":"p\"1","source":"stdout","target":"user"}
        "#);
        insta::assert_snapshot!(lines(LogFormat::Console), @r#"
        now  INFO user: one prediction_id=p"1 source=stdout
        now  INFO user: two prediction_id=p"1 source=stdout
        "#);
    }

    #[test]
    fn many_lines_come_in_pieces() {
        let text = "x\n".repeat(500) + "y";
        let lengths: Vec<_> = pieces(&text).map(str::len).collect();
        assert_eq!(lengths, [400, 400, 201]);
        assert_eq!(pieces(&text).collect::<String>(), text);
        assert_eq!(pieces("").count(), 0);
    }

    #[test]
    fn a_full_buffer_drops_instead_of_blocking() {
        let sink = Sink::default();
        let lines = [vec![b'x'; CAPACITY / 2 - 2], b"\n\n".to_vec()].concat();
        for _ in 0..5 {
            sink.push(&lines);
        }
        let buffer = lock(&sink.shared.buffer);
        assert_eq!((buffer.pending.len(), buffer.dropped), (CAPACITY, 6));
    }
}
