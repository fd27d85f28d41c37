//! How many predictions may run at once. A slot is held as a value: dropping it frees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The slots of the server.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    free: Arc<AtomicUsize>,
}

/// One occupied slot.
#[derive(Debug)]
pub(crate) struct SlotPermit {
    free: Arc<AtomicUsize>,
}

impl Slots {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            free: Arc::new(AtomicUsize::new(total)),
        }
    }

    /// Takes a free slot, or none if all are busy. Never waits.
    pub(crate) fn try_acquire(&self) -> Option<SlotPermit> {
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
                free.checked_sub(1)
            })
            .ok()
            .map(|_| SlotPermit {
                free: Arc::clone(&self.free),
            })
    }

    pub(crate) fn free(&self) -> usize {
        self.free.load(Ordering::Acquire)
    }

    pub(crate) fn all_busy(&self) -> bool {
        self.free() == 0
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        self.free.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_is_free_again() {
        let slots = Slots::new(2);
        let first = slots.try_acquire().unwrap();
        let _second = slots.try_acquire().unwrap();
        assert!(slots.all_busy());
        assert!(slots.try_acquire().is_none());
        drop(first);
        assert!(!slots.all_busy());
        assert!(slots.try_acquire().is_some());
    }
}
