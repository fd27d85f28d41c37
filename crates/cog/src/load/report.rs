//! What a load has shown, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Load, MOST_UNDER_WAY, Measured};
use crate::sizes::human_size;

/// Rows of the histogram.
const ROWS: u32 = 12;
/// Characters of its longest bar.
const WIDTH: u64 = 40;

/// `cog bench --json`. Times are in milliseconds.
#[derive(Serialize)]
pub(crate) struct Report {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// From the first request to the last answer.
    seconds: f64,
    interrupted: bool,
    succeeded: u64,
    failed: u64,
    /// Due, but not sent: too many were under way.
    unsent: u64,
    /// Predictions that succeeded.
    per_second: f64,
    received_bytes: u64,
    latency_ms: Option<Latencies>,
    /// Of streams: until the first output.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_output_ms: Option<Latencies>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs_per_second: Option<f64>,
    /// Answers by HTTP status.
    statuses: std::collections::BTreeMap<u16, u64>,
    failures: Vec<Failures>,
    histogram: Vec<Row>,
}

/// Of predictions that succeeded.
#[derive(Serialize)]
struct Latencies {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

#[derive(Serialize)]
struct Failures {
    reason: String,
    count: u64,
}

/// Predictions that took up to so long, and longer than those of the row before.
#[derive(Serialize)]
struct Row {
    up_to_ms: f64,
    count: u64,
}

impl Report {
    pub(crate) fn new(url: &str, load: Load, measured: Measured) -> Self {
        let Measured {
            tally,
            elapsed,
            is_cut_short,
        } = measured;
        let seconds = elapsed.as_secs_f64();
        let mut failures: Vec<_> = tally
            .failures
            .into_iter()
            .map(|(reason, count)| Failures { reason, count })
            .collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        Self {
            url: url.to_owned(),
            concurrency: match load {
                Load::Clients(clients) => Some(clients.get()),
                Load::Rate(_) => None,
            },
            rate: match load {
                Load::Clients(_) => None,
                Load::Rate(rate) => Some(rate),
            },
            seconds,
            interrupted: is_cut_short,
            succeeded: tally.succeeded,
            failed: tally.failed,
            unsent: tally.unsent,
            per_second: per_second(tally.succeeded, elapsed),
            received_bytes: tally.bytes,
            latency_ms: Latencies::of(&tally.latencies),
            first_output_ms: Latencies::of(&tally.first_outputs),
            outputs_per_second: (tally.outputs > 0).then(|| per_second(tally.outputs, elapsed)),
            statuses: tally.statuses,
            failures,
            histogram: rows(&tally.latencies),
        }
    }

    pub(crate) fn has_succeeded(&self) -> bool {
        self.succeeded > 0
    }

    /// Several lines of plain text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing into a string does not fail");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let cut = if self.interrupted {
            ", interrupted"
        } else {
            ""
        };
        let load = match (self.concurrency, self.rate) {
            (_, Some(rate)) => format!("{rate} requests a second"),
            (Some(1), None) => "1 client".to_owned(),
            (clients, None) => format!("{} clients", clients.unwrap_or_default()),
        };
        writeln!(text, "{}, {load}, {:.1} s{cut}\n", self.url, self.seconds)?;
        writeln!(
            text,
            "  predictions   {} succeeded, {} failed",
            grouped(self.succeeded),
            grouped(self.failed)
        )?;
        if self.unsent > 0 {
            writeln!(
                text,
                "  not sent      {} were due while {MOST_UNDER_WAY} were under way: the server is behind",
                grouped(self.unsent)
            )?;
        }
        writeln!(
            text,
            "  throughput    {} predictions/s, {} received",
            rate(self.per_second),
            human_size(self.received_bytes)
        )?;
        if let Some(outputs) = self.outputs_per_second {
            writeln!(text, "  outputs       {}/s", rate(outputs))?;
        }
        for (title, latencies) in [
            ("latency", &self.latency_ms),
            ("first output", &self.first_output_ms),
        ] {
            if let Some(found) = latencies {
                writeln!(
                    text,
                    "  {title:12}  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                    time(found.p50),
                    time(found.p90),
                    time(found.p99),
                    time(found.p99_9),
                    time(found.max)
                )?;
            }
        }
        let statuses: Vec<_> = self
            .statuses
            .iter()
            .map(|(status, count)| format!("{status}: {}", grouped(*count)))
            .collect();
        if !statuses.is_empty() {
            writeln!(text, "  HTTP status   {}", statuses.join("  "))?;
        }
        for failure in &self.failures {
            writeln!(
                text,
                "  failed        {} {}",
                grouped(failure.count),
                failure.reason
            )?;
        }
        self.write_histogram(text)
    }

    fn write_histogram(&self, text: &mut String) -> std::fmt::Result {
        let Some(most) = self.histogram.iter().map(|row| row.count).max() else {
            return Ok(());
        };
        writeln!(text)?;
        for row in &self.histogram {
            let eighths = row.count * WIDTH * 8 / most.max(1);
            let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
                [usize::try_from(eighths % 8).unwrap_or_default()];
            let full = "█".repeat(usize::try_from(eighths / 8).unwrap_or_default());
            // A few among many are seen, too.
            let bar = match (row.count, eighths) {
                (0, _) => String::new(),
                (_, 0) => "▏".to_owned(),
                _ => full + part,
            };
            let line = format!(
                "  ≤ {:>9}  {:>9}  {bar}",
                time(row.up_to_ms),
                grouped(row.count)
            );
            writeln!(text, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Some(Self {
            min: milliseconds(histogram.min()),
            mean: rounded(histogram.mean() / 1000.0),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: milliseconds(histogram.max()),
        })
    }
}

/// Rows whose bounds grow by the same factor, for latencies have long tails. Rows that would have the same bound are one.
fn rows(histogram: &Histogram<u64>) -> Vec<Row> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let (least, most) = (as_float(histogram.min().max(1)), as_float(histogram.max()));
    let mut bounds: Vec<_> = (1..ROWS)
        .map(|row| {
            let part = f64::from(row) / f64::from(ROWS);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it lies between two latencies"
            )]
            let bound = (least * (most / least).powf(part)) as u64;
            bound
        })
        .chain([histogram.max()])
        .collect();
    bounds.dedup();
    let mut rows: Vec<_> = bounds
        .iter()
        .map(|bound| Row {
            up_to_ms: milliseconds(*bound),
            count: 0,
        })
        .collect();
    for found in histogram.iter_recorded() {
        let row = bounds.partition_point(|bound| *bound < found.value_iterated_to());
        let row = row.min(rows.len() - 1);
        rows[row].count += found.count_since_last_iteration();
    }
    rows
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    rounded(as_float(count) / elapsed.as_secs_f64().max(1e-9))
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
fn as_float(number: u64) -> f64 {
    number as f64
}

fn milliseconds(microseconds: u64) -> f64 {
    as_float(microseconds) / 1000.0
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// A time in the unit in which it has one to three digits before the point.
fn time(milliseconds: f64) -> String {
    match milliseconds {
        short if short < 1.0 => format!("{:.0} µs", short * 1000.0),
        medium if medium < 100.0 => format!("{medium:.1} ms"),
        long if long < 1000.0 => format!("{long:.0} ms"),
        longest => format!("{:.2} s", longest / 1000.0),
    }
}

fn rate(per_second: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are positive and small"
    )]
    match per_second {
        small if small < 100.0 => format!("{small:.1}"),
        large => grouped(large.round() as u64),
    }
}

/// Thousands apart: `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::Tally;
    use super::super::request::{End, Sample};
    use super::*;

    fn measured(milliseconds: &[u64]) -> Measured {
        let mut tally = Tally::new();
        for latency in milliseconds {
            tally.add(&Sample {
                latency: Duration::from_millis(*latency),
                first_output: None,
                outputs: 0,
                bytes: 100,
                end: End::Succeeded(200),
            });
        }
        Measured {
            tally,
            elapsed: Duration::from_secs(2),
            is_cut_short: false,
        }
    }

    fn clients() -> Load {
        Load::Clients(NonZeroU32::MIN)
    }

    #[test]
    fn every_success_is_in_one_row() {
        for latencies in [&[5_u64][..], &[1, 1, 1], &[1, 2, 3, 900, 4000], &[7, 8]] {
            let report = Report::new("http://x", clients(), measured(latencies));
            let counted: u64 = report.histogram.iter().map(|row| row.count).sum();
            assert_eq!(counted, latencies.len() as u64, "{latencies:?}");
        }
    }

    #[test]
    fn people_read_it() {
        let mut found = measured(&[1, 2, 2, 3, 40]);
        found.tally.add(&Sample {
            latency: Duration::ZERO,
            first_output: None,
            outputs: 0,
            bytes: 0,
            end: End::Refused(409, "Already running a prediction".into()),
        });
        let text = Report::new("http://x/predictions", clients(), found).text();
        assert!(
            text.starts_with("http://x/predictions, 1 client, 2.0 s\n"),
            "{text}"
        );
        assert!(text.contains("5 succeeded, 1 failed"), "{text}");
        assert!(text.contains("2.5 predictions/s, 500B received"), "{text}");
        assert!(text.contains("p50 2.0 ms"), "{text}");
        assert!(
            text.contains("failed        1 409: Already running a prediction"),
            "{text}"
        );
    }

    #[test]
    fn nothing_answered_has_no_latency() {
        let report = Report::new("http://x", clients(), measured(&[]));
        assert!(!report.has_succeeded());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["latency_ms"], serde_json::Value::Null);
        assert_eq!(json["histogram"], serde_json::json!([]));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(time(0.25), "250 µs");
        assert_eq!(time(1234.0), "1.23 s");
    }
}
