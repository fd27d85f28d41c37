//! Inputs that bring the worker down, refused before they do it again.
//!
//! A restart helps against a fault that comes by chance. An input that always crashes the model would,
//! sent again and again, keep the model in its setup, or end in giving it up; so what ran when the worker
//! died is remembered for a while, as a digest. One that ran alone is refused after its second crash. Of
//! several that ran at once at most one is to blame: each gets a third of the blame, so it takes six
//! such crashes. A run that the worker survives, whatever came of it, clears the input.
//!
//! The same input is the same text: of the input as the model gets it, and of the context. Nothing is
//! computed for a request as long as there is no suspect of its length.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::memory::Asked;
use crate::sync::lock;

/// The blame for a crash during which nothing else ran.
const ALONE: u32 = 3;
/// The blame for a crash during which others ran too.
const AMONG_OTHERS: u32 = 1;
/// Two crashes alone.
const REFUSED_FROM: u32 = 2 * ALONE;
/// How long an input is held against somebody after its last crash: the model's author may have
/// mended what it depends on.
const MEMORY: Duration = Duration::from_mins(10);
/// More suspects than crashes in that time can make, unless hundreds run at once.
const CAPACITY: usize = 1024;

/// What identifies an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct InputDigest([u8; 32]);

/// The suspects.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    suspects: Mutex<HashMap<InputDigest, Suspect>>,
}

#[derive(Debug)]
struct Suspect {
    blame: u32,
    crashes: u32,
    last_crash: Instant,
    /// Tells most other inputs apart at no cost.
    length: usize,
}

impl InputDigest {
    pub(crate) fn of(asked: &Asked) -> Self {
        let mut hash = Sha256::new();
        // Every part is preceded by its length, so that no two different orders look the same.
        let mut add = |bytes: &[u8]| {
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        add(&asked.input);
        add(&asked.context);
        Self(hash.finalize().into())
    }
}

impl Quarantine {
    /// Whether it is worth computing the digest of this.
    pub(crate) fn may_know(&self, asked: &Asked) -> bool {
        lock(&self.suspects)
            .values()
            .any(|suspect| suspect.length == asked.input.len())
    }

    /// Why this input is not run, if it is not.
    pub(crate) fn refusal(&self, digest: InputDigest) -> Option<String> {
        self.refusal_at(digest, Instant::now())
    }

    /// The worker has died while these ran.
    pub(crate) fn blame<'a>(&self, running: impl IntoIterator<Item = &'a Asked>) {
        self.blame_at(running, Instant::now());
    }

    /// The worker has survived this one.
    pub(crate) fn clear(&self, asked: &Asked) {
        if self.may_know(asked) {
            lock(&self.suspects).remove(&InputDigest::of(asked));
        }
    }

    fn refusal_at(&self, digest: InputDigest, now: Instant) -> Option<String> {
        let suspects = lock(&self.suspects);
        let suspect = suspects
            .get(&digest)
            .filter(|suspect| suspect.blame >= REFUSED_FROM && !suspect.has_expired(now))?;
        Some(format!(
            "Prediction refused: the model crashed the last {} times it ran with this input; it is not run again for {} s",
            suspect.crashes,
            (suspect.last_crash + MEMORY).duration_since(now).as_secs() + 1,
        ))
    }

    fn blame_at<'a>(&self, running: impl IntoIterator<Item = &'a Asked>, now: Instant) {
        // Identical inputs that run at the same time are one suspect.
        let running: HashMap<_, _> = running
            .into_iter()
            .map(|asked| (InputDigest::of(asked), asked.input.len()))
            .collect();
        let blame = if running.len() == 1 {
            ALONE
        } else {
            AMONG_OTHERS
        };
        let mut suspects = lock(&self.suspects);
        suspects.retain(|_, suspect| !suspect.has_expired(now));
        for (digest, length) in running {
            let suspect = suspects.entry(digest).or_insert(Suspect {
                blame: 0,
                crashes: 0,
                last_crash: now,
                length,
            });
            suspect.blame += blame;
            suspect.crashes += 1;
            suspect.last_crash = now;
        }
        while suspects.len() > CAPACITY {
            let oldest = suspects
                .iter()
                .min_by_key(|(_, suspect)| (suspect.last_crash, suspect.blame))
                .map(|(digest, _)| *digest);
            oldest.map(|digest| suspects.remove(&digest));
        }
    }
}

impl Suspect {
    fn has_expired(&self, now: Instant) -> bool {
        now.duration_since(self.last_crash) >= MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Share;

    fn asked(input: &str) -> Asked {
        Asked::new(input.to_owned().into(), "{}".into(), Share::default())
    }

    fn is_refused(quarantine: &Quarantine, asked: &Asked) -> bool {
        quarantine.may_know(asked) && quarantine.refusal(InputDigest::of(asked)).is_some()
    }

    #[test]
    fn two_crashes_alone() {
        let quarantine = Quarantine::default();
        let (bad, good) = (asked(r#"{"n":1}"#), asked(r#"{"n":2}"#));
        quarantine.blame([&bad]);
        assert!(!is_refused(&quarantine, &bad));
        quarantine.blame([&bad]);
        assert!(is_refused(&quarantine, &bad));
        assert!(!is_refused(&quarantine, &good));
    }

    #[test]
    fn six_crashes_among_others() {
        let quarantine = Quarantine::default();
        let bad = asked(r#"{"n":0}"#);
        for n in 1..=6 {
            assert!(!is_refused(&quarantine, &bad));
            quarantine.blame([&bad, &asked(&format!("{{\"n\":{n}}}"))]);
        }
        assert!(is_refused(&quarantine, &bad));
        assert!(!is_refused(&quarantine, &asked(r#"{"n":1}"#)));
    }

    #[test]
    fn copies_at_the_same_time_are_one() {
        let quarantine = Quarantine::default();
        let bad = asked("{}");
        quarantine.blame([&bad, &bad]);
        quarantine.blame([&bad, &bad]);
        assert!(is_refused(&quarantine, &bad));
    }

    #[test]
    fn a_run_that_ends_clears_it() {
        let quarantine = Quarantine::default();
        let suspect = asked("{}");
        quarantine.blame([&suspect]);
        quarantine.clear(&suspect);
        quarantine.blame([&suspect]);
        assert!(!is_refused(&quarantine, &suspect));
    }

    #[test]
    fn the_context_is_part_of_it() {
        let plain = asked("{}");
        let with = |name: &str, value: &str| {
            let context = serde_json::json!({ name: value }).to_string();
            Asked::new("{}".into(), context.into(), Share::default())
        };
        let digests = [
            InputDigest::of(&plain),
            InputDigest::of(&with("a", "bc")),
            InputDigest::of(&with("ab", "c")),
        ];
        assert_ne!(digests[0], digests[1]);
        assert_ne!(digests[1], digests[2]);
    }

    #[test]
    fn it_is_forgotten_in_time() {
        let quarantine = Quarantine::default();
        let (bad, start) = (asked("{}"), Instant::now());
        quarantine.blame_at([&bad], start);
        quarantine.blame_at([&bad], start);
        let refusal = |at| quarantine.refusal_at(InputDigest::of(&bad), start + at);
        let message = refusal(Duration::from_mins(1)).unwrap();
        assert!(message.contains("the last 2 times"), "{message}");
        assert!(message.ends_with("for 541 s"), "{message}");
        assert_eq!(refusal(MEMORY), None);
        quarantine.blame_at([&bad], start + MEMORY);
        assert_eq!(refusal(MEMORY), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let quarantine = Quarantine::default();
        let bad = asked("{}");
        quarantine.blame([&bad]);
        for n in 0..CAPACITY + 10 {
            quarantine.blame([&asked(&n.to_string())]);
        }
        assert_eq!(lock(&quarantine.suspects).len(), CAPACITY);
        quarantine.blame([&bad]);
        assert!(!is_refused(&quarantine, &bad));
    }
}
