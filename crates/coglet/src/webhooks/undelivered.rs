//! Results that are on their way to their receivers, or wait for another try: a try comes after minutes.
//! They have a limit in bytes; beyond it the oldest are given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::mailbox::Mailbox;
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct Undelivered {
    limit: usize,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    by_age: BTreeMap<u64, Entry>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    id: String,
    bytes: usize,
    mailbox: Arc<Mailbox>,
}

impl Undelivered {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            all: Mutex::default(),
        }
    }

    /// A result has to be delivered. The newest is kept whatever its size: it is what was asked for last.
    pub(super) fn add(&self, id: &str, bytes: usize, mailbox: &Arc<Mailbox>) {
        const OVERHEAD: usize = 1 << 10;
        let mut all = lock(&self.all);
        let number = all.next;
        all.next += 1;
        let entry = Entry {
            id: id.to_owned(),
            bytes: bytes + OVERHEAD,
            mailbox: Arc::clone(mailbox),
        };
        // Once: a prediction ends once.
        let _ = mailbox.number.set(number);
        all.bytes += entry.bytes;
        all.by_age.insert(number, entry);
        while all.bytes > self.limit && all.by_age.len() > 1 {
            let Some((_, oldest)) = all.by_age.pop_first() else {
                return;
            };
            all.bytes -= oldest.bytes;
            oldest.mailbox.give_up();
            let (id, limit) = (oldest.id, self.limit);
            tracing::warn!(
                prediction_id = id,
                "The terminal webhook was given up: more than {limit} bytes wait to be delivered"
            );
        }
    }

    /// It has been delivered, or given up.
    pub(super) fn remove(&self, mailbox: &Mailbox) {
        let mut all = lock(&self.all);
        let number = mailbox.number.get();
        if let Some(entry) = number.and_then(|number| all.by_age.remove(number)) {
            all.bytes -= entry.bytes;
        }
    }

    pub(super) fn report(&self) {
        const NAMED: usize = 20;
        let all = lock(&self.all);
        if all.by_age.is_empty() {
            return;
        }
        let ids = all.by_age.values().map(|entry| entry.id.as_str());
        let named: Vec<_> = ids.take(NAMED).collect();
        let count = all.by_age.len();
        let more = if count > named.len() { ", …" } else { "" };
        tracing::warn!(
            "{count} terminal webhooks were not delivered before the end: {}{more}",
            named.join(", ")
        );
    }
}
