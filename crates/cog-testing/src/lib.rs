//! What the tests of several crates need. Only dev-dependencies name it.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;

/// Names the file that [`skip`] adds a line to. `scripts/test-rust` counts them.
pub const COG_SKIPPED_TESTS: &str = "COG_SKIPPED_TESTS";

/// Says that the calling test, or a part of it, does not run here, and why. The test then returns.
///
/// The test harness knows no skipped tests and hides what a green test prints, so this is written past it to stderr, and
/// to the file that `COG_SKIPPED_TESTS` names.
///
/// # Panics
///
/// If that file cannot be written.
pub fn skip(reason: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let reason = reason.to_string().replace('\n', " ");
    let line = format!("skipped: {test}: {reason}\n");
    // Not `eprint!`, which is what the harness captures. A stderr that is closed loses nothing but this line.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(COG_SKIPPED_TESTS) {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file of COG_SKIPPED_TESTS can be written");
    }
}
