//! Memory for what clients send: all bodies and inputs together have one limit.
//!
//! A body has its share from before it is read until its prediction has ended, because for so long it, or
//! the input in it, is kept. Small bodies have a part of their own: large ones cannot keep them out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body up to this size is small.
pub(crate) const SMALL: usize = 64 << 10;
/// What a share is counted in: a semaphore counts to four billion only.
const UNIT: usize = 1 << 10;
/// The part of small bodies.
const FOR_SMALL: u64 = 32 << 20;

/// The limit for all bodies together.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The right to keep so many bytes.
#[derive(Debug, Default)]
pub(crate) struct Share {
    units: usize,
    /// Growing takes a further one.
    permits: Vec<OwnedSemaphorePermit>,
}

/// What a request wants of the model, and the memory that it takes up.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// A JSON object as text, validated and stripped.
    pub(crate) input: Bytes,
    /// A JSON object of strings as text.
    pub(crate) context: Bytes,
    _share: Share,
}

impl Asked {
    pub(crate) fn new(input: Bytes, context: Bytes, share: Share) -> Self {
        Self {
            input,
            context,
            _share: share,
        }
    }
}

impl Share {
    /// Whether it is enough for so many bytes.
    pub(crate) fn covers(&self, bytes: usize) -> bool {
        bytes.div_ceil(UNIT) <= self.units
    }
}

impl BodyMemory {
    /// `limit` for all, and always room for a body of `largest` bytes.
    pub(crate) fn new(limit: u64, largest: u64) -> Self {
        let large = limit.saturating_sub(FOR_SMALL).max(largest);
        let semaphore = |bytes: u64| {
            let units = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(UNIT);
            Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)))
        };
        Self {
            small: semaphore(FOR_SMALL),
            large: semaphore(large),
        }
    }

    /// Makes a share large enough for `bytes`. Waits for others to end, but not longer than `patience`.
    /// Returns whether it is.
    pub(crate) async fn grow(&self, share: &mut Share, bytes: usize, patience: Duration) -> bool {
        let missing = bytes.div_ceil(UNIT).saturating_sub(share.units);
        let Ok(units) = u32::try_from(missing) else {
            return false;
        };
        if units == 0 {
            return true;
        }
        let at_once = (bytes <= SMALL)
            .then(|| Arc::clone(&self.small).try_acquire_many_owned(units).ok())
            .flatten();
        let permit = if let Some(permit) = at_once {
            permit
        } else {
            let waiting = Arc::clone(&self.large).acquire_many_owned(units);
            match tokio::time::timeout(patience, waiting).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return false,
            }
        };
        share.units += missing;
        share.permits.push(permit);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const AT_ONCE: Duration = Duration::ZERO;

    #[tokio::test]
    async fn large_bodies_share_what_there_is() {
        let memory = BodyMemory::new(64 << 20, 10 << 20);
        let (mut first, mut second) = (Share::default(), Share::default());
        assert!(memory.grow(&mut first, 20 * MIB, AT_ONCE).await);
        assert!(!memory.grow(&mut second, 20 * MIB, AT_ONCE).await);
        assert!(memory.grow(&mut second, 12 * MIB, AT_ONCE).await);
        assert!(!memory.grow(&mut first, 21 * MIB, AT_ONCE).await);
        let mut small = Share::default();
        assert!(memory.grow(&mut small, SMALL, AT_ONCE).await);
        drop(first);
        assert!(memory.grow(&mut second, 32 * MIB, AT_ONCE).await);
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        let memory = BodyMemory::new(0, 10 << 20);
        let (mut first, mut second) = (Share::default(), Share::default());
        assert!(memory.grow(&mut first, 10 * MIB, AT_ONCE).await);
        let waiting = memory.grow(&mut second, 10 * MIB, Duration::from_secs(30));
        let (has_it, ()) = tokio::join!(waiting, async { drop(first) });
        assert!(has_it);
    }

    #[tokio::test]
    async fn many_small_ones_are_counted_too() {
        let memory = BodyMemory::new(0, 0);
        let mut shares = Vec::new();
        loop {
            let mut share = Share::default();
            if !memory.grow(&mut share, SMALL, AT_ONCE).await {
                break;
            }
            shares.push(share);
        }
        assert_eq!(shares.len(), 512);
    }
}
