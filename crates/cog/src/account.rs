//! What builds and pushes did, kept for those who want it as JSON; nobody else pays for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cog_build::Outcome;
use cog_image::Digest;
use cog_image::registry::Arrival;
use serde::Serialize;

/// Clones are the same account.
#[derive(Clone, Default)]
pub(crate) struct Account(Arc<Mutex<Option<Done>>>);

/// What was done since the account was opened.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) steps: Vec<Step>,
    pub(crate) blobs: Vec<Blob>,
    pub(crate) warnings: Vec<String>,
}

/// A step of a build.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    title: String,
    /// `built`, or `reused` from the store.
    outcome: &'static str,
    seconds: f64,
}

/// A layer or document that a registry has.
#[derive(Debug, Serialize)]
pub(crate) struct Blob {
    digest: String,
    pub(crate) size: u64,
    /// `sent`, `mounted` from another repository there, or `present` before.
    pub(crate) arrival: &'static str,
}

impl Account {
    /// From now on everything is kept.
    pub(crate) fn open(&self) {
        *self.done() = Some(Done::default());
    }

    /// What was kept.
    pub(crate) fn close(&self) -> Done {
        self.done().take().unwrap_or_default()
    }

    pub(crate) fn step(&self, title: &str, outcome: Outcome, elapsed: Duration) {
        self.keep(|done| {
            done.steps.push(Step {
                title: title.to_owned(),
                outcome: match outcome {
                    Outcome::Built => "built",
                    Outcome::Cached => "reused",
                },
                seconds: rounded(elapsed),
            });
        });
    }

    pub(crate) fn blob(&self, digest: &Digest, size: u64, arrival: Arrival) {
        self.keep(|done| {
            done.blobs.push(Blob {
                digest: digest.to_string(),
                size,
                arrival: match arrival {
                    Arrival::Sent => "sent",
                    Arrival::Mounted => "mounted",
                    Arrival::Present => "present",
                },
            });
        });
    }

    pub(crate) fn warning(&self, message: &str) {
        self.keep(|done| done.warnings.push(message.to_owned()));
    }

    fn keep(&self, keep: impl FnOnce(&mut Done)) {
        if let Some(done) = self.done().as_mut() {
            keep(done);
        }
    }

    fn done(&self) -> MutexGuard<'_, Option<Done>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Done {
    /// Bytes of what came in this way.
    pub(crate) fn bytes(&self, arrival: &str) -> u64 {
        let blobs = self.blobs.iter().filter(|blob| blob.arrival == arrival);
        blobs.map(|blob| blob.size).sum()
    }
}

/// Seconds with as many digits as mean something.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_account_keeps_anything() {
        let account = Account::default();
        account.warning("before");
        account.open();
        let same = account.clone();
        same.warning("odd");
        same.step("base", Outcome::Cached, Duration::from_micros(1234));
        let digest = Digest::of(b"a");
        for (size, arrival) in [
            (1, Arrival::Sent),
            (2, Arrival::Sent),
            (4, Arrival::Present),
        ] {
            same.blob(&digest, size, arrival);
        }
        let done = account.close();
        assert_eq!(done.warnings, ["odd"]);
        assert_eq!(done.steps[0].outcome, "reused");
        assert!((done.steps[0].seconds - 0.001).abs() < f64::EPSILON);
        assert_eq!((done.bytes("sent"), done.bytes("mounted")), (3, 0));
        same.warning("after");
        assert!(account.close().warnings.is_empty());
    }
}
